// Clients of /v1/realtime that mean no good, or leave at the wrong moment: an error event or the end of that connection,
// and afterwards the server holds what it held before.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { after, before, test } from "node:test";
import { eventually, sleep, startServer } from "../harness.mjs";
import { base64Of, Client, joined, rate, silence, spoken, transcribed, wavOf } from "./sound.mjs";

const question = "What is the capital of France?";
let server;
before(async () => {
  server = await startServer(["--voice-sessions", "6", "--idle-time", "4", "--write-time", "3", "--header-time", "3", "--max-body", "200000"]);
  await well(); // everything that is loaded once is loaded
  await well();
});
after(async () => {
  assert.equal(await server?.stop(), 0);
});

/** The server still hears, thinks and speaks. */
async function well() {
  let talk;
  await eventually(async () => (talk = await new Client(server).open().catch(() => undefined)) !== undefined, "there is room for a conversation");
  talk.send({ type: "session.update", session: { temperature: 0 } });
  await talk.say(joined([spoken(question).samples, silence(1)]));
  const done = await talk.until("response.done");
  assert.match(done.response.output[0].content[0].transcript, /Paris/);
  await talk.close();
}

const proc = (...parts) => `/proc/${server.child.pid}/${parts.join("/")}`;
const threads = () => fs.readdirSync(proc("task")).length;
const descriptors = () => fs.readdirSync(proc("fd")).length;
const kilobytes = () => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(proc("status"), "utf8"))[1]);
const children = () => execFileSync("sh", ["-c", `ps --ppid ${server.child.pid} -o pid= || true`], { encoding: "utf8" }).trim();

/** Runs it, and holds the server to what it held before. */
async function unharmed(work) {
  const held = [threads(), descriptors()];
  await work();
  await eventually(async () => (await server.metric("onebit_voice_sessions")) === 0, "all conversations have ended", 30);
  await well();
  const holds = () => `threads ${threads()} of ${held[0]}, descriptors ${descriptors()} of ${held[1]}`;
  await eventually(() => threads() <= held[0] && descriptors() <= held[1], "what it held before").catch((error) => assert.fail(`${error.message}: ${holds()}`));
  assert.equal(children(), "");
}

/** A WebSocket by hand, after its handshake: `frame(opcode, payload)` writes; `closed` resolves to all that came. */
async function socketByHand(extra = "") {
  const socket = net.connect(server.port, "127.0.0.1");
  socket.on("error", () => {});
  const came = [];
  socket.on("data", (bytes) => came.push(bytes));
  const closed = new Promise((resolve) => socket.on("close", () => resolve(Buffer.concat(came))));
  socket.write(
    `GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n${extra}\r\n`,
  );
  await eventually(() => Buffer.concat(came).includes("session.created") || socket.destroyed, "the handshake");
  const frame = (opcode, payload, { final = true, masked = true, length } = {}) => {
    const body = Buffer.from(payload);
    const size = length ?? body.length;
    const head = Buffer.alloc(size < 126 ? 2 : size < 65536 ? 4 : 10);
    head[0] = (final ? 0x80 : 0) | opcode;
    head[1] = (masked ? 0x80 : 0) | (size < 126 ? size : size < 65536 ? 126 : 127);
    if (head.length === 4) head.writeUInt16BE(size, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(size), 2);
    const mask = Buffer.from([1, 2, 3, 4]);
    socket.write(Buffer.concat([head, ...(masked ? [mask, body.map((byte, i) => byte ^ mask[i % 4])] : [body])]));
  };
  return { socket, frame, closed, came: () => Buffer.concat(came).toString("latin1") };
}

