// What takes one call from here and a dozen from Rust: every crossing into JavaScript costs, and every text that goes along.
// Headers cross as lines of one text, name and value in turn: neither can hold a line break.

/** Names in shared/src/dialect.rs: the backend's mark on each answer, and what lets a page of another origin read it. */
const MARK = 'x-snaphook-request-id';
const READABLE = ['access-control-allow-origin', 'access-control-expose-headers'];
/** What of a request's head is read for a render, and what else is passed on where the backend answers by itself. */
const READ = ['content-length', 'content-type', 'idempotency-key', 'priority', 'traceparent', 'x-access-key'];
const PASSED_ON = ['accept', 'if-none-match', 'if-range', 'range'];

const pairs = (lines, from) => {
  const all = [];
  for (let at = from; at + 1 < lines.length; at += 2) all.push([lines[at], lines[at + 1]]);
  return all;
};
const found = (request, names) => {
  let lines = '';
  for (const name of names) {
    const value = request.headers.get(name);
    if (value !== null) lines += `\n${name}\n${value}`;
  }
  return lines;
};

/** Method, URL, and those headers of a render that are there; and random bytes. */
export function head(request, random) {
  crypto.getRandomValues(random);
  return `${request.method}\n${request.url}${found(request, READ)}`;
}

/** The other headers that are passed on, as the end of a head. */
export function rest(request) {
  return found(request, PASSED_ON);
}

/** The parts of an absolute URL, none of which can hold a line break. */
export function parts(text) {
  const url = URL.parse(text);
  return url ? `${url.href}\n${url.protocol}\n${url.hostname}\n${url.port}\n${url.username}\n${url.password}` : undefined;
}

/** A copy is hashed: the memory that it lies in may be moved meanwhile. */
export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes.slice()));
}

const sealed = ([, , timestamp, nonce, keyId, signature]) => ({
  'content-type': 'application/json',
  'x-snaphook-timestamp': timestamp,
  'x-snaphook-nonce': nonce,
  'x-snaphook-key-id': keyId,
  'x-snaphook-signature': signature,
});

/** `text`: method and URL, then the four values of a seal, or headers. */
const wanted = (text, isSealed, body, signal) => {
  const lines = text.split('\n');
  const request = {
    method: lines[0],
    headers: isSealed ? sealed(lines) : pairs(lines, 2),
    // A copy: the memory that it lies in may be moved or written while it is sent.
    body: body?.slice(),
    signal,
    // What may be kept, and for how long, is not for a cache of the platform to say.
    cache: 'no-store',
    // A redirect is an answer like any other: following it could lead a sealed request elsewhere.
    redirect: 'manual',
  };
  return fetch(lines[1], request);
};

/** The backend's answer, as a page may read it; of what is not marked as the backend's, the status alone. */
const answered = (response) => {
  if (!response.headers.has(MARK)) return response.status;
  const copy = new Response(response.body, response);
  for (const name of READABLE) copy.headers.set(name, '*');
  return copy;
};

/** Asks, and ends it when so much time is over, wherever it is; undefined when not even a head has come by then. */
export async function exchange(text, isSealed, body, milliseconds) {
  const signal = AbortSignal.timeout(milliseconds);
  try {
    return answered(await wanted(text, isSealed, body, signal));
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Asks, and waits so long for the head of the answer; undefined when it is not there by then. Its body may take any time. */
export async function open(text, isSealed, body, milliseconds, caller) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), milliseconds);
  try {
    // Whoever goes away ends the work that was done for them alone.
    const signal = caller ? AbortSignal.any([caller, abort.signal]) : abort.signal;
    return answered(await wanted(text, isSealed, body, signal));
  } catch (error) {
    if (!abort.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** What a cache has of an address, in part where the headers ask for that. */
export async function lookUp(cache, url, headers) {
  return cache.match(new Request(url, { headers: pairs(headers.split('\n'), 0) }));
}

/** Lets an event last until this has ended. Nobody's work hangs on it, so that it may fail. */
export function afterwards(context, promise, what) {
  context.waitUntil(promise.catch((error) => console.error(`${what}: ${error.message}`)));
}

/** An answer of one's own; an empty body is none. */
export function answer(status, headers, body) {
  return new Response(body || null, { status, headers: pairs(headers.split('\n'), 0) });
}

/** Another's answer, whose bytes go from socket to socket, with these headers set. One that was fetched cannot be changed. */
export function relay(response, headers) {
  const copy = new Response(response.body, response);
  for (const [name, value] of pairs(headers.split('\n'), 0)) copy.headers.set(name, value);
  return copy;
}
