// The built package, as its users have it: `sh build.sh` first, then `node --test test/`.
// The signatures are made by node:crypto here, so that maker and checker have no code in common.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import { runInNewContext } from "node:vm";
import { verify, WebhookVerificationError } from "../pkg/node.js";

const here = (path) => new URL(path, import.meta.url);
const golden = JSON.parse(readFileSync(here("../../../shared/golden/signature_vectors.json"), "utf8"));

const secret = "MW2vfkkgLTzGGw";
const old = "Sxt94yAj9aQSgg";
const body = '{"id":"req_1","file":"https://files.example.com/☃.png"}';
const now = 1_764_000_000;

const keyBytes = (key) => (key.startsWith("whsec_") ? Buffer.from(key.slice(6), "base64") : Buffer.from(key));
const hex = (key, bytes = body) => createHmac("sha256", key).update(bytes).digest("hex");
const entry = (key, id, timestamp, bytes = body) =>
  `v1,${createHmac("sha256", keyBytes(key)).update(`${id}.${timestamp}.`).update(bytes).digest("base64")}`;
const trio = (keys = [secret], { id = "req_1", timestamp = now, bytes = body } = {}) => ({
  "webhook-id": id,
  "webhook-timestamp": String(timestamp),
  "webhook-signature": keys.map((key) => entry(key, id, timestamp, bytes)).join(" "),
});
const refused = (code, ...args) =>
  assert.throws(
    () => verify(...args),
    (error) => {
      assert.ok(error instanceof WebhookVerificationError && error instanceof Error, String(error));
      assert.equal(error.name, "WebhookVerificationError");
      assert.equal(error.code, code);
      assert.ok(error.message.length > 0 && !error.message.includes(secret));
      return true;
    },
  );

describe("schemes", () => {
  test("standard webhooks", () => {
    assert.deepEqual(verify(body, trio(), secret, { now }), { scheme: "standard-webhooks", id: "req_1", timestamp: now });
  });

  test("screenshotone", () => {
    const headers = { "X-ScreenshotOne-Signature": hex(secret) };
    assert.deepEqual(verify(body, headers, secret), { scheme: "screenshotone", id: null, timestamp: null });
    refused("wrong_signature", `${body} `, headers, secret);
  });

  test("screenshotmax", () => {
    const headers = { "X-Screenshotmax-WebHook-Signature": hex(secret) };
    assert.deepEqual(verify(body, headers, secret), { scheme: "screenshotmax", id: null, timestamp: null });
    refused("wrong_signature", `${body} `, headers, secret);
  });

  test("the golden vectors of all three", () => {
    for (const { name, secret, body, sig_hex } of golden.body_hmac.filter((row) => row.body !== null)) {
      assert.equal(verify(body, { "x-screenshotone-signature": sig_hex }, secret).scheme, "screenshotone", name);
      assert.equal(verify(body, { "x-screenshotmax-webhook-signature": sig_hex }, secret).scheme, "screenshotmax", name);
    }
    for (const { name, secret, id, timestamp, body, signature } of golden.standard_webhooks) {
      const headers = { "webhook-id": id, "webhook-timestamp": String(timestamp), "webhook-signature": signature };
      const expected = { scheme: "standard-webhooks", id, timestamp };
      assert.deepEqual(verify(body, headers, secret, { now: timestamp }), expected, name);
    }
  });

  test("the first one present decides alone", () => {
    const vendors = { "x-screenshotone-signature": hex(secret), "x-screenshotmax-webhook-signature": hex(secret) };
    assert.equal(verify(body, { ...vendors, ...trio() }, secret, { now }).scheme, "standard-webhooks");
    for (const signature of ["", "junk", "v1,", entry(old, "req_1", now)]) {
      refused("wrong_signature", body, { ...vendors, ...trio(), "webhook-signature": signature }, secret, { now });
    }
    refused("timestamp_too_old", body, { ...vendors, ...trio() }, secret, { now: now + 301 });
    refused("wrong_signature", body, { ...vendors, "x-screenshotone-signature": hex(old) }, secret);
  });
});

