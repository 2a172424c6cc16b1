// The tarball that npm would publish, installed and used as its users have it: in Node, in workerd, in Chromium, and by the
// TypeScript compiler. Needs `sh build.sh` first and a Chromium, found as the backend finds it.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { Miniflare } from "miniflare";

const pkg = fileURLToPath(new URL("../pkg", import.meta.url));
const secret = "MW2vfkkgLTzGGw";
const body = '{"id":"req_1","file":"https://files.example.com/☃.png"}';

/** The headers of each form alone, by the name of its scheme. */
function signed() {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature = createHmac("sha256", secret).update(`req_1.${timestamp}.${body}`).digest("base64");
  const hex = createHmac("sha256", secret).update(body).digest("hex");
  return {
    "standard-webhooks": { "webhook-id": "req_1", "webhook-timestamp": timestamp, "webhook-signature": `v1,${signature}` },
    screenshotone: { "x-screenshotone-signature": hex },
    screenshotmax: { "x-screenshotmax-webhook-signature": hex },
  };
}

/** What every runtime does with the package; `verify` and the error are in scope, `input` is the webhook. */
const CHECK = `
  const { body, forms, secret } = input;
  const bytes = new TextEncoder().encode(body);
  const refusal = (...args) => {
    try { return { accepted: verify(...args) }; } catch (error) { return error; }
  };
  const result = {};
  for (const [form, headers] of Object.entries(forms)) {
    const wrong = refusal(bytes, headers, "another");
    result[form] = {
      good: verify(bytes, new Headers(headers), [secret, "another"]),
      typed: wrong instanceof WebhookVerificationError && wrong instanceof Error,
      wrong: wrong.code,
      changed: refusal(new TextEncoder().encode(body + " "), headers, secret).code,
    };
  }
`;

function assertResult(result) {
  const { timestamp } = result["standard-webhooks"].good;
  assert.ok(Math.abs(Date.now() / 1000 - timestamp) < 60);
  const refusals = { typed: true, wrong: "wrong_signature", changed: "wrong_signature" };
  assert.deepEqual(result, {
    "standard-webhooks": { good: { scheme: "standard-webhooks", id: "req_1", timestamp }, ...refusals },
    screenshotone: { good: { scheme: "screenshotone", id: null, timestamp: null }, ...refusals },
    screenshotmax: { good: { scheme: "screenshotmax", id: null, timestamp: null }, ...refusals },
  });
}

let folder;
const input = () => ({ body, forms: signed(), secret });
const file = (name, text) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
before(() => {
  folder = mkdtempSync(join(tmpdir(), "snaphook-verify-"));
  const tarball = execFileSync("npm", ["pack", pkg, "--silent"], { cwd: folder, encoding: "utf8" }).trim();
  file("package.json", '{"private":true}');
  execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", "--silent", `./${tarball}`], { cwd: folder });
});
after(() => rmSync(folder, { recursive: true, force: true }));

test("the tarball has all that it needs and nothing else", () => {
  const installed = join(folder, "node_modules/@snaphook/verify");
  const names = ["browser.js", "core.js", "index.d.ts", "node.js", "snaphook_verify.js", "snaphook_verify_bg.wasm", "workerd.js"];
  for (const name of [...names, "README.md", "LICENSE-MIT", "LICENSE-APACHE"]) {
    assert.ok(existsSync(join(installed, name)), name);
  }
  const packed = JSON.parse(execFileSync("npm", ["pack", pkg, "--dry-run", "--json"], { cwd: folder, encoding: "utf8" }));
  assert.equal(packed[0].files.length, names.length + 4, packed[0].files.map(({ path }) => path).join(" "));
  assert.ok(packed[0].size < 32_000, `${packed[0].size} bytes in all`);
  // Whoever bundles it for one place takes less: this is the code for all of them.
  const code = names.filter((name) => /\.(js|wasm)$/.test(name));
  const bytes = code.map((name) => gzipSync(readFileSync(join(installed, name)), { level: 9 }).length);
  const sum = bytes.reduce((sum, one) => sum + one, 0);
  assert.ok(sum <= 25 * 1024, `${sum} bytes of code gzipped: more than 25 KB`);
});

