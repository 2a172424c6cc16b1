// What takes one call from here and a dozen from Rust: every crossing into JavaScript costs, and every text that goes along.
// Headers cross as one text, name and value in turn, a line each: neither can hold a line break.

const pairs = (text) => {
  const lines = text.split('\n');
  return Array.from({ length: lines.length >> 1 }, (_, index) => [lines[2 * index], lines[2 * index + 1]]);
};

/** Method, URL, and those of the named headers that are there; and random bytes. */
export function head(request, names, random) {
  crypto.getRandomValues(random);
  let lines = `${request.method}\n${request.url}`;
  for (const name of names.split(' ')) {
    const value = request.headers.get(name);
    if (value !== null) lines += `\n${name}\n${value}`;
  }
  return lines;
}

/** The parts of an absolute URL, none of which can hold a line break. */
export function parts(text) {
  const url = URL.parse(text);
  return url ? [url.href, url.protocol, url.hostname, url.port, url.username, url.password].join('\n') : undefined;
}

/** A copy is hashed: the memory that it lies in may be moved meanwhile. */
export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes.slice()));
}

const wanted = (method, headers, body, signal) => ({
  method,
  headers: pairs(headers),
  // A copy: the memory that it lies in may be moved or written while it is sent.
  body: body?.slice(),
  signal,
  // What may be kept, and for how long, is not for a cache of the platform to say.
  cache: 'no-store',
  // A redirect is an answer like any other: following it could lead a sealed request elsewhere.
  redirect: 'manual',
});

/** Fetches, and ends it when so much time is over, wherever it is; undefined when not even a head has come by then. */
export async function exchange(url, method, headers, body, milliseconds) {
  const signal = AbortSignal.timeout(milliseconds);
  try {
    return await fetch(url, wanted(method, headers, body, signal));
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Fetches, and waits so long for the head of the answer; undefined when it is not there by then. Its body may take any time. */
export async function open(url, method, headers, body, milliseconds, caller) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), milliseconds);
  try {
    // Whoever goes away ends the work that was done for them alone.
    const signal = caller ? AbortSignal.any([caller, abort.signal]) : abort.signal;
    return await fetch(url, wanted(method, headers, body, signal));
  } catch (error) {
    if (!abort.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** What a cache has of an address, in part where the headers ask for that. */
export async function lookUp(cache, url, headers) {
  return cache.match(new Request(url, { headers: pairs(headers) }));
}

/** An answer of one's own; an empty body is none. */
export function answer(status, headers, body) {
  return new Response(body || null, { status, headers: pairs(headers) });
}

/** Another's answer, whose bytes go from socket to socket, with these headers set. One that was fetched cannot be changed. */
export function relay(response, headers) {
  const copy = new Response(response.body, response);
  for (const [name, value] of pairs(headers)) copy.headers.set(name, value);
  return copy;
}
