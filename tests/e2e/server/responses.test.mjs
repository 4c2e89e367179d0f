// The npm package openai, unchanged: the responses API, and embeddings.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import { startServer } from "./harness.mjs";

let server, client, model;
before(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: server.url + "/v1", apiKey: "any", maxRetries: 0 });
  model = (await client.models.list()).data[0].id;
});
after(() => server.stop());

const question = "What is the capital of France?";
const answer = "The capital of France is Paris.";
const ask = (more = {}) => client.responses.create({ model, input: question, temperature: 0, ...more });
const fails = async (promise, status, param) => {
  const error = await promise.then(() => assert.fail("no error"), (e) => e);
  assert.equal(error.status, status, error.message);
  assert.equal(error.param, param, error.message);
};

test("a response", async () => {
  const r = await ask({ metadata: { a: "b" }, store: true });
  assert.equal(r.output_text, answer);
  assert.equal(r.status, "completed");
  assert.equal(r.output[0].role, "assistant");
  assert.equal(r.store, false, "nothing is kept, whatever was asked for");
  assert.deepEqual(r.metadata, { a: "b" });
  assert.equal(r.usage.input_tokens, 22);
  assert.equal(r.usage.total_tokens, r.usage.input_tokens + r.usage.output_tokens);
});

test("items, instructions, and what came back are a conversation", async () => {
  const items = [{ role: "user", content: [{ type: "input_text", text: question }] }];
  assert.equal((await ask({ input: items })).output_text, answer);
  const system = await ask({ input: [{ role: "system", content: "Be brief." }, ...items] });
  const instructed = await ask({ input: items, instructions: "Be brief." });
  assert.equal(system.output_text, instructed.output_text);
  const first = await ask({ input: items });
  const next = await ask({ input: [...items, ...first.output, { role: "user", content: "And of Italy?" }] });
  const chat = await client.chat.completions.create({
    model, temperature: 0,
    messages: [{ role: "user", content: question }, { role: "assistant", content: answer }, { role: "user", content: "And of Italy?" }],
  });
  assert.equal(next.output_text, chat.choices[0].message.content);
  assert.equal(next.usage.input_tokens, chat.usage.prompt_tokens);
});

test("a stream: numbered events that add up to the response", async () => {
  const seen = [];
  let text = "", number = 0, last;
  for await (const event of await ask({ stream: true })) {
    assert.equal(event.sequence_number, number++);
    seen.push(event.type);
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event;
  }
  assert.equal(text, answer);
  assert.deepEqual([...new Set(seen)], [
    "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    "response.output_text.delta", "response.output_text.done", "response.content_part.done", "response.output_item.done",
    "response.completed"]);
  assert.equal(last.response.output[0].content[0].text, answer);
  assert.equal(last.response.usage.output_tokens, 8);
  // The client's own helper puts it together, too.
  const final = await client.responses.stream({ model, input: question, temperature: 0 }).finalResponse();
  assert.equal(final.output[0].content[0].text, answer);
});

test("an answer that is cut is incomplete", async () => {
  const r = await ask({ max_output_tokens: 3 });
  assert.equal(r.status, "incomplete");
  assert.equal(r.incomplete_details.reason, "max_output_tokens");
  let last;
  for await (const event of await ask({ max_output_tokens: 3, stream: true })) last = event;
  assert.equal(last.type, "response.incomplete");
});

test("log-probabilities, where included", async () => {
  const r = await ask({ include: ["message.output_text.logprobs"], top_logprobs: 2 });
  const { logprobs } = r.output[0].content[0];
  assert.equal(logprobs.length, r.usage.output_tokens);
  assert.equal(logprobs[0].top_logprobs.length, 2);
});

test("what needs a memory is refused, and what is wrong is named", async () => {
  await fails(ask({ previous_response_id: "resp_1" }), 400, "previous_response_id");
  await fails(ask({ background: true }), 400, "background");
  await fails(ask({ truncation: "auto" }), 400, "truncation");
  await fails(ask({ input: [] }), 400, "input");
  await fails(ask({ input: [{ role: "user", content: [{ type: "input_image" }] }] }), 400, "input[0].content");
  await fails(ask({ input: [{ type: "item_reference", id: "x" }] }), 400, "input[0].type");
  await fails(ask({ max_output_tokens: 0 }), 400, "max_output_tokens");
  await fails(ask({ temperature: 1000 }), 400, "temperature");
  await fails(ask({ tools: [{ type: "web_search_preview" }] }), 400, "tools");
  await fails(ask({ model: "gpt-4o" }), 404, "model");
  await fails(ask({ input: "x ".repeat(9000) }), 400, "input");
});

const length = (v) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
const cosine = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

