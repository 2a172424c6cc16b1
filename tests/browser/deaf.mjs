// Stands between the service and a real Chromium, on the pipe by which it is controlled, and keeps answers back.
//
//   deaf.mjs FOLDER CHROMIUM ARGUMENTS…
//
// FOLDER/mute holds the method that is not answered, or nothing; FOLDER/asked gets each method that was asked for, a line
// each, FOLDER/muted each whose answer was kept back.
import { spawn } from 'node:child_process';
import { appendFileSync, createReadStream, createWriteStream, readFileSync } from 'node:fs';

const [folder, chromium, ...rest] = process.argv.slice(2);
const browser = spawn(chromium, rest, { stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'pipe'] });
const [toBrowser, fromBrowser] = [browser.stdio[3], browser.stdio[4]];
const [fromService, toService] = [createReadStream('', { fd: 3 }), createWriteStream('', { fd: 4 })];

/** Ids of commands whose answers are kept back. */
const muted = new Map();

/** Calls back with each message, which ends with a zero byte, and passes on those for which it says so. */
function relay(from, to, isPassed) {
  let parts = [];
  from.on('data', (chunk) => {
    for (let end = chunk.indexOf(0); end !== -1; end = chunk.indexOf(0)) {
      const message = Buffer.concat([...parts, chunk.subarray(0, end + 1)]);
      parts = [];
      chunk = chunk.subarray(end + 1);
      if (isPassed(message.subarray(0, -1))) to.write(message);
    }
    if (chunk.length > 0) parts.push(chunk);
  });
  from.on('end', () => to.end());
  for (const pipe of [from, to]) pipe.on('error', () => {});
}

relay(fromService, toBrowser, (message) => {
  const { id, method } = JSON.parse(message);
  appendFileSync(`${folder}/asked`, `${method}\n`);
  if (readFileSync(`${folder}/mute`, 'utf8') === method) muted.set(id, method);
  return true;
});
relay(fromBrowser, toService, (message) => {
  // An answer begins with its id; pictures are not worth parsing.
  const id = Number(/^\{"id":(\d+)/.exec(message.subarray(0, 40).toString())?.[1] ?? NaN);
  if (!muted.has(id)) return true;
  appendFileSync(`${folder}/muted`, `${muted.get(id)}\n`);
  return !muted.delete(id);
});
browser.on('exit', (code) => process.exit(code ?? 1));
