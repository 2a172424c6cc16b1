// CPU of workerd for each request: the built Worker against one written by hand with WebCrypto, one that only passes the
// request to the backend, and one that only answers. Interleaved rounds, each Worker in a workerd of its own; user and system
// time of that process, by Linux's account. Before that, both must refuse the same requests: they do the same checks. A preflight and
// a route that does not exist are asked for beside them: what those cost over the one that only answers is the most that the
// boundary between JavaScript and wasm can cost. Then bodies by size, hashed on either side of it; the first request of a fresh
// process, and what its start took; and HMAC by size.
//
//   make bench-edge            BENCH_ROUNDS=15 BENCH_REQUESTS=1500 change how much
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { Log, LogLevel, Miniflare } from 'miniflare';

const rounds = Number(process.env.BENCH_ROUNDS ?? 15);
const requests = Number(process.env.BENCH_REQUESTS ?? 1500);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const say = (text) => process.stdout.write(`${text}\n`);

const MARKER = { 'x-snaphook-request-id': 'req_0', 'content-type': 'application/json' };
const backend = http.createServer((request, response) => {
  request.resume().on('end', () => {
    if (request.method === 'GET') return response.writeHead(200, MARKER).end('{"access_key":"demo","secret_key":"key-secret"}');
    response.writeHead(202, MARKER).end('{"status":"Accepted","id":"req_0"}');
  });
});
backend.listen(0, '127.0.0.1');
await once(backend, 'listening');
const BACKEND_URL = `http://127.0.0.1:${backend.address().port}`;

const children = () => {
  const all = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
  return all.filter((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('workerd'));
};
/** Nanoseconds that all threads of a process have run. */
const cpu = (pid) => {
  let sum = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) sum += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  return sum;
};

const common = {
  host: '127.0.0.1', cf: false, log: new Log(LogLevel.NONE), compatibilityDate: '2026-04-01',
  compatibilityFlags: ['enable_request_signal'], unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }], modules: true,
  bindings: { BACKEND_URL, EDGE_SECRET: 'k1:a-secret-of-some-length', DEVELOPMENT: 'false' },
  modulesRules: [{ type: 'CompiledWasm', include: ['**/*.wasm'], fallthrough: true }],
};
const workers = {
  rust: { modulesRoot: here('../build'), scriptPath: here('../build/index.js') },
  'by hand': { script: readFileSync(here('by-hand.js'), 'utf8') },
  'passes on': {
    script: `export default { fetch: (request, env) => fetch(env.BACKEND_URL + "/internal/v1/requests", { method: "POST", body: request.url }) };`,
  },
  'answers 202': { script: `export default { fetch: () => Response.json({ status: "Accepted" }, { status: 202 }) };` },
};

async function start(options) {
  const before = new Set(children());
  const miniflare = new Miniflare({ ...common, ...options });
  await miniflare.ready;
  const { port } = await miniflare.unsafeGetDirectURL();
  return { miniflare, port, pid: children().find((pid) => !before.has(pid)) };
}

