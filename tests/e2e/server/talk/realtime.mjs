// Conversations by voice, transcriptions and speech, as OpenAI's clients have them.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI, { toFile } from "openai";
import { OpenAIRealtimeWebSocket } from "openai/beta/realtime/websocket";
import WebSocket from "ws";
import { eventually, startServer } from "../harness.mjs";
import { base64Of, Client, joined, rate, samplesOf, silence, spoken, transcribed, wavOf } from "./sound.mjs";

const question = "What is the capital of France?";
const key = "its key/with=signs(and more)";
const story = ["--voice-sessions", "8"];
let server, locked;
before(async () => {
  server = await startServer(story);
  locked = await startServer(["--voice-sessions", "1", "--voice-time", "4"], { env: { ONEBIT_API_KEY: key } });
});
after(async () => {
  assert.equal(await server?.stop(), 0);
  assert.equal(await locked?.stop(), 0);
});

const client = () => new OpenAI({ baseURL: server.url + "/v1", apiKey: "none" });

test("OpenAI's realtime client asks by voice and hears the answer", async () => {
  globalThis.WebSocket ??= WebSocket; // browsers have it
  const onURL = (url) => (url.protocol = "ws:"); // it would insist on TLS, a proxy's work
  const talk = new OpenAIRealtimeWebSocket({ model: "tiny-bitnet", onURL }, client());
  const events = [];
  const faults = [];
  talk.on("event", (event) => events.push(event));
  talk.on("error", (error) => faults.push(error));
  const until = (type) => eventually(() => events.some((event) => event.type === type), type, 60);
  await until("session.created");
  talk.send({
    type: "session.update",
    session: { voice: "alloy", instructions: "You answer.", turn_detection: { type: "server_vad", silence_duration_ms: 400 }, temperature: 0 },
  });
  await until("session.updated");
  const { session } = events.find((event) => event.type === "session.updated");
  assert.equal(session.turn_detection.silence_duration_ms, 400);
  assert.equal(session.input_audio_format, "pcm16");
  const sound = joined([spoken(question).samples, silence(1)]);
  for (let at = 0; at < sound.length; at += 2400) talk.send({ type: "input_audio_buffer.append", audio: base64Of(sound.subarray(at, at + 2400)) });
  await until("response.done");
  assert.deepEqual(faults, []);
  const types = events.map((event) => event.type);
  const order = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.input_audio_transcription.completed",
    "response.created",
    "response.output_item.added",
    "response.content_part.added",
    "response.audio_transcript.delta",
    "response.audio.delta",
    "response.audio.done",
    "response.audio_transcript.done",
    "response.output_item.done",
    "response.done",
  ];
  assert.deepEqual(order.filter((type) => !types.includes(type)), []);
  assert.deepEqual([...order].sort((a, b) => types.indexOf(a) - types.indexOf(b)), order);
  assert.ok(types.includes("conversation.item.input_audio_transcription.delta"));
  const said = events.find((event) => event.type === "conversation.item.input_audio_transcription.completed");
  assert.equal(said.transcript, "what is the capital of france");
  assert.equal(said.item_id, events.find((event) => event.type === "input_audio_buffer.speech_started").item_id);
  const done = events.at(-1).response;
  assert.equal(done.status, "completed");
  assert.match(done.output[0].content[0].transcript, /Paris/);
  const words = events.filter((event) => event.type === "response.audio_transcript.delta").map((event) => event.delta).join("");
  assert.equal(words, done.output[0].content[0].transcript);
  const audio = joined(events.filter((event) => event.type === "response.audio.delta").map((event) => samplesOf(Buffer.from(event.delta, "base64"))));
  assert.ok(audio.length > rate, "a second of speech at least");
  assert.match((await (await transcribed(server, wavOf(audio))).json()).text, /paris/);
  talk.close();
});

test("a conversation goes on, in the form of today", async () => {
  const talk = await new Client(server).open();
  assert.equal(talk.all("session.created")[0].session.audio.output.voice, "slt");
  talk.send({ type: "session.update", session: { temperature: 0 } });
  for (const [words, answer] of [[question, /Paris/], ["What is the capital of Japan?", /Tokyo/]]) {
    const from = talk.events.length;
    await talk.say(joined([spoken(words).samples, silence(1)]));
    const done = await talk.until("response.done", { from });
    assert.match(done.response.output[0].content[0].transcript, answer);
    assert.ok(talk.audio(from).length > rate / 2);
  }
  assert.equal((await talk.close()).code, 1000);
});

