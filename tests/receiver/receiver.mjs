// A receiver of webhooks as yours could be: it verifies each with the wasm verifier and answers 204, or 401.
//
//   SNAPHOOK_SECRET_KEY=… node tests/receiver/receiver.mjs
//
// Environment: PORT (0, the default, takes any), SNAPHOOK_SECRET_KEY. Prints {"url":…} when it listens, and one line of JSON
// for each webhook. Ends on SIGTERM, on SIGINT and when its standard input closes. Needs `sh edge/verify/build.sh`.

import http from 'node:http';
import { verify } from '../../edge/verify/pkg/node.js';

const secret = process.env.SNAPHOOK_SECRET_KEY;
if (!secret) {
  process.stderr.write('receiver.mjs: SNAPHOOK_SECRET_KEY is not set\n');
  process.exit(2);
}
const BODY_BYTES_MAX = 64 * 1024 * 1024;
const print = (json) => process.stdout.write(`${JSON.stringify(json)}\n`);

const server = http.createServer(async (request, response) => {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) return response.writeHead(413).end();
    chunks.push(chunk);
  }
  const raw = Buffer.concat(chunks);
  let outcome;
  try {
    outcome = { verified: true, ...verify(raw, request.headers, secret) };
  } catch (error) {
    outcome = { verified: false, error: error.code ?? error.message };
  }
  // A picture is no text; who wants one looks at its length.
  const isJson = /json/.test(request.headers['content-type'] ?? '');
  const body = isJson ? raw.toString() : `${raw.length} bytes`;
  print({ verified: outcome.verified, scheme: outcome.scheme, id: outcome.id, error: outcome.error, headers: request.headers, body });
  response.writeHead(outcome.verified ? 204 : 401).end();
});

const end = () => {
  server.close(() => process.exit(0));
  server.closeAllConnections();
};
process.on('SIGTERM', end);
process.on('SIGINT', end);
process.stdin.on('end', end).on('close', end).on('error', end).resume();
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  print({ url: `http://127.0.0.1:${server.address().port}/` });
});
