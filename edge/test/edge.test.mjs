// The built Worker in the real workerd, over real HTTP: what it refuses by itself, and what it does when the backend is
// away, slow, or not the backend at all. Needs `sh edge/build.sh` first.
//
// The origin below stands in for the backend only where the real one cannot be made to misbehave or to be counted; that
// both sides understand each other is tested elsewhere, with the real one.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';

const KEY_ID = 'k1';
const SECRET = 'edge-secret';
const KEY_SECRET = 'key-secret';
const PAGE = 'https://example.com/';
const MARKER = { 'x-snaphook-request-id': 'req_0' };
const PNG = Buffer.from('89504e470d0a1a0a', 'hex');

/**
 * Starts dev.mjs; `url` is where it answers, `log()` all that the Worker has logged, `names('r2 BODIES')` what that binding
 * holds.
 */
async function startEdge(environment) {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../dev.mjs', import.meta.url))], {
    env: { ...process.env, EDGE_PORT: '0', DEVELOPMENT: '', PUBLIC_URL: '', EDGE_SECRET: `${KEY_ID}:${SECRET}`, ...environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let log = '';
  child.stderr.on('data', (chunk) => (log += chunk));
  const lines = createInterface({ input: child.stdout });
  const [line] = await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => assert.fail(`dev.mjs ended: ${log}`))]);
  const names = async (binding) => {
    child.stdin.write(`${binding}\n`);
    const [answer] = await once(lines, 'line');
    return JSON.parse(answer).names;
  };
  const stop = async () => {
    const ended = once(child, 'exit');
    child.stdin.end();
    await ended;
  };
  return { url: JSON.parse(line).url, log: () => log, pid: child.pid, names, stop };
}

/** Everything bound, and queues that do not wait for company; after so many retries a message is dead. */
function everything({ deadAfter = 100, ...more } = {}) {
  const queue = { maxBatchSize: 50, maxBatchTimeout: 0.05 };
  const options = {
    queueConsumers: {
      'snaphook-outbox': { ...queue, maxRetries: deadAfter, deadLetterQueue: 'snaphook-outbox-dead' },
      'snaphook-outbox-dead': { ...queue, maxRetries: 100 },
    },
    ...more,
  };
  return {
    WRANGLER_CONFIG: fileURLToPath(new URL('../wrangler.full.toml', import.meta.url)),
    EDGE_OPTIONS: JSON.stringify(options),
  };
}

/** Asks again and again until it holds. */
async function until(what, holds, seconds = 20) {
  const deadline = performance.now() + 1000 * seconds;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `waited ${seconds} s in vain for ${what}`);
    await sleep(50);
  }
}

/**
 * One request, by the byte: unlike fetch, this sends the path as it is written and may send a body in chunks. Answers in
 * its whole, with the time of each of its chunks.
 */
function call(edge, method, path, { headers = {}, body, chunks } = {}) {
  const { hostname, port } = new URL(edge.url);
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
    const request = http.request({ hostname, port, method, path, headers: { ...length, ...headers }, agent: false }, async (response) => {
      const parts = [];
      const times = [];
      try {
        for await (const part of response) {
          parts.push(part);
          times.push(performance.now() - started);
        }
      } catch (error) {
        return reject(error);
      }
      const bytes = Buffer.concat(parts);
      const json = () => JSON.parse(bytes.toString());
      resolve({ status: response.statusCode, headers: response.headers, bytes, json, times, ms: performance.now() - started });
    });
    let answered = false;
    request.once('response', () => (answered = true));
    // A refusal may come, and the connection go, while the body is still on its way out.
    request.on('error', (error) => answered || reject(error));
    if (chunks === undefined) return request.end(body);
    for (const chunk of chunks) request.write(chunk);
    request.end();
  });
}

/** The process of workerd below dev.mjs, by Linux's own account. */
function workerd(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
  for (const child of children) {
    if (readFileSync(`/proc/${child}/comm`, 'utf8').startsWith('workerd')) return child;
    const found = workerd(child);
    if (found) return found;
  }
}

const residentBytes = (pid) => 4096 * Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);

/** Reads with pauses, and gives the number of bytes. */
function readSlowly(edge, path) {
  return new Promise((resolve, reject) => {
    http.get(edge.url + path, { agent: false }, (response) => {
      let bytes = 0;
      response.on('data', (chunk) => {
        bytes += chunk.length;
        response.pause();
        setTimeout(() => response.resume(), 1);
      });
      response.on('end', () => resolve(bytes)).on('error', reject);
    }).on('error', reject);
  });
}

const post = (edge, path, fields, headers = {}) =>
  call(edge, 'POST', path, {
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof fields === 'string' ? fields : JSON.stringify(fields),
  });

/** Checks that an answer is this error, in ScreenshotOne's shape (`/take`) or the other. */
function assertError(answer, path, status, code) {
  const body = answer.json();
  const isTake = path.startsWith('/take');
  assert.deepEqual([answer.status, isTake ? body.error_code : body.code], [status, code], JSON.stringify(body));
  if (isTake) assert.equal(body.is_successful, false);
  else assert.equal(body.statusCode, status);
  assert.match(body.documentation_url, /^http:\/\/127\.0\.0\.1:\d+\/docs\/errors\/[a-z-]+$/);
  assert.equal(answer.headers['content-type'], 'application/json');
  assert.equal(answer.headers['cache-control'], 'no-store');
  assert.equal(answer.headers['x-content-type-options'], 'nosniff');
  assert.equal(answer.headers['access-control-allow-origin'], '*');
  assert.match(answer.headers['x-snaphook-request-id'], /^req_[0-9a-f]{32}$/);
  return body;
}

function assertAway(answer, path) {
  assertError(answer, path, 503, 'temporary_unavailable');
  assert.match(answer.headers['retry-after'], /^[1-9]\d*$/);
}

