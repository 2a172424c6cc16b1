// What takes one call from here and a dozen from Rust: every crossing into JavaScript costs, and every text that goes along.
// Headers cross as one text, name and value in turn, a line each: neither can hold a line break.

const pairs = (text) => {
  const lines = text.split('\n');
  return Array.from({ length: lines.length >> 1 }, (_, index) => [lines[2 * index], lines[2 * index + 1]]);
};

/** Method, URL, and those of the named headers that are there. */
export function head(request, names) {
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

export function random(bytes) {
  crypto.getRandomValues(bytes);
}

/** What a promise gives, or undefined when that takes longer. */
export function within(promise, milliseconds) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Fetches, and waits so long for the head of the answer; undefined when it is not there by then. */
export async function send(url, method, headers, body, milliseconds, caller) {
  const abort = new AbortController();
  const answer = await within(
    fetch(url, {
      method,
      headers: pairs(headers),
      // A copy: the memory that it lies in may be moved or written while it is sent.
      body: body?.slice(),
      // Whoever goes away ends the work that was done for them alone.
      signal: caller ? AbortSignal.any([caller, abort.signal]) : abort.signal,
      // What may be kept, and for how long, is not for a cache of the platform to say.
      cache: 'no-store',
      // A redirect is an answer like any other: following it could lead a sealed request elsewhere.
      redirect: 'manual',
    }),
    milliseconds,
  );
  if (!answer) abort.abort();
  return answer;
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
