// What the server says to well-formed, odd and hostile HTTP, and who is let in.
import assert from "node:assert/strict";
import fs from "node:fs";
import net from "node:net";
import { after, before, test } from "node:test";
import { eventually, events, raw, sleep, startServer } from "./harness.mjs";

let server, name;
before(async () => {
  server = await startServer(["--max-body", "100000", "--max-header", "4096"]);
  name = (await (await fetch(server.url + "/v1/models")).json()).data[0].id;
});
after(() => server.stop());

test("health, models, tokenizer routes", async () => {
  assert.deepEqual(await (await fetch(server.url + "/health")).json(), { status: "ok" });
  const one = await (await fetch(`${server.url}/v1/models/${name}`)).json();
  assert.equal(one.id, name);
  const { tokens, count } = await server.json("/tokenize", { content: "Hello wörld 🌍" });
  assert.equal(tokens.length, count);
  assert.equal((await server.json("/detokenize", { tokens })).content, "Hello wörld 🌍");
  const { tokens: pieces } = await server.json("/tokenize", { content: "a🌍", with_pieces: true });
  const bytes = pieces.flatMap(({ piece }) => (typeof piece === "string" ? [...Buffer.from(piece)] : piece));
  assert.equal(Buffer.from(bytes).toString(), "a🌍");
  const applied = await server.json("/apply-template", { messages: [{ role: "user", content: "Hi <|eot_id|>" }] });
  assert.match(applied.prompt, /^<\|begin_of_text\|>/);
  const info = await (await fetch(server.url + "/tokenizer_info")).json();
  assert.equal(info.special_tokens[info.bos_token], info.bos_token_id);
  assert.ok(info.stop_token_ids.length > 0);
  // Words of a user are text even where they look like markers.
  const ids = applied.tokens.filter((id) => id === info.special_tokens["<|eot_id|>"]);
  assert.equal(ids.length, 1);
});

test("what is not there, and what is not taken", async () => {
  const status = async (path, method = "GET") => {
    const r = await fetch(server.url + path, { method });
    assert.ok((await r.json()).error.message);
    return r.status;
  };
  assert.equal(await status("/nothing"), 404);
  assert.equal(await status("/v1/chat/completions"), 405);
  assert.equal(await status("/v1/models", "DELETE"), 405);
  assert.equal((await fetch(server.url + "/tokenize")).headers.get("allow"), "POST");
});

test("bodies that are not what they should be", async () => {
  for (const body of ["", "{", "[]", "1", '{"messages": 1}', "[".repeat(50000), '{"a":'.repeat(20000), "\u0000"]) {
    const r = await server.post("/v1/chat/completions", body);
    assert.equal(r.status, 400, body.slice(0, 20));
    assert.equal((await r.json()).error.type, "invalid_request_error");
  }
  assert.equal((await server.post("/v1/chat/completions", "x".repeat(100001))).status, 413);
});