test("events that are none get an error each, and the conversation goes on", async () => {
  await unharmed(async () => {
    const talk = await new Client(server).open();
    const wrong = ["", "{", "[]", "null", '"x"', "[".repeat(10000), "{}", '{"type": 5}', '{"type": "none"}', '{"type": "session.update", "session": 1}', '{"type": "input_audio_buffer.append", "audio": {}}'];
    for (const text of wrong) talk.send(text);
    talk.socket.send(Buffer.from([1, 2, 3]));
    await eventually(() => talk.all("error").length === wrong.length + 1, "an error for each");
    // In fragments, each a frame of its own.
    const text = JSON.stringify({ type: "session.update", session: { instructions: "é".repeat(500) } });
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += 7) talk.socket.send(bytes.subarray(at, at + 7), { fin: at + 7 >= bytes.length, binary: false });
    assert.equal((await talk.until("session.updated")).session.instructions.length, 500);
    await talk.close();
  });
});

test("frames that break the protocol end the connection", async () => {
  await unharmed(async () => {
    const breaks = {
      "not masked": ({ frame }) => frame(1, "{}", { masked: false }),
      "no UTF-8": ({ frame }) => frame(1, Buffer.from([0xc3, 0x28])),
      "an opcode of nobody's": ({ frame }) => frame(5, "x"),
      "a continuation of nothing": ({ frame }) => frame(0, "x"),
      "a ping in fragments": ({ frame }) => frame(9, "x", { final: false }),
      "a message longer than any may be": ({ frame }) => frame(1, "x", { length: 2 ** 40 }),
      "a close of one byte": ({ frame }) => frame(8, "x"),
      "noise": ({ socket }) => socket.write(randomBytes(4096)),
      "half a frame, and silence": ({ frame }) => frame(1, "{", { length: 100 }),
    };
    await Promise.all(
      Object.entries(breaks).map(async ([name, act], i) => {
        await sleep(i * 300); // six conversations at once
        const one = await socketByHand();
        act(one);
        const ended = await Promise.race([one.closed, sleep(20_000).then(() => undefined)]);
        assert.notEqual(ended, undefined, name);
      }),
    );
    const talk = await new Client(server).open();
    talk.send(JSON.stringify({ type: "input_audio_buffer.append", audio: "A".repeat(400_000) }));
    assert.equal((await talk.closed).code, 1009);
  });
});

test("floods of pings, of events and of sound are bounded", async () => {
  const before = kilobytes();
  await unharmed(async () => {
    const pings = await socketByHand();
    const timer = setInterval(() => {
      for (let i = 0; i < 2000 && !pings.socket.destroyed; ++i) pings.frame(9, "x");
    }, 20);
    await pings.closed;
    clearInterval(timer);

    const events = await new Client(server).open();
    for (let i = 0; i < 20_000; ++i) events.send("{}");
    await eventually(() => events.all("error").length === 20_000 || events.socket.readyState === 3, "answers, or the end", 60);
    events.socket.terminate();

    // Ten minutes of noise at once: it waits with the client.
    const sound = await new Client(server).open();
    const noise = base64Of(Int16Array.from({ length: rate }, () => Math.round((Math.random() - 0.5) * 20000)));
    for (let i = 0; i < 600; ++i) sound.send({ type: "input_audio_buffer.append", audio: noise });
    await sleep(3000);
    sound.socket.terminate();
  });
  assert.ok(kilobytes() - before < 150_000, `${kilobytes() - before} KB more than before`);
});

test("who reads nothing, and who is only half there, is cut", async () => {
  await unharmed(async () => {
    const slow = await socketByHand();
    slow.socket.pause();
    const text = JSON.stringify({ type: "conversation.item.create", item: { role: "assistant", content: [{ type: "text", text: "x".repeat(50_000) }] } });
    const timer = setInterval(() => {
      if (!slow.socket.destroyed && slow.socket.writableLength < 1e6) for (let i = 0; i < 20; ++i) slow.frame(1, text);
    }, 20);
    const begin = Date.now();
    await eventually(async () => (await server.metric("onebit_voice_sessions")) === 0, "the slow reader is cut", 40);
    clearInterval(timer);
    slow.socket.destroy();
    assert.ok(Date.now() - begin < 35_000);
    assert.match(server.log, /route=\/v1\/realtime status=408/);

    // It answers no ping.
    const mute = await socketByHand();
    const since = Date.now();
    await mute.closed;
    assert.ok(Date.now() - since > 2000 && Date.now() - since < 20_000, `${Date.now() - since} ms`);
  });
});

