// Checks many webhooks with the npm package standardwebhooks and with Node's own crypto, as the vendors' guides do. Reads
// {webhooks: [{body, headers}], secret, standard_secret} (bodies in base64) and prints how many each of them takes.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Webhook } from 'standardwebhooks';

const { webhooks, secret, standard_secret } = JSON.parse(readFileSync(0, 'utf8'));
const library = new Webhook(standard_secret);
const count = (takes) =>
  webhooks.filter(({ body, headers }) => {
    try {
      return takes(Buffer.from(body, 'base64'), headers);
    } catch {
      return false;
    }
  }).length;
const bare = (name) => (body, headers) =>
  timingSafeEqual(Buffer.from(createHmac('sha256', secret).update(body).digest('hex')), Buffer.from(headers[name]));

console.log(
  JSON.stringify({
    library: count((body, headers) => library.verify(body, headers)),
    screenshotone: count(bare('x-screenshotone-signature')),
    screenshotmax: count(bare('x-screenshotmax-webhook-signature')),
  }),
);
