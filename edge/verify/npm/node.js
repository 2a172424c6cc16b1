// Loaded synchronously, so that `require()` of this package works too.
import { readFileSync } from "node:fs";
import { initSync } from "./snaphook_verify.js";

initSync({ module: readFileSync(new URL("./snaphook_verify_bg.wasm", import.meta.url)) });

export { verify, WebhookVerificationError } from "./core.js";