test("clients that leave in the midst of each state", async () => {
  await unharmed(async () => {
    const states = ["session.created", "input_audio_buffer.speech_started", "input_audio_buffer.committed", "response.created", "response.output_audio.delta", "response.done"];
    for (let round = 0; round < 2; ++round)
      for (const state of states) {
        const talk = new Client(server);
        await talk.until("session.created");
        void talk.say(joined([spoken(question).samples, silence(1)])).catch(() => {});
        await talk.until(state);
        if (round === 0) talk.socket.terminate();
        else talk.socket.close();
        await talk.closed;
      }
    // Half a handshake, one of another version, a frame before the answer.
    const half = net.connect(server.port, "127.0.0.1");
    half.on("error", () => {});
    half.write("GET /v1/realtime HTTP/1.1\r\nUpgrade: webs");
    const other = net.connect(server.port, "127.0.0.1");
    other.on("error", () => {});
    other.write("GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: x\r\n\r\n");
    await sleep(300);
    half.destroy();
    other.destroy();
    const eager = net.connect(server.port, "127.0.0.1");
    let answer = "";
    eager.on("data", (bytes) => (answer += bytes)).on("error", () => {});
    eager.write(`GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n\r\n\x81\x02{}`);
    await eventually(() => /^HTTP\/1.1 \d/.test(answer), "an answer");
    assert.match(answer, /^HTTP\/1.1 400/);
    eager.destroy();
    // Transcriptions and speech whose client leaves.
    for (const path of ["/v1/audio/transcriptions", "/v1/audio/speech"]) {
      const abort = new AbortController();
      const form = new FormData();
      form.set("file", new Blob([wavOf(spoken(question).samples)]), "x.wav");
      const body = path.endsWith("speech") ? JSON.stringify({ input: `${question} `.repeat(100), voice: "slt" }) : form;
      const request = fetch(server.url + path, { method: "POST", body, signal: abort.signal });
      await sleep(100);
      abort.abort();
      await request.catch(() => {});
    }
  });
});

test("a speaker that dies, hangs or floods, and a recogniser that is not there, are errors of the turn", async (t) => {
  for (const [program, flags] of [
    ["sh -c false", []],
    ["yes", []],
  ]) {
    const broken = await startServer(["--tts", "espeak-ng", "--tts-program", program, ...flags]);
    t.after(() => broken.stop());
    const talk = await new Client(broken).open();
    for (let turn = 0; turn < 2; ++turn) {
      const from = talk.events.length;
      await talk.say(joined([spoken(question).samples, silence(1)]));
      assert.equal((await talk.until("response.done", { from })).response.status, "failed");
      assert.ok((await talk.until("error", { from })).error.message.length > 5);
    }
    await talk.close();
    const response = await broken.post("/v1/audio/speech", { input: "Hello.", voice: "en" });
    assert.equal(response.status, 500);
    assert.equal(execFileSync("sh", ["-c", `ps --ppid ${broken.child.pid} -o pid= || true`], { encoding: "utf8" }).trim(), "");
  }
  const deaf = await startServer(["--stt", "openai", "--stt-url", "http://127.0.0.1:9"]);
  t.after(() => deaf.stop());
  const talk = await new Client(deaf).open();
  await talk.say(joined([spoken(question).samples, silence(1)]));
  assert.match((await talk.until("error")).error.message, /refused/);
  assert.ok(await talk.until("conversation.item.input_audio_transcription.failed"));
  await talk.close();
  assert.equal((await transcribed(deaf, wavOf(spoken(question).samples))).status, 500);
});