test("embeddings: floats and base64 are the same bits, of length one", async () => {
  const texts = ["Paris is the capital of France.", "Rome is the capital of Italy."];
  const floats = await client.embeddings.create({ model, input: texts, encoding_format: "float" });
  const packed = await client.embeddings.create({ model, input: texts }); // the client asks for base64 and unpacks it
  assert.equal(floats.data.length, 2);
  for (const [i, { embedding, index }] of floats.data.entries()) {
    assert.equal(index, i);
    assert.ok(Math.abs(length(embedding) - 1) < 1e-6);
    assert.deepEqual([...packed.data[i].embedding], embedding);
  }
  assert.ok(floats.usage.prompt_tokens > 10);
  const [a] = (await client.embeddings.create({ model, input: texts[0] })).data;
  assert.deepEqual([...a.embedding], floats.data[0].embedding, "whatever is computed beside it");
  const { tokens } = await server.json("/tokenize", { content: texts[0], add_special: true });
  const [b] = (await client.embeddings.create({ model, input: tokens })).data;
  assert.deepEqual([...b.embedding], floats.data[0].embedding, "by its tokens");
  const [last] = (await client.embeddings.create({ model, input: texts[0], pooling: "last" })).data;
  assert.ok(cosine(last.embedding, a.embedding) < 0.999);
});

test("more inputs than wait at once are answered in their order", async () => {
  const words = Array.from({ length: 300 }, (_, i) => `number ${i % 7}`);
  const { data } = await client.embeddings.create({ model, input: words });
  assert.equal(data.length, 300);
  for (let i = 7; i < 300; ++i) assert.deepEqual(data[i].embedding, data[i % 7].embedding);
  assert.notDeepEqual(data[0].embedding, data[1].embedding);
});

test("a model made for embeddings pools as it was made to", async () => {
  const file = `${process.env.WORK}/embedding.h1b`;
  execFileSync(process.env.HALO, ["synth", "bitnet-embedding-0.6b", "--layers", "2", "--hidden", "128", "--heads", "2", "--kv-heads", "1", "--head-dim", "64", "--ffn", "256", "--vocabulary", "4096", "--context", "256", "-o", file]);
  const own = await startServer(["-m", file]);
  const vector = async (more) => (await own.json("/v1/embeddings", { input: "Paris is the capital of France.", ...more })).data[0].embedding;
  const told = await vector({});
  assert.equal(told.length, 128);
  assert.deepEqual(told, await vector({ pooling: "last" }));
  assert.notDeepEqual(told, await vector({ pooling: "mean" }));
  assert.equal(await own.stop(), 0);
});

test("embeddings that cannot be", async () => {
  const embed = (more) => client.embeddings.create({ model, input: "x", ...more });
  await fails(embed({ input: [] }), 400, "input");
  await fails(embed({ input: [1, 999999] }), 400, "input");
  await fails(embed({ input: ["x", 5] }), 400, "input");
  await fails(embed({ input: "word ".repeat(9000) }), 400, "input");
  await fails(embed({ input: Array(2049).fill("x") }), 400, "input");
  await fails(embed({ dimensions: 16 }), 400, "dimensions");
  await fails(embed({ encoding_format: "hex" }), 400, "encoding_format");
  await fails(embed({ pooling: "cls" }), 400, "pooling");
  await fails(embed({ model: "text-embedding-3-small" }), 404, "model");
});

const schema = { type: "object", properties: { unit: { enum: ["C", "F"] }, city: { type: "string", maxLength: 12 } }, required: ["unit", "city"], additionalProperties: false };
const tools = [{ type: "function", name: "get_weather", description: "The weather of a city", parameters: schema, strict: true }];
const isWeather = (text) => {
  const value = JSON.parse(text);
  assert.deepEqual(Object.keys(value), ["unit", "city"], "in the schema's order");
  assert.ok([...value.city].length <= 12 && ["C", "F"].includes(value.unit));
};

test("tools: a call, whole and as a stream, and the conversation goes on with its output", async () => {
  const forced = { tools, tool_choice: "required", parallel_tool_calls: false, max_output_tokens: 200 };
  const r = await ask(forced);
  const call = r.output.at(-1);
  assert.equal(call.type, "function_call");
  assert.equal(call.name, "get_weather");
  isWeather(call.arguments);
  const seen = [];
  let streamed = "", final;
  for await (const event of await client.responses.create({ model, input: question, temperature: 0, stream: true, ...forced })) {
    seen.push(event.type);
    if (event.type === "response.function_call_arguments.delta") streamed += event.delta;
    if (event.type === "response.function_call_arguments.done") assert.equal(event.arguments, streamed);
    if (event.type === "response.completed") final = event.response;
  }
  assert.equal(streamed, call.arguments);
  assert.equal(final.output.at(-1).arguments, call.arguments);
  assert.ok(seen.filter((t) => t === "response.function_call_arguments.delta").length > 3, "arguments come in pieces");
  const input = [{ role: "user", content: question }, ...r.output, { type: "function_call_output", call_id: call.call_id, output: "18 degrees" }];
  assert.ok((await ask({ input, tools, tool_choice: "none", max_output_tokens: 20 })).output_text.length > 0);
  isWeather((await ask({ ...forced, tool_choice: { type: "function", name: "get_weather" } })).output.at(-1).arguments);
  await fails(ask({ tools, tool_choice: { type: "function", name: "other" } }), 400, "tool_choice");
  await fails(ask({ tools: [{ type: "web_search_preview" }] }), 400, "tools");
});

test("text.format: a schema, filled in its own order", async () => {
  const r = await ask({ text: { format: { type: "json_schema", name: "weather", schema, strict: true } }, max_output_tokens: 200 });
  isWeather(r.output_text);
});