describe("secrets", () => {
  test("rotated: both ends may know one, the other, or both", () => {
    for (const known of [secret, old, [secret, old], [old, secret], ["third", old]]) {
      assert.equal(verify(body, trio([secret, old]), known, { now }).id, "req_1");
    }
    for (const known of [secret, [old, secret]]) {
      assert.equal(verify(body, { "x-screenshotone-signature": hex(secret) }, known).scheme, "screenshotone");
    }
  });

  test("wrong", () => {
    refused("wrong_signature", body, trio(), old, { now });
    refused("wrong_signature", body, trio(), [old, "third"], { now });
    refused("wrong_signature", body, { "x-screenshotone-signature": hex(secret) }, old);
  });

  test("the whsec_ form is the same key", () => {
    const form = `whsec_${Buffer.from(secret).toString("base64")}`;
    assert.equal(verify(body, trio(), form, { now }).id, "req_1");
    assert.equal(verify(body, trio([form]), secret, { now }).id, "req_1");
  });

  test("empty ones never verify", () => {
    const forged = { "x-screenshotone-signature": hex("") };
    for (const empty of ["", [], [""], "whsec_", ["", "whsec_"]]) refused("no_secret", body, forged, empty);
    refused("wrong_signature", body, forged, ["", secret]);
  });

  test("not a string: the variable is not set", () => {
    for (const bad of [undefined, null, 7, [undefined], {}, "a\0b"]) {
      assert.throws(() => verify(body, trio(), bad, { now }), TypeError);
    }
  });
});

describe("time", () => {
  test("within the tolerance, both ways", () => {
    for (const at of [now, now + 300, now - 300, now + 300.9]) assert.equal(verify(body, trio(), secret, { now: at }).timestamp, now);
    assert.equal(verify(body, trio(), secret, { now: now + 3600, toleranceSeconds: 3600 }).timestamp, now);
    assert.equal(verify(body, trio(), secret, { toleranceSeconds: Infinity }).timestamp, now);
  });

  test("stale", () => {
    refused("timestamp_too_old", body, trio(), secret, { now: now + 301 });
    refused("timestamp_too_old", body, trio(), secret, { now: now + 1, toleranceSeconds: 0 });
  });

  test("too new", () => {
    refused("timestamp_too_new", body, trio(), secret, { now: now - 301 });
    refused("timestamp_too_new", body, trio([secret], { timestamp: now * 1000 }), secret, { now });
  });

  test("the clock's time is the default", () => {
    const timestamp = Math.floor(Date.now() / 1000);
    assert.equal(verify(body, trio([secret], { timestamp }), secret).timestamp, timestamp);
    refused("timestamp_too_old", body, trio([secret], { timestamp: timestamp - 310 }), secret);
    refused("timestamp_too_new", body, trio([secret], { timestamp: timestamp + 310 }), secret);
  });

  test("options of the wrong type", () => {
    for (const bad of [-1, NaN, "300", null, new Date()]) {
      assert.throws(() => verify(body, trio(), secret, { now: bad }), TypeError);
      assert.throws(() => verify(body, trio(), secret, { now, toleranceSeconds: bad }), TypeError);
    }
  });
});

describe("headers", () => {
  test("missing", () => {
    const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature } = trio();
    refused("missing_signature", body, {}, secret);
    refused("missing_signature", body, new Headers(), secret);
    refused("missing_signature", body, { "webhook-id": id, "webhook-timestamp": timestamp }, secret, { now });
    refused("missing_header", body, { "webhook-id": id, "webhook-signature": signature }, secret, { now });
    refused("missing_header", body, { "webhook-timestamp": timestamp, "webhook-signature": signature }, secret, { now });
  });

  test("junk", () => {
    for (const timestamp of ["soon", "", " ", `${now}.0`, `+${now}`, `0${now}`, "-1", "99999999999999999999"]) {
      refused(timestamp === "" ? "missing_header" : "malformed_header", body, { ...trio(), "webhook-timestamp": timestamp }, secret, { now });
    }
    for (const signature of ["", "junk", `sha256=${hex(secret)}`, hex(secret).slice(1), `${hex(secret)}0`, "☃".repeat(64)]) {
      refused("malformed_header", body, { "x-screenshotone-signature": signature }, secret);
      refused("malformed_header", body, { "x-screenshotmax-webhook-signature": signature }, secret);
    }
    for (const signature of ["\0", "v1,\n", "v1,====", "\ud800", ",".repeat(9999), entry(secret, "req_1", now).slice(0, -1)]) {
      refused("wrong_signature", body, { ...trio(), "webhook-signature": signature }, secret, { now });
    }
  });

  test("every shape and case of them", () => {
    const shapes = [
      new Headers(trio()),
      new Map(Object.entries(trio())),
      Object.fromEntries(Object.entries(trio()).map(([name, value]) => [name.toUpperCase(), value])),
      Object.fromEntries(Object.entries(trio()).map(([name, value]) => [name, [value]])),
      { ...trio(), "webhook-timestamp": now, "set-cookie": ["a", "b"], "x-none": undefined, "x-null": null },
      Object.assign(Object.create(null), trio()),
    ];
    for (const headers of shapes) assert.equal(verify(body, headers, secret, { now }).id, "req_1");
    for (const bad of [undefined, null, "webhook-id: 1", 7]) assert.throws(() => verify(body, bad, secret), TypeError);
  });

  test("a name that comes twice reads as one list, in every shape", () => {
    const twice = new Headers(trio());
    twice.append("webhook-id", "req_2");
    const spelled = { ...trio(), "Webhook-Id": "req_2" };
    const listed = { ...trio(), "webhook-id": ["req_1", "req_2"] };
    for (const headers of [twice, spelled, listed]) {
      refused("wrong_signature", body, headers, secret, { now });
      const { "webhook-signature": signature } = trio([secret], { id: "req_1, req_2" });
      if (headers instanceof Headers) headers.set("webhook-signature", signature);
      else headers["webhook-signature"] = signature;
      assert.equal(verify(body, headers, secret, { now }).id, "req_1, req_2");
    }
  });

  test("an id may hold anything that a header may", () => {
    for (const id of ["a.b", "☃", "a\nb", 'quo"te', " "]) {
      assert.equal(verify(body, trio([secret], { id }), secret, { now }).id, id);
    }
  });
});

