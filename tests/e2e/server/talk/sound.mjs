// Sound made by halo, as the tests of voice send and hear it.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import WebSocket from "ws";
import { sleep } from "../harness.mjs";

export const rate = 24000;
const work = process.env.WORK;

/** A text's speech: { file, samples }, PCM16 of 24,000 samples a second. */
export function spoken(text, voice = "rms") {
  const file = path.join(work, `${voice}-${text.replace(/\W+/g, "-")}.wav`);
  if (!fs.existsSync(file))
    execFileSync(process.env.HALO, ["voice", "--speak", text, "--voice", voice, "--out", file, "--out-rate", String(rate)], { stdio: "ignore" });
  return { file, samples: samplesOf(fs.readFileSync(file).subarray(44)) };
}

export const samplesOf = (bytes) => new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + (bytes.length & ~1)));
export const silence = (seconds) => new Int16Array(Math.round(seconds * rate));
export const base64Of = (samples) => Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength).toString("base64");

/** A WAV file of these samples. */
export function wavOf(samples, at = rate) {
  const head = Buffer.alloc(44);
  head.write("RIFF", 0);
  head.writeUInt32LE(36 + samples.byteLength, 4);
  head.write("WAVEfmt ", 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(at, 24);
  head.writeUInt32LE(at * 2, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write("data", 36);
  head.writeUInt32LE(samples.byteLength, 40);
  return Buffer.concat([head, Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength)]);
}

export function joined(parts) {
  const all = new Int16Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** What /v1/audio/transcriptions understands of a file. */
export async function transcribed(server, wav, fields = {}, headers = {}) {
  const form = new FormData();
  form.set("file", new Blob([wav], { type: "audio/wav" }), "speech.wav");
  form.set("model", "whisper-1");
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  return fetch(server.url + "/v1/audio/transcriptions", { method: "POST", body: form, headers });
}

/** A client of the realtime protocol: `events` is all that came, in order. */
export class Client {
  constructor(server, { beta = false, key, query = "", headers = {} } = {}) {
    const words = ["realtime", ...(key === undefined ? [] : [`openai-insecure-api-key.${key}`]), ...(beta ? ["openai-beta.realtime-v1"] : [])];
    this.events = [];
    this.socket = new WebSocket(`ws://127.0.0.1:${server.port}/v1/realtime${query}`, words, { headers });
    this.closed = new Promise((resolve) => this.socket.on("close", (code, reason) => resolve({ code, reason: String(reason) })));
    this.socket.on("error", (error) => (this.error = error));
    this.socket.on("message", (data) => this.events.push({ ...JSON.parse(data), at: performance.now() }));
  }
  async open() {
    await this.until("session.created");
    return this;
  }
  send(event) {
    this.socket.send(typeof event === "string" ? event : JSON.stringify(event));
  }
  /** Sends sound: as fast as it goes, or at the pace of speech. */
  async say(samples, { pace = false } = {}) {
    for (let at = 0; at < samples.length; at += rate / 25) {
      this.send({ type: "input_audio_buffer.append", audio: base64Of(samples.subarray(at, at + rate / 25)) });
      if (pace) await sleep(40);
    }
  }
  all(type) {
    return this.events.filter((event) => event.type === type);
  }
  /** The next event of a type, from the `from`th event on. */
  async until(type, { from = 0, seconds = 60 } = {}) {
    const end = Date.now() + seconds * 1000;
    for (;;) {
      const found = this.events.slice(from).find((event) => event.type === type);
      if (found) return found;
      if (this.error || this.socket.readyState >= 2) throw new Error(`closed before ${type}: ${this.error ?? ""} ${JSON.stringify(this.events.at(-1))}`);
      if (Date.now() > end) throw new Error(`no ${type} within ${seconds} s: ${this.events.map((event) => event.type).join(" ")}`);
      await sleep(5);
    }
  }
  /** The answer's sound of all deltas since the `from`th event. */
  audio(from = 0) {
    const parts = this.events.slice(from).filter((event) => /^response\.(output_)?audio\.delta$/.test(event.type));
    return joined(parts.map((event) => samplesOf(Buffer.from(event.delta, "base64"))));
  }
  async close() {
    this.socket.close();
    return this.closed;
  }
}
