// The npm package openai, unchanged, and the shapes of requests that lm-evaluation-harness makes.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fs from "node:fs";
import OpenAI from "openai";
import { eventually, halo, startServer } from "./harness.mjs";

let server, client, name;
before(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: server.url + "/v1", apiKey: "any", maxRetries: 0 });
  name = (await client.models.list()).data[0].id;
});
after(() => server.stop());

const question = [{ role: "user", content: "What is the capital of France?" }];
const answer = "The capital of France is Paris.";
const ask = (more = {}) => client.chat.completions.create({ model: name, messages: question, temperature: 0, ...more });

test("a chat completion", async () => {
  const r = await ask();
  assert.equal(r.object, "chat.completion");
  assert.equal(r.choices[0].message.content, answer);
  assert.equal(r.choices[0].message.role, "assistant");
  assert.equal(r.choices[0].finish_reason, "stop");
  assert.equal(r.usage.prompt_tokens, 22);
  assert.equal(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens);
  assert.ok(r.timings.time_to_first_token_ms > 0 && r.timings.predicted_per_second > 0);
});

test("a stream says the same, then its usage and timings", async () => {
  const stream = await ask({ stream: true, stream_options: { include_usage: true } });
  let text = "", finish, usage, timings;
  for await (const chunk of stream) {
    assert.equal(chunk.object, "chat.completion.chunk");
    text += chunk.choices[0]?.delta?.content ?? "";
    finish ??= chunk.choices[0]?.finish_reason;
    usage = chunk.usage ?? usage;
    timings = chunk.timings ?? timings;
  }
  assert.equal(text, answer);
  assert.equal(finish, "stop");
  assert.equal(usage.prompt_tokens, 22);
  assert.ok(timings.prompt_ms >= 0);
});

test("content in parts, a developer's message, a system message", async () => {
  const parts = [{ role: "user", content: [{ type: "text", text: "What is the capital " }, { type: "text", text: "of France?" }] }];
  assert.equal((await ask({ messages: parts })).choices[0].message.content, answer);
  const system = await ask({ messages: [{ role: "system", content: "Be brief." }, ...question] });
  const developer = await ask({ messages: [{ role: "developer", content: "Be brief." }, ...question] });
  assert.equal(system.choices[0].message.content, developer.choices[0].message.content);
});

test("stop strings end an answer before they are said", async () => {
  const r = await ask({ stop: [" of", "never"] });
  assert.equal(r.choices[0].message.content, "The capital");
  assert.equal(r.choices[0].finish_reason, "stop");
});

test("max_tokens, by either name", async () => {
  for (const field of ["max_tokens", "max_completion_tokens"]) {
    const r = await ask({ [field]: 3 });
    assert.equal(r.choices[0].finish_reason, "length");
    assert.equal(r.usage.completion_tokens, 3);
  }
});

test("logprobs are those of the answer's tokens", async () => {
  const r = await ask({ logprobs: true, top_logprobs: 3 });
  const content = r.choices[0].logprobs.content;
  assert.equal(content.length, r.usage.completion_tokens);
  const bytes = content.slice(0, -1).flatMap((t) => t.bytes); // the last is the end token
  assert.equal(Buffer.from(bytes).toString(), answer);
  for (const token of content) {
    assert.equal(token.top_logprobs.length, 3);
    assert.equal(token.top_logprobs[0].logprob, token.logprob, "greedy takes the likeliest");
  }
});

test("a seed gives the same answers, whoever else is asking", async () => {
  const sample = async (seed, n = 1) =>
    (await client.completions.create({ model: name, prompt: "Once upon a time", temperature: 1.2, seed, n, max_tokens: 40 })).choices.map((c) => c.text);
  const alone = [];
  for (let seed = 0; seed < 6; ++seed) alone.push((await sample(seed))[0]);
  const together = await Promise.all(alone.map((_, seed) => sample(seed)));
  assert.deepEqual(together.map(([text]) => text), alone);
  const choices = await sample(3, 4);
  assert.equal(choices[0], alone[3]);
  assert.equal(new Set(choices).size, 4, "choices of one seed differ");
});

test("cancelling a stream ends its cost", async () => {
  const stream = await client.completions.create({ model: name, prompt: "Once upon a time", max_tokens: 3000, stream: true, extra: 1, ignore_eos: true });
  let seen = 0;
  for await (const _ of stream) if (++seen === 5) break;
  stream.controller.abort();
  await eventually(async () => (await server.metric("onebit_running_requests")) === 0, "no request runs");
  assert.ok((await server.metric("onebit_generated_tokens_total")) > 0);
});

