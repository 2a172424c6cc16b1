// Runs the built Worker in workerd on this machine: no account, no internet, the settings of ../wrangler.toml.
//
//   sh build.sh --no-opt && EDGE_SECRET=dev:secret DEVELOPMENT=true node dev.mjs
//
// Environment: EDGE_PORT (0, the default, takes any); BACKEND_URL, EDGE_SECRET, DEVELOPMENT and PUBLIC_URL stand above
// wrangler.toml and .dev.vars. Prints one line, {"url":"http://127.0.0.1:PORT"}, when it answers; the Worker's log goes
// to stderr. Ends on SIGTERM, on SIGINT and when its standard input closes, so that it cannot outlive who started it.
//
// These are two processes. workerd outlives a parent that is killed outright, and no parent can tidy up after that. So
// the first process only holds the second by its standard input, and the second ends workerd in good order when it closes.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseEnv } from 'node:util';

/** Calls back once standard input has closed, in whatever way. */
function onStdinClosed(end) {
  process.stdin.once('end', end).once('close', end).once('error', end).resume();
}

function hold() {
  const self = fileURLToPath(import.meta.url);
  // Its own process group: a terminal's Ctrl-C is for the first process alone.
  const child = spawn(process.execPath, [self, 'serve'], { stdio: ['pipe', 'inherit', 'inherit'], detached: true });
  const end = () => child.stdin.end();
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  onStdinClosed(end);
  child.on('exit', (code) => process.exit(code ?? 1));
}

async function serve() {
  const { Log, LogLevel, Miniflare } = await import('miniflare');
  const { parse } = await import('smol-toml');

  // wrangler can read its file for us, but takes longer to load than everything else here together. So it is read by hand,
  // and what is not understood is refused: a binding must not be missing here without a word.
  const { name, main, build, send_metrics, compatibility_date, compatibility_flags, vars, ...unknown } = parse(
    readFileSync(new URL('../wrangler.toml', import.meta.url), 'utf8'),
  );
  if (Object.keys(unknown).length > 0) {
    throw new Error(`dev.mjs does not know what wrangler.toml means by ${Object.keys(unknown).join(', ')}`);
  }

  const bindings = { ...vars };
  const localVars = new URL('../.dev.vars', import.meta.url);
  if (existsSync(localVars)) Object.assign(bindings, parseEnv(readFileSync(localVars, 'utf8')));
  for (const key of ['BACKEND_URL', 'EDGE_SECRET', 'DEVELOPMENT', 'PUBLIC_URL']) {
    if (process.env[key] !== undefined) bindings[key] = process.env[key];
  }

  const scriptPath = fileURLToPath(new URL(`../${main}`, import.meta.url));
  if (!existsSync(scriptPath)) throw new Error(`there is no ${main}: run edge/build.sh first`);
  const miniflare = new Miniflare({
    host: '127.0.0.1',
    cf: false,
    // The simulator's own front would write the query anew, which ends signed links over a bare `'`, and hold back small
    // chunks to compress them. This socket is the Worker's.
    unsafeDirectSockets: [{ host: '127.0.0.1', port: Number(process.env.EDGE_PORT ?? 0) }],
    // Nothing but the one line below may reach stdout.
    log: new Log(LogLevel.NONE),
    handleRuntimeStdio(stdout, stderr) {
      stdout.pipe(process.stderr);
      stderr.pipe(process.stderr);
    },
    name,
    bindings,
    compatibilityDate: compatibility_date,
    compatibilityFlags: compatibility_flags,
    modules: true,
    modulesRoot: dirname(scriptPath),
    modulesRules: [{ type: 'CompiledWasm', include: ['**/*.wasm'], fallthrough: true }],
    scriptPath,
  });

  let ended = false;
  onStdinClosed(async () => {
    if (ended) return;
    ended = true;
    await miniflare.dispose();
    process.exit(0);
  });
  try {
    await miniflare.ready;
    const { port } = await miniflare.unsafeGetDirectURL();
    process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}` })}\n`);
  } catch (error) {
    if (!ended) throw error;
  }
}

if (process.argv[2] === 'serve') await serve();
else hold();
