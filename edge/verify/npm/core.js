// What is the same in every runtime. The files next to this one only differ in how they load the wasm.
import { check, headerNames } from "./snaphook_verify.js";

const encoder = new TextEncoder();

/** The webhook is not what a holder of the secret sent, or not now. */
export class WebhookVerificationError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "WebhookVerificationError";
    this.code = code;
  }
}

/** The raw bytes of a body; anything that was parsed already has lost them. */
function bytesOf(rawBody) {
  if (typeof rawBody === "string") return encoder.encode(rawBody);
  // Not `instanceof`: test runners and frames hand over objects of another realm.
  if (ArrayBuffer.isView(rawBody)) return new Uint8Array(rawBody.buffer, rawBody.byteOffset, rawBody.byteLength);
  if (Object.prototype.toString.call(rawBody) === "[object ArrayBuffer]") return new Uint8Array(rawBody);
  throw new TypeError("rawBody must be the body as it arrived: a Uint8Array, an ArrayBuffer or a string, not parsed JSON");
}

/** A function from a lower-case name to the header's value, or undefined. */
function lookup(headers) {
  if (typeof headers?.get === "function") return (name) => textOf(headers.get(name));
  if (headers === null || typeof headers !== "object") {
    throw new TypeError("headers must be a Headers object or a record of names and values");
  }
  // A name that stands there twice, in two spellings or as a list, reads as Headers would give it.
  const values = new Map();
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || value === null) continue;
    const key = name.toLowerCase();
    values.set(key, [...(values.get(key) ?? []), ...(Array.isArray(value) ? value : [value])]);
  }
  return (name) => textOf(values.get(name)?.join(", "));
}

/** Only strings may cross into the wasm; a header that is not there stays undefined. */
function textOf(value) {
  return value === undefined || value === null ? undefined : String(value);
}

function secretsOf(secret) {
  const secrets = Array.isArray(secret) ? secret : [secret];
  for (const one of secrets) {
    // NUL separates them on the way into the wasm.
    if (typeof one !== "string" || one.includes("\0")) {
      throw new TypeError("secret must be a string or an array of strings; is the environment variable set?");
    }
  }
  return secrets.join("\0");
}

function secondsOf(value, name) {
  if (typeof value !== "number" || !(value >= 0)) throw new TypeError(`${name} must be a number of seconds, 0 or more`);
  return value;
}

/** See index.d.ts. */
export function verify(rawBody, headers, secret, options = {}) {
  const { toleranceSeconds = 300, now = Date.now() / 1000 } = options;
  const answer = check(
    bytesOf(rawBody),
    ...headerNames().split(" ").map(lookup(headers)),
    secretsOf(secret),
    secondsOf(now, "now"),
    secondsOf(toleranceSeconds, "toleranceSeconds"),
  );
  // Three lines; the rest is the id or the message and may have line breaks of its own.
  const [outcome, name, timestamp, ...rest] = answer.split("\n");
  const text = rest.join("\n");
  if (outcome !== "ok") throw new WebhookVerificationError(name, text);
  return timestamp === ""
    ? { scheme: name, id: null, timestamp: null }
    : { scheme: name, id: text, timestamp: Number(timestamp) };
}