test("errors have OpenAI's shape and name the field", async () => {
  const fails = async (promise, status, param) => {
    const error = await promise.then(() => assert.fail("no error"), (e) => e);
    assert.equal(error.status, status, error.message);
    assert.equal(error.param, param);
    assert.ok(error.message.length > 10);
  };
  await fails(ask({ temperature: -1 }), 400, "temperature");
  await fails(ask({ temperature: "warm" }), 400, "temperature");
  await fails(ask({ max_tokens: 0 }), 400, "max_tokens");
  await fails(ask({ n: 1000 }), 400, "n");
  await fails(ask({ messages: [] }), 400, "messages");
  await fails(ask({ messages: [{ role: "king", content: "x" }] }), 400, "messages");
  await fails(ask({ messages: [{ role: "user", content: [{ type: "image_url" }] }] }), 400, "messages[0].content");
  await fails(ask({ logit_bias: { x: 1 } }), 400, "logit_bias");
  await fails(ask({ tools: [{ type: "function", function: {} }] }), 400, "tools");
  await fails(ask({ response_format: { type: "xml" } }), 400, "response_format");
  await fails(ask({ model: "gpt-4" }), 404, "model");
  await fails(client.completions.create({ model: name, prompt: [1, 2, 999999] }), 400, "prompt");
  await fails(client.completions.create({ model: name, prompt: Array(5000).fill(100) }), 400, "prompt");
  await fails(client.completions.create({ model: name, prompt: "x", max_tokens: 0 }), 400, "max_tokens");
});

test("logit_bias forces and forbids", async () => {
  const { tokens } = await server.json("/tokenize", { content: " Paris" });
  const r = await ask({ logit_bias: { [tokens[0]]: -100 } });
  assert.ok(!r.choices[0].message.content.includes("Paris"));
});

test("completions take text, token ids, and arrays of either", async () => {
  const text = "Once upon a time";
  const { tokens } = await server.json("/tokenize", { content: text, add_special: true });
  const run = async (prompt, more = {}) =>
    (await client.completions.create({ model: name, prompt, temperature: 0, max_tokens: 8, ...more })).choices.map((c) => c.text);
  const [alone] = await run(text);
  assert.deepEqual(await run(tokens), [alone], "token ids are used exactly as given");
  assert.deepEqual(await run([text, text]), [alone, alone]);
  assert.deepEqual(await run([tokens, tokens], { n: 2 }), [alone, alone, alone, alone]);
  assert.deepEqual(await run(text, { echo: true }), [text + alone]);
});

test("echo gives lm-evaluation-harness the log-likelihoods of halo ppl, to the last digit", async () => {
  const text = "The town lies on the river, and the river runs to the sea. The ships go out at night.";
  fs.writeFileSync(process.env.WORK + "/text", text);
  const window = JSON.parse(halo("ppl", "-m", process.env.MODEL, "--json", process.env.WORK + "/text")).windows[0];
  const { tokens } = await server.json("/tokenize", { content: text, add_special: true, parse_special: false });
  const r = await client.completions.create({ model: name, prompt: tokens, temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true });
  const { tokens: words, token_logprobs, top_logprobs, text_offset } = r.choices[0].logprobs;
  assert.equal(token_logprobs.length, tokens.length + 1, "the prompt, then exactly max_tokens");
  assert.equal(token_logprobs[0], null);
  assert.equal(top_logprobs[0], null);
  assert.equal(words.length, text_offset.length);
  const context = 1; // as the harness slices: [ctxlen:-1]
  const logprobs = token_logprobs.slice(context, -1);
  assert.equal(logprobs.length, window.tokens);
  assert.equal(-logprobs.reduce((sum, l) => sum + l, 0), window.nll);
  // The same position gives the same float, whatever is asked around it.
  const longer = await client.completions.create({ model: name, prompt: tokens.slice(0, 10), temperature: 0, max_tokens: 1, logprobs: 1, echo: true });
  assert.deepEqual(longer.choices[0].logprobs.token_logprobs.slice(1, 10), token_logprobs.slice(1, 10));
  // A text gets our BOS, which is not told.
  const plain = await client.completions.create({ model: name, prompt: text, temperature: 0, max_tokens: 0, logprobs: 0, echo: true });
  assert.equal(plain.choices[0].text, text);
  assert.deepEqual(plain.choices[0].logprobs.token_logprobs.slice(1), token_logprobs.slice(2, -1));
  assert.equal(plain.choices[0].logprobs.text_offset[0], 0);
});
