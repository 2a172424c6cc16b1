// What provision.mjs asks of Cloudflare by way of wrangler, which is the real one; Cloudflare itself is not at hand, so the other
// end is a stand-in that answers for the few addresses that are asked.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const script = fileURLToPath(new URL('../provision.mjs', import.meta.url));
const queues = new Map();
const buckets = new Set();
let refuses = false;

const server = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const url = new URL(request.url, 'http://cloudflare');
  const answer = (status, result, errors = []) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ success: status === 200, errors, messages: [], result }));
  };
  const refused = () => answer(400, null, [{ code: 10000, message: 'not on this plan' }]);
  const path = url.pathname.replace('/client/v4/accounts/account', '');
  if (path === '/queues' && request.method === 'POST') {
    if (refuses) return refused();
    const asked = JSON.parse(body);
    queues.set(asked.queue_name, asked.settings.message_retention_period);
    return answer(200, { queue_name: asked.queue_name, queue_id: asked.queue_name });
  }
  if (path === '/queues') {
    const name = url.searchParams.get('name');
    const found = queues.has(name) ? [{ queue_name: name, queue_id: name, consumers: [], producers: [] }] : [];
    return answer(200, found);
  }
  if (path === '/r2/buckets') {
    buckets.add(JSON.parse(body).name);
    return answer(200, {});
  }
  if (path.startsWith('/r2/buckets/')) {
    const name = path.split('/').pop();
    if (buckets.has(name)) return answer(200, { name, creation_date: '2026-11-21T08:00:00Z', location: 'WEUR' });
    return answer(404, null, [{ code: 10006, message: 'The specified bucket does not exist.' }]);
  }
  answer(200, {});
});

before(() => new Promise((resolve) => server.listen(0, '127.0.0.1', resolve)));
after(() => server.close());

async function provision(variables = {}) {
  const env = {
    ...process.env,
    CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${server.address().port}/client/v4`,
    CLOUDFLARE_API_TOKEN: 'token',
    CLOUDFLARE_ACCOUNT_ID: 'account',
    CLOUDFLARE_CF_FETCH_ENABLED: 'false',
    WRANGLER_SEND_METRICS: 'false',
    ...variables,
  };
  const run = promisify(execFile)(process.execPath, [script], { env, timeout: 120_000 });
  return run.then(({ stdout }) => ({ code: 0, said: stdout }), (error) => ({ code: error.code, said: error.stdout + error.stderr }));
}

test('what the configuration names is made once, and what is there is left', async () => {
  const first = await provision();
  assert.equal(first.code, 0, first.said);
  assert.deepEqual([...queues], [['snaphook-outbox', 1209600], ['snaphook-outbox-dead', 1209600]]);
  assert.deepEqual([...buckets], ['snaphook-bodies']);
  buckets.clear();
  const second = await provision({ QUEUE_RETENTION_SECONDS: '86400' });
  assert.match(second.said, /queue snaphook-outbox: there\nqueue snaphook-outbox-dead: there\nbucket snaphook-bodies: made/);
  assert.deepEqual([...queues.values()], [1209600, 1209600]);
});

test('what cannot be made is told', async () => {
  queues.clear();
  refuses = true;
  const { code, said } = await provision();
  assert.equal(code, 1);
  assert.match(said, /queue snaphook-outbox: .*not on this plan/s);
});
