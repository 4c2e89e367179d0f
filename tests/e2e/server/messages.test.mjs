// The npm package @anthropic-ai/sdk, unchanged.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { eventually, startServer } from "./harness.mjs";

let server, client;
before(async () => {
  server = await startServer(["--api-key", "its-key"]);
  client = new Anthropic({ baseURL: server.url, apiKey: "its-key", maxRetries: 0 });
});
after(() => server.stop());

const model = "tiny-bitnet";
const messages = [{ role: "user", content: "What is the capital of France?" }];
const answer = "The capital of France is Paris.";
const ask = (more = {}) => client.messages.create({ model, max_tokens: 50, temperature: 0, messages, ...more });
const fails = async (promise, status, type, word) => {
  const error = await promise.then(() => assert.fail("no error"), (e) => e);
  assert.equal(error.status, status, error.message);
  assert.equal(error.error.type, "error");
  assert.equal(error.error.error.type, type);
  assert.match(error.error.error.message, word);
};

test("a message", async () => {
  const m = await ask();
  assert.equal(m.type, "message");
  assert.equal(m.role, "assistant");
  assert.deepEqual(m.content, [{ type: "text", text: answer }]);
  assert.equal(m.stop_reason, "end_turn");
  assert.equal(m.stop_sequence, null);
  assert.equal(m.usage.input_tokens + m.usage.cache_read_input_tokens, 22);
  assert.equal(m.usage.output_tokens, 8);
});

test("a stream, event by event and as the client puts it together", async () => {
  const stream = client.messages.stream({ model, max_tokens: 50, temperature: 0, messages });
  const types = [];
  stream.on("streamEvent", (event) => types.push(event.type));
  let text = "";
  stream.on("text", (piece) => (text += piece));
  const m = await stream.finalMessage();
  assert.equal(text, answer);
  assert.deepEqual(m.content, [{ type: "text", text: answer }]);
  assert.equal(m.stop_reason, "end_turn");
  assert.equal(m.usage.output_tokens, 8);
  assert.deepEqual([...new Set(types)], ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]);
});

test("stop sequences are told, and so is an end by length", async () => {
  const m = await ask({ stop_sequences: ["never", " is"] });
  assert.equal(m.content[0].text, "The capital of France");
  assert.equal(m.stop_reason, "stop_sequence");
  assert.equal(m.stop_sequence, " is");
  const s = await client.messages.stream({ model, max_tokens: 50, temperature: 0, messages, stop_sequences: [" is"] }).finalMessage();
  assert.equal(s.stop_sequence, " is");
  assert.equal((await ask({ max_tokens: 3 })).stop_reason, "max_tokens");
});

test("a system prompt and content in blocks", async () => {
  const a = await ask({ system: "Be brief." });
  const b = await ask({ system: [{ type: "text", text: "Be ", cache_control: { type: "ephemeral" } }, { type: "text", text: "brief." }] });
  assert.deepEqual(a.content, b.content);
  const blocks = [{ role: "user", content: [{ type: "text", text: "What is the capital " }, { type: "text", text: "of France?" }] }];
  assert.equal((await ask({ messages: blocks })).content[0].text, answer);
});

test("a last message of the assistant's is gone on with", async () => {
  const m = await ask({ messages: [...messages, { role: "assistant", content: "The capital of" }] });
  assert.equal(m.content[0].text, " France is Paris.");
});

test("tokens are counted as they are used, and beyond the context", async () => {
  assert.equal((await client.messages.countTokens({ model, messages })).input_tokens, 22);
  const system = await client.messages.countTokens({ model, messages, system: "Be brief." });
  const m = await ask({ system: "Be brief." });
  assert.equal(system.input_tokens, m.usage.input_tokens + m.usage.cache_read_input_tokens);
  const long = [{ role: "user", content: "word ".repeat(9000) }];
  assert.ok((await client.messages.countTokens({ model, messages: long })).input_tokens > 9000);
});

