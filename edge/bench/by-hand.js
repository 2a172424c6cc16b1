// A Worker as one would write it by hand, without any dependency: the way of a `/take` by GET through the edge, with the same
// checks by the platform's own means: head, all parameters of the endpoint and the rules between them, addresses (names, ports,
// IPv4 and IPv6), the key with its rotated secrets, signed link and its end, rate limit, seal. For comparison only: it reads no
// body, keeps no outbox, and does not know the ids of devices.
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

// What a parameter may be: a check gives what is wrong with a text, or nothing.

const bool = (text) => (/^(true|false|1|0)$/i.test(text.trim()) ? undefined : 'must be a boolean');
const number = (min, max, whole) => (text) => {
  const value = text.trim() === '' ? NaN : Number(text);
  if (!Number.isFinite(value)) return 'must be a number';
  if (whole && !Number.isInteger(value)) return 'must be an integer';
  if (value < min) return `must be greater than or equal to ${min}`;
  if (value > max) return `must be less than or equal to ${max}`;
};
const int = (min, max) => number(min, max, true);
const text = (value) => (value === '' ? 'is not allowed to be empty' : undefined);
const alphanumeric = (most) => (value) => {
  if (value === '') return 'is not allowed to be empty';
  if (!/^[0-9a-z]+$/i.test(value)) return 'must only contain alpha-numeric characters';
  if (value.length > most) return `length must be less than or equal to ${most} characters long`;
};
const oneOf = (...names) => {
  const all = new Set(names);
  return (value) => (all.has(value) ? undefined : `must be one of [${names.join(', ')}]`);
};
const folded = (...names) => {
  const check = oneOf(...names);
  return (value) => check(value.trim().toLowerCase());
};
const web = (value) => {
  if (value.trim() !== value) return 'must be specified without leading and trailing white spaces';
  if (!/^https?:/i.test(value)) return 'must be a valid URI with a scheme matching the http|https pattern';
  const url = URL.parse(value);
  if (!url || url.hostname === 'http' || url.hostname === 'https') return 'must be a valid URI';
};
const list = Object.assign(() => undefined, { list: true });
const listOf = (...names) => Object.assign(oneOf(...names), { list: true });
const unsupported = () => 'is not supported';

