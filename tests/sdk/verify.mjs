// Checks a webhook with libraries that are not ours to change, and with ours for Node: the npm package standardwebhooks and
// the wasm package. Reads {body, headers, secret, standard_secret} (the body in base64) and prints what each of them says.
import { readFileSync } from 'node:fs';
import { Webhook } from 'standardwebhooks';
import { verify } from '../../edge/verify/pkg/node.js';

const { body, headers, secret, standard_secret } = JSON.parse(readFileSync(0, 'utf8'));
const raw = Buffer.from(body, 'base64');
const attempt = (check) => {
  try {
    return check();
  } catch (error) {
    return { refused: error.code ?? error.message };
  }
};
const without = (...names) => Object.fromEntries(Object.entries(headers).filter(([name]) => !names.includes(name)));
const standard = ['webhook-id', 'webhook-timestamp', 'webhook-signature'];

console.log(
  JSON.stringify({
    library: attempt(() => ({ payload: new Webhook(standard_secret).verify(raw, headers) })),
    library_on_other_bytes: attempt(() => new Webhook(standard_secret).verify(`${raw} `, headers)),
    wasm: attempt(() => verify(raw, headers, secret)),
    wasm_screenshotone: attempt(() => verify(raw, without(...standard), secret)),
    wasm_screenshotmax: attempt(() => verify(raw, without(...standard, 'x-screenshotone-signature'), secret)),
    wasm_wrong_secret: attempt(() => verify(raw, headers, `${secret}x`)),
    wasm_other_bytes: attempt(() => verify(`${raw} `, headers, secret)),
  }),
);