describe('without a backend', { concurrency: 4 }, () => {
  let edge;
  before(async () => {
    // Port 9 (discard) answers nobody.
    edge = await startEdge({ BACKEND_URL: 'http://127.0.0.1:9' });
  });
  after(() => edge?.stop());

  test('a request that would have to be looked up is put off, in both dialects', async () => {
    assertAway(await call(edge, 'GET', `/take?access_key=demo&url=${PAGE}`), '/take');
    assertAway(await post(edge, '/take', { access_key: 'demo', url: PAGE, async: true }), '/take');
    assertAway(await call(edge, 'GET', `/v1/screenshot?access_key=demo&url=${PAGE}`), '/v1/screenshot');
    assertAway(await post(edge, '/v1/screenshot', { url: PAGE, async: true }, { 'x-access-key': 'demo' }), '/v1/screenshot');
    await until('the log', () => /req_[0-9a-f]{32}: the backend cannot be reached/.test(edge.log()));
  });

  test('so is what the backend answers by itself', async () => {
    for (const path of ['/files/x.png', '/v1/requests', '/docs', '/openapi.json']) assertAway(await call(edge, 'GET', path), path);
  });

  // From here on an answer other than 503 shows that nobody was asked.
  test('no key, or what cannot be one, costs no look-up', async () => {
    for (const [path, status] of [['/take', 400], ['/v1/screenshot', 401]]) {
      assertError(await call(edge, 'GET', `${path}?url=${PAGE}`), path, status, 'access_key_required');
      assertError(await call(edge, 'GET', `${path}?access_key=&url=${PAGE}`), path, status, 'access_key_required');
      assertError(await post(edge, path, { url: PAGE }), path, status, 'access_key_required');
      assertError(await call(edge, 'POST', path), path, status, 'access_key_required');
      for (const junk of ['../requests', 'a b', 'x'.repeat(65), 'ключ', '1;drop']) {
        const query = `${path}?access_key=${encodeURIComponent(junk)}&url=${PAGE}`;
        assertError(await call(edge, 'GET', query), path, status, 'access_key_invalid');
        assertError(await post(edge, path, { access_key: junk }), path, status, 'access_key_invalid');
      }
    }
  });

  test('an unknown route is not found, and nothing internal is known', async () => {
    const paths = ['/', '/takes', '/take/', '//take', '/v1', '/metrics', '/internal/v1/keys/demo', '/internal/v1/requests'];
    paths.push('/files/../internal/v1/keys/demo', '/files/%2e%2e/internal/v1/keys/demo', '/docs/..%2finternal/v1/keys/demo');
    paths.push('/files/..\\internal\\v1\\keys\\demo', '/files//../../internal/v1/keys/demo', '/v1/requests/./../../internal');
    for (const path of paths) {
      for (const method of ['GET', 'POST', 'OPTIONS']) assertError(await call(edge, method, path), 'native', 404, 'not_found');
    }
  });

  test('a wrong method is refused', async () => {
    for (const path of ['/take', '/v1/screenshot', '/files/x.png', '/v1/requests']) {
      for (const method of ['PUT', 'DELETE', 'PATCH']) {
        const answer = await call(edge, method, path);
        assertError(answer, path, 405, 'method_not_allowed');
        assert.match(answer.headers.allow, /^GET, HEAD, (POST, )?OPTIONS$/);
      }
    }
    assertError(await call(edge, 'POST', '/files/x.png'), '/files', 405, 'method_not_allowed');
  });

  test('HEAD is answered without a body', async () => {
    const answer = await call(edge, 'HEAD', '/take');
    assert.deepEqual([answer.status, answer.bytes.length], [400, 0]);
  });

  test('a body that is no JSON is refused', async () => {
    for (const path of ['/take', '/v1/screenshot']) {
      for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
        const answer = await post(edge, path, 'access_key=demo', { 'content-type': type });
        assertError(answer, path, 415, 'unsupported_media_type');
      }
      for (const body of ['{', '[]', '"x"', 'null', '{"url":{"a":1}}', '\ufeff{}', '{"access_key":"demo"']) {
        const answer = await post(edge, path, body, { 'x-access-key': 'demo' });
        assertError(answer, path, 400, 'request_not_valid');
      }
      const answer = await post(edge, path, Buffer.from('7b2275726c223a22ff227d', 'hex').toString('latin1'), {
        'x-access-key': 'demo',
        'content-type': 'application/json; charset=latin1',
      });
      assert.equal(answer.status, 503, 'a charset is no reason to refuse');
    }
  });

  test('a body of 10 MB is refused, declared or not', async () => {
    const megabyte = Buffer.alloc(1_000_000, ' ');
    for (const path of ['/take', '/v1/screenshot']) {
      const headers = { 'content-type': 'application/json', 'x-access-key': 'demo' };
      const declared = { ...headers, 'content-length': 10_000_000, expect: '100-continue' };
      assertError(await call(edge, 'POST', path, { headers: declared, chunks: [] }), path, 413, 'request_body_too_large');
      const chunks = Array(10).fill(megabyte);
      assertError(await call(edge, 'POST', path, { headers, chunks }), path, 413, 'request_body_too_large');
    }
  });

  test('a body just below the limit is read, declared or not', async () => {
    const start = '{"html":"';
    const fields = `${start}${'x'.repeat(5 * 1024 * 1024 - start.length - 2)}"}`;
    const headers = { 'content-type': 'application/json', 'x-access-key': 'demo' };
    assertAway(await call(edge, 'POST', '/take', { headers, body: fields }), '/take');
    assertAway(await call(edge, 'POST', '/take', { headers, chunks: [fields.slice(0, 1e6), fields.slice(1e6)] }), '/take');
    const over = await call(edge, 'POST', '/take', { headers, chunks: [fields, ' '] });
    assertError(over, '/take', 413, 'request_body_too_large');
  });

  test('a query of more than 16 KiB is refused', async () => {
    for (const path of ['/take', '/v1/screenshot', '/files/x.png']) {
      assertError(await call(edge, 'GET', `${path}?a=${'x'.repeat(16 * 1024 - 1)}`), path, 414, 'uri_too_long');
    }
    assertAway(await call(edge, 'GET', `/take?access_key=demo&a=${'x'.repeat(16 * 1024 - 18)}`), '/take');
  });

  test('a page of another origin may ask and call', async () => {
    const headers = { origin: 'https://app.example', 'access-control-request-method': 'POST' };
    const methods = { '/take': 'GET, HEAD, POST', '/v1/screenshot': 'GET, HEAD, POST', '/files/x.png': 'GET, HEAD', '/bulk': 'POST' };
    for (const [path, allowed] of Object.entries(methods)) {
      const answer = await call(edge, 'OPTIONS', path, { headers });
      assert.deepEqual([answer.status, answer.bytes.length], [204, 0]);
      assert.equal(answer.headers['access-control-allow-origin'], '*');
      assert.equal(answer.headers['access-control-allow-methods'], allowed);
      assert.match(answer.headers['access-control-allow-headers'], /x-access-key/);
    }
  });
});