const PIXELS = int(1, 16_384);
const ANY = int(0, 1_000_000);
const FORMATS = ['png', 'jpeg', 'jpg', 'webp', 'gif', 'jp2', 'tiff', 'avif', 'heif', 'html', 'pdf', 'markdown'];
const EVENTS = ['load', 'domcontentloaded', 'networkidle0', 'networkidle2'];
const RESOURCES = [
  'document', 'stylesheet', 'image', 'media', 'font', 'script', 'texttrack', 'xhr', 'fetch', 'eventsource', 'websocket', 'manifest', 'other',
];
const STORAGE_CLASSES = [
  'standard', 'reduced_redundancy', 'standard_ia', 'onezone_ia', 'intelligent_tiering', 'glacier', 'deep_archive', 'outposts', 'glacier_ir',
];
const all = (check, names) => names.trim().split(/\s+/).map((name) => [name, check]);
const TAKE = new Map([
  ...all(bool, `
    selector_scroll_into_view error_on_selector_not_found capture_beyond_viewport include_shadow_dom omit_background full_page
    full_page_scroll full_page_slices pdf_print_background pdf_fit_one_page pdf_landscape viewport_mobile viewport_has_touch
    viewport_landscape dark_mode reduced_motion reduce_motion error_on_click_selector_not_found error_on_hover_selector_not_found
    block_cookie_banners block_banners_by_heuristics block_chats block_ads block_trackers block_socials block_annoyances bypass_csp
    ignore_host_errors cache store storage_return_location async webhook_sign webhook_errors metadata_image_size metadata_fonts
    metadata_content metadata_page_title metadata_open_graph metadata_icon metadata_http_response_status_code
    metadata_http_response_headers`),
  ...all(text, `
    html markdown selector scroll_into_view attachment_name pdf_margin pdf_margin_top pdf_margin_right pdf_margin_bottom
    pdf_margin_left viewport_device scripts styles click hover user_agent authorization proxy time_zone wait_for_selector storage_path
    storage_bucket storage_access_key_id storage_secret_access_key`),
  ...all(web, 'url storage_endpoint webhook_url'),
  ...all(list, `
    hide_selectors block_requests headers cookies proxy_bypass_hosts fail_if_content_contains fail_if_content_missing
    fail_if_request_failed`),
  ...all(ANY, 'image_width image_height clip_x clip_y full_page_slice_overlap_height'),
  ...all(PIXELS, 'clip_width clip_height viewport_width viewport_height'),
  ...all(int(1, 1_000_000), 'full_page_scroll_by full_page_max_height geolocation_accuracy'),
  ...all(listOf(...EVENTS), 'wait_until scripts_wait_until'),
  ...all(unsupported, 'request_gpu_rendering fail_if_gpu_rendering_fails openai_api_key vision_prompt vision_max_tokens'),
  ['format', folded(...FORMATS)],
  ['response_type', folded('by_format', 'empty', 'json', 'byformat')],
  ['selector_algorithm', oneOf('default', 'clip')],
  ['scroll_into_view_adjust_top', int(-1_000_000, 1_000_000)],
  ['external_identifier', alphanumeric(64)],
  ['servers_region', oneOf('us-east')],
  ['image_quality', int(0, 100)],
  ['full_page_scroll_delay', int(100, 60_000)],
  ['full_page_algorithm', oneOf('default', 'by_sections')],
  ['full_page_slice_height', int(1, 16_000)],
  ['pdf_paper_format', oneOf('a0', 'a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'legal', 'letter', 'tabloid')],
  ['device_scale_factor', number(1, 5)],
  ['media_type', folded('screen', 'print')],
  ['block_resources', listOf(...RESOURCES)],
  ['ip_country_code', oneOf('us')],
  ['geolocation_latitude', number(-90, 90)],
  ['geolocation_longitude', number(-180, 180)],
  ['delay', int(0, 300)],
  ['timeout', int(0, 600)],
  ['navigation_timeout', int(0, 30)],
  ['wait_for_selector_algorithm', oneOf('at_least_one', 'at_least_by_count')],
  ['cache_ttl', int(14_400, 2_592_000)],
  ['cache_key', alphanumeric(250)],
  ['storage_acl', oneOf('', 'public-read')],
  ['storage_class', oneOf(...STORAGE_CLASSES)],
  ['metadata_content_format', oneOf('html', 'markdown')],
]);

/** What is wrong with the parameters, each by itself and then among themselves. */
function wrong(fields) {
  const details = [];
  const refuse = (name, message) => details.push({ path: [name], message: `"${name}" ${message}` });
  for (const [name, { values, isList }] of fields) {
    const check = TAKE.get(name);
    if (!check) {
      refuse(name, 'is not allowed');
    } else if (check.list) {
      for (const value of values.flatMap((value) => value.split(','))) if (check(value)) refuse(name, check(value));
    } else {
      const message = isList || values.length > 1 ? 'must be a string' : check(values[0]);
      if (message) refuse(name, message);
    }
  }
  const value = (name) => fields.get(name)?.values[0];
  const given = (name) => fields.has(name);
  const on = (name) => /^(true|1)$/i.test(value(name) ?? '');
  const none = (names, reason = 'is not allowed') => names.filter(given).forEach((name) => refuse(name, reason));
  if (!given('url') && !given('html') && !given('markdown')) refuse('value', 'must contain at least one of [html, url, markdown]');
  if (!on('full_page')) none(['full_page_scroll', 'full_page_max_height', 'full_page_algorithm']);
  if (!on('full_page') || (given('full_page_scroll') && !on('full_page_scroll'))) none(['full_page_scroll_delay', 'full_page_scroll_by']);
  if (!given('selector')) none(['selector_scroll_into_view', 'selector_algorithm']);
  if (!on('metadata_content')) none(['metadata_content_format']);
  if (!given('url')) none(['metadata_http_response_status_code', 'metadata_http_response_headers']);
  const format = (value('format') ?? 'jpg').toLowerCase();
  if (format === 'jp2' || format === 'heif') refuse('format', 'is not supported');
  if (on('omit_background') && !/^(png|webp|avif|tiff|gif)$/.test(format)) refuse('omit_background', 'needs a format with transparency');
  for (const name of ['pdf_margin', 'pdf_margin_top', 'pdf_margin_right', 'pdf_margin_bottom', 'pdf_margin_left']) {
    if (given(name) && !/^\d*\.?\d+(px|cm|mm|in)?$/.test(value(name))) refuse(name, 'must be a CSS length like 20px, 1.5cm or 1in');
  }
  if (on('full_page_slices')) {
    const room = Number(value('full_page_slice_height') ?? 4000) - 100;
    if (!on('full_page') || on('store') || /^(html|pdf|markdown)$/.test(format)) refuse('full_page_slices', 'contains an invalid value');
    if (Number(value('full_page_slice_overlap_height') ?? 0) > room) refuse('full_page_slice_overlap_height', 'is too large');
    if (room < 0) refuse('full_page_slice_height', 'must be greater than or equal to 100');
  }
  if (/^(gif|html|pdf|markdown)$/.test(format)) none(['image_quality']);
  if (given('selector') && format === 'pdf') refuse('selector', 'is not allowed with PDFs');
  const timeout = Number(value('timeout') ?? 60);
  const timeoutMax = on('async') ? 600 : 90;
  if (timeout > timeoutMax) refuse('timeout', `must be less than or equal to ${timeoutMax}`);
  const delayMax = timeout > 300 ? 300 : 30;
  if (Number(value('delay') ?? 0) > delayMax) refuse('delay', `must be less than or equal to ${delayMax}`);
  if (on('store') && !given('storage_path')) refuse('storage_path', 'is required');
  if (!on('store')) none(['storage_path']);
  if (!on('cache')) none(['cache_ttl', 'cache_key'], 'cannot be used when the `cache` option is false or not set');
  if (given('webhook_url') && value('response_type') === 'empty') refuse('webhook_url', 'is not allowed');
  if (given('geolocation_latitude') !== given('geolocation_longitude')) refuse('geolocation_latitude', 'needs both coordinates');
  return details;
}

// Where an address may lead: the public internet and nothing else.

const SPECIAL = [
  ['0.0.0.0', 8], ['10.0.0.0', 8], ['100.64.0.0', 10], ['127.0.0.0', 8], ['169.254.0.0', 16], ['172.16.0.0', 12], ['192.0.0.0', 24],
  ['192.0.2.0', 24], ['192.88.99.0', 24], ['192.168.0.0', 16], ['198.18.0.0', 15], ['198.51.100.0', 24], ['203.0.113.0', 24],
  ['224.0.0.0', 4], ['240.0.0.0', 4], ['168.63.129.16', 32],
].map(([network, prefix]) => ({ network: numberOf(network), prefix }));
function numberOf(dotted) {
  return dotted.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
}
const isPublicV4 = (address) => !SPECIAL.some(({ network, prefix }) => (address ^ network) >>> (32 - prefix) === 0);
function isPublicV6(host) {
  const mapped = /^::ffff:([\da-f]+):([\da-f]+)$/.exec(host);
  if (mapped) return isPublicV4(parseInt(mapped[1], 16) * 65536 + parseInt(mapped[2], 16));
  const [first, second, third] = host.split(':').map((group) => parseInt(group || '0', 16));
  if (first < 0x2000 || first > 0x3fff || first === 0x2002) return false;
  if (first === 0x2001 && (second < 0x200 || second === 0xdb8)) return false;
  return !(first === 0x3fff && second < 0x1000) && !(first === 0x2620 && second === 0x4f && third === 0x8000);
}
const SERVICES = [
  [1080], [1099], [1433, 1434], [1521], [1719, 1720], [1723], [1883], [2049], [2181], [2375, 2377], [2379, 2380], [2888], [3050], [3128],
  [3260], [3306], [3389], [3659], [3888], [4045], [4190], [4222], [4243], [4369], [4646, 4648], [5060, 5061], [5432], [5671, 5672],
  [5900, 5910], [5984, 5986], [6000, 6063], [6379, 6380], [6443], [6566], [6665, 6669], [6679], [6697], [7000, 7001], [7199], [7473, 7474],
  [7687], [7946], [8009], [8086], [8123], [8300, 8302], [8500], [9042], [9092, 9093], [9100], [9160], [9200], [9222], [9229], [9300], [10080],
  [10248, 10259], [11211], [16379], [24007], [26257], [26379], [27017, 27019], [28015], [33060], [50051], [61613, 61616],
];
const LOCAL = /(^|\.)(localhost|localdomain|local|internal|intranet|private|corp|home|home\.arpa|lan|svc|onion)$/;
const METADATA = /(^|\.)(metadata\.goog|metadata\.tencentyun\.com|metadata\.platformequinix\.com|metadata\.packet\.net)$/;

/** Why a page or a webhook may not be there; nothing if it may. */
function refusal(given, httpsOnly) {
  if (given.length > 8192) return 'the URL is longer than 8192 bytes';
  if (/^[^/?#]*[/\\]*[^/?#]*\\/.test(given)) return 'the URL has a backslash before its path';
  const url = URL.parse(given);
  if (!url) return 'the URL is not valid';
  if (url.protocol !== 'https:' && (httpsOnly || url.protocol !== 'http:')) return 'the scheme is not allowed';
  if (url.href.length > 8192) return 'the URL is longer than 8192 bytes';
  if (url.username || url.password) return 'the URL contains a user name or password';
  const port = Number(url.port);
  if (port !== 0 && port !== 80 && port !== 443 && (port < 1024 || SERVICES.some(([from, to = from]) => from <= port && port <= to))) {
    return `port ${port} is not allowed`;
  }
  const host = url.hostname;
  if (host.startsWith('[')) return isPublicV6(host.slice(1, -1)) ? undefined : 'the address is not allowed';
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host)) return isPublicV4(numberOf(host)) ? undefined : 'the address is not allowed';
  const name = host.endsWith('.') ? host.slice(0, -1) : host;
  if (name.length > 253 || !/^([\w-]{1,63}\.)+[\w-]{1,63}$/.test(name) || /\.(\d+|0x[\da-f]*)$/.test(name)) return 'the host name is not allowed';
  if (LOCAL.test(name) || METADATA.test(name)) return 'the host name is not allowed';
}

async function seal(env, method, path, body, nonce) {
  const [id, secret] = env.EDGE_SECRET.split(':');
  const timestamp = String(Math.floor(Date.now() / 1000));
  const digest = hex(await crypto.subtle.digest('SHA-256', encoder.encode(body)));
  const message = ['v1', method, path, '', digest, timestamp, nonce, id].join('\n');
  const signature = hex(await crypto.subtle.sign('HMAC', await key(secret), encoder.encode(message)));
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

/** What is wrong with the caller: the code of it, or nothing. */
async function stranger(query, owner, now) {
  const live = owner && !owner.revoked ? owner : undefined;
  const pairs = query.split('&');
  const given = pairs.filter((pair) => pair.startsWith('signature='));
  if (given.length === 0) {
    if (!live) return 'access_key_invalid';
    return live.require_signed ? 'signature_is_required' : undefined;
  }
  if (given.length > 1 || !/^[\da-f]{64}$/i.test(given[0].slice(10))) return 'signature_is_not_valid';
  const kept = pairs.filter((pair) => !pair.startsWith('signature='));
  const [mac, message] = [unhex(given[0].slice(10)), encoder.encode(kept.join('&'))];
  const former = (live?.previous_secrets ?? []).filter((previous) => now < previous.valid_until);
  // Of a key that does not exist, nobody is to learn that.
  const secrets = live ? [live, ...former].map((one) => one.secret_key) : ["nobody's key"];
  let right = false;
  for (const secret of secrets) right = (await crypto.subtle.verify('HMAC', await key(secret), mac, message)) || right;
  const ends = kept.filter((pair) => pair.startsWith('expires=')).map((pair) => pair.slice(8));
  const alive = ends.every((end) => /^(0|[1-9]\d*)$/.test(end) && now <= Number(end));
  return right && live && alive ? undefined : 'signature_is_not_valid';
}

export default {
  async fetch(request, env) {
    const receivedAt = Date.now();
    const id = `req_${crypto.randomUUID().replaceAll('-', '')}`;
    const refuse = (status, code, details) => Response.json(
      { is_successful: false, error_code: code, documentation_url: `/docs/errors/${code}`, error_details: details },
      { status, headers: { 'access-control-allow-origin': '*', 'access-control-expose-headers': '*', 'x-snaphook-request-id': id } },
    );
    const url = new URL(request.url);
    if (url.pathname !== '/take') return refuse(404, 'not_found');
    if (request.method !== 'GET') return refuse(405, 'method_not_allowed');
    const header = (name) => request.headers.get(name) ?? undefined;
    const query = request.url.slice(request.url.indexOf('?') + 1);
    if (query.length > 16_384) return refuse(414, 'uri_too_long');
    if (Number(header('content-length') ?? 0) > 5_242_880) return refuse(413, 'request_body_too_large');
    const fields = new Map();
    for (const [given, value] of url.searchParams) {
      const name = given.replace(/\[\d*\]$/, '');
      const field = fields.get(name);
      if (field) field.values.push(value);
      else fields.set(name, { values: [value], isList: name !== given });
    }
    const accessKey = header('x-access-key') ?? fields.get('access_key')?.values[0];
    if (!accessKey) return refuse(400, 'access_key_required');
    if (!/^[\w-]{1,64}$/.test(accessKey)) return refuse(400, 'access_key_invalid');
    for (const name of ['access_key', 'signature', 'expires']) fields.delete(name);

    const reason = await stranger(query, await record(env, accessKey), receivedAt / 1000);
    if (reason) return refuse(400, reason);
    if (env.LIMITER) {
      const { success } = await env.LIMITER.limit({ key: accessKey });
      if (!success) return refuse(400, 'concurrency_limit_reached');
    }

    const details = wrong(fields);
    const code = details.length > 0 ? 'request_not_valid' : 'target_not_allowed';
    for (const name of ['url', 'webhook_url', 'storage_endpoint']) {
      const target = fields.get(name)?.values[0];
      const why = target && refusal(target, name === 'webhook_url');
      if (why) details.push({ path: [name], message: `"${name}": ${why}` });
    }
    if (details.length > 0) return refuse(400, code, details);
    const idempotencyKey = header('idempotency-key');
    if (idempotencyKey !== undefined && (idempotencyKey === '' || idempotencyKey.length > 255)) return refuse(400, 'request_not_valid');
    const traceparent = header('traceparent');

    const asynchronous = /^(true|1)$/i.test(fields.get('async')?.values[0] ?? '');
    const envelope = JSON.stringify({
      request_id: id, received_at_ms: receivedAt, access_key: accessKey, method: 'GET', path: '/take', query,
      content_type: header('content-type'), idempotency_key: idempotencyKey, priority: header('priority'),
      traceparent: /^00-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/.test(traceparent) ? traceparent : undefined,
      wait_ms: asynchronous ? undefined : 24_000, body: '',
    });
    const headers = await seal(env, 'POST', '/internal/v1/requests', envelope, id);
    const limit = AbortSignal.timeout(asynchronous ? 10_000 : 25_000);
    let answer;
    try {
      answer = await fetch(`${env.BACKEND_URL}/internal/v1/requests`, {
        method: 'POST', headers, body: envelope, cache: 'no-store', redirect: 'manual',
        signal: asynchronous ? limit : AbortSignal.any([request.signal, limit]),
      });
    } catch {
      return refuse(503, 'temporary_unavailable');
    }
    if (!answer.headers.has('x-snaphook-request-id')) return refuse(503, 'temporary_unavailable');
    const relayed = new Response(answer.body, answer);
    relayed.headers.set('access-control-allow-origin', '*');
    relayed.headers.set('access-control-expose-headers', '*');
    return relayed;
  },
};