const query = 'access_key=demo&url=https%3A%2F%2Fexample.com%2Fa%3Fb%3Dc&async=true&format=png&viewport_width=1280&viewport_height=800&full_page=true';
/** A request that is checked and handed over. */
const ACCEPTED = { path: `/take?${query}&signature=${createHmac('sha256', 'key-secret').update(query).digest('hex')}`, status: 202 };
/** Two that their head alone decides: what is left is the way into the Worker and out of it. */
const NOT_FOUND = { path: '/nothing', status: 404 };
const PREFLIGHT = { path: '/take', method: 'OPTIONS', status: 204 };
/** What any Worker that does the same checks refuses: parameters, rules between them, addresses, links. */
const REFUSED = [
  ...['nothing=1', 'full_page=perhaps', 'viewport_width=0', 'viewport_width=1.5', 'delay=31', 'timeout=601&async=true', 'format=heif'],
  ...['full_page_scroll=true', 'cache_ttl=14400', 'store=true', 'image_quality=50&format=gif', 'geolocation_latitude=1', 'wait_until=x'],
  ...['cache_key=a-b&cache=true', 'block_resources[]=x', 'omit_background=true&format=jpg', 'vision_prompt=x'],
].map((pairs) => `access_key=demo&url=https%3A%2F%2Fexample.com&${pairs}`).concat(
  ['127.0.0.1', '0x7f.1', '100.64.0.1', '[::1]', '[fd00::1]', '[::ffff:10.0.0.1]', '[2002::1]', 'example.com:22', 'example.com:6379']
    .concat(['wiki', 'a.internal', 'metadata.goog', 'u:p@example.com', 'https'])
    .map((host) => `access_key=demo&url=${encodeURIComponent(`http://${host}/`)}`),
  ['access_key=demo', 'url=https%3A%2F%2Fexample.com', 'access_key=%20&url=https%3A%2F%2Fexample.com'],
  ['access_key=demo&url=https%3A%2F%2Fexample.com&signature=00', 'access_key=demo&url=https%3A%2F%2Fexample.com&webhook_url=http%3A%2F%2Fexample.com'],
);
const posted = (bytes) => {
  const start = '{"access_key":"demo","async":true,"html":"';
  const body = `${start}${'x'.repeat(bytes - start.length - 2)}"}`;
  return { path: '/take', status: 202, method: 'POST', headers: { 'content-type': 'application/json' }, body };
};

function send(agent, port, { path, method = 'GET', headers = {}, body = '' }) {
  const length = body === '' ? {} : { 'content-length': body.length };
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, path, method, headers: { ...headers, ...length }, agent }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode));
    });
    request.on('error', reject).end(body);
  });
}
async function load({ agent, port }, asked, count) {
  let left = count;
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (left-- > 0) {
      const status = await send(agent, port, asked);
      if (status !== asked.status) throw new Error(`status ${status} instead of ${asked.status}`);
    }
  }));
}
const sorted = (numbers) => [...numbers].sort((a, b) => a - b);
const at = (numbers, part) => sorted(numbers)[Math.floor((numbers.length - 1) * part)];

/** Fails unless the two refuse, and take, the same. */
async function alike(...both) {
  for (const worker of both) {
    const one = await start(worker);
    for (const query of REFUSED) {
      const status = await send(undefined, one.port, { path: `/take?${query}` });
      if (status < 400 || status > 499) throw new Error(`one of the two takes ${query}: ${status}`);
    }
    await load({ port: one.port }, ACCEPTED, 1);
    await one.miniflare.dispose();
  }
}

/**
 * CPU µs a request, a number for each round. `lines` has, by name, which Worker is asked what.
 * @param {Record<string, { worker: object, asked: object }>} lines
 */
async function compare(lines) {
  const running = new Map();
  for (const { worker } of Object.values(lines)) {
    if (!running.has(worker)) running.set(worker, { ...(await start(worker)), agent: new http.Agent({ keepAlive: true }) });
  }
  const costs = Object.fromEntries(Object.keys(lines).map((name) => [name, []]));
  for (const { worker, asked } of Object.values(lines)) await load(running.get(worker), asked, requests);
  for (let round = 0; round < rounds; round++) {
    for (const [name, { worker, asked }] of Object.entries(lines)) {
      const one = running.get(worker);
      const before = cpu(one.pid);
      await load(one, asked, requests);
      costs[name].push((cpu(one.pid) - before) / requests / 1000);
    }
  }
  for (const one of running.values()) {
    one.agent.destroy();
    await one.miniflare.dispose();
  }
  return costs;
}

const accepted = Object.fromEntries(Object.entries(workers).map(([name, worker]) => [name, { worker, asked: ACCEPTED }]));
await alike(workers.rust, workers['by hand']);
const costs = await compare({
  ...accepted,
  'rust, a preflight (204)': { worker: workers.rust, asked: PREFLIGHT },
  'rust, a route that does not exist (404)': { worker: workers.rust, asked: NOT_FOUND },
});
say(`| Worker | CPU µs a request, median (least) | to "by hand" |\n|---|---|---|`);
const byHand = at(costs['by hand'], 0.5);
for (const [name, all] of Object.entries(costs)) {
  say(`| ${name} | ${at(all, 0.5).toFixed(0)} (${at(all, 0).toFixed(0)}) | ${(at(all, 0.5) / byHand).toFixed(2)} |`);
}

