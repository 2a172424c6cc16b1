// A Worker as one would write it by hand, without any dependency: the way of an asynchronous request through the edge, with the
// same kinds of checks (head, parameters, address, signed link and its end, seal) by the platform's own means. For comparison
// only: it knows 10 parameters of 200 and no rules between them, stops at the first error, knows private IPv4 addresses and no
// other, ports or names, and reads no body.
const encoder = new TextEncoder();
const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, '0')).join('');
const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const algorithm = { name: 'HMAC', hash: 'SHA-256' };
const imported = new Map();
const known = new Map();

async function key(secret) {
  if (!imported.has(secret)) {
    imported.set(secret, await crypto.subtle.importKey('raw', encoder.encode(secret), algorithm, false, ['sign', 'verify']));
  }
  return imported.get(secret);
}

const refuse = (status, code) => Response.json({ is_successful: false, error_code: code }, { status });
const KNOWN = new Set(['access_key', 'url', 'async', 'format', 'viewport_width', 'viewport_height', 'full_page', 'delay', 'expires', 'signature']);

async function seal(env, method, path, body, nonce) {
  const [id, secret] = env.EDGE_SECRET.split(':');
  const timestamp = String(Math.floor(Date.now() / 1000));
  const digest = hex(await crypto.subtle.digest('SHA-256', encoder.encode(body)));
  const text = ['v1', method, path, '', digest, timestamp, nonce, id].join('\n');
  const signature = hex(await crypto.subtle.sign('HMAC', await key(secret), encoder.encode(text)));
  return {
    'x-snaphook-timestamp': timestamp, 'x-snaphook-nonce': nonce, 'x-snaphook-key-id': id, 'x-snaphook-signature': signature,
    'content-type': 'application/json',
  };
}

async function record(env, accessKey) {
  const found = known.get(accessKey);
  if (found && found.until > Date.now()) return found.record;
  const path = `/internal/v1/keys/${accessKey}`;
  const answer = await fetch(env.BACKEND_URL + path, { headers: await seal(env, 'GET', path, '', crypto.randomUUID()) });
  const value = answer.status === 200 ? await answer.json() : null;
  known.set(accessKey, { until: Date.now() + 30_000, record: value });
  return value;
}

export default {
  async fetch(request, env) {
    const receivedAt = Date.now();
    const url = new URL(request.url);
    if (url.pathname !== '/take' || request.method !== 'GET') return refuse(404, 'not_found');
    const header = (name) => request.headers.get(name) ?? undefined;
    if (Number(header('content-length') ?? 0) > 5_242_880) return refuse(413, 'request_body_too_large');
    const query = request.url.slice(request.url.indexOf('?') + 1);
    if (query.length > 16_384) return refuse(414, 'uri_too_long');
    const fields = {};
    for (const [name, value] of url.searchParams) {
      if (!KNOWN.has(name)) return refuse(400, 'request_not_valid');
      fields[name] = value;
    }
    const accessKey = header('x-access-key') ?? fields.access_key ?? '';
    if (!/^[\w-]{1,64}$/.test(accessKey)) return refuse(400, 'access_key_invalid');
    const owner = await record(env, accessKey);
    if (!owner) return refuse(400, 'access_key_invalid');
    const pairs = query.split('&');
    const given = pairs.filter((pair) => pair.startsWith('signature='));
    if (given.length > 1) return refuse(400, 'signature_is_not_valid');
    if (given.length === 1) {
      const message = pairs.filter((pair) => !pair.startsWith('signature=')).join('&');
      const mac = unhex(given[0].slice(10));
      if (!(await crypto.subtle.verify('HMAC', await key(owner.secret_key), mac, encoder.encode(message)))) {
        return refuse(400, 'signature_is_not_valid');
      }
      if (fields.expires !== undefined && !(receivedAt / 1000 <= Number(fields.expires))) return refuse(400, 'signature_is_not_valid');
    }
    let target;
    try { target = new URL(fields.url); } catch { return refuse(400, 'request_not_valid'); }
    if (!/^https?:$/.test(target.protocol) || target.username || /^(10|127|192\.168|169\.254)\./.test(target.hostname)) {
      return refuse(400, 'target_not_allowed');
    }
    if (!['png', 'jpeg', 'webp', undefined].includes(fields.format)) return refuse(400, 'request_not_valid');
    for (const name of ['viewport_width', 'viewport_height', 'delay']) {
      if (fields[name] !== undefined && !/^\d{1,5}$/.test(fields[name])) return refuse(400, 'request_not_valid');
    }
    const id = `req_${crypto.randomUUID().replaceAll('-', '')}`;
    const envelope = JSON.stringify({
      request_id: id, received_at_ms: receivedAt, access_key: accessKey, method: 'GET', path: '/take', query,
      content_type: header('content-type'), idempotency_key: header('idempotency-key'), traceparent: header('traceparent'), body: '',
    });
    const headers = await seal(env, 'POST', '/internal/v1/requests', envelope, id);
    const answer = await fetch(`${env.BACKEND_URL}/internal/v1/requests`, {
      method: 'POST', headers, body: envelope, cache: 'no-store', redirect: 'manual', signal: AbortSignal.timeout(10_000),
    });
    if (!answer.headers.has('x-snaphook-request-id')) return refuse(503, 'temporary_unavailable');
    const relayed = new Response(answer.body, answer);
    relayed.headers.set('access-control-allow-origin', '*');
    relayed.headers.set('access-control-expose-headers', '*');
    return relayed;
  },
};