test("errors have Anthropic's shape", async () => {
  await fails(ask({ max_tokens: 0 }), 400, "invalid_request_error", /max_tokens/);
  await fails(ask({ messages: [] }), 400, "invalid_request_error", /messages/);
  await fails(ask({ messages: [{ role: "system", content: "x" }] }), 400, "invalid_request_error", /messages\.0\.role/);
  await fails(ask({ messages: [{ role: "user", content: [{ type: "image", source: {} }] }] }), 400, "invalid_request_error", /messages\.0\.content\.0/);
  await fails(ask({ thinking: { type: "enabled", budget_tokens: 1024 } }), 400, "invalid_request_error", /thinking/);
  await fails(ask({ model: "claude-opus" }), 404, "not_found_error", /claude-opus/);
  await fails(ask({ messages: [{ role: "user", content: "word ".repeat(9000) }] }), 400, "invalid_request_error", /context/);
  const stranger = new Anthropic({ baseURL: server.url, apiKey: "wrong", maxRetries: 0 });
  await fails(stranger.messages.create({ model, max_tokens: 1, messages }), 401, "authentication_error", /key/);
});

test("leaving a stream ends its cost", async () => {
  const stream = client.messages.stream({ model, max_tokens: 4000, messages, ignore_eos: true });
  for await (const event of stream) if (event.type === "content_block_delta") break;
  stream.abort();
  const running = async () => {
    const page = await (await fetch(server.url + "/metrics", { headers: { "x-api-key": "its-key" } })).text();
    return Number(/^onebit_running_requests (\S+)$/m.exec(page)[1]);
  };
  await eventually(async () => (await running()) === 0, "no request runs");
});

const schema = { type: "object", properties: { unit: { enum: ["C", "F"] }, city: { type: "string", maxLength: 12 } }, required: ["unit", "city"], additionalProperties: false };
const tools = [{ name: "get_weather", description: "The weather of a city", input_schema: schema }];
const isWeather = (input) => {
  assert.deepEqual(Object.keys(input), ["unit", "city"], "in the schema's order");
  assert.ok([...input.city].length <= 12 && ["C", "F"].includes(input.unit));
};

test("tools: a call, whole and as a stream, and the conversation goes on with its answer", async () => {
  const forced = { tools, tool_choice: { type: "any", disable_parallel_tool_use: true }, max_tokens: 200 };
  const m = await ask(forced);
  assert.equal(m.stop_reason, "tool_use");
  const call = m.content.at(-1);
  assert.equal(call.type, "tool_use");
  assert.equal(call.name, "get_weather");
  isWeather(call.input);
  const stream = client.messages.stream({ model, temperature: 0, messages, ...forced });
  let pieces = 0;
  stream.on("inputJson", () => ++pieces);
  const streamed = await stream.finalMessage();
  assert.equal(streamed.stop_reason, "tool_use");
  assert.deepEqual(streamed.content.at(-1).input, call.input);
  assert.ok(pieces > 3, "arguments come in pieces");
  const result = { type: "tool_result", tool_use_id: call.id, content: "18 degrees" };
  const next = await ask({ messages: [...messages, { role: "assistant", content: m.content }, { role: "user", content: [result] }], tools, tool_choice: { type: "none" } });
  assert.equal(next.content[0].type, "text");
  const named = await ask({ ...forced, tool_choice: { type: "tool", name: "get_weather" } });
  isWeather(named.content.at(-1).input);
  await fails(ask({ tools, tool_choice: { type: "tool", name: "other" } }), 400, "invalid_request_error", /other/);
  await fails(ask({ tools: [{ name: "f" }] }), 400, "invalid_request_error", /input_schema/);
});

test("tools: the prompt is that of a chat completion with the same tools", async () => {
  const { input_tokens } = await client.messages.countTokens({ model, messages, tools });
  const chat = { messages, tools: [{ type: "function", function: { name: "get_weather", description: "The weather of a city", parameters: schema } }], max_tokens: 1 };
  const completion = await server.post("/v1/chat/completions", { ...chat, model }, { headers: { Authorization: "Bearer its-key" } });
  assert.equal(input_tokens, (await completion.json()).usage.prompt_tokens);
});
