// What each dependency adds to the Worker's wasm: `make size-edge`. The module is built once more with the names of its
// functions, before wasm-opt. A function counts for the first crate but the standard library in its name; what is generic is
// named after where it is defined. "Gzipped" is by how much the gzipped module shrinks when these functions are cut out.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = fileURLToPath(new URL('../..', import.meta.url));
const target = join(root, 'target/size');
const triple = 'wasm32-unknown-unknown';
const STANDARD = new Set(['core', 'alloc', 'std', 'hashbrown', 'dlmalloc', '__rustc', 'memchr']);

const outdir = mkdtempSync(join(tmpdir(), 'snaphook-size-'));
execFileSync('cargo', ['build', '--quiet', '--profile', 'edge', '--target', triple, '-p', 'snaphook-edge', '--target-dir', target], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, CARGO_PROFILE_EDGE_STRIP: 'none', WASM_BINDGEN_USE_JS_SYS: '1' },
});
execFileSync(process.env.WASM_BINDGEN_BIN ?? 'wasm-bindgen', ['--target', 'bundler', '--out-dir', outdir, join(target, triple, 'edge/snaphook_edge.wasm')]);
const wasm = readFileSync(join(outdir, 'snaphook_edge_bg.wasm'));
rmSync(outdir, { recursive: true, force: true });

let at = 0;
const number = () => {
  for (let value = 0, shift = 0; ; shift += 7) {
    const byte = wasm[at++];
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return value;
  }
};
const text = () => {
  const length = number();
  return wasm.subarray(at, (at += length)).toString();
};

const sections = [];
for (at = 8; at < wasm.length; ) {
  const start = at;
  const id = wasm[at++];
  const length = number();
  sections.push({ id, start, body: at, end: at + length });
  at += length;
}
const only = (id) => sections.find((section) => section.id === id);

// Functions that are imported are numbered before those that are defined.
let imported = 0;
at = only(2).body;
for (let count = number(); count > 0; count--) {
  text();
  text();
  const kind = wasm[at++];
  if (kind !== 0) throw new Error(`an import of kind ${kind} is not looked for here`);
  number();
  imported++;
}
const functions = [];
at = only(10).body;
for (let count = number(); count > 0; count--) {
  const start = at;
  const length = number();
  at += length;
  functions.push({ start, end: at, name: '' });
}
for (const section of sections.filter(({ id }) => id === 0)) {
  at = section.body;
  if (text() !== 'name') continue;
  section.names = true;
  while (at < section.end) {
    const kind = wasm[at++];
    const length = number();
    const end = at + length;
    if (kind === 1) {
      for (let count = number(); count > 0; count--) {
        const index = number() - imported;
        const name = text();
        if (functions[index]) functions[index].name = name;
      }
    }
    at = end;
  }
}

/** The size of the module, gzipped, without these parts of it. */
const gzipped = (...cut) => {
  const kept = [];
  let from = 0;
  for (const { start, end } of [...cut, ...sections.filter(({ id }) => id === 0)].sort((a, b) => a.start - b.start)) {
    kept.push(wasm.subarray(from, start));
    from = end;
  }
  return gzipSync(Buffer.concat([...kept, wasm.subarray(from)]), { level: 9 }).length;
};
const bytes = (parts) => parts.reduce((sum, { start, end }) => sum + end - start, 0);

const crates = {};
for (const one of functions) (crates[crateOf(one.name)] ??= []).push(one);
function crateOf(name) {
  const named = [...name.matchAll(/(\w+)(?:\[\w+\])?::/g)].map(([, crate]) => crate);
  const crate = named.find((one) => !STANDARD.has(one) && /^[a-z_0-9]+$/.test(one) && isCrate(one));
  return crate ?? (name.startsWith('__wb') ? 'wasm_bindgen' : 'the standard library');
}
function isCrate(name) {
  isCrate.known ??= new Set(
    readFileSync(join(root, 'Cargo.lock'), 'utf8').match(/(?<=^name = ").+(?="$)/gm).map((crate) => crate.replaceAll('-', '_')),
  );
  return isCrate.known.has(name);
}

const whole = gzipped();
const rows = Object.entries(crates).map(([crate, parts]) => ({ crate, count: parts.length, bytes: bytes(parts), gzipped: whole - gzipped(...parts) }));
const data = [only(11)];
rows.push({ crate: 'texts and tables of all', count: '', bytes: bytes(data), gzipped: whole - gzipped(...data) });
rows.sort((a, b) => b.gzipped - a.gzipped);
const small = rows.filter((row) => row.gzipped < 300);
const print = (row) => process.stdout.write(`| ${row.crate} | ${row.count} | ${row.bytes} | ${row.gzipped} |\n`);
process.stdout.write(`| crate | functions | bytes | gzipped |\n|---|---|---|---|\n`);
rows.filter((row) => row.gzipped >= 300).forEach(print);
print({
  crate: small.map((row) => row.crate).join(', '),
  count: small.reduce((sum, row) => sum + row.count, 0),
  bytes: small.reduce((sum, row) => sum + row.bytes, 0),
  gzipped: small.reduce((sum, row) => sum + row.gzipped, 0),
});
print({ crate: 'all of it, before wasm-opt', count: functions.length, bytes: wasm.length - bytes(sections.filter(({ id }) => id === 0)), gzipped: whole });
