// Unchanged clients that people use: openai, Vercel's ai with its OpenAI-compatible provider, LangChain.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, streamText, tool } from "ai";
import { ChatOpenAI } from "@langchain/openai";
import { tool as langchainTool } from "@langchain/core/tools";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { startServer } from "../server/harness.mjs";

let server, client, name;
before(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: server.url + "/v1", apiKey: "any", maxRetries: 0 });
  name = (await client.models.list()).data[0].id;
});
after(() => server.stop());

const messages = [{ role: "user", content: "What is the weather in Paris?" }];
const weather = {
  type: "function",
  function: {
    name: "get_weather", description: "The weather of a city",
    parameters: { type: "object", properties: { city: { type: "string", maxLength: 12 }, unit: { enum: ["C", "F"] } }, required: ["city", "unit"], additionalProperties: false },
  },
};
const clock = { type: "function", function: { name: "get_time", parameters: { type: "object", properties: {} } } };
const isWeather = (text) => {
  const value = JSON.parse(text);
  assert.deepEqual(Object.keys(value), ["city", "unit"]);
  assert.ok([...value.city].length <= 12 && ["C", "F"].includes(value.unit));
};

test("openai: required calls, whole and as a stream, with the same arguments", async () => {
  const ask = (more) => client.chat.completions.create({ model: name, messages, tools: [weather], tool_choice: "required", parallel_tool_calls: false, seed: 11, max_tokens: 200, ...more });
  const whole = (await ask()).choices[0];
  assert.equal(whole.finish_reason, "tool_calls");
  assert.equal(whole.message.content, null);
  assert.equal(whole.message.tool_calls.length, 1);
  const call = whole.message.tool_calls[0];
  assert.match(call.id, /^call_\w{24}$/);
  assert.equal(call.type, "function");
  assert.equal(call.function.name, "get_weather");
  isWeather(call.function.arguments);

  const stream = client.beta.chat.completions.stream({ model: name, messages, tools: [weather], tool_choice: "required", parallel_tool_calls: false, seed: 11, max_tokens: 200 });
  let pieces = 0;
  stream.on("tool_calls.function.arguments.delta", () => ++pieces);
  const streamed = (await stream.finalChatCompletion()).choices[0];
  assert.equal(streamed.finish_reason, "tool_calls");
  assert.equal(streamed.message.tool_calls[0].function.arguments, call.function.arguments);
  assert.ok(pieces > 3, "arguments come in pieces");
});

test("openai: a named function; none; auto", async () => {
  const ask = async (tool_choice, more) => (await client.chat.completions.create({ model: name, messages, tools: [weather, clock], tool_choice, temperature: 0, max_tokens: 200, ...more })).choices[0];
  const named = await ask({ type: "function", function: { name: "get_time" } });
  assert.equal(named.finish_reason, "stop");
  assert.equal(named.message.tool_calls[0].function.name, "get_time");
  assert.deepEqual(JSON.parse(named.message.tool_calls[0].function.arguments), {});
  const none = await ask("none");
  assert.equal(none.message.tool_calls, undefined);
  assert.ok(none.message.content.length > 0);
  const auto = await ask("auto", { max_tokens: 40 });
  assert.ok(auto.message.content.length > 0 || auto.message.tool_calls.length > 0);
});

test("openai: arguments are an object where nothing is said of them, and no stop string cuts a call", async () => {
  const ask = async (f, more) => (await client.chat.completions.create({ model: name, messages, tools: [{ type: "function", function: f }], tool_choice: "required", parallel_tool_calls: false, seed: 1, max_tokens: 300, ...more })).choices[0];
  for (const f of [{ name: "f" }, { name: "f", parameters: {} }, { name: "f", parameters: null }]) {
    const choice = await ask(f);
    if (choice.finish_reason === "length") continue;
    const value = JSON.parse(choice.message.tool_calls[0].function.arguments);
    assert.ok(typeof value === "object" && !Array.isArray(value), JSON.stringify(value));
  }
  const stopped = await ask(weather.function, { stop: ["}", "city", "name", "<"] });
  assert.equal(stopped.finish_reason, "tool_calls");
  isWeather(stopped.message.tool_calls[0].function.arguments);
  const cut = await ask(weather.function, { max_tokens: 3 });
  assert.equal(cut.finish_reason, "length");
  assert.ok(!cut.message.content, "half a marker is told to nobody");
});

test("openai: parallel calls are each valid", async () => {
  for (let seed = 0; seed < 3; ++seed) {
    const r = await client.chat.completions.create({ model: name, messages, tools: [weather, clock], tool_choice: "required", seed, temperature: 1.2, max_tokens: 500 });
    const { message, finish_reason } = r.choices[0];
    if (finish_reason !== "tool_calls") continue;
    assert.equal(new Set(message.tool_calls.map((c) => c.id)).size, message.tool_calls.length);
    for (const call of message.tool_calls)
      if (call.function.name === "get_weather") isWeather(call.function.arguments);
      else assert.deepEqual(JSON.parse(call.function.arguments), {});
  }
});

test("openai: a call cut short has the finish reason length", async () => {
  const r = await client.chat.completions.create({ model: name, messages, tools: [weather], tool_choice: "required", max_tokens: 40, logit_bias: {}, seed: 2, stop: ["never"] });
  assert.ok(["length", "tool_calls"].includes(r.choices[0].finish_reason));
});

