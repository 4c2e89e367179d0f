// Answers of the real server to random schemas, each checked by ajv: every one must fit.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { startServer } from "../server/harness.mjs";
import { makeRandom, makeSchema } from "./schemas.mjs";

let server;
before(async () => (server = await startServer(["--max-running", "32"])));
after(() => server.stop());

/** A server-sent answer cut at max_tokens says so; it is asked again with more room and another seed. */
async function answer(schema, seed, more = {}) {
  for (let attempt = 0; attempt < 2; ++attempt) {
    const r = await server.json("/v1/chat/completions", {
      messages: [{ role: "user", content: "Tell me something as JSON." }],
      response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
      max_tokens: 300 * (attempt + 1), temperature: 0.9, seed: seed + attempt * 1000003, ...more,
    });
    if (r.error) throw new Error(`${r.error.message}: ${JSON.stringify(schema)}`);
    if (r.choices.every((c) => c.finish_reason === "stop")) return r.choices.map((c) => c.message.content);
  }
  return [];
}

test("random schemas: each answer is JSON that fits", async () => {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats(ajv);
  const count = Number(process.env.SCHEMAS ?? 540), workers = 24;
  const keywords = new Map();
  let checked = 0, endless = 0, next = 0;
  const bad = [];
  const work = async () => {
    while (next < count) {
      const seed = ++next, schema = makeSchema(makeRandom(seed));
      JSON.stringify(schema, (key, value) => (key && keywords.set(key, 1 + (keywords.get(key) ?? 0)), value));
      const texts = await answer(schema, seed, seed % 5 === 0 ? { top_k: 20, min_p: 0.01, repetition_penalty: 1.2, n: 2 } : seed % 7 === 0 ? { temperature: 0 } : {});
      if (texts.length === 0) ++endless;
      const validate = ajv.compile(schema);
      for (const text of texts) {
        let value;
        try {
          value = JSON.parse(text);
        } catch (error) {
          bad.push({ seed, schema, text, error: error.message });
          continue;
        }
        ++checked;
        if (!validate(value)) bad.push({ seed, schema, text, error: ajv.errorsText(validate.errors) });
      }
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  for (const b of bad.slice(0, 5)) console.log(JSON.stringify(b));
  console.log(`schemas=${count} answers=${checked} not_ended=${endless} invalid=${bad.length}`);
  assert.equal(bad.length, 0);
  assert.ok(checked >= 500, "at least 500 answers were checked");
  assert.ok(endless <= count / 20, "all but a few answers ended");
  for (const k of ["$ref", "anyOf", "oneOf", "allOf", "enum", "const", "pattern", "format", "minimum", "exclusiveMaximum", "multipleOf", "minItems", "prefixItems", "patternProperties"])
    assert.ok(keywords.get(k) > 5, `${k} was among them`);
});

test("an answer that is cut short says so, and is the beginning of one that fits", async () => {
  const schema = { type: "object", properties: { a: { type: "string", minLength: 50 } }, required: ["a"] };
  const r = await server.json("/v1/chat/completions", {
    messages: [{ role: "user", content: "?" }], max_tokens: 5, seed: 1, response_format: { type: "json_schema", json_schema: { name: "x", schema } } });
  assert.equal(r.choices[0].finish_reason, "length");
  assert.match(r.choices[0].message.content, /^\{\s*"/);
});

test("the same seed gives the same answer, alone or among others, whole or as a stream, with logprobs or without", async () => {
  const schema = makeSchema(makeRandom(4));
  const body = (seed) => ({ messages: [{ role: "user", content: "JSON?" }], seed, temperature: 1, max_tokens: 200, response_format: { type: "json_schema", json_schema: { name: "x", schema } } });
  const text = async (seed, more) => (await server.json("/v1/chat/completions", { ...body(seed), ...more })).choices[0].message.content;
  const alone = [];
  for (let seed = 0; seed < 4; ++seed) alone.push(await text(seed));
  assert.deepEqual(await Promise.all([0, 1, 2, 3].map((seed) => text(seed))), alone);
  assert.deepEqual(await Promise.all([0, 1, 2, 3].map((seed) => text(seed, { logprobs: true, top_logprobs: 2 }))), alone);
});

test("completions follow grammars, regexes, choices and schemas, by every name", async () => {
  const complete = async (more) => (await server.json("/v1/completions", { prompt: "The answer: ", max_tokens: 60, seed: 5, ...more }));
  for (const [field, value, fits] of [
    ["grammar", 'root ::= ("ab" | "cd"){2,3} "!"', /^(ab|cd){2,3}!$/],
    ["guided_grammar", 'root ::= [0-9]+ "."', /^[0-9]+\.$/],
    ["regex", "[A-Z][a-z]{3,8}: \\d{2}", /^[A-Z][a-z]{3,8}: \d{2}$/],
    ["guided_regex", "(yes|no)(, (yes|no)){0,2}", /^(yes|no)(, (yes|no)){0,2}$/],
    ["choice", ["red", "green"], /^(red|green)$/],
    ["guided_choice", ["north", "south"], /^(north|south)$/],
    ["json_schema", { enum: ["a", 12] }, /^("a"|12)$/],
    ["guided_json", '{"const": [true]}', /^\[true\]$/],
    ["structured_outputs", { regex: "x{3}y?" }, /^xxxy?$/],
    ["response_format", { type: "json_schema", schema: { type: "boolean" } }, /^(true|false)$/],
  ]) {
    const r = await complete({ [field]: value });
    assert.match(r.choices?.[0].text ?? JSON.stringify(r), fits, field);
    assert.equal(r.choices[0].finish_reason, "stop", field);
  }
});

test("what cannot be is refused with the field and the reason", async () => {
  const refusal = async (more) => {
    const response = await server.post("/v1/chat/completions", { messages: [{ role: "user", content: "?" }], ...more });
    assert.equal(response.status, 400);
    return (await response.json()).error;
  };
  for (const [more, param, word] of [
    [{ grammar: "root ::= x" }, "grammar", /not defined/],
    [{ grammar: "root ::= root 'a'" }, "grammar", /not expected/],
    [{ grammar: 5 }, "grammar", /string/],
    [{ regex: "(a" }, "regex", /no '\)'/],
    [{ regex: "a", choice: ["b"] }, "choice", /both/],
    [{ choice: [] }, "choice", /at least one/],
    [{ response_format: { type: "json_schema", json_schema: { name: "x", schema: { not: {} } } } }, "response_format", /'not'/],
    [{ response_format: { type: "json_schema", json_schema: { name: "x" } } }, "response_format", /schema/],
    [{ structured_outputs: { structural_tag: "x" } }, "structured_outputs", /structural_tag/],
  ]) {
    const error = await refusal(more);
    assert.equal(error.param, param, error.message);
    assert.match(error.message, word);
  }
});
