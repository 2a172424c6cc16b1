// ScreenshotOne's npm SDK as it is published; only its third constructor argument, the address, is ours.
// Reads {base, access_key, secret_key, url, failing_url}; prints what came back, files in base64.
import { readFileSync } from 'node:fs';
import { AnimateOptions, APIError, Client, TakeOptions } from 'screenshotone-api-sdk';

const { base, access_key, secret_key, url, failing_url } = JSON.parse(readFileSync(0, 'utf8'));
const client = new Client(access_key, secret_key, base);
const take = (address = url) =>
  TakeOptions.url(address).format('png').viewportWidth(160).viewportHeight(120).hideSelectors('#square', '.a b');
const animate = () =>
  AnimateOptions.url(url).format('webm').viewportWidth(160).viewportHeight(120).hideSelectors('#square', '.a b').duration(1).scenario('scroll').scrollBy(500).scrollEasing('linear').scrollNavigateLinkHints('about', 'pricing');

const base64 = (bytes) => Buffer.from(bytes).toString('base64');
const picture = async (blob) => ({ type: blob.type, file: base64(await blob.arrayBuffer()) });
const fetched = async (link) => {
  const response = await fetch(link);
  return { status: response.status, type: response.headers.get('content-type'), file: base64(await response.arrayBuffer()) };
};
const failure = async (client, options) => {
  try {
    await client.take(options);
  } catch (error) {
    const { httpStatusCode, errorCode, errorMessage, documentationUrl } = error;
    return { own: error instanceof APIError, httpStatusCode, errorCode, errorMessage, documentationUrl };
  }
  return null;
};

const signed = await client.generateSignedTakeURL(take());
console.log(
  JSON.stringify({
    take: await picture(await client.take(take())),
    signed: await fetched(signed),
    unsigned: await fetched(await client.generateTakeURL(take())),
    tampered: await fetched(signed.replace('viewport_width=160', 'viewport_width=161')),
    store: await client.store(take(), 'shots/one'),
    animate: await picture(await client.animate(animate())),
    store_animation: await client.store(animate(), 'films/one'),
    async_take: (await client.take(take().async(true).webhookUrl(url))).size,
    invalid: await failure(client, take().delay(99)),
    failing: await failure(client, take(failing_url)),
    wrong_secret: await failure(new Client(access_key, `${secret_key}x`, base), take()),
  }),
);