test("openai: a conversation goes on after a tool's answer", async () => {
  const call = { id: "call_1", type: "function", function: { name: "get_weather", arguments: '{"city": "Paris", "unit": "C"}' } };
  const conversation = [...messages, { role: "assistant", content: null, tool_calls: [call, { ...call, id: "call_2" }] },
    { role: "tool", tool_call_id: "call_1", content: "18 degrees, rain" }, { role: "tool", tool_call_id: "call_2", content: [{ type: "text", text: "as before" }] }];
  const r = await client.chat.completions.create({ model: name, messages: conversation, tools: [weather], tool_choice: "none", max_tokens: 20, temperature: 0 });
  assert.ok(r.choices[0].message.content.length > 0);
  const { prompt } = await server.json("/apply-template", { messages: conversation, tools: [weather] });
  assert.match(prompt, /<tools>\n\{"type": "function", "function": \{"name": "get_weather", "description"/);
  assert.match(prompt, /<tool_call>\n\{"name": "get_weather", "arguments": \{"city": "Paris", "unit": "C"\}\}\n<\/tool_call>\n<tool_call>/);
  assert.match(prompt, /<tool_response>\n18 degrees, rain\n<\/tool_response>\n<tool_response>\nas before\n<\/tool_response>/);
});

test("openai: runTools calls a function and ends", async () => {
  const asked = [];
  const runner = client.beta.chat.completions.runTools({
    model: name, messages, max_tokens: 200, seed: 3, tool_choice: { type: "function", function: { name: "get_weather" } },
    tools: [{ type: "function", function: { ...weather.function, parse: JSON.parse, function: (args) => (asked.push(args), "rain") } }],
  });
  await runner.done();
  assert.equal(asked.length, 1);
  assert.ok(["C", "F"].includes(asked[0].unit));
});

test("openai: errors of tools name the field", async () => {
  const fails = async (more, param) => {
    const error = await client.chat.completions.create({ model: name, messages, ...more }).then(() => assert.fail("no error"), (e) => e);
    assert.equal(error.status, 400, error.message);
    assert.equal(error.param, param, error.message);
  };
  await fails({ tools: [{ type: "function", function: { name: "a b" } }] }, "tools");
  await fails({ tools: [{ type: "web_search" }] }, "tools");
  await fails({ tools: [weather, weather] }, "tools");
  await fails({ tools: [{ type: "function", function: { name: "f", parameters: { type: "object", properties: { a: { not: {} } } } } }] }, "tools");
  await fails({ tools: [weather], tool_choice: { type: "function", function: { name: "other" } } }, "tool_choice");
  await fails({ tool_choice: "required" }, "tool_choice");
  await fails({ tools: [weather], tool_choice: "maybe" }, "tool_choice");
  await fails({ tools: [weather], regex: "a" }, "regex");
  await fails({ messages: [...messages, { role: "assistant", tool_calls: [{ id: "x" }] }] }, "messages[1].tool_calls");
});

const Answer = z.object({ city: z.string().max(12), people: z.number().int().min(1).max(99), kind: z.enum(["town", "city"]) });

test("openai: parse() with a zod schema", async () => {
  const r = await client.beta.chat.completions.parse({ model: name, messages, max_tokens: 200, seed: 4, response_format: zodResponseFormat(Answer, "answer") });
  Answer.parse(r.choices[0].message.parsed);
});

test("ai: generateObject and tools, whole and as a stream", async () => {
  const provider = createOpenAICompatible({ name: "onebit", baseURL: server.url + "/v1", supportsStructuredOutputs: true });
  const { object } = await generateObject({ model: provider(name), schema: Answer, prompt: "Which town?", maxTokens: 200, seed: 5 });
  Answer.parse(object);
  const tools = { get_weather: tool({ description: "The weather", parameters: z.object({ city: z.string().max(9) }), execute: async ({ city }) => `rain in ${city}` }) };
  const whole = await generateText({ model: provider(name), tools, toolChoice: "required", prompt: "Weather?", maxTokens: 400, seed: 6 });
  assert.ok(whole.toolResults.length >= 1);
  assert.match(whole.toolResults[0].result, /^rain in /);
  const stream = streamText({ model: provider(name), tools, toolChoice: { type: "tool", toolName: "get_weather" }, prompt: "Weather?", maxTokens: 400, seed: 6 });
  let results = 0;
  for await (const part of stream.fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "tool-result") ++results;
  }
  assert.equal(results, 1);
});

test("langchain: withStructuredOutput and bindTools", async () => {
  const model = new ChatOpenAI({ model: name, apiKey: "any", configuration: { baseURL: server.url + "/v1" }, maxTokens: 200, maxRetries: 0, modelKwargs: { seed: 7 } });
  Answer.parse(await model.withStructuredOutput(Answer, { method: "jsonSchema", name: "answer" }).invoke("Which town?"));
  Answer.parse(await model.withStructuredOutput(Answer, { method: "functionCalling", name: "answer" }).invoke("Which town?"));
  const add = langchainTool(async ({ a, b }) => a + b, { name: "add", description: "adds", schema: z.object({ a: z.number().int().min(0).max(9), b: z.number().int().min(0).max(9) }) });
  const message = await model.bindTools([add], { tool_choice: "add" }).invoke("1 + 2?");
  assert.equal(message.tool_calls[0].name, "add");
  assert.equal(typeof (await add.invoke(message.tool_calls[0].args)), "number");
});