test("in Node, imported and required", () => {
  const run = (name, load) => {
    const script = file(name, `${load}\nconst input = ${JSON.stringify(input())};${CHECK}console.log(JSON.stringify(result));`);
    return JSON.parse(execFileSync(process.execPath, [script], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  };
  assertResult(run("imported.mjs", 'import { verify, WebhookVerificationError } from "@snaphook/verify";'));
  if (process.features.require_module) {
    assertResult(run("required.cjs", 'const { verify, WebhookVerificationError } = require("@snaphook/verify");'));
  }
});

test("in workerd", async () => {
  const entry = file("worker.mjs", `
    import { verify, WebhookVerificationError } from "@snaphook/verify";
    export default { async fetch(request) { const input = await request.json();${CHECK}return Response.json(result); } };
  `);
  const outdir = join(folder, "worker");
  // As wrangler bundles: the .wasm stays a file that is imported as a module.
  await build({
    entryPoints: [entry], outdir, bundle: true, format: "esm", conditions: ["workerd"], loader: { ".wasm": "copy" }, logLevel: "error",
  });
  const miniflare = new Miniflare({
    host: "127.0.0.1", cf: false, compatibilityDate: "2026-04-01", modules: true, modulesRoot: outdir,
    modulesRules: [{ type: "CompiledWasm", include: ["**/*.wasm"], fallthrough: true }, { type: "ESModule", include: ["**/*.js"] }],
    scriptPath: join(outdir, "worker.js"),
  });
  try {
    const answer = await miniflare.dispatchFetch("http://localhost/", { method: "POST", body: JSON.stringify(input()) });
    assertResult(await answer.json());
  } finally {
    await miniflare.dispose();
  }
});

/** The function of docs/verify-webhooks.md, for those who want no package. */
test("in workerd, the ten lines that need no package", async () => {
  const document = readFileSync(fileURLToPath(new URL("../../../docs/verify-webhooks.md", import.meta.url)), "utf8");
  const [, lines] = document.match(/```js\n([^]*?)\n```/);
  const script = `${lines}
    export default { async fetch(request) {
      const { body, headers, secret } = await request.json();
      return Response.json([verify(body, headers, secret), verify(Buffer.from(body), headers, secret), verify(body + " ", headers, secret),
        verify(body, headers, "another"), verify(body, {}, secret), verify(body, { ...headers, "webhook-timestamp": "1" }, secret)]);
    } };
    import { Buffer } from "node:buffer";`;
  const miniflare = new Miniflare({
    host: "127.0.0.1", cf: false, compatibilityDate: "2026-04-01", compatibilityFlags: ["nodejs_compat"], modules: true, script,
  });
  try {
    const asked = JSON.stringify({ body, headers: signed()["standard-webhooks"], secret });
    const answer = await miniflare.dispatchFetch("http://localhost/", { method: "POST", body: asked });
    assert.deepEqual(await answer.json(), [true, true, false, false, false, false]);
  } finally {
    await miniflare.dispose();
  }
});

function findChromium() {
  const names = ["chromium-headless-shell", "chrome-headless-shell", "chromium", "google-chrome"];
  const folders = process.env.PATH.split(delimiter);
  const found = names.flatMap((name) => folders.map((at) => join(at, name))).find((path) => existsSync(path));
  return process.env.SNAPHOOK_RENDER_CHROMIUM || found;
}

test("in Chromium, from its files as they are", async () => {
  const chromium = findChromium();
  assert.ok(chromium, "there is a Chromium");
  const types = { ".js": "text/javascript", ".wasm": "application/wasm" };
  let tell;
  const told = new Promise((resolve) => (tell = resolve));
  const server = http.createServer(async (request, response) => {
    if (request.url === "/result") {
      const parts = [];
      for await (const part of request) parts.push(part);
      response.end();
      return tell(JSON.parse(Buffer.concat(parts)));
    }
    const asset = request.url.match(/^\/pkg\/([\w.]+)(\.\w+)$/);
    if (asset) {
      response.setHeader("content-type", types[asset[2]]);
      return createReadStream(join(folder, "node_modules/@snaphook/verify", asset[1] + asset[2])).pipe(response);
    }
    response.setHeader("content-type", "text/html; charset=utf-8").end(`<!doctype html><script type="module">
      const tell = (result) => fetch("/result", { method: "POST", body: JSON.stringify(result) });
      try {
        const { verify, WebhookVerificationError } = await import("/pkg/browser.js");
        const input = ${JSON.stringify(input())};${CHECK}await tell(result);
      } catch (error) { await tell({ failed: String(error) }); }
    </script>`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const profile = mkdtempSync(join(tmpdir(), "snaphook-chromium-"));
  const sandbox = process.getuid() === 0 ? ["--no-sandbox"] : [];
  const arguments_ = ["--headless", "--disable-gpu", `--user-data-dir=${profile}`, "--remote-debugging-port=0", ...sandbox];
  const address = `http://127.0.0.1:${server.address().port}/`;
  // What is called Chromium may be a script that starts it: a group of its own ends with all that is in it.
  const browser = spawn(chromium, [...arguments_, address], { stdio: "ignore", detached: true });
  const ended = once(browser, "exit");
  const limit = setTimeout(() => tell({ failed: "no answer within 60 s" }), 60_000);
  try {
    const result = await told;
    assert.equal(result.failed, undefined);
    assertResult(result);
  } finally {
    clearTimeout(limit);
    process.kill(-browser.pid, "SIGKILL");
    await ended;
    server.closeAllConnections();
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
});

test("for the TypeScript compiler, right and wrong uses", () => {
  file("use.ts", `
    import { verify, WebhookVerificationError, type Scheme, type VerificationCode, type Verified } from "@snaphook/verify";
    const result: Verified = verify(new Uint8Array(), new Headers(), "secret");
    const again: Verified = verify("text", { "webhook-id": ["a"], other: undefined }, ["a", "b"] as const, { toleranceSeconds: 1, now: 2 });
    const scheme: Scheme = result.scheme;
    const id: string | null = again.id;
    try { verify(new ArrayBuffer(1), { get: () => null }, "secret"); } catch (error) {
      if (error instanceof WebhookVerificationError) { const code: VerificationCode = error.code; void code; }
    }
    // @ts-expect-error: parsed JSON is not the body
    verify({ id: 1 }, new Headers(), "secret");
    // @ts-expect-error: a secret is needed
    verify("text", new Headers());
    // @ts-expect-error: there is no such option
    verify("text", new Headers(), "secret", { tolerance: 1 });
    // @ts-expect-error: there is no such code
    const wrong: VerificationCode = "nonsense";
    // @ts-expect-error: it may be null
    const sure: string = result.id;
    export { scheme, id, wrong, sure };
  `);
  const compiler = fileURLToPath(new URL("../../node_modules/.bin/tsc", import.meta.url));
  for (const [module, resolution] of [["nodenext", "nodenext"], ["esnext", "bundler"]]) {
    const options = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom", "--module", module];
    // Not the @types of wherever this folder lies.
    const run = () => execFileSync(compiler, [...options, "--moduleResolution", resolution, "--types", "", "use.ts"], {
      cwd: folder, encoding: "utf8",
    });
    try {
      assert.equal(run(), "");
    } catch (error) {
      assert.fail(`${module}: ${error.stdout ?? error}`);
    }
  }
  assert.ok(readFileSync(join(folder, "node_modules/@snaphook/verify/index.d.ts"), "utf8").includes("WebhookVerificationError"));
});
