// A machine that fails: no room for keys and values, a full disk, a clock that jumps, an end in the midst of it, and a
// model's file that is another, or gone, under the server that has it open.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { events } from "../server/harness.mjs";
import { alive, assert, begin, canary, end, eventually, exchange, kMarker, looks_well, post, rest, sleep, slowness, work } from "./common.mjs";

const model = process.env.MODEL;
const greedy = (prompt, max_tokens, more = {}) => ({ prompt, max_tokens, temperature: 0, ignore_eos: true, ...more });
const text_of = (answer) => answer.choices[0].text;

/** More asked for than there are pages: all get the answers that they would get with room. */
export async function no_room(chance) {
  const prompts = Array.from({ length: 8 }, (_, i) => Array.from({ length: 40 + chance.below(300) }, () => 300 + ((i * 131 + chance.below(1000)) % 2000)));
  const ask = (server, i) => server.json("/v1/completions", greedy(prompts[i], 130));
  const roomy = await begin(["--no-prefix-cache"]);
  const expected = (await Promise.all(prompts.map((_, i) => ask(roomy, i)))).map(text_of);
  const page = await (await fetch(roomy.url + "/metrics")).text();
  const context = (await (await fetch(roomy.url + "/v1/models")).json()).data[0].meta.context;
  const limit = Number(/^onebit_kv_pages_limit (\d+)$/m.exec(page)[1]);
  await end(roomy);
  const server = await begin(["--kv-memory", "8"]);
  const pages = await server.metric("onebit_kv_pages_limit");
  assert.ok(pages < limit && pages > 8, `${pages} pages of ${limit}`);
  const answers = await Promise.all(prompts.map((_, i) => ask(server, i)));
  answers.forEach((answer, i) => assert.equal(text_of(answer), expected[i]));
  const put_back = await server.metric("onebit_preemptions_total");
  assert.ok(put_back > 0, "some were put back");
  if (pages * 64 < context) {
    const refused = await server.post("/v1/completions", greedy(Array(context - 10).fill(300), 5));
    assert.equal(refused.status, 400, "more than there can ever be room for");
  }
  await rest(server);
  await end(server);
  return { pages, put_back };
}

/** A disk that is full, and files that are none: the old file stays, the server lives. */
export async function full_disk(chance) {
  const folder = fs.mkdtempSync(`${work}/kv-`);
  const conversation = { messages: [{ role: "user", content: `${kMarker} and the sea. `.repeat(60) }], max_tokens: 1 };
  const remember = (server) => server.json("/v1/chat/completions", conversation);
  const save = (server, file = "sea") => server.post("/kv/save", { file, messages: conversation.messages });
  const restore = (server, file = "sea") => server.post("/kv/restore", { file });
  const first = await begin(["--kv-folder", folder]);
  await remember(first);
  assert.equal((await save(first)).status, 200);
  await end(first);
  const path = `${folder}/sea.kv`;
  const old = fs.readFileSync(path);
  const refused = async (server) => {
    await remember(server);
    for (const file of ["sea", "new"]) {
      const answer = await save(server, file);
      const said = await answer.json();
      assert.equal(answer.status, 500, JSON.stringify(said));
      assert.match(said.error.message, /cannot write|No space|too large|full/);
    }
    assert.ok(fs.readFileSync(path).equals(old), "the old file stays");
    assert.deepEqual(fs.readdirSync(folder).filter((name) => name.includes("new")), []);
    assert.equal((await restore(server)).status, 200);
    await end(server);
  };
  // A limit on the size of files; a shell sets it for the server that it becomes.
  await refused(await begin(["--kv-folder", folder], { file_blocks: 16 }));

  const server = await begin(["--kv-folder", folder]);
  for (let i = 0; i < 40; ++i) {
    const spoilt = Buffer.from(old.subarray(0, chance.is(0.5) ? old.length : chance.below(old.length)));
    if (spoilt.length === old.length) spoilt[chance.below(spoilt.length)] ^= 1 << chance.below(8);
    fs.writeFileSync(`${folder}/spoilt.kv`, spoilt);
    assert.equal((await restore(server, "spoilt")).status, 422);
  }
  // What is no file at all, and would never end, or never begin.
  execFileSync("mkfifo", [`${folder}/pipe.kv`]);
  fs.symlinkSync("/dev/zero", `${folder}/zero.kv`);
  fs.symlinkSync("/dev/full", `${folder}/full.kv`);
  fs.symlinkSync(`${folder}/loop.kv`, `${folder}/loop.kv`);
  fs.mkdirSync(`${folder}/folder.kv`);
  for (const file of ["pipe", "zero", "full", "loop", "folder"]) {
    const answer = await Promise.race([restore(server, file), sleep(5000 * slowness).then(() => ({ status: "no answer" }))]);
    assert.ok([404, 422, 500].includes(answer.status), `${file}: ${answer.status}`);
  }
  await remember(server);
  for (const file of ["pipe", "full", "folder", "loop"]) {
    const answer = await Promise.race([save(server, file), sleep(5000 * slowness).then(() => ({ status: "no answer" }))]);
    assert.ok([200, 500].includes(answer.status), `${file}: ${answer.status}`);
  }
  fs.rmSync(folder, { recursive: true });
  assert.equal((await save(server)).status, 500, "the folder is gone");
  await end(server);
}