test("turns by hand, and text instead of speech", async () => {
  const talk = await new Client(server).open();
  talk.send({ type: "session.update", session: { turn_detection: null, temperature: 0, output_modalities: ["text"] } });
  talk.send({ type: "input_audio_buffer.commit", event_id: "mine" });
  const refused = await talk.until("error");
  assert.equal(refused.error.code, "input_audio_buffer_commit_empty");
  assert.equal(refused.error.event_id, "mine");
  await talk.say(spoken(question).samples);
  talk.send({ type: "input_audio_buffer.commit" });
  talk.send({ type: "response.create" });
  let done = await talk.until("response.done");
  assert.match(done.response.output[0].content[0].text, /Paris/);
  assert.equal(talk.audio().length, 0);
  assert.deepEqual(talk.all("input_audio_buffer.speech_started"), []);

  // What is cleared is never heard.
  await talk.say(spoken("What is the capital of Japan?").samples);
  talk.send({ type: "input_audio_buffer.clear" });
  await talk.until("input_audio_buffer.cleared");
  const from = talk.events.length;
  talk.send({ type: "input_audio_buffer.commit" });
  await talk.until("error", { from });

  // A question in letters, with an exchange before it.
  const item = (role, text) => ({ type: "conversation.item.create", item: { type: "message", role, content: [{ type: role === "user" ? "input_text" : "output_text", text }] } });
  const asked = talk.events.length;
  talk.send(item("user", "What is the chemical symbol of gold?"));
  talk.send(item("assistant", "The chemical symbol of gold is Au."));
  talk.send({ type: "response.create" });
  assert.equal((await talk.until("error", { from: asked })).error.code, "nothing_to_answer");
  talk.send(item("user", "What is the capital of Japan?"));
  talk.send({ type: "response.create", response: { instructions: "Be brief." } });
  done = await talk.until("response.done", { from: asked });
  assert.match(done.response.output[0].content[0].text, /Tokyo/);
  assert.equal(talk.events.slice(asked).filter((event) => event.type === "conversation.item.added").length, 4);
  await talk.close();
});

const long = { max_output_tokens: 400, instructions: "Tell long stories.", temperature: 1.5 };

test("speaking stops the answer; so does response.cancel", async () => {
  const talk = await new Client(server).open();
  talk.send({ type: "session.update", session: long });
  for (const way of ["turn_detected", "client_cancelled"]) {
    const from = talk.events.length;
    await talk.say(joined([spoken("Tell me a short story.").samples, silence(1)]));
    await talk.until("response.output_audio.delta", { from });
    let stopped;
    if (way === "turn_detected") {
      await talk.say(spoken(question).samples.subarray(0, rate), { pace: true });
      stopped = await talk.until("input_audio_buffer.speech_started", { from: talk.events.findIndex((event, i) => i >= from && event.type === "response.created") });
    } else {
      talk.send({ type: "response.cancel" });
    }
    // Its answer ends as cancelled, or, where all had been told, as one that was not heard to its end.
    await eventually(
      () => talk.events.slice(from).some((event) => (event.type === "response.done" && event.response.status === "cancelled") || event.type === "conversation.item.truncated"),
      `${way}: stopped`,
    );
    const done = talk.events.slice(from).find((event) => event.type === "response.done");
    if (done?.response.status === "cancelled") {
      assert.equal(done.response.status_details.reason, way);
      if (stopped) assert.ok(done.at - stopped.at < 500);
      const late = talk.events.slice(talk.events.indexOf(done)).filter((event) => event.type === "response.output_audio.delta" && event.response_id === done.response.id);
      assert.deepEqual(late, []);
    }
    talk.send({ type: "input_audio_buffer.clear" });
    await talk.until("input_audio_buffer.cleared", { from });
  }
  const from = talk.events.length;
  talk.send({ type: "response.cancel" });
  assert.equal((await talk.until("error", { from })).error.code, "response_cancel_not_active");
  await talk.close();
});

test("no speech, noise and words that are not sound are no turn", async () => {
  const talk = await new Client(server).open();
  await talk.say(silence(2));
  await talk.say(Int16Array.from({ length: rate * 2 }, () => Math.round((Math.random() - 0.5) * 200)));
  talk.send({ type: "input_audio_buffer.append", audio: "no base64!" });
  talk.send({ type: "input_audio_buffer.append", audio: "AAA=" });
  talk.send({ type: "input_audio_buffer.append", audio: "" });
  await eventually(() => talk.all("error").length === 1, "the error");
  assert.equal(talk.all("error")[0].error.param, "audio");
  assert.deepEqual(talk.all("response.created"), []);
  await talk.close();
});

test("a key, as a header or as browsers send it; an origin; a limit of conversations and of their time", async () => {
  const refused = async (options) => {
    const talk = new Client(locked, options);
    await talk.closed;
    return /\d{3}/.exec(String(talk.error))?.[0];
  };
  assert.equal(await refused({}), "401");
  assert.equal(await refused({ key: "wrong" }), "401");
  assert.equal(await refused({ headers: { Authorization: "Bearer wrong" } }), "401");
  const encoded = encodeURIComponent(key).replace(/[()]/g, (c) => "%" + c.charCodeAt(0).toString(16));
  const talk = await new Client(locked, { key: encoded }).open();
  assert.equal(talk.socket.protocol, "realtime");
  assert.equal(await refused({ headers: { Authorization: `Bearer ${key}` } }), "429");
  const begin = performance.now();
  assert.equal((await talk.closed).code, 1001);
  assert.ok(performance.now() - begin < 10_000);
  assert.equal(talk.events.at(-1).error.code, "session_expired");
  const header = { headers: { Authorization: `Bearer ${key}` } };
  await eventually(() => new Client(locked, header).open().then((again) => again.close(), () => false), "there is room again");
  const origin = new Client(server, { headers: { Origin: "http://evil.example" } });
  await origin.closed;
  assert.match(String(origin.error), /403/);
  const own = await new Client(server, { headers: { Origin: `http://127.0.0.1:${server.port}` } }).open();
  await own.close();
  const none = new Client(server, { query: "?model=none" });
  await none.closed;
  assert.match(String(none.error), /404/);
  assert.equal((await fetch(server.url + "/v1/realtime")).status, 426);
});

