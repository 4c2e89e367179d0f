// The npm package ollama, unchanged.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Ollama } from "ollama";
import { startServer } from "./harness.mjs";

let server, client;
before(async () => {
  server = await startServer();
  client = new Ollama({ host: server.url });
});
after(() => server.stop());

const model = "tiny-bitnet";
const messages = [{ role: "user", content: "What is the capital of France?" }];
const answer = "The capital of France is Paris.";
const options = { temperature: 0 };

test("a chat, whole and in pieces", async () => {
  const r = await client.chat({ model, messages, options });
  assert.equal(r.message.content, answer);
  assert.equal(r.message.role, "assistant");
  assert.equal(r.done, true);
  assert.equal(r.done_reason, "stop");
  assert.equal(r.prompt_eval_count, 22);
  assert.equal(r.eval_count, 8);
  assert.ok(r.total_duration >= r.eval_duration && r.eval_duration > 1000, "nanoseconds");
  assert.ok(Math.abs(new Date(r.created_at).getTime() - Date.now()) < 60000);
  let text = "", last;
  for await (const part of await client.chat({ model, messages, options, stream: true })) {
    text += part.message.content;
    last = part;
  }
  assert.equal(text, answer);
  assert.equal(last.done, true);
  assert.equal(last.eval_count, 8);
});

test("a prompt, templated or raw, with a system message", async () => {
  const r = await client.generate({ model, prompt: messages[0].content, options });
  assert.equal(r.response, answer);
  const system = await client.generate({ model, prompt: messages[0].content, system: "Be brief.", options });
  const chat = await client.chat({ model, messages: [{ role: "system", content: "Be brief." }, ...messages], options });
  assert.equal(system.response, chat.message.content);
  const raw = await client.generate({ model, prompt: "Once upon a time", raw: true, options: { ...options, num_predict: 8 } });
  const plain = await server.json("/v1/completions", { prompt: "Once upon a time", temperature: 0, max_tokens: 8 });
  assert.equal(raw.response, plain.choices[0].text);
  assert.equal(raw.done_reason, "length");
});

test("options: stop, num_predict, seed", async () => {
  assert.equal((await client.chat({ model, messages, options: { ...options, stop: [" is"] } })).message.content, "The capital of France");
  assert.equal((await client.chat({ model, messages, options: { ...options, num_predict: 3 } })).eval_count, 3);
  const drawn = async (seed) => (await client.generate({ model, prompt: "Tell me a story.", options: { seed, temperature: 1.5, num_predict: 20 } })).response;
  assert.equal(await drawn(5), await drawn(5));
  assert.notEqual(await drawn(5), await drawn(6));
});

test("what models there are", async () => {
  const { models } = await client.list();
  assert.equal(models[0].name, model);
  assert.equal(models[0].details.family, "bitnet");
  assert.ok(models[0].size > 1e6);
  assert.equal((await client.ps()).models.length, 1);
  const shown = await client.show({ model: model + ":latest" });
  assert.equal(shown.model_info["bitnet.context_length"], 4096);
  assert.ok(shown.capabilities.includes("completion"));
  assert.match((await client.version()).version, /^\d+\.\d+/);
});

test("embeddings are those of /v1/embeddings", async () => {
  const r = await client.embed({ model: model + ":latest", input: ["Paris", "Rome"] });
  const plain = await server.json("/v1/embeddings", { input: ["Paris", "Rome"] });
  assert.deepEqual(r.embeddings, plain.data.map((d) => d.embedding));
  assert.deepEqual((await client.embed({ model, input: "Paris" })).embeddings, [r.embeddings[0]]);
  assert.deepEqual((await client.embed({ model, input: [] })).embeddings, []);
  const cut = await client.embed({ model, input: "word ".repeat(9000) });
  assert.equal(cut.prompt_eval_count, 4095);
  await assert.rejects(client.embed({ model, input: "word ".repeat(9000), truncate: false }), /tokens/);
});

test("nothing to answer loads the model, or finds that it is", async () => {
  const r = await client.generate({ model, prompt: "" });
  assert.equal(r.done_reason, "load");
  assert.equal((await client.chat({ model, messages: [] })).done_reason, "load");
});

test("errors are a sentence", async () => {
  await assert.rejects(client.chat({ model: "llama3", messages }), (e) => e.status_code === 404 && /'llama3' does not exist/.test(e.message));
  await assert.rejects(client.show({ model: "llama3" }), /does not exist/);
  await assert.rejects(client.chat({ model, messages: [{ role: "user", content: "x", images: ["aGVsbG8="] }] }), /sees no images/);
  await assert.rejects(client.generate({ model, prompt: "x", suffix: "y" }), /suffix/);
  await assert.rejects(client.chat({ model, messages, options: { temperature: -1 } }), /temperature/);
  await assert.rejects(client.chat({ model, messages, options: { num_predict: -7 } }), /num_predict/);
  await assert.rejects(client.chat({ model, messages, think: true }), /thinking/);
});

const schema = { type: "object", properties: { unit: { enum: ["C", "F"] }, city: { type: "string", maxLength: 12 } }, required: ["unit", "city"], additionalProperties: false };
const isWeather = (value) => {
  assert.deepEqual(Object.keys(value), ["unit", "city"], "in the schema's order");
  assert.ok([...value.city].length <= 12 && ["C", "F"].includes(value.unit));
};

test("format: a schema, filled in its own order", async () => {
  isWeather(JSON.parse((await client.chat({ model, messages, format: schema, options })).message.content));
  isWeather(JSON.parse((await client.generate({ model, prompt: "Weather?", format: schema, options })).response));
});

test("tools: a call, whole and as a stream, and the conversation goes on with its answer", async () => {
  const tools = [{ type: "function", function: { name: "get_weather", description: "The weather of a city", parameters: schema } }];
  const forced = { model, messages, tools, tool_choice: "required", parallel_tool_calls: false, options: { ...options, num_predict: 200 } };
  const r = await client.chat(forced);
  const [call] = r.message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  isWeather(call.function.arguments);
  const calls = [];
  for await (const part of await client.chat({ ...forced, stream: true })) calls.push(...(part.message.tool_calls ?? []));
  assert.deepEqual(calls[0].function, call.function);
  const cut = await client.chat({ ...forced, options: { ...options, num_predict: 12 } });
  assert.equal(cut.done_reason, "length");
  assert.equal(cut.message.tool_calls, undefined, "half a call is none");
  const conversation = [...messages, r.message, { role: "tool", tool_name: "get_weather", content: "18 degrees" }];
  const next = await client.chat({ model, messages: conversation, tools, tool_choice: "none", options: { ...options, num_predict: 20 } });
  assert.ok(next.message.content.length > 0);
});
