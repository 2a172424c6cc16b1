// The main thread of a browser may compile a larger module only asynchronously.
import init from "./snaphook_verify.js";

await init({ module_or_path: new URL("./snaphook_verify_bg.wasm", import.meta.url) });

export { verify, WebhookVerificationError } from "./core.js";