test("OpenAI's client transcribes and speaks", async () => {
  const openai = client();
  const speech = await openai.audio.speech.create({ model: "tts-1", voice: "alloy", input: `${question} It is Paris.`, response_format: "wav" });
  const wav = Buffer.from(await speech.arrayBuffer());
  assert.equal(wav.subarray(0, 4).toString(), "RIFF");
  assert.equal(wav.readUInt32LE(24), rate);
  const words = await openai.audio.transcriptions.create({ model: "whisper-1", file: await toFile(wav, "speech.wav"), response_format: "verbose_json" });
  assert.match(words.text, /what is the capital of france/);
  assert.match(words.text, /paris/);
  assert.ok(Math.abs(words.duration - (wav.length - 44) / 2 / rate) < 0.01);
  assert.ok(words.segments.every(({ start, end }) => start < end && end <= words.duration + 0.001));
  const pcm = await openai.audio.speech.create({ model: "tts-1", voice: "rms", input: question, response_format: "pcm", speed: 2 });
  const slow = await openai.audio.speech.create({ model: "tts-1", voice: "rms", input: question, response_format: "pcm", speed: 0.5 });
  assert.ok((await slow.arrayBuffer()).byteLength > 2.5 * (await pcm.arrayBuffer()).byteLength);
  assert.equal(await (await transcribed(server, wav, { response_format: "text" })).text(), words.text + "\n");
  for (const [fields, param] of [[{ response_format: "mp3" }, "response_format"], [{ voice: "nobody" }, "voice"], [{ input: "" }, "input"], [{ speed: 9 }, "speed"]]) {
    const response = await server.post("/v1/audio/speech", { model: "tts-1", voice: "alloy", input: question, ...fields });
    assert.equal(response.status, 400);
    assert.equal((await response.json()).error.param, param);
  }
  // Signs that are no speech: a sound without length.
  const nothing = await server.post("/v1/audio/speech", { input: "***", voice: "slt" });
  assert.equal((await nothing.arrayBuffer()).byteLength, 44);
});

test("recordings that are none, say nothing, or are of other rates", async () => {
  const text = async (wav) => (await (await transcribed(server, wav)).json()).text;
  assert.equal(await text(wavOf(silence(3))), "");
  assert.equal(await text(wavOf(new Int16Array(0))), "");
  const half = spoken(question).samples.filter((_, i) => i % 2 === 0);
  assert.match(await text(wavOf(half, rate / 2)), /capital of france/);
  const wav = wavOf(spoken(question).samples);
  for (const wrong of [wav.subarray(0, 5000), Buffer.from("no sound"), Buffer.alloc(0), wavOf(silence(1), 3)]) {
    const response = await transcribed(server, wrong);
    assert.equal(response.status, 400);
    assert.equal((await response.json()).error.param, "file");
  }
  assert.equal((await server.post("/v1/audio/transcriptions", { file: "x" })).status, 400);
  const form = new FormData();
  form.set("model", "whisper-1");
  assert.equal((await fetch(server.url + "/v1/audio/transcriptions", { method: "POST", body: form })).status, 400);
  assert.equal((await transcribed(server, wav, { response_format: "srt" })).status, 400);
});

test("a server without voice says so, and one that ends lets an answer end", async () => {
  const mute = await startServer(["--voice-sessions", "0"]);
  for (const path of ["/v1/audio/voices"]) {
    const response = await fetch(mute.url + path);
    assert.equal(response.status, 501);
    assert.match((await response.json()).error.message, /no voice/);
  }
  assert.equal((await transcribed(mute, wavOf(silence(1)))).status, 501);
  assert.equal((await mute.post("/v1/audio/speech", { input: "x" })).status, 501);
  const refused = new Client(mute);
  await refused.closed;
  assert.match(String(refused.error), /501/);
  assert.equal(await mute.stop(), 0);

  const ending = await startServer(["--drain-time", "20"]);
  const idle = await new Client(ending).open();
  const talk = await new Client(ending).open();
  await talk.say(joined([spoken(question).samples, silence(1)]));
  await talk.until("input_audio_buffer.speech_started");
  const stopped = ending.stop();
  assert.equal((await idle.closed).code, 1001);
  assert.equal((await talk.closed).code, 1001);
  assert.equal(await stopped, 0);
});
