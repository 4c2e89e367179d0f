// Two who share a server learn nothing of each other: not from answers, not from what is remembered of prompts, not from
// numbers, errors or the log.
import fs from "node:fs";
import { assert, begin, end, work } from "./common.mjs";

const kKeys = { first: "key-of-the-first", second: "key-of-the-second" };
const secret = (who) => `The word of ${who} is quixotically${who}. `;
/** Longer than a page of 64 tokens, so that it is remembered. */
const prompt = (who, i = 0) => `${secret(who).repeat(8)} And number ${i}:`;
const as = (who) => ({ headers: { Authorization: `Bearer ${kKeys[who]}` } });
const ask = async (server, who, body, path = "/v1/completions") => (await server.post(path, { max_tokens: 8, temperature: 1, seed: 7, ...body }, as(who))).json();

/** How many tokens of the prompt were remembered, by all that the answer says of it. */
const known = async (server, who, text) => {
  const answer = await ask(server, who, { prompt: text });
  assert.equal(answer.timings.cached_n, answer.usage.prompt_tokens_details.cached_tokens);
  return answer.timings.cached_n;
};

export async function tenants(chance) {
  const file = `${work}/tenants`;
  fs.writeFileSync(file, Object.values(kKeys).join("\n") + "\n");
  const flags = ["--api-key-file", file, "--kv-memory", "16"];
  const alone = await begin(flags);
  const bodies = Array.from({ length: 30 }, (_, i) => ({ who: chance.pick(["first", "second"]), n: 1 + chance.below(3), echo: chance.is(0.5), i }));
  const run = (server, { who, n, echo, i }) => ask(server, who, { prompt: prompt(who, i % 5), n, echo, seed: i });
  const expected = [];
  for (const body of bodies) expected.push((await run(alone, body)).choices);
  await end(alone);

  const server = await begin(flags);
  const pages = [];
  const [answers] = await Promise.all([
    Promise.all(bodies.map((body) => run(server, body))),
    (async () => {
      for (let k = 0; k < 10; ++k)
        for (const path of ["/slots", "/metrics", "/v1/models", "/api/ps"]) pages.push(await (await fetch(server.url + path, as("second"))).text());
    })(),
  ]);
  answers.forEach((answer, i) => {
    const other = bodies[i].who === "first" ? "second" : "first";
    assert.deepEqual(answer.choices, expected[i], "an answer depends on who else asks");
    assert.ok(!JSON.stringify(answer).includes(`quixotically${other}`));
  });
  for (const page of pages) assert.ok(!page.includes("quixotically"), page);

  // What one left nobody else finds; who left it does.
  const fresh = prompt("first", "only");
  await known(server, "first", fresh);
  assert.ok((await known(server, "first", fresh)) >= 64, "one's own is remembered");
  assert.ok((await known(server, "second", fresh)) < 20, "another's is not, beyond how one's own others begin");
  assert.ok((await known(server, "second", fresh)) >= 64);
  const messages = await server.post("/v1/messages", { max_tokens: 1, messages: [{ role: "user", content: fresh }] }, as("first"));
  assert.ok((await messages.json()).usage.cache_read_input_tokens < 20);
  // The same after the keys were read again, whatever their order is.
  fs.writeFileSync(file, Object.values(kKeys).reverse().join("\n") + "\n");
  server.child.kill("SIGHUP");
  while (!server.log.includes("keys reloaded")) await new Promise((resolve) => setTimeout(resolve, 20));
  const later = prompt("second", "later");
  assert.ok((await known(server, "first", fresh)) >= 64);
  await known(server, "second", later);
  assert.ok((await known(server, "first", later)) < 20);
  await end(server);
  assert.ok(!/quixotically|key-of-the/.test(server.log), "words or keys in the log");

  const shared = await begin([...flags, "--share-prefixes"]);
  await known(shared, "first", fresh);
  assert.ok((await known(shared, "second", fresh)) >= 64, "all share, where that was asked for");
  await end(shared);
}
