// Starting, too much at once, leaving early, ending.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { eventually, events, model, raw, sleep, startServer } from "./harness.mjs";

const run = (...args) => spawnSync(process.env.SERVER, args, { encoding: "utf8" });

test("wrong usage and files that are no model end the program with a reason", () => {
  assert.equal(run().status, 2);
  assert.equal(run("-m", model, "--port", "x").status, 2);
  assert.match(run("--help").stdout, /--api-key-file/);
  const open = run("-m", model, "--host", "0.0.0.0");
  assert.equal(open.status, 2);
  assert.match(open.stderr, /--listen-without-key/);
  assert.equal(run("-m", model, "--host", "0.0.0.0", "--api-key", "").status, 2);
  const absent = run("-m", "/nowhere.h1b", "--port", "0");
  assert.equal(absent.status, 1);
  assert.match(absent.stderr, /\/nowhere\.h1b/);
  const config = run("--port", "1234", "--print-config");
  assert.equal(config.status, 0);
  assert.match(config.stdout, /^port=1234$/m);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "1bit "));
  const file = path.join(folder, "a.toml");
  fs.writeFileSync(file, config.stdout.replace(/^# model=""$/m, `model="${model}"`));
  assert.match(run("--config", file, "--max-waiting", "7", "--print-config").stdout, /^port=1234$[^]*^max-waiting=7$/m);
  fs.writeFileSync(file, "prot = 1234\n");
  const mistyped = run("-m", model, "--config", file);
  assert.equal(mistyped.status, 2);
  assert.match(mistyped.stderr, /prot/);
  fs.rmSync(folder, { recursive: true });
});

test("more models by flags and folders, and conversations that outlive the server", async () => {
  assert.match(run("--add-model", "nonsense").stderr, /NAME=FILE/);
  assert.equal(run("--add-model", "nonsense").status, 2);
  assert.match(run("--models", "/nowhere", "--port", "0").stderr, /\/nowhere/);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "1bit "));
  fs.symlinkSync(path.resolve(model), path.join(folder, "linked.h1b"));
  const flags = ["--add-model", `other=${model}`, "--models", folder, "--model-idle", "1", "--kv-folder", folder];
  const state = async (server) => Object.fromEntries((await (await fetch(server.url + "/v1/models")).json()).data.map((m) => [m.id, m.state]));
  const messages = [{ role: "user", content: "Tell me of the towns on the river. ".repeat(30) }];
  const ask = (server, model) => server.json("/v1/chat/completions", { model, messages, temperature: 0, max_tokens: 5 });
  let server = await startServer(flags);
  assert.deepEqual(await state(server), { "tiny-bitnet": "loaded", other: "unloaded", linked: "unloaded" });
  const first = await ask(server, "tiny-bitnet");
  assert.deepEqual((await ask(server, "linked")).choices, first.choices);
  assert.equal((await state(server)).linked, "loaded");
  const saved = await server.json("/kv/save", { model: "tiny-bitnet", messages, file: "towns" });
  assert.ok(saved.saved >= 128, JSON.stringify(saved));
  await eventually(async () => (await state(server)).linked === "unloaded", "what is unused goes");
  assert.equal((await ask(server, "none")).error.code, "model_not_found");
  await server.stop();
  server = await startServer(flags);
  // The same file by another name is the same model.
  assert.equal((await server.json("/kv/restore", { model: "other", file: "towns" })).restored, saved.saved);
  const again = await ask(server, "other");
  assert.equal(again.usage.prompt_tokens_details.cached_tokens, saved.saved);
  assert.deepEqual(again.choices, first.choices);
  await server.stop();
  fs.rmSync(folder, { recursive: true });
});

test("more than may wait is refused at once, and the rest is served", async () => {
  const server = await startServer(["--max-running", "1", "--max-waiting", "3"]);
  const ask = async () => {
    const begin = performance.now();
    const r = await server.post("/v1/completions", { prompt: "Once", max_tokens: 500, ignore_eos: true });
    const body = await r.json();
    return { status: r.status, retry: r.headers.get("retry-after"), body, ms: performance.now() - begin };
  };
  const all = await Promise.all(Array.from({ length: 12 }, ask));
  const refused = all.filter((r) => r.status === 429), served = all.filter((r) => r.status === 200);
  assert.ok(served.length >= 3 && refused.length >= 1);
  assert.equal(served.length + refused.length, 12);
  for (const r of refused) {
    assert.equal(r.retry, "1");
    assert.equal(r.body.error.type, "rate_limit_error");
  }
  for (const r of served) assert.equal(r.body.usage.completion_tokens, 500);
  await server.stop();
});

test("a client that leaves stops costing: queued, prefilling, decoding, streaming or not", async () => {
  const server = await startServer(["--max-running", "2"]);
  const leave = async (body, ms) => {
    const controller = new AbortController();
    const request = server.post("/v1/completions", body, { signal: controller.signal }).then((r) => r.text()).catch(() => "gone");
    await sleep(ms);
    controller.abort();
    return request;
  };
  const long = { prompt: "Once", max_tokens: 4000, ignore_eos: true };
  await Promise.all([
    leave(long, 100), leave({ ...long, stream: true }, 100), leave(long, 50), leave({ ...long, stream: true }, 50),
    leave({ ...long, prompt: Array(3900).fill(100), max_tokens: 100 }, 20),
  ]);
  await eventually(async () => (await server.metric("onebit_running_requests")) + (await server.metric("onebit_queue_length")) === 0, "nothing is left");
  await eventually(async () => (await server.metric("onebit_connections")) <= 1, "connections are closed");
  const pages = await server.metric("onebit_kv_pages");
  assert.equal(pages, await server.metric("onebit_prefix_cache_pages"), "only prefixes hold memory");
  await server.stop();
});