/** The wall clock jumps by years, forth and back: nothing that waits notices. */
export async function clock_jumps(chance) {
  const file = `${work}/clock`;
  fs.writeFileSync(file, "0");
  const server = await begin(["--keep-alive", "1", "--request-time", "60", "--model-idle", "1", "--add-model", `other=${model}`], {
    env: { LD_PRELOAD: process.env.CLOCK, CLOCK_OFFSET_FILE: file },
  });
  const seen = await canary(server);
  const years = 365 * 86400;
  for (const offset of [10 * years, -10 * years, 100 * years, 3600, -1, 0, ...Array.from({ length: 4 }, () => (chance.below(60) - 30) * years)]) {
    const stream = await server.post("/v1/completions", greedy("Time", 60, { stream: true }));
    fs.writeFileSync(`${file}.new`, String(offset));
    fs.renameSync(`${file}.new`, file);
    let tokens = 0, last;
    for await (const event of events(stream)) {
      if (typeof event === "object" && event.choices?.length) ++tokens;
      last = event;
    }
    assert.equal(last, "data: [DONE]");
    assert.ok(tokens >= 10);
    assert.equal((await server.post("/v1/completions", greedy("Time", 2, { model: "other" }))).status, 200);
  }
  await seen.stop();
  assert.equal(seen.busy, 0);
  const stamps = new Set([...server.log.matchAll(/^(\d{4})-/gm)].map((m) => m[1]));
  assert.ok(stamps.size > 3, `the clock of the server jumped: ${[...stamps]}`);
  await end(server);
}

/** SIGTERM at a random moment, among streams, halves of requests and silent clients. */
export async function ends_in_the_midst(chance, times) {
  for (let i = 0; i < times; ++i) {
    const twice = chance.is(0.3);
    const server = await begin(["--drain-time", chance.is(0.5) ? "0" : "1"], { ready: chance.is(0.9) });
    const sockets = [post("/tokenize", "{}").slice(0, 40), "", post("/v1/completions", '{"prompt":').slice(0, -3)].map((text) => {
      const socket = net.connect(server.port, "127.0.0.1").on("error", () => {});
      socket.write(text);
      return socket;
    });
    const bodies = Array.from({ length: 6 }, () => greedy(kMarker, 3000, { stream: chance.is(0.7), n: 1 + chance.below(3) }));
    const answers = bodies.map((body) => exchange(server.port, post("/v1/completions", JSON.stringify(body)), { ms: 20000 * slowness }));
    await sleep(chance.below(400));
    const begun = Date.now();
    server.child.kill("SIGTERM");
    if (twice) setTimeout(() => server.child.kill("SIGTERM"), chance.below(300));
    assert.equal((await server.exited)[0], 0, server.log.slice(-2000));
    assert.ok(Date.now() - begun < 6000 * slowness, "it ended late");
    for (const { text, statuses } of await Promise.all(answers)) {
      assert.ok(statuses.every((status) => [200, 503].includes(status)), text.slice(0, 200));
      if (!twice && statuses[0] === 200 && /event-stream/.test(text)) assert.match(text, /\[DONE\]|shutting_down/);
    }
    sockets.forEach((socket) => socket.destroy());
    looks_well(server);
  }
}

/** The file of a loaded model is replaced, cut and gone; that of one which is not loaded yet is garbage, then sound. */
export async function another_file(chance) {
  const folder = fs.mkdtempSync(`${work}/models-`);
  const [path, later] = [`${folder}/own.h1b`, `${folder}/later.h1b`];
  for (const to of [path, later]) fs.copyFileSync(model, to);
  const server = await begin(["-m", path, "--add-model", `later=${later}`, "--model-idle", "1"]);
  const ask = (name = "") => server.post("/v1/completions", greedy("A ship", 20, name ? { model: name } : {}));
  const expected = text_of(await (await ask()).json());
  const same = async (name) => assert.equal(text_of(await (await ask(name)).json()), expected);
  const size = fs.statSync(model).size;
  const garbage = Buffer.from(Array.from({ length: 5000 }, () => chance.below(256)));
  // Renamed over: the open one is still the old.
  fs.writeFileSync(`${path}.new`, garbage);
  fs.renameSync(`${path}.new`, path);
  await same();
  fs.rmSync(path);
  await same();
  // Of a model that is loaded when it is asked for: an error, until the file is sound again.
  for (const bytes of [garbage, Buffer.alloc(0), fs.readFileSync(model).subarray(0, size - 100)]) {
    fs.writeFileSync(later, bytes);
    const answer = await ask("later");
    assert.equal(answer.status, 500);
    assert.match((await answer.json()).error.message, /later\.h1b/);
  }
  fs.rmSync(later);
  assert.equal((await ask("later")).status, 500);
  execFileSync("mkfifo", [later]);
  assert.equal((await Promise.race([ask("later"), sleep(5000 * slowness).then(() => ({ status: "no answer" }))])).status, 500, "a pipe");
  fs.rmSync(later);
  fs.copyFileSync(model, later);
  await same("later");
  // Cut while it is used, at random places, the server's other model goes on.
  const state = async () => (await (await fetch(server.url + "/v1/models/later")).json()).state;
  const statuses = {};
  for (let i = 0; i < 6; ++i) {
    const busy = server.post("/v1/completions", greedy("A ship", 300, { model: "later" }));
    await sleep(chance.below(150));
    fs.truncateSync(later, chance.below(size));
    for (const answer of [await busy, await ask("later")]) {
      const said = await answer.json();
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
      if (answer.status !== 200) assert.equal(answer.status, 500, JSON.stringify(said));
    }
    await same();
    await eventually(async () => ["unloaded", "failed"].includes(await state()), "what is unused goes", 10 * slowness);
    fs.rmSync(later);
    fs.copyFileSync(model, later);
    await same("later");
  }
  alive(server);
  await end(server);
  fs.rmSync(folder, { recursive: true });
  return statuses;
}
