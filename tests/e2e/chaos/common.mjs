// What the parts of the chaos test share: seeded chance, servers, and what a server holds.
import assert from "node:assert/strict";
import fs from "node:fs";
import net from "node:net";
import { eventually, sleep, startServer } from "../server/harness.mjs";

export { assert, eventually, sleep };
export const work = process.env.WORK;
/** By which all takes longer, under a sanitizer. */
export const slowness = Number(process.env.CHAOS_SLOWNESS ?? 1);

/** The same numbers for the same seed (mulberry32). */
export class Chance {
  constructor(seed) {
    this.state = seed >>> 0;
  }
  /** From 0 to 1. */
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  below(n) {
    return Math.floor(this.next() * n);
  }
  pick(list) {
    return list[this.below(list.length)];
  }
  is(probability) {
    return this.next() < probability;
  }
}

/** Words by which a prompt would be known, wherever it turned up. */
export const kMarker = "zanzibarine";

export const servers = [];
export async function begin(flags = [], options = {}) {
  const server = await startServer(flags, options);
  servers.push(server);
  return server;
}

/** Ends a server by SIGTERM, and looks at how it ended and at what it said. */
export async function end(server) {
  assert.equal(await server.stop(), 0, `the server ended badly: ${server.log.slice(-3000)}`);
  looks_well(server);
}

export function looks_well(server) {
  assert.ok(!/Sanitizer|runtime error:|connection lost/.test(server.log), server.log.slice(-6000));
  assert.ok(!server.log.includes(kMarker), "a prompt's words are in the log");
}

export const alive = (server) => assert.equal(server.child.exitCode ?? server.child.signalCode, null, `it died: ${server.log.slice(-3000)}`);

/** All bytes that come back for some, however slowly they are written; ends when the server closes, or after `ms`. */
export function exchange(port, parts, { ms = 4000 * slowness, pause = 0, hang_up = true } = {}) {
  return new Promise((resolve) => {
    const begin = performance.now();
    const socket = net.connect(port, "127.0.0.1");
    const result = { text: "", closed: false, ms: 0, statuses: [] };
    const timer = setTimeout(() => socket.destroy(), ms);
    socket.setEncoding("latin1").on("data", (text) => (result.text += text));
    socket.on("end", () => (result.closed = true)).on("error", () => (result.closed = true));
    socket.on("close", () => {
      clearTimeout(timer);
      result.ms = performance.now() - begin;
      result.statuses = [...result.text.matchAll(/(?:^|\n|\}|>)HTTP\/1\.[01] (\d+) /g)].map((m) => Number(m[1]));
      resolve(result);
    });
    (async () => {
      for (const part of Array.isArray(parts) ? parts : [parts]) {
        if (socket.destroyed || result.closed) return;
        socket.write(typeof part === "string" ? Buffer.from(part, "latin1") : part);
        if (pause > 0) await sleep(pause);
      }
      if (hang_up === "at once") socket.destroy();
    })();
  });
}

export const post = (path, body, headers = "") =>
  `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${Buffer.byteLength(body, "latin1")}\r\n${headers}\r\n${body}`;

/** What a process holds now. */
export function held(server) {
  const status = fs.readFileSync(`/proc/${server.child.pid}/status`, "utf8");
  const number = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)[1]);
  return { files: fs.readdirSync(`/proc/${server.child.pid}/fd`).length, threads: number("Threads"), anonymous: number("RssAnon") / 1024 };
}

/** Once nobody asks any more: no request, no connection, no page but remembered ones; and memory given back. */
export async function rest(server) {
  const none = async (name, most = 0) => (await server.metric(name)) <= most;
  await eventually(async () => (await none("onebit_running_requests")) && (await none("onebit_queue_length")), "no request is under way", 20 * slowness);
  await eventually(() => none("onebit_connections", 2), "connections are closed", 20 * slowness);
  assert.equal(await server.metric("onebit_kv_pages"), await server.metric("onebit_prefix_cache_pages"), "pages that nobody holds");
  await sleep(6000); // after five it gives memory back
  return held(server);
}

/** Asks the same again and again, until stop(): a crowd of others must not change a bit of the answer. */
export async function canary(server) {
  const body = { prompt: "The river", max_tokens: 6, temperature: 0, ignore_eos: true };
  const ask = async () => {
    const response = await server.post("/v1/completions", body);
    const answer = await response.json();
    return { status: response.status, text: answer.choices?.[0].text };
  };
  const first = await ask();
  assert.equal(first.status, 200);
  const seen = { asked: 0, busy: 0, longest: 0 };
  let over = false;
  const running = (async () => {
    while (!over) {
      const begin = performance.now();
      const now = await ask();
      seen.longest = Math.max(seen.longest, performance.now() - begin);
      ++seen.asked;
      if ([429, 503].includes(now.status)) ++seen.busy;
      else assert.deepEqual(now, first);
      await sleep(100);
    }
  })();
  running.catch(() => {});
  seen.stop = async () => {
    over = true;
    await running;
  };
  return seen;
}