// Where the two cross, HASHED_BY_PLATFORM_BYTES of edge/src/bindings.rs belongs.
const hashing = (bytes) => ({ ...workers.rust, bindings: { ...common.bindings, HASHED_BY_PLATFORM_BYTES: String(bytes) } });
const [inWasm, byPlatform] = [hashing(2 ** 32 - 1), hashing(0)];
say(`\n| a POST of | hashed in wasm, CPU µs | by the platform | to "in wasm" |\n|---|---|---|---|`);
for (const kilobytes of [1, 4, 8, 16]) {
  const asked = posted(1024 * kilobytes);
  const { wasm, platform } = await compare({ wasm: { worker: inWasm, asked }, platform: { worker: byPlatform, asked } });
  const shown = (all) => `${at(all, 0.5).toFixed(0)} (${at(all, 0).toFixed(0)})`;
  say(`| ${kilobytes} KB | ${shown(wasm)} | ${shown(platform)} | ${(at(platform, 0.5) / at(wasm, 0.5)).toFixed(2)} |`);
}

// What is done at the start is not done by the first request, so both are shown. The process itself is in the start.
const first = Object.fromEntries(Object.keys(workers).map((name) => [name, { start: [], request: [] }]));
for (let round = 0; round < Math.min(rounds, 7); round++) {
  for (const [name, options] of Object.entries(workers)) {
    const one = await start(options);
    // What is still at work from the start (V8 compiles in the background) is not the request's.
    await sleep(300);
    const before = cpu(one.pid);
    await send(undefined, one.port, ACCEPTED);
    first[name].request.push((cpu(one.pid) - before) / 1e6);
    first[name].start.push(before / 1e6);
    await one.miniflare.dispose();
  }
}
say(`\n| a fresh process | its first request, CPU ms, median (least) | its start |\n|---|---|---|`);
for (const [name, { request, start }] of Object.entries(first)) {
  say(`| ${name} | ${at(request, 0.5).toFixed(1)} (${at(request, 0).toFixed(1)}) | ${at(start, 0.5).toFixed(1)} (${at(start, 0).toFixed(1)}) |`);
}

if (existsSync(here('../verify/pkg/workerd.js'))) {
  const outdir = mkdtempSync(join(tmpdir(), 'snaphook-bench-'));
  const contents = `
    import ${JSON.stringify(here('../verify/pkg/workerd.js'))};
    import { check } from ${JSON.stringify(here('../verify/pkg/snaphook_verify.js'))};
    const body = {}, encoder = new TextEncoder();
    export default { async fetch(request) {
      const [, how, size, count] = new URL(request.url).pathname.split("/");
      const bytes = (body[size] ??= new Uint8Array(Number(size)));
      const key = await crypto.subtle.importKey("raw", encoder.encode("secret"), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
      const mac = new Uint8Array(32);
      for (let n = 0; n < Number(count); n++) {
        // The wasm alone, with the bytes' way into it, and without what the package does for its callers.
        if (how === "wasm") check(bytes, undefined, undefined, undefined, "0".repeat(64), undefined, "secret", 0, 300);
        else if (how === "webcrypto") await crypto.subtle.verify("HMAC", key, mac, bytes);
      }
      return new Response("");
    } };`;
  await build({ stdin: { contents, resolveDir: here('.') }, outfile: join(outdir, 'worker.js'), bundle: true, format: 'esm', loader: { '.wasm': 'copy' }, logLevel: 'error' });
  const one = await start({ modulesRoot: outdir, scriptPath: join(outdir, 'worker.js') });
  say(`\n| HMAC-SHA256 of | wasm µs | WebCrypto µs |\n|---|---|---|`);
  for (const [size, count] of [[0, 2000], [200, 2000], [2000, 1000], [64_000, 100]]) {
    const costs = { wasm: [], webcrypto: [] };
    for (let round = 0; round < rounds; round++) {
      for (const how of Object.keys(costs)) {
        const before = cpu(one.pid);
        await send(undefined, one.port, { path: `/${how}/${size}/${count}` });
        costs[how].push((cpu(one.pid) - before) / count / 1000);
      }
    }
    say(`| ${size} B | ${at(costs.wasm, 0.5).toFixed(1)} (${at(costs.wasm, 0).toFixed(1)}) | ${at(costs.webcrypto, 0.5).toFixed(1)} (${at(costs.webcrypto, 0).toFixed(1)}) |`);
  }
  await one.miniflare.dispose();
  rmSync(outdir, { recursive: true, force: true });
}
backend.closeAllConnections();
backend.close();
