// Speaks to `snaphook mcp` with the protocol's own client. Reads {command, args, env, cwd, calls} and prints what the server
// says of itself, its tools, and the answer to each call, all of which are under way at once.
import { readFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';

const { command, args, env, cwd, calls } = JSON.parse(readFileSync(0, 'utf8'));
const client = new Client({ name: 'snaphook-tests', version: '1.0.0' });
await client.connect(new StdioClientTransport({ command, args, env, cwd }));
const { tools } = await client.listTools();
const answers = await Promise.all(
  calls.map((call) => client.callTool(call).catch((error) => ({ code: error.code, message: error.message }))),
);
const server = client.getServerVersion();
await client.close();
console.log(JSON.stringify({ server, tools, answers }));