test("a client that sent more than its request and left is noticed too", async () => {
  const server = await startServer();
  const body = JSON.stringify({ prompt: "Once", max_tokens: 4000, ignore_eos: true });
  const socket = net.connect(server.port, "127.0.0.1");
  socket.write(`POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}GET `);
  await eventually(async () => (await server.metric("onebit_running_requests")) === 1, "it runs");
  socket.destroy();
  await eventually(async () => (await server.metric("onebit_running_requests")) === 0, "it is noticed", 2);
  await eventually(() => /completions status=499/.test(server.log), "the log says so");
  await server.stop();
});

test("SIGTERM lets answers end, takes nothing new, and ends with 0", async () => {
  const server = await startServer();
  const response = await server.post("/v1/completions", { prompt: "Once", max_tokens: 2000, ignore_eos: true, stream: true });
  let text = "", done = false, asked = false;
  for await (const event of events(response)) {
    if (!asked) server.child.kill("SIGTERM");
    asked = true;
    if (event === "data: [DONE]") done = true;
    else text += event.choices?.[0]?.text ?? "";
  }
  assert.ok(done, "the answer came to its end");
  assert.equal((await server.exited)[0], 0);
  assert.match(server.log, /stopping requests=1/);
  assert.equal(await raw(server.port, "GET /health HTTP/1.1\r\n\r\n"), "", "nobody listens any more");
});

test("an answer that takes longer than the drain time is cut with a reason", async () => {
  const server = await startServer(["--drain-time", "0"]);
  const response = await server.post("/v1/completions", { prompt: "Once", max_tokens: 4000, ignore_eos: true, stream: true });
  let last;
  for await (const event of events(response)) {
    if (last === undefined) server.child.kill("SIGTERM");
    last = event;
  }
  assert.equal(last.error.code, "shutting_down");
  assert.equal((await server.exited)[0], 0);
});

test("while the model loads, health says so", async () => {
  const server = await startServer([], { ready: false });
  const r = await fetch(server.url + "/health");
  assert.ok([200, 503].includes(r.status)); // it may be ready already: loading takes some ms
  await eventually(async () => (await fetch(server.url + "/health")).status === 200, "it becomes ready");
  await server.stop();
});

test("conversations that are brought back make room for one another", async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "kv-"));
  const flags = ["--kv-folder", folder, "--kv-memory", "8"];
  const names = ["one", "two", "three", "four"];
  const prompt = (n) => Array.from({ length: 300 }, (_, i) => 300 + ((i * 7 + n * 131) % 1000));
  let server = await startServer(flags);
  const limit = await server.metric("onebit_kv_pages_limit");
  for (const [n, file] of names.entries()) {
    await server.json("/v1/completions", { prompt: prompt(n), max_tokens: 1 });
    assert.ok((await server.json("/kv/save", { prompt: prompt(n), file })).saved >= 256);
  }
  assert.equal(await server.stop(), 0);
  server = await startServer(flags);
  for (const file of names) {
    assert.ok((await server.json("/kv/restore", { file })).restored >= 256);
    assert.ok((await server.metric("onebit_kv_pages")) <= limit, "more pages than there may be");
  }
  const last = await server.json("/v1/completions", { prompt: prompt(3), max_tokens: 1 });
  assert.ok(last.usage.prompt_tokens_details.cached_tokens >= 256, "the last one is there");
  assert.equal(await server.stop(), 0);
  server = await startServer([...flags, "--no-prefix-cache"]);
  assert.equal((await server.post("/kv/restore", { file: "one" })).status, 403, "it would be of no use");
  assert.equal(await server.stop(), 0);
  fs.rmSync(folder, { recursive: true });
});

test("who asked for another model and left keeps nobody from this one", async () => {
  const flags = ["--add-model", `b=${model}`, "--add-model", `c=${model}`, "--kv-memory", "400"]; // room for all that the stream may come to: none of it waits for pages
  const megabytes = Math.ceil(fs.statSync(model).size / 1e6 + 402);
  const server = await startServer([...flags, "--models-memory", String(2 * megabytes)]);
  const long = { model: "b", prompt: "Once", max_tokens: 3000, n: 8, ignore_eos: true, stream: true };
  const stop = new AbortController();
  const stream = await server.post("/v1/completions", long, { signal: stop.signal });
  let pieces = 0, ended = false;
  const reading = (async () => {
    for await (const piece of stream.body) if (piece.length > 0) ++pieces;
    ended = true;
  })().catch(() => {});
  await eventually(() => pieces > 3, "the stream runs");
  await sleep(1200); // its model has had its turn
  const left = new AbortController();
  const gone = server.post("/v1/completions", { model: "c", prompt: "Once", max_tokens: 1 }, { signal: left.signal }).catch(() => {});
  await sleep(400);
  left.abort();
  await gone;
  await sleep(500);
  const answer = await server.post("/v1/completions", { model: "b", prompt: "Once", max_tokens: 1 }, { signal: AbortSignal.timeout(20000) });
  assert.equal(answer.status, 200);
  assert.ok(!ended, "it had to wait for the stream's end");
  stop.abort();
  await reading;
  assert.equal(await server.stop(), 0);
});