describe('settings', () => {
  test('a Worker without its secret answers 500 and logs why', async () => {
    const edge = await startEdge({ EDGE_SECRET: '' });
    try {
      assertError(await call(edge, 'GET', '/take?access_key=demo'), '/take', 500, 'internal_application_error');
      await until('the log', () => /not configured: `EDGE_SECRET` is not set/.test(edge.log()));
    } finally {
      await edge.stop();
    }
  });

  test('PUBLIC_URL is what callers are shown', async () => {
    const edge = await startEdge({ PUBLIC_URL: 'https://api.example.com/' });
    try {
      const body = (await call(edge, 'GET', '/take')).json();
      assert.equal(body.documentation_url, 'https://api.example.com/docs/errors/access-key-required');
    } finally {
      await edge.stop();
    }
  });
});

describe('with an origin in place of the backend', { concurrency: 8 }, () => {
  let edge;
  let origin;
  /** What the origin was asked, in order. */
  const seen = [];
  /** Access key → what the origin does with a look-up of it; without one it is a known key. */
  const onKey = new Map();
  /** Access key → what the origin does with a request of it; without one it is accepted. */
  const onRequest = new Map();
  /** Path → what the origin does with a GET of it. */
  const onPath = new Map();

  const keyRecord = (accessKey, more = {}) => JSON.stringify({ access_key: accessKey, secret_key: KEY_SECRET, ...more });
  const lookUps = (accessKey) => seen.filter(({ path }) => path === `/internal/v1/keys/${accessKey}`).length;
  const envelopes = (accessKey) => seen.filter(({ envelope }) => envelope?.access_key === accessKey).map(({ envelope }) => envelope);

  /** Whether a request of this key was taken over. */
  const accepted = (accessKey) => seen.some(({ envelope, accepted }) => accepted && envelope.access_key === accessKey);

  /** The seal as a stranger would read it from the format's description. */
  function isSealed({ method, headers }, path, body) {
    const digest = createHash('sha256').update(body).digest('hex');
    const [timestamp, nonce] = [headers['x-snaphook-timestamp'], headers['x-snaphook-nonce']];
    const text = ['v1', method, path, '', digest, timestamp, nonce, headers['x-snaphook-key-id']].join('\n');
    const signature = createHmac('sha256', SECRET).update(text).digest('hex');
    const isFresh = Math.abs(Date.now() / 1000 - Number(timestamp)) < 10;
    return isFresh && /^[\w-]{16,64}$/.test(nonce) && headers['x-snaphook-signature'] === signature;
  }

  before(async () => {
    origin = http.createServer(async (request, response) => {
      const parts = [];
      for await (const part of request) parts.push(part);
      const body = Buffer.concat(parts);
      const path = request.url;
      const entry = { path, method: request.method, headers: request.headers, sealed: isSealed(request, path, body) };
      seen.push(entry);
      const accessKey = path.startsWith('/internal/v1/keys/') ? path.slice('/internal/v1/keys/'.length) : undefined;
      if (accessKey !== undefined) {
        const answer = onKey.get(accessKey) ?? (() => response.writeHead(200, MARKER).end(keyRecord(accessKey)));
        return answer(response, request);
      }
      if (path === '/internal/v1/requests') {
        entry.envelope = JSON.parse(body);
        const accept = () => (entry.accepted = true) && response.writeHead(202, { ...MARKER, 'content-type': 'application/json' }).end('{"status":"Accepted"}');
        return (onRequest.get(entry.envelope.access_key) ?? accept)(response, request);
      }
      const answer = onPath.get(path) ?? (() => response.writeHead(404, MARKER).end());
      return answer(response, request);
    });
    origin.listen(0, '127.0.0.1');
    await once(origin, 'listening');
    edge = await startEdge({ BACKEND_URL: `http://127.0.0.1:${origin.address().port}` });
  });
  after(async () => {
    await edge?.stop();
    origin?.closeAllConnections();
    origin?.close();
  });

  test('a request is handed over as it came, sealed', async () => {
    const query = "access_key=whole&url=https://example.com/?a=%20+b%2f%2F'(x)|~&format=png&&block_ads";
    const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const got = await call(edge, 'GET', `/take?${query}`, { headers: { traceparent: trace, 'idempotency-key': 'once' } });
    assert.deepEqual([got.status, got.bytes.toString()], [202, '{"status":"Accepted"}']);
    assert.equal((await call(edge, 'HEAD', `/take?${query}`)).status, 202);
    const body = JSON.stringify({ url: PAGE, html: 'ä\n\u2028"', async: true });
    await post(edge, '/v1/screenshot?x=1', body, { 'x-access-key': 'whole' });
    // Of such a length the platform makes the digest.
    const large = JSON.stringify({ html: 'ä'.repeat(100_000), async: true });
    await post(edge, '/take', large, { 'x-access-key': 'whole' });

    const [byGet, byHead, byPost, byLargePost] = envelopes('whole');
    const { request_id, received_at_ms, ...rest } = byGet;
    assert.match(request_id, /^req_[0-9a-f]{32}$/);
    assert.ok(Math.abs(Date.now() - received_at_ms) < 10_000);
    assert.deepEqual(rest, {
      access_key: 'whole',
      method: 'GET',
      path: '/take',
      query,
      idempotency_key: 'once',
      traceparent: trace,
      wait_ms: 24_000,
      body: '',
    });
    assert.equal(byHead.method, 'HEAD');
    assert.notEqual(byHead.request_id, byGet.request_id);
    assert.deepEqual(
      [byPost.method, byPost.path, byPost.query, byPost.content_type, byPost.body],
      ['POST', '/v1/screenshot', 'x=1', 'application/json', body],
    );
    assert.equal(byLargePost.body, large);
    const asked = seen.filter(({ envelope, path }) => envelope?.access_key === 'whole' || path.endsWith('/whole'));
    assert.deepEqual(asked.map(({ sealed }) => sealed), [true, true, true, true, true]);
    const nonces = new Set(asked.map(({ headers }) => headers['x-snaphook-nonce']));
    assert.equal(nonces.size, asked.length, 'no nonce twice');
  });

  test('a key is looked up once, known or not', async () => {
    onKey.set('nobody', (response) => response.writeHead(404, MARKER).end());
    for (let n = 0; n < 10; n++) {
      assert.equal((await call(edge, 'GET', `/take?access_key=often&url=${PAGE}`)).status, 202);
      assertError(await call(edge, 'GET', `/take?access_key=nobody&url=${PAGE}`), '/take', 400, 'access_key_invalid');
      const answer = await post(edge, '/v1/screenshot', { url: 7 }, { 'x-access-key': 'nobody' });
      assertError(answer, '/v1/screenshot', 401, 'access_key_invalid');
    }
    assert.deepEqual([lookUps('often'), lookUps('nobody'), envelopes('nobody').length], [1, 1, 0]);
  });

  test('an outage is not remembered', async () => {
    const bad = [
      (response) => response.writeHead(404).end('a proxy knows no such path'),
      (response) => response.writeHead(200).end(keyRecord('outage')),
      (response) => response.writeHead(200, MARKER).end('<html>'),
      (response) => response.writeHead(200, MARKER).end(keyRecord('another')),
      (response) => response.writeHead(401, MARKER).end(),
      (response) => response.writeHead(500, MARKER).end(),
      (response) => response.writeHead(302, { location: '/docs' }).end(),
      (response) => response.destroy(),
    ];
    for (const answer of bad) {
      onKey.set('outage', answer);
      assertAway(await call(edge, 'GET', `/take?access_key=outage&url=${PAGE}`), '/take');
    }
    onKey.delete('outage');
    assert.equal((await call(edge, 'GET', `/take?access_key=outage&url=${PAGE}`)).status, 202);
    assert.equal(envelopes('outage').length, 1);
  });

  test('what is between edge and backend cannot accept a request', async () => {
    const bad = [
      (response) => response.writeHead(202, { 'content-type': 'application/json' }).end('{"status":"Accepted"}'),
      (response) => response.writeHead(200, { 'content-type': 'image/png' }).end(PNG),
      (response) => response.writeHead(502).end('<html>bad gateway</html>'),
      (response) => response.destroy(),
    ];
    for (const answer of bad) {
      onRequest.set('between', answer);
      assertAway(await call(edge, 'GET', `/take?access_key=between&url=${PAGE}&async=true`), '/take');
      assertAway(await post(edge, '/v1/screenshot', { url: PAGE }, { 'x-access-key': 'between' }), '/v1/screenshot');
    }
    await until('the log', () => /status 502 came without `x-snaphook-request-id`/.test(edge.log()));
  });

  test('all that is wrong is said at once, and nothing is handed over', async () => {
    const fields = { url: 'http://10.0.0.1/', format: 'bmp', no_such: 1 };
    const one = assertError(await post(edge, '/take', { access_key: 'wrong', ...fields }), '/take', 400, 'request_not_valid');
    assert.deepEqual(one.error_details.flatMap(({ path }) => path).sort(), ['format', 'no_such', 'url']);
    const max = await post(edge, '/v1/screenshot', { access_key: 'wrong', ...fields });
    assert.equal(assertError(max, '/v1/screenshot', 400, 'request_not_valid').details.length, 3);
    const target = await call(edge, 'GET', '/take?access_key=wrong&url=http://169.254.169.254/latest');
    assertError(target, '/take', 400, 'target_not_allowed');
    assert.equal(envelopes('wrong').length, 0);
  });

  test('every row of the SSRF corpus gets its verdict, as far as no name server is needed, and none that is refused is handed over', async () => {
    // What a name alone does not give away is decided behind, where it is looked up.
    const needsDns = ['app.10.0.0.1.nip.io', 'backend.self.test', 'nxdomain.test', 'rebind.test', 'redirector.test'];
    const parsed = (url) => (URL.canParse(url) ? new URL(url) : undefined);
    const [, ...lines] = readFileSync(new URL('../../shared/golden/ssrf_corpus.tsv', import.meta.url), 'utf8').trimEnd().split('\n');
    const rows = lines.map((line) => {
      const [text, verdict, reason] = line.split('\t');
      const url = text.replaceAll('\\\\', '\\').replaceAll('\\t', '\t');
      return { url, reason, isRefused: verdict === 'block' && !needsDns.includes(parsed(url)?.hostname) };
    });
    assert.deepEqual([rows.length, rows.filter(({ isRefused }) => isRefused).length], [133, 108]);
    for (const { url, reason, isRefused } of rows) {
      const what = `${JSON.stringify(url)} (${reason})`;
      for (const path of ['/take', '/v1/screenshot']) {
        const before = envelopes('corpus').length;
        const got = await call(edge, 'GET', `${path}?access_key=corpus&url=${encodeURIComponent(url)}`);
        const posted = await post(edge, path, { url, async: true }, { 'x-access-key': 'corpus' });
        const handedOver = envelopes('corpus').length - before;
        const expected = isRefused ? [400, 400, 0] : [202, 202, 2];
        assert.deepEqual([got.status, posted.status, handedOver], expected, `${path} ${what}`);
      }
      // A webhook goes by the same rules, and to TLS alone.
      const before = envelopes('corpus').length;
      const webhook = await post(edge, '/take', { url: PAGE, webhook_url: url, async: true }, { 'x-access-key': 'corpus' });
      const isWebhookRefused = isRefused || parsed(url)?.protocol !== 'https:';
      const expected = isWebhookRefused ? [400, 0] : [202, 1];
      assert.deepEqual([webhook.status, envelopes('corpus').length - before], expected, `webhook_url ${what}`);
    }
  });

  test('signed links are verified over the bytes as they came', async () => {
    onKey.set('signer', (response) => response.writeHead(200, MARKER).end(keyRecord('signer', { require_signed: true })));
    const query = "access_key=signer&url=https://example.com/%7e'x'|y+z&delay=0";
    const signature = createHmac('sha256', KEY_SECRET).update(query).digest('hex');
    assert.equal((await call(edge, 'GET', `/take?${query}&signature=${signature}`)).status, 202);
    const moved = await call(edge, 'GET', `/take?${query.replace('%7e', '~')}&signature=${signature}`);
    assertError(moved, '/take', 400, 'signature_is_not_valid');
    assertError(await call(edge, 'GET', `/take?${query}`), '/take', 400, 'signature_is_required');
  });

  test('the answer is passed through as it is, status, headers and bytes', async () => {
    onRequest.set('picture', (response) => {
      response.writeHead(200, { ...MARKER, 'content-type': 'image/png', 'x-screenshotone-size-width': '1', etag: '"e"' }).end(PNG);
    });
    const picture = await call(edge, 'GET', `/take?access_key=picture&url=${PAGE}`);
    assert.deepEqual([picture.status, picture.bytes], [200, PNG]);
    assert.equal(picture.headers['content-type'], 'image/png');
    assert.equal(picture.headers['x-screenshotone-size-width'], '1');
    assert.equal(picture.headers['access-control-allow-origin'], '*');
    assert.equal(picture.headers['x-snaphook-request-id'], 'req_0');
    const head = await call(edge, 'HEAD', `/take?access_key=picture&url=${PAGE}`);
    assert.deepEqual([head.status, head.bytes.length, head.headers.etag], [200, 0, '"e"']);

    onRequest.set('packed', (response) => {
      const headers = { ...MARKER, 'content-type': 'application/json', 'content-encoding': 'gzip' };
      response.writeHead(200, headers).end(gzipSync('{"packed":true}'));
    });
    const packed = await call(edge, 'GET', `/take?access_key=packed&url=${PAGE}`, { headers: { 'accept-encoding': 'gzip' } });
    assert.equal(packed.headers['content-encoding'], 'gzip');
    assert.equal(gunzipSync(packed.bytes).toString(), '{"packed":true}');

    onRequest.set('refused', (response) => {
      response.writeHead(429, { ...MARKER, 'content-type': 'application/json', 'retry-after': '7' }).end('{"code":"x"}');
    });
    const refused = await call(edge, 'GET', `/v1/screenshot?access_key=refused&url=${PAGE}`);
    assert.deepEqual([refused.status, refused.headers['retry-after'], refused.bytes.toString()], [429, '7', '{"code":"x"}']);
  });

  test('the answer streams', async () => {
    onRequest.set('stream', async (response) => {
      response.writeHead(200, { ...MARKER, 'content-type': 'application/octet-stream' });
      for (let n = 0; n < 4; n++) {
        response.write(Buffer.alloc(1000, n));
        await sleep(200);
      }
      response.end();
    });
    const answer = await call(edge, 'GET', `/take?access_key=stream&url=${PAGE}`);
    assert.equal(answer.bytes.length, 4000);
    assert.ok(answer.times.at(-1) - answer.times[0] > 400, `all at once: ${answer.times}`);
  });

  test('files are passed through with what their headers ask', async () => {
    onPath.set('/files/a.png?download=1', (response, request) => {
      const { range, 'if-none-match': match } = request.headers;
      if (match !== undefined) return response.writeHead(304, { ...MARKER, etag: match }).end();
      const headers = { ...MARKER, 'content-type': 'image/png', etag: '"a"', 'accept-ranges': 'bytes' };
      if (range === undefined) return response.writeHead(200, { ...headers, 'content-length': 8 }).end(PNG);
      return response.writeHead(206, { ...headers, 'content-range': 'bytes 0-3/8', 'content-length': 4 }).end(PNG.subarray(0, 4));
    });
    const path = '/files/a.png?download=1';
    const whole = await call(edge, 'GET', path, { headers: { 'x-access-key': 'k', cookie: 'a=b', 'x-snaphook-key-id': 'k1' } });
    assert.deepEqual([whole.status, whole.bytes, whole.headers['content-length']], [200, PNG, '8']);
    const part = await call(edge, 'GET', path, { headers: { range: 'bytes=0-3', 'if-range': '"a"' } });
    assert.deepEqual([part.status, part.bytes, part.headers['content-range']], [206, PNG.subarray(0, 4), 'bytes 0-3/8']);
    const same = await call(edge, 'GET', path, { headers: { 'if-none-match': '"a"' } });
    assert.deepEqual([same.status, same.bytes.length, same.headers.etag], [304, 0, '"a"']);
    const head = await call(edge, 'HEAD', path);
    assert.deepEqual([head.status, head.bytes.length, head.headers['content-length']], [200, 0, '8']);

    const asked = seen.filter((entry) => entry.path === path);
    assert.deepEqual(asked.map(({ method }) => method), ['GET', 'GET', 'GET', 'HEAD']);
    const [{ headers }] = asked;
    assert.equal(headers['x-access-key'], 'k');
    for (const name of ['cookie', 'x-snaphook-key-id', 'x-snaphook-signature']) assert.equal(headers[name], undefined, name);
    assert.equal(asked[1].headers['if-range'], '"a"');
  });

  test('a redirect is the answer, not an order', async () => {
    onPath.set('/docs', (response) => response.writeHead(308, { ...MARKER, location: '/docs/' }).end());
    const answer = await call(edge, 'GET', '/docs');
    assert.deepEqual([answer.status, answer.headers.location], [308, '/docs/']);
    assert.ok(!seen.some(({ path }) => path === '/docs/'));
  });

  test('the backend has its time to begin an answer, and all the time to end it', async () => {
    const headers = { ...MARKER, 'content-type': 'application/octet-stream' };
    onRequest.set('slow', async (response) => {
      await sleep(11_000);
      response.writeHead(200, headers).end('late');
    });
    onRequest.set('long', async (response) => {
      response.writeHead(202, headers).write('begun, ');
      await sleep(11_000);
      response.end('done');
    });
    onKey.set('stuck', () => {});
    const [asynchronous, synchronous, long, lookUp] = await Promise.all([
      call(edge, 'GET', `/take?access_key=slow&url=${PAGE}&async=true`),
      call(edge, 'GET', `/take?access_key=slow&url=${PAGE}`),
      call(edge, 'GET', `/take?access_key=long&url=${PAGE}&async=true`),
      call(edge, 'GET', `/take?access_key=stuck&url=${PAGE}`),
    ]);
    assertAway(asynchronous, '/take');
    assert.ok(asynchronous.ms > 9_900 && asynchronous.ms < 20_000, `${asynchronous.ms}`);
    assert.deepEqual([synchronous.status, synchronous.bytes.toString()], [200, 'late']);
    assert.deepEqual([long.status, long.bytes.toString()], [202, 'begun, done']);
    assertAway(lookUp, '/take');
    assert.ok(lookUp.ms > 4_900 && lookUp.ms < 15_000, `${lookUp.ms}`);
  });

  test('three bodies of 50 MB pass through without being held', async () => {
    const megabyte = Buffer.alloc(1_000_000, 7);
    onPath.set('/files/large.pdf', async (response) => {
      const headers = { ...MARKER, 'content-type': 'application/pdf', 'content-length': 50_000_000 };
      response.writeHead(200, { ...headers, 'cache-control': 'public, max-age=600' });
      for (let n = 0; n < 50; n++) if (!response.write(megabyte)) await once(response, 'drain');
      response.end();
    });
    onRequest.set('large', (response, request) => onPath.get('/files/large.pdf')(response, request));
    // A workerd of its own, which does nothing else meanwhile, and has done all of it once.
    const own = await startEdge({ BACKEND_URL: backend() });
    try {
      assert.equal((await call(own, 'GET', `/take?access_key=warm&url=${PAGE}`)).status, 202);
      assert.equal((await call(own, 'GET', '/files/small.pdf')).status, 404);
      const pid = workerd(own.pid);
      const before = residentBytes(pid);
      let most = 0;
      const watch = setInterval(() => (most = Math.max(most, residentBytes(pid))), 20);
      try {
        // Readers who are slow, so that whatever is held would pile up.
        const paths = ['/files/large.pdf', `/take?access_key=large&url=${PAGE}`, `/take?access_key=large&url=${PAGE}`];
        assert.deepEqual(await Promise.all(paths.map((path) => readSlowly(own, path))), [50_000_000, 50_000_000, 50_000_000]);
      } finally {
        clearInterval(watch);
      }
      // Together they are 150 MB. Sockets and streams have buffers of their own.
      assert.ok(most - before < 40_000_000, `grew by ${most - before} bytes`);
    } finally {
      await own.stop();
    }
  });

  test('a key has so many requests a minute, of whatever kind', async () => {
    const limited = await startEdge({ BACKEND_URL: backend(), ...everything({ ratelimits: { LIMITER: { simple: { limit: 2, period: 60 } } } }) });
    try {
      const statuses = async (...calls) => (await Promise.all(calls.map((one) => one()))).map(({ status }) => status);
      const bulk = (key) => () => post(limited, '/bulk', { requests: [] }, { 'x-access-key': key });
      const list = (key) => () => call(limited, 'GET', `/v1/requests?access_key=${key}`);
      const take = (key) => () => call(limited, 'GET', `/take?access_key=${key}&url=${PAGE}`);
      // The origin knows none of the routes that it would answer by itself.
      assert.deepEqual(await statuses(bulk('busy'), list('busy')), [404, 404]);
      const refused = await bulk('busy')();
      assertError(refused, '/take', 400, 'concurrency_limit_reached');
      assert.match(refused.headers['retry-after'], /^[1-9]\d*$/);
      assert.deepEqual(await statuses(list('busy'), take('busy')), [429, 400]);
      assert.deepEqual(await statuses(bulk('idle'), take('idle')), [404, 202], 'another has its own');
      assert.equal(seen.filter(({ path, headers }) => path === '/bulk' && headers['x-access-key'] === 'busy').length, 1);
      // Who names no key, or what is none, is the backend's to answer.
      const nobody = () => post(limited, '/bulk', { requests: [] });
      assert.deepEqual(await statuses(nobody, nobody, nobody), [404, 404, 404]);
    } finally {
      await limited.stop();
    }
  });

  test('no record of a key is believed for longer than was said', async () => {
    const kept = await startEdge({
      BACKEND_URL: `http://127.0.0.1:${origin.address().port}`,
      KEY_FRESH_SECONDS: '2',
      WRANGLER_CONFIG: fileURLToPath(new URL('../wrangler.full.toml', import.meta.url)),
    });
    try {
      const take = () => call(kept, 'GET', `/take?access_key=bound&url=${PAGE}&async=true`);
      assert.equal((await take()).status, 202);
      assert.equal(lookUps('bound'), 1);
      assert.equal((await take()).status, 202);
      assert.equal(lookUps('bound'), 1);
      // Revoked at the backend, which would refuse the hand-over as well; here it is the edge that must come to know.
      onKey.set('bound', (response) => response.writeHead(200, MARKER).end(keyRecord('bound', { revoked: true })));
      const revoked = performance.now();
      while ((await take()).status === 202) await sleep(50);
      const after = performance.now() - revoked;
      assert.ok(after < 2_600, `${after} ms; two seconds were promised`);
      assertError(await take(), '/take', 400, 'access_key_invalid');

      // And a key that was unknown is found once it is there.
      onKey.set('late', (response) => response.writeHead(404, MARKER).end());
      const late = () => call(kept, 'GET', `/take?access_key=late&url=${PAGE}&async=true`);
      assertError(await late(), '/take', 400, 'access_key_invalid');
      onKey.delete('late');
      const made = performance.now();
      while ((await late()).status !== 202) await sleep(50);
      assert.ok(performance.now() - made < 2_600);

      // With the backend away, what was kept is good enough to put a request into the outbox, and only that.
      onKey.set('late', (response) => response.destroy());
      onRequest.set('late', (response) => response.destroy());
      await sleep(2_100);
      assert.equal((await late()).status, 202);
      await until('the log', () => /an older record of a key is used/.test(kept.log()));
      assertAway(await call(kept, 'GET', `/take?access_key=late&url=${PAGE}`), '/take');
      onKey.set('never-seen', (response) => response.destroy());
      assertAway(await call(kept, 'GET', `/take?access_key=never-seen&url=${PAGE}&async=true`), '/take');
    } finally {
      await kept.stop();
    }
  });

  /** What a render of this key meets: a connection that breaks. */
  const away = (accessKey) => onRequest.set(accessKey, (response) => response.destroy());
  const limited = (status, headers) => (response) => {
    response.writeHead(status, { ...MARKER, 'content-type': 'application/json', ...headers }).end('{}');
  };
  const backend = () => `http://127.0.0.1:${origin.address().port}`;
  const large = JSON.stringify({ html: 'x'.repeat(300_000), async: true });

  test('a record that is kept is good for an isolate that has just begun', async () => {
    const kvPersist = mkdtempSync(join(tmpdir(), 'snaphook-keys-'));
    const start = () => startEdge({ BACKEND_URL: backend(), ...everything({ kvPersist }) });
    const take = (edge) => call(edge, 'GET', `/take?access_key=twice&url=${PAGE}&async=true`);
    let begun = await start();
    try {
      assert.equal((await take(begun)).status, 202);
      await until('the record to be kept', async () => (await begun.names('kv KEYS')).includes('key:twice'));
      await begun.stop();
      begun = await start();
      assert.equal((await take(begun)).status, 202);
      assert.equal((await take(begun)).status, 202);
      assert.deepEqual([lookUps('twice'), envelopes('twice').length], [1, 3]);
    } finally {
      await begun.stop();
      rmSync(kvPersist, { recursive: true, force: true });
    }
  });

  test('while the backend is away an older record lets in at once, and refuses nobody', async () => {
    const older = await startEdge({ BACKEND_URL: backend(), KEY_FRESH_SECONDS: '1', ...everything() });
    try {
      const query = `access_key=older&url=${PAGE}&async=true`;
      const take = (more = '') => call(older, 'GET', `/take?${query}${more}`);
      assert.equal((await take()).status, 202);
      await sleep(1_100);
      away('older');
      // Nobody says that it is away: that has to be waited for.
      onKey.set('older', () => {});
      const first = await take();
      assert.equal(first.status, 202);
      assert.ok(first.ms > 4_900, `${first.ms}`);
      const asked = lookUps('older');
      for (let n = 0; n < 5; n++) {
        const next = await take();
        assert.equal(next.status, 202);
        assert.ok(next.ms < 1_000, `${next.ms}`);
      }
      assert.equal(lookUps('older'), asked);
      // What an unknown key reads.
      assertAway(await take(`&signature=${'0'.repeat(64)}`), '/take');
      const signature = createHmac('sha256', KEY_SECRET).update(query).digest('hex');
      assert.equal((await take(`&signature=${signature}`)).status, 202);
      // And it is believed for a moment only.
      onKey.delete('older');
      await until('the backend to be asked again', async () => (await take()).status === 202 && lookUps('older') > asked);
      assertError(await take(`&signature=${'0'.repeat(64)}`), '/take', 400, 'signature_is_not_valid');
    } finally {
      await older.stop();
    }
  });

  test('a Queue or a bucket that fails is an outage, and leaves nothing behind', async () => {
    // It takes no call but fetch: whatever else is called fails.
    const broken = { network: { allow: ['public'] } };
    away('broken');
    const headers = { 'x-access-key': 'broken' };
    const small = { url: PAGE, async: true };
    const noQueue = await startEdge({
      BACKEND_URL: backend(),
      ...everything({ queueProducers: {}, queueConsumers: {}, serviceBindings: { OUTBOX: broken } }),
    });
    try {
      for (const path of ['/take', '/v1/screenshot']) {
        assertAway(await post(noQueue, path, small, headers), path);
        assertAway(await post(noQueue, path, large, headers), path);
      }
      await until('the log', () => noQueue.log().match(/req_[0-9a-f]{32}: the outbox failed: /g)?.length === 4);
      assert.deepEqual(await noQueue.names('r2 BODIES'), []);
    } finally {
      await noQueue.stop();
    }
    const noBucket = await startEdge({ BACKEND_URL: backend(), ...everything({ r2Buckets: {}, serviceBindings: { BODIES: broken } }) });
    try {
      assertAway(await post(noBucket, '/take', large, headers), '/take');
      await until('the log', () => noBucket.log().includes('the outbox failed: '));
      assert.equal((await post(noBucket, '/take', small, headers)).status, 202);
    } finally {
      await noBucket.stop();
    }
  });

  test('a request with an idempotency key is for the backend to decide, and is not kept', async () => {
    const keyed = await startEdge({ BACKEND_URL: backend(), ...everything() });
    try {
      away('keyed');
      const headers = { 'x-access-key': 'keyed' };
      const once = { ...headers, 'idempotency-key': 'once' };
      for (const path of ['/take', '/v1/screenshot']) {
        // The same twice, another one under its key, and one that would wait in the bucket.
        const bodies = [{ url: PAGE, async: true }, { url: PAGE, async: true }, { html: '<p>other', async: true }, large];
        for (const body of bodies) assertAway(await post(keyed, path, body, once), path);
        assertAway(await call(keyed, 'GET', `${path}?url=${PAGE}&async=true`, { headers: once }), path);
        // Beside them one without a key, which is.
        assert.equal((await post(keyed, path, { url: PAGE, async: true }, headers)).status, 202);
      }
      await until('the log', () => keyed.log().match(/kept in the outbox/g)?.length === 2);
      assert.deepEqual(await keyed.names('r2 BODIES'), []);
      onRequest.delete('keyed');
      // The backend knows what it has under the key, and says so itself.
      assert.equal((await post(keyed, '/take', { url: PAGE, async: true }, once)).status, 202);
      await until('the two', () => seen.filter(({ envelope, accepted }) => accepted && envelope.access_key === 'keyed').length === 3);
      const keys = seen.filter(({ envelope, accepted }) => accepted && envelope.access_key === 'keyed').map(({ envelope }) => envelope.idempotency_key);
      assert.deepEqual(keys.filter((key) => key !== undefined), ['once']);
    } finally {
      await keyed.stop();
    }
  });

  test("ScreenshotOne's callers read of the outbox in the status that is set", async () => {
    const set = await startEdge({ BACKEND_URL: backend(), SCREENSHOTONE_ASYNC_STATUS: '200', ...everything() });
    try {
      away('status');
      const accepted = await post(set, '/take', { url: PAGE, async: true }, { 'x-access-key': 'status' });
      assert.deepEqual([accepted.status, accepted.json().status], [200, 'Accepted']);
      assert.equal((await post(set, '/v1/screenshot', { url: PAGE, async: true }, { 'x-access-key': 'status' })).status, 202);
      await until('the log', () => set.log().match(/kept in the outbox/g)?.length === 2);
    } finally {
      await set.stop();
    }
  });

  test('what says when comes again, and what does not is refused for good', async () => {
    const put = await startEdge({ BACKEND_URL: backend(), ...everything() });
    try {
      const take = (accessKey) => call(put, 'GET', `/take?access_key=${accessKey}&url=${PAGE}&async=true`);
      away('over');
      away('wrong-now');
      const [over, wrong] = [await take('over'), await take('wrong-now')];
      assert.deepEqual([over.status, wrong.status], [202, 202]);
      // As ScreenshotOne's dialect answers limits, and as it answers what will never do.
      onRequest.set('over', limited(400, { 'retry-after': '3' }));
      onRequest.set('wrong-now', limited(400));
      const refused = `refused/${wrong.headers['x-snaphook-request-id']}`;
      await until('the refusal', async () => (await put.names('r2 BODIES')).includes(refused));
      await until('the limit', () => /tried again in \d+ s: req_[0-9a-f]{32}: status 400/.test(put.log()));
      onRequest.delete('over');
      await until('the request', () => accepted('over'));
      assert.deepEqual(await put.names('r2 BODIES'), [refused]);
    } finally {
      await put.stop();
    }
  });

  test('without a bucket, what is dead stays in its queue for as long as that keeps it', async () => {
    const bare = await startEdge({ BACKEND_URL: backend(), ...everything({ deadAfter: 0, r2Buckets: {} }) });
    try {
      away('bare');
      const got = await call(bare, 'GET', `/take?access_key=bare&url=${PAGE}&async=true`);
      assert.equal(got.status, 202);
      const id = got.headers['x-snaphook-request-id'];
      await until('the longest pause', () => bare.log().includes(`tried again in 43200 s: ${id}: `));
      assert.doesNotMatch(bare.log(), /kept under undelivered/);
      assert.ok(!accepted('bare'));
    } finally {
      await bare.stop();
    }
  });

  test('of what is parked, nothing holds up the others', async () => {
    const parked = await startEdge({ BACKEND_URL: backend(), EDGE_CLOCK_SECONDS: '2', ...everything({ deadAfter: 0 }) });
    try {
      const take = (accessKey) => call(parked, 'GET', `/take?access_key=${accessKey}&url=${PAGE}&async=true`);
      const waiting = async () => (await parked.names('r2 BODIES')).filter((name) => name.startsWith('undelivered/'));
      away('crowd');
      away('lone');
      // More than one run tries, and all of them before the other.
      const crowd = await Promise.all(Array.from({ length: 205 }, () => take('crowd')));
      const lone = await take('lone');
      assert.ok([...crowd, lone].every(({ status }) => status === 202));
      await until('them to be parked', async () => (await waiting()).length === 206, 60);
      onRequest.set('crowd', limited(400, { 'retry-after': '60' }));
      onRequest.delete('lone');
      await until('the one behind them', () => accepted('lone'), 60);
      assert.ok(!accepted('crowd'));
      assert.equal((await waiting()).length, 205);
      onRequest.delete('crowd');
      await until('all of them', async () => (await waiting()).length === 0, 60);
      const ids = new Set(envelopes('crowd').map(({ request_id }) => request_id));
      assert.deepEqual(ids, new Set(crowd.map(({ headers }) => headers['x-snaphook-request-id'])));
    } finally {
      await parked.stop();
    }
  });
});