describe("body", () => {
  const bytes = Buffer.from(body);

  test("bytes of every kind, also a part of a larger buffer", () => {
    const padded = Buffer.concat([Buffer.from("xx"), bytes, Buffer.from("yy")]);
    const kinds = [
      bytes,
      new Uint8Array(bytes),
      new Uint8Array(bytes).buffer,
      padded.subarray(2, -2),
      new DataView(padded.buffer, padded.byteOffset + 2, bytes.length),
      runInNewContext("Uint8Array").from(bytes),
      runInNewContext("Uint8Array").from(bytes).buffer,
    ];
    for (const kind of kinds) assert.equal(verify(kind, trio(), secret, { now }).id, "req_1");
  });

  test("empty, binary and large", () => {
    for (const bytes of [Buffer.alloc(0), Buffer.from([0x89, 0x50, 0xff, 0x00]), Buffer.alloc(3_000_000, 7)]) {
      assert.equal(verify(bytes, trio([secret], { bytes }), secret, { now }).id, "req_1");
    }
  });

  test("changed by one bit anywhere", () => {
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = Buffer.from(bytes);
      changed[at] ^= 1;
      refused("wrong_signature", changed, trio(), secret, { now });
    }
  });

  test("parsed already", () => {
    for (const bad of [JSON.parse(body), undefined, null, [1, 2]]) {
      assert.throws(() => verify(bad, trio(), secret, { now }), TypeError);
    }
  });
});

describe("package", () => {
  const manifest = JSON.parse(readFileSync(here("../pkg/package.json"), "utf8"));

  test("every file it names is there", () => {
    const targets = [manifest.types, ...Object.values(manifest.exports["."]), ...manifest.sideEffects];
    for (const file of targets) assert.ok(existsSync(here(`../pkg/${file}`)), file);
  });

  test("its version is the crate's", () => {
    const workspace = readFileSync(here("../../../Cargo.toml"), "utf8");
    assert.equal(manifest.version, /^\[workspace\.package\]\nversion = "(.*)"$/m.exec(workspace)?.[1]);
  });

  test("require() works", { skip: !process.features.require_module && "this Node cannot require() a module" }, () => {
    const required = createRequire(import.meta.url)("../pkg/node.js");
    assert.equal(required.verify(body, trio(), secret, { now }).id, "req_1");
  });

  test("at most 25 kB gzipped, and next to no imports", async () => {
    const wasm = readFileSync(here("../pkg/snaphook_verify_bg.wasm"));
    const { gzipSync } = await import("node:zlib");
    const size = gzipSync(wasm, { level: 9 }).length;
    assert.ok(size <= 25_000, `${size} bytes`);
    const imports = WebAssembly.Module.imports(new WebAssembly.Module(wasm)).map(({ name }) => name);
    assert.ok(imports.length <= 2, imports.join(" "));
  });

  test("the README's way without the package agrees", async () => {
    const code = /```js\n(async function verified[\s\S]*?)```/.exec(readFileSync(here("../pkg/README.md"), "utf8"))?.[1];
    const verified = new Function(`${code}; return verified;`)();
    const timestamp = Math.floor(Date.now() / 1000);
    const fresh = (keys, more) => new Headers(trio(keys, { timestamp, ...more }));
    assert.equal(await verified(body, fresh([secret]), secret), true);
    assert.equal(await verified(body, fresh([old, secret]), secret), true);
    assert.equal(await verified(body, fresh([old]), secret), false);
    assert.equal(await verified(`${body} `, fresh([secret]), secret), false);
    assert.equal(await verified(body, fresh([secret], { timestamp: timestamp - 310 }), secret), false);
    assert.equal(await verified(body, fresh([secret], { timestamp: timestamp + 310 }), secret), false);
    assert.equal(await verified(body, new Headers({ "webhook-signature": "v1,☃".replace("☃", "?") }), secret), false);
    assert.equal(await verified(body, new Headers(), secret), false);
  });
});
