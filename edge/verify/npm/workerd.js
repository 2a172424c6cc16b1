// Workers may not compile wasm from bytes; an imported .wasm file is a module compiled at deployment.
import module from "./snaphook_verify_bg.wasm";
import { initSync } from "./snaphook_verify.js";

initSync({ module });

export { verify, WebhookVerificationError } from "./core.js";