describe('a module that is broken', () => {
  /** The build with a Worker around it that can do what none of its own code does: write over the memory of the module. */
  function breakable() {
    const folder = mkdtempSync(join(tmpdir(), 'snaphook-broken-'));
    cpSync(fileURLToPath(new URL('../build', import.meta.url)), folder, { recursive: true });
    writeFileSync(
      join(folder, 'around.js'),
      `import worker from './index.js';
      const random = crypto.getRandomValues;
      export default {
        fetch(request, env, context) {
          if (request.url.endsWith('/break')) {
            crypto.getRandomValues = (view) => {
              crypto.getRandomValues = random;
              new Uint8Array(view.buffer).fill(0xff);
            };
          }
          return worker.fetch(request, env, context);
        },
      };`,
    );
    return folder;
  }

  test('is made anew for the next request, and who waited meanwhile is told', async () => {
    let held;
    const origin = http.createServer((request, response) => {
      if (request.url.endsWith('/held')) held = response;
      else response.writeHead(404, MARKER).end();
    });
    origin.listen(0, '127.0.0.1');
    await once(origin, 'listening');
    const folder = breakable();
    const modulesRules = [['ESModule', '**/*.js'], ['CompiledWasm', '**/*.wasm']].map(([type, one]) => ({ type, include: [one] }));
    const options = { modulesRoot: folder, scriptPath: join(folder, 'around.js'), modulesRules };
    let edge;
    try {
      edge = await startEdge({ BACKEND_URL: `http://127.0.0.1:${origin.address().port}`, EDGE_OPTIONS: JSON.stringify(options) });
      assertError(await call(edge, 'GET', '/take'), '/take', 400, 'access_key_required');
      const waiting = call(edge, 'GET', '/files/held');
      await until('the request that waits', () => held);
      assert.equal((await call(edge, 'GET', '/break')).status, 500);
      for (let n = 0; n < 3; n++) assertError(await call(edge, 'GET', '/take'), '/take', 400, 'access_key_required');
      held.writeHead(200, MARKER).end('late');
      assert.equal((await waiting).status, 500);
      await until('the log', () => /RuntimeError.*out of bounds/.test(edge.log()) && edge.log().includes('made anew meanwhile'));
    } finally {
      await edge?.stop();
      origin.closeAllConnections();
      origin.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
