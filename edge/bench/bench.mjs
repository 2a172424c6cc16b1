// CPU of workerd for each request: the built Worker against one written by hand with WebCrypto, one that only passes the
// request to the backend, and one that only answers. Interleaved rounds, each Worker in a workerd of its own; user and system
// time of that process, by Linux's account. Then the first request of a fresh process, and HMAC by size.
//
//   make bench-edge            BENCH_ROUNDS=15 BENCH_REQUESTS=1500 change how much
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
const path = `/take?${query}&signature=${createHmac('sha256', 'key-secret').update(query).digest('hex')}`;
function get(agent, port, path) {
  return new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port, path, agent }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode));
    }).on('error', reject);
  });
}
async function load(agent, port, count) {
  let left = count;
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (left-- > 0) {
      const status = await get(agent, port, path);
      if (status !== 202) throw new Error(`status ${status}`);
    }
  }));
}
const sorted = (numbers) => [...numbers].sort((a, b) => a - b);
const at = (numbers, part) => sorted(numbers)[Math.floor((numbers.length - 1) * part)];

const running = {};
for (const [name, options] of Object.entries(workers)) running[name] = { ...(await start(options)), agent: new http.Agent({ keepAlive: true }), costs: [] };
for (const one of Object.values(running)) await load(one.agent, one.port, requests);
for (let round = 0; round < rounds; round++) {
  for (const one of Object.values(running)) {
    const before = cpu(one.pid);
    await load(one.agent, one.port, requests);
    one.costs.push((cpu(one.pid) - before) / requests / 1000);
  }
}
say(`| Worker | CPU µs a request, median (least) | to "by hand" |\n|---|---|---|`);
const byHand = at(running['by hand'].costs, 0.5);
for (const [name, { costs }] of Object.entries(running)) {
  say(`| ${name} | ${at(costs, 0.5).toFixed(0)} (${at(costs, 0).toFixed(0)}) | ${(at(costs, 0.5) / byHand).toFixed(2)} |`);
}
for (const one of Object.values(running)) {
  one.agent.destroy();
  await one.miniflare.dispose();
}

const first = Object.fromEntries(Object.keys(workers).map((name) => [name, []]));
for (let round = 0; round < Math.min(rounds, 7); round++) {
  for (const [name, options] of Object.entries(workers)) {
    const one = await start(options);
    const before = cpu(one.pid);
    await get(undefined, one.port, path);
    first[name].push((cpu(one.pid) - before) / 1e6);
    await one.miniflare.dispose();
  }
}
say(`\n| first request of a process | CPU ms, median (least) |\n|---|---|`);
for (const [name, costs] of Object.entries(first)) say(`| ${name} | ${at(costs, 0.5).toFixed(1)} (${at(costs, 0).toFixed(1)}) |`);

if (existsSync(here('../verify/pkg/workerd.js'))) {
  const outdir = mkdtempSync(join(tmpdir(), 'snaphook-bench-'));
  const contents = `
    import { verify } from ${JSON.stringify(here('../verify/pkg/workerd.js'))};
    const body = {}, encoder = new TextEncoder();
    export default { async fetch(request) {
      const [, how, size, count] = new URL(request.url).pathname.split("/");
      const bytes = (body[size] ??= new Uint8Array(Number(size)));
      const key = await crypto.subtle.importKey("raw", encoder.encode("secret"), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
      const mac = new Uint8Array(32);
      for (let n = 0; n < Number(count); n++) {
        if (how === "wasm") { try { verify(bytes, { "x-screenshotone-signature": "0".repeat(64) }, "secret"); } catch {} }
        else if (how === "webcrypto") await crypto.subtle.verify("HMAC", key, mac, bytes);
      }
      return new Response("");
    } };`;
  await build({ stdin: { contents, resolveDir: here('.') }, outfile: join(outdir, 'worker.js'), bundle: true, format: 'esm', loader: { '.wasm': 'copy' }, logLevel: 'error' });
  const one = await start({ modulesRoot: outdir, scriptPath: join(outdir, 'worker.js') });
  say(`\n| HMAC-SHA256 of | wasm µs | WebCrypto µs |\n|---|---|---|`);
  for (const [size, count] of [[200, 2000], [2000, 1000], [64_000, 100]]) {
    const costs = { wasm: [], webcrypto: [] };
    for (let round = 0; round < rounds; round++) {
      for (const how of Object.keys(costs)) {
        const before = cpu(one.pid);
        await get(undefined, one.port, `/${how}/${size}/${count}`);
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
