// What a deployment would upload: both configurations pass `wrangler deploy --dry-run`, with the bindings that they name, and
// the Worker has not grown past its bound. No account and no internet.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

const edge = fileURLToPath(new URL('..', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));
/** Gzipped, of all that is uploaded, built without wasm-opt, which makes no difference to it. docs/performance-edge.md. */
const BYTES_MAX = 125_000;
/** The module alone. */
const WASM_BYTES_MAX = 120_000;

async function dryRun(cwd, config) {
  const outdir = mkdtempSync(join(tmpdir(), 'snaphook-deploy-'));
  try {
    const command = [join(edge, 'node_modules/.bin/wrangler'), 'deploy', '--dry-run', '--outdir', outdir, '-c', config];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, command, {
      cwd,
      timeout: 240_000,
      env: { ...process.env, SNAPHOOK_EDGE_BUILD: '--no-opt', CLOUDFLARE_CF_FETCH_ENABLED: 'false', WRANGLER_SEND_METRICS: 'false' },
    });
    const uploaded = readdirSync(outdir).filter((name) => /\.(js|wasm)$/.test(name));
    const sizes = Object.fromEntries(uploaded.map((name) => [name, gzipSync(readFileSync(join(outdir, name)), { level: 9 }).length]));
    return { said: stdout + stderr, sizes };
  } finally {
    rmSync(outdir, { recursive: true, force: true });
  }
}

test('the plain Worker needs nothing but its backend', async () => {
  const { said, sizes } = await dryRun(root, 'wrangler.toml');
  assert.match(said, /BACKEND_URL/);
  assert.doesNotMatch(said, /KV Namespace|R2 Bucket|Queue/);
  const modules = Object.entries(sizes).filter(([name]) => name.endsWith('.wasm'));
  assert.equal(modules.length, 1, Object.keys(sizes).join(' '));
  const [[, wasm]] = modules;
  const all = Object.values(sizes).reduce((sum, one) => sum + one, 0);
  assert.ok(wasm < WASM_BYTES_MAX, `${wasm} bytes of wasm gzipped: more than ${WASM_BYTES_MAX}`);
  assert.ok(all < BYTES_MAX, `${all} bytes gzipped: more than ${BYTES_MAX}`);
});

test('the full one has every binding', async () => {
  const { said } = await dryRun(edge, 'wrangler.full.toml');
  for (const binding of ['env.KEYS', 'env.OUTBOX', 'env.BODIES', 'env.LIMITER', 'env.BACKEND_URL']) {
    assert.ok(said.includes(binding), `${binding} in ${said}`);
  }
});