test("headers that are too long, and what is not HTTP", async () => {
  assert.match(await raw(server.port, `GET / HTTP/1.1\r\nHost: localhost\r\nA: ${"b".repeat(5000)}\r\n\r\n`), /^HTTP\/1.1 431 /);
  assert.match(await raw(server.port, "nonsense\r\n\r\n"), /^HTTP\/1.1 400 /);
  assert.match(await raw(server.port, "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n"), /^HTTP\/1.1 400 /);
  assert.match(await raw(server.port, "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), /^HTTP\/1.1 400 /);
});

test("one connection carries several requests, a body may wait to be asked for", async () => {
  const body = JSON.stringify({ content: "x" });
  const request = `POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const answers = await raw(server.port, request + request + request.replace("Host: localhost", "Host: localhost\r\nConnection: close"));
  assert.equal(answers.match(/HTTP\/1.1 200 /g).length, 3);
  const expecting = `POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`;
  assert.match(await raw(server.port, expecting + body), /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 /);
  const chunked = `POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
  assert.match(await raw(server.port, chunked), /^HTTP\/1.1 200 /);
});

test("HTTP/1.0 gets its stream until the connection ends", async () => {
  const body = JSON.stringify({ prompt: "Once", max_tokens: 3, stream: true, ignore_eos: true });
  const answer = await raw(server.port, `POST /v1/completions HTTP/1.0\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  assert.match(answer, /\r\n\r\ndata: \{/);
  assert.match(answer, /data: \[DONE\]\n\n$/);
});

test("metrics are what was promised", async () => {
  await server.json("/v1/completions", { prompt: "Once", max_tokens: 5, ignore_eos: true });
  const page = await (await fetch(server.url + "/metrics")).text();
  for (const wanted of ["tokps_recent", "onebit_generated_tokens_total", "onebit_queue_length", "onebit_kv_pages", "onebit_prefix_cache_hit_tokens_total", 'onebit_requests_total{outcome="length"}', "onebit_time_to_first_token_seconds_bucket", "onebit_inter_token_seconds_count", "onebit_request_seconds_sum", "onebit_build_info{"])
    assert.ok(page.includes("\n" + wanted), wanted);
  await eventually(async () => (await server.metric("tokps_recent")) > 0, "tokens of the last seconds are counted");
});

test("a page that knows this machine by another name, or is of another origin, gets nothing", async () => {
  const asks = (headers) => raw(server.port, `GET /v1/models HTTP/1.1\r\nConnection: close\r\n${headers}\r\n`);
  assert.match(await asks("Host: evil.example\r\n"), /^HTTP\/1.1 403 [^]*host_not_allowed/);
  assert.match(await asks(`Host: 127.0.0.1:${server.port}\r\nOrigin: http://evil.example\r\n`), /^HTTP\/1.1 403 [^]*origin_not_allowed/);
  assert.match(await asks(`Host: 127.0.0.1:${server.port}\r\nOrigin: null\r\n`), /^HTTP\/1.1 403 /);
  assert.match(await asks(`Host: 127.0.0.1:${server.port}\r\nOrigin: http://127.0.0.1:${server.port}\r\n`), /^HTTP\/1.1 200 /);
  const named = await startServer(["--allow-host", "box.example", "--cors-origin", "https://page.example"]);
  const request = "GET /v1/models HTTP/1.1\r\nConnection: close\r\nHost: box.example\r\nOrigin: https://page.example\r\n\r\n";
  assert.match(await raw(named.port, request), /^HTTP\/1.1 200 /);
  await named.stop();
});

test("who sends more than is read still hears why", async () => {
  const head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n";
  for (let i = 0; i < 5; ++i) assert.match(await raw(server.port, head + "x".repeat(300000)), /^HTTP\/1.1 413 /);
  const small = await startServer(["--max-bodies", "1000"]);
  assert.equal((await small.post("/tokenize", { content: "x".repeat(2000) })).status, 503);
  assert.equal((await small.post("/tokenize", { content: "x".repeat(200) })).status, 200);
  await small.stop();
});

test("no origin may ask from a page unless it was allowed", async () => {
  const r = await fetch(server.url + "/health");
  assert.equal(r.headers.get("access-control-allow-origin"), null);
  const open = await startServer(["--cors-origin", "https://example.org"]);
  const preflight = await fetch(open.url + "/v1/chat/completions", { method: "OPTIONS" });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers.get("access-control-allow-origin"), "https://example.org");
  await open.stop();
});

test("keys: needed everywhere but for health, by either header, and read again on SIGHUP", async () => {
  const file = process.env.WORK + "/keys";
  fs.writeFileSync(file, "# ours\nfirst-key\n");
  const closed = await startServer(["--api-key-file", file], { env: { ONEBIT_API_KEY: "from-the-environment" } });
  const status = async (headers, path = "/v1/models") => (await fetch(closed.url + path, { headers })).status;
  assert.equal(await status({}), 401);
  assert.equal(await status({}, "/metrics"), 401);
  assert.equal(await status({}, "/health"), 200);
  assert.equal(await status({ Authorization: "Bearer wrong" }), 401);
  assert.equal(await status({ Authorization: "Bearer first-ke" }), 401);
  assert.equal(await status({ Authorization: "Bearer first-key" }), 200);
  assert.equal(await status({ "x-api-key": "from-the-environment" }), 200);
  const refused = await closed.post("/v1/completions", { prompt: "x" });
  assert.equal(refused.status, 401);
  assert.equal((await refused.json()).error.code, "invalid_api_key");
  fs.writeFileSync(file, "second-key\n");
  closed.child.kill("SIGHUP");
  await eventually(async () => (await status({ Authorization: "Bearer second-key" })) === 200, "the new key is known");
  assert.equal(await status({ Authorization: "Bearer first-key" }), 401);
  fs.rmSync(file);
  closed.child.kill("SIGHUP");
  await eventually(() => closed.log.includes("keys not reloaded"), "the log says that the file is gone");
  assert.equal(await status({ Authorization: "Bearer second-key" }), 200);
  assert.equal(await closed.stop(), 0);
});

test("a waiting stream says that it lives", async () => {
  const slow = await startServer(["--max-running", "1", "--keep-alive", "1"]);
  const first = await slow.post("/v1/completions", { prompt: "Once", max_tokens: 4000, ignore_eos: true, stream: true });
  const second = await slow.post("/v1/completions", { prompt: "Twice", max_tokens: 1, stream: true });
  for await (const event of events(second)) {
    assert.match(String(event), /^:/, "a comment comes before anything else");
    break;
  }
  await first.body.cancel().catch(() => {});
  assert.equal(await slow.stop(), 0);
});

test("no text of a request is in the log", async () => {
  const secret = "a-secret-word";
  await server.json("/v1/completions", { prompt: secret, max_tokens: 2 });
  await fetch(`${server.url}/${secret}?q=${secret}`);
  await sleep(50);
  assert.match(server.log, /route=\/v1\/completions status=200/);
  assert.ok(!server.log.includes(secret));
});

test("nothing follows an answer that its client did not wait for", async () => {
  const body = JSON.stringify({ prompt: "Once", max_tokens: 200, ignore_eos: true });
  const bytes = `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n`;
  const socket = net.connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
  let answer = "";
  socket.setEncoding("latin1").on("data", (text) => (answer += text));
  socket.on("error", () => {});
  socket.end(bytes);
  await new Promise((resolve) => socket.on("close", resolve));
  assert.ok(!answer.includes('"object":"list"'), `the second answer in the first one's place: ${answer}`);
});

test("what is too long is refused as the path's protocol says it", async () => {
  const own = await startServer(["--max-body", "1000"]);
  const body = JSON.stringify({ model: "tiny-bitnet", messages: [{ role: "user", content: "x".repeat(2000) }] });
  const error = async (path) => {
    const response = await own.post(path, body);
    assert.equal(response.status, 413);
    return response.json();
  };
  assert.equal((await error("/v1/messages")).type, "error");
  assert.equal(typeof (await error("/api/chat")).error, "string");
  assert.equal(typeof (await error("/v1/chat/completions")).error.message, "string");
  assert.equal(await own.stop(), 0);
});
