// Makes what a configuration names and `wrangler deploy` does not make by itself: the queues, with the dead-letter ones, and the
// buckets. What is there stays as it is, so it may be run again and again.
//
//   node provision.mjs [wrangler.full.toml]
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'smol-toml';

/** What a message may wait for at the most: 14 days, or a day on the free plan, where this is refused and to be set. */
const RETENTION_SECONDS = process.env.QUEUE_RETENTION_SECONDS ?? '1209600';

const here = fileURLToPath(new URL('.', import.meta.url));
const file = process.argv[2] ?? join(here, 'wrangler.full.toml');

/** Names of what a configuration needs to be there before it is deployed. */
export function needed(config) {
  const { producers = [], consumers = [] } = config.queues ?? {};
  const queues = [...producers, ...consumers].flatMap((one) => [one.queue, one.dead_letter_queue]);
  const buckets = (config.r2_buckets ?? []).map((one) => one.bucket_name);
  const names = (list) => [...new Set(list.filter(Boolean))];
  return { queues: names(queues), buckets: names(buckets) };
}

function wrangler(...words) {
  // Without the configuration: it would be asked for what is not there yet, and changed by what is made.
  const run = spawnSync(process.execPath, [join(here, 'node_modules/wrangler/bin/wrangler.js'), ...words], {
    cwd: here,
    encoding: 'utf8',
    env: { ...process.env, CI: 'true' },
  });
  return { good: run.status === 0, said: `${run.stdout}${run.stderr}` };
}

function ensure(what, name, info, create) {
  const there = wrangler(...info, name);
  if (there.good) return console.log(`${what} ${name}: there`);
  const made = wrangler(...create, name);
  if (made.good) return console.log(`${what} ${name}: made`);
  console.error(`${what} ${name}: ${made.said}`);
  process.exitCode = 1;
}

const { queues, buckets } = needed(parse(readFileSync(file, 'utf8')));
const retention = ['--message-retention-period-secs', RETENTION_SECONDS];
for (const name of queues) ensure('queue', name, ['queues', 'info'], ['queues', 'create', ...retention]);
for (const name of buckets) ensure('bucket', name, ['r2', 'bucket', 'info'], ['r2', 'bucket', 'create']);
