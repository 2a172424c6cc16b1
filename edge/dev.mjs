// Runs the built Worker in workerd on this machine: no account, no internet, the settings of ../wrangler.toml.
//
//   sh build.sh --no-opt && EDGE_SECRET=dev:secret DEVELOPMENT=true node dev.mjs
//
// Environment: EDGE_PORT (0, the default, takes any); WRANGLER_CONFIG (wrangler.full.toml has every binding, which all work
// here); BACKEND_URL, EDGE_SECRET and the other variables below stand above that file and .dev.vars; EDGE_OPTIONS, JSON of
// miniflare's options, stands above all: tests want queues that are in a hurry. With
// a cron trigger the clock strikes every EDGE_CLOCK_SECONDS (60), whatever the pattern says. Prints one line, {"url":"http://127.0.0.1:PORT"}, when it answers; the Worker's log goes
// to stderr. A line `r2 BODIES` or `kv KEYS` on standard input is answered with what that binding holds, {"names":[…]};
// what stands behind `queue OUTBOX` is sent to that queue. Ends on SIGTERM, on SIGINT and when its standard input closes, so that it cannot outlive who started it.
//
// These are two processes. workerd outlives a parent that is killed outright, and no parent can tidy up after that. So
// the first process only holds the second by its standard input, and the second ends workerd in good order when it closes.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseEnv } from 'node:util';

/** What may be set from outside. */
const VARIABLES = [
  'BACKEND_URL', 'EDGE_SECRET', 'DEVELOPMENT', 'WEBHOOK_ALLOW_HTTP', 'PUBLIC_URL', 'SYNC_WAIT_SECONDS', 'KEY_FRESH_SECONDS',
  'FILE_CACHE_SECONDS', 'SCREENSHOTONE_ASYNC_STATUS',
];

/** Takes the named fields out of a section; what is not understood is refused. */
function fields(where, section, names) {
  const unknown = Object.keys(section).filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`dev.mjs does not know what ${where} means by ${unknown.join(', ')}`);
  return section;
}

/** The bindings of a wrangler file, as miniflare calls them. */
function services({ kv_namespaces = [], r2_buckets = [], ratelimits = [], queues = {}, triggers = {} }) {
  fields('[queues]', queues, ['producers', 'consumers']);
  fields('[triggers]', triggers, ['crons']);
  const named = (where, list, names, entry) => Object.fromEntries(list.map((one) => entry(fields(where, one, names))));
  return {
    kvNamespaces: named('[[kv_namespaces]]', kv_namespaces, ['binding', 'id'], ({ binding, id }) => [binding, id ?? binding]),
    r2Buckets: named('[[r2_buckets]]', r2_buckets, ['binding', 'bucket_name'], ({ binding, bucket_name }) => [binding, bucket_name]),
    ratelimits: named('[[ratelimits]]', ratelimits, ['name', 'namespace_id', 'simple'], ({ name, ...limit }) => [name, limit]),
    queueProducers: named('[[queues.producers]]', queues.producers ?? [], ['binding', 'queue'], ({ binding, queue }) => [
      binding,
      { queueName: queue },
    ]),
    queueConsumers: named(
      '[[queues.consumers]]',
      queues.consumers ?? [],
      ['queue', 'max_batch_size', 'max_batch_timeout', 'max_retries', 'dead_letter_queue'],
      ({ queue, max_batch_size, max_batch_timeout, max_retries, dead_letter_queue }) => [
        queue,
        {
          maxBatchSize: max_batch_size,
          maxBatchTimeout: max_batch_timeout,
          maxRetries: max_retries,
          deadLetterQueue: dead_letter_queue,
        },
      ],
    ),
  };
}

/** What a binding holds, by the kind and the name of it; nothing of a queue, which is sent what stands behind its name. */
async function names(miniflare, kind, binding, message) {
  if (kind === 'queue') {
    await (await miniflare.getQueueProducer(binding)).send(message, { contentType: 'text' });
    return [];
  }
  if (kind === 'kv') return (await (await miniflare.getKVNamespace(binding)).list()).keys.map(({ name }) => name);
  if (kind === 'r2') return (await (await miniflare.getR2Bucket(binding)).list()).objects.map(({ key }) => key);
  throw new Error(`dev.mjs does not know what ${kind} is`);
}

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
  // It may be gone already.
  child.stdin.on('error', () => {});
  process.stdin.pipe(child.stdin);
  onStdinClosed(end);
  child.on('exit', (code) => process.exit(code ?? 1));
}

async function serve() {
  const { Log, LogLevel, Miniflare } = await import('miniflare');
  const { parse } = await import('smol-toml');

  // wrangler can read its file for us, but takes longer to load than everything else here together. So it is read by hand,
  // and what is not understood is refused: a binding must not be missing here without a word.
  const file = process.env.WRANGLER_CONFIG
    ? pathToFileURL(resolve(process.env.WRANGLER_CONFIG))
    : new URL('../wrangler.toml', import.meta.url);
  const known = ['name', 'main', 'build', 'send_metrics', 'compatibility_date', 'compatibility_flags', 'vars'];
  const bound = ['kv_namespaces', 'r2_buckets', 'ratelimits', 'queues', 'triggers'];
  const settings = fields(fileURLToPath(file), parse(readFileSync(file, 'utf8')), [...known, ...bound]);
  const { name, main, compatibility_date, compatibility_flags, vars } = settings;

  const bindings = { ...vars };
  const localVars = new URL('../.dev.vars', import.meta.url);
  if (existsSync(localVars)) Object.assign(bindings, parseEnv(readFileSync(localVars, 'utf8')));
  for (const key of VARIABLES) {
    if (process.env[key] !== undefined) bindings[key] = process.env[key];
  }

  const scriptPath = fileURLToPath(new URL(main, file));
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
    ...services(settings),
    ...JSON.parse(process.env.EDGE_OPTIONS ?? '{}'),
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
    createInterface({ input: process.stdin }).on('line', async (line) => {
      const [kind, binding, ...message] = line.split(' ');
      process.stdout.write(`${JSON.stringify({ names: await names(miniflare, kind, binding, message.join(' ')) })}\n`);
    });
    if (settings.triggers?.crons?.length > 0) {
      const { scheduled } = await miniflare.getWorker();
      setInterval(() => ended || scheduled().catch(() => {}), 1000 * Number(process.env.EDGE_CLOCK_SECONDS ?? 60));
    }
  } catch (error) {
    if (!ended) throw error;
  }
}

if (process.argv[2] === 'serve') await serve();
else hold();
