// A hostile network: clients that leave, wait, drip, and say what two readers could understand in two ways.
import net from "node:net";
import { assert, exchange, kMarker, post, sleep, slowness } from "./common.mjs";

const long = { prompt: `${kMarker} Once upon a time`, max_tokens: 400, ignore_eos: true };
const messages = [{ role: "user", content: `${kMarker} tell me a story` }];
/** Requests of every protocol that take a while. */
const kSlow = [
  ["/v1/completions", long],
  ["/v1/completions", { ...long, stream: true }],
  ["/v1/completions", { ...long, stream: true, logprobs: 20, n: 4 }],
  ["/v1/completions", { ...long, prompt: Array(3000).fill(100), echo: true, logprobs: 5 }],
  ["/v1/chat/completions", { messages, stream: true, max_tokens: 300 }],
  ["/v1/responses", { input: `${kMarker} hello`, stream: true, max_output_tokens: 300 }],
  ["/v1/messages", { messages, stream: true, max_tokens: 300 }],
  ["/v1/embeddings", { input: Array(100).fill(`${kMarker} vectors`) }],
  ["/api/chat", { messages }],
  ["/tokenize", { content: `${kMarker} `.repeat(8000) }],
  ["/v1/audio/speech", { input: `${kMarker} and so on. `.repeat(60), response_format: "pcm" }],
];
const kUpgrade = "GET /v1/realtime?model=tiny-bitnet HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/** A client's frame of up to 64 KB, masked with zeros. */
function frame(payload, opcode = 1) {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(payload.length);
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | 126]), length, Buffer.alloc(4), payload]);
}
const event = (type, more = {}) => frame(Buffer.from(JSON.stringify({ type, ...more })));
const kSound = Buffer.alloc(24000, 0x11).toString("base64");
const kFrames = [
  event("input_audio_buffer.append", { audio: kSound }), event("input_audio_buffer.commit"), event("response.create"), event("response.cancel"),
  event("conversation.item.create", { item: { type: "message", role: "user", content: [{ type: "input_text", text: kMarker }] } }),
  event("session.update", { session: { instructions: kMarker } }), event("nothing"), frame(Buffer.from("{")), frame(Buffer.from([0xff, 0xfe])), frame(Buffer.alloc(60000, 0x61)), frame(Buffer.alloc(100), 2), frame(Buffer.alloc(8), 9), frame(Buffer.alloc(200), 9),
  frame(Buffer.from([0x03]), 8), Buffer.from([0x81]), Buffer.from([0x01, 0x05, 1, 2, 3, 4, 5]), Buffer.from([0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
];

/** Opens a connection, does `act` with it, and is gone in one of three ways. */
async function visit(port, chance, act) {
  const socket = net.connect(port, "127.0.0.1");
  // A reset that fails because bytes were still on their way is an error without a close.
  const closed = new Promise((resolve) => socket.on("close", resolve).on("error", resolve));
  await act(socket);
  chance.pick([() => socket.destroy(), () => socket.resetAndDestroy(), () => (socket.end(), socket.resume())])();
  const kill = setTimeout(() => socket.destroy(), 15000);
  await closed;
  clearTimeout(kill);
}

const half = (text, chance) => text.slice(0, 1 + chance.below(text.length - 1));

const kVisits = {
  leaves: (port, chance) =>
    visit(port, chance, async (socket) => {
      const [path, body] = chance.pick(kSlow);
      socket.write(post(path, JSON.stringify(body)) + (chance.is(0.3) ? "G" : ""));
      if (chance.is(0.7)) socket.resume();
      await sleep(chance.below(300));
    }),
  half_sent: (port, chance) =>
    visit(port, chance, async (socket) => {
      const [path, body] = chance.pick(kSlow);
      socket.write(half(post(path, JSON.stringify(body)), chance));
      await sleep(chance.below(100));
    }),
  half_closed: (port, chance) =>
    visit(port, chance, async (socket) => {
      socket.end(half(post("/v1/completions", JSON.stringify(long)), chance));
      socket.resume();
      await sleep(chance.below(100));
    }),
  reads_nothing: (port, chance) =>
    visit(port, chance, async (socket) => {
      socket.pause();
      socket.write(post("/v1/completions", JSON.stringify({ ...long, stream: true, logprobs: 20, n: 8 })));
      await sleep(chance.below(700));
    }),
  talks: (port, chance) =>
    visit(port, chance, async (socket) => {
      socket.write(kUpgrade);
      if (chance.is(0.8)) socket.resume();
      await sleep(chance.below(60));
      for (let i = chance.below(8); i > 0; --i) socket.write(chance.pick(kFrames));
      await sleep(chance.below(300));
    }),
  speaks_a_form: (port, chance) =>
    visit(port, chance, async (socket) => {
      const body = `--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF${"\x11".repeat(chance.below(20000))}\r\n--x--\r\n`;
      const text = post("/v1/audio/transcriptions", body, "Content-Type: multipart/form-data; boundary=x\r\n");
      socket.write(Buffer.from(chance.is(0.5) ? text : half(text, chance), "latin1"));
      socket.resume();
      await sleep(chance.below(200));
    }),
  noise: (port, chance) =>
    visit(port, chance, async (socket) => {
      socket.write(Buffer.from(Array.from({ length: 1 + chance.below(3000) }, () => chance.below(256))));
      await sleep(chance.below(30));
    }),
  flipped: async (port, chance) => {
    const bytes = Buffer.from(post("/v1/completions", JSON.stringify({ prompt: kMarker, max_tokens: 1 }), "Connection: close\r\n"));
    for (let i = chance.below(4); i >= 0; --i) bytes[chance.below(bytes.length)] = chance.below(256);
    const { statuses } = await exchange(port, bytes, { ms: 1500 });
    for (const status of statuses) assert.ok(status < 500 || status === 503, `${status} for ${bytes}`);
  },
  in_pieces: async (port, chance) => {
    const text = post("/tokenize", JSON.stringify({ content: kMarker })).repeat(2) + post("/tokenize", '{"content":"x"}', "Connection: close\r\n");
    const parts = [];
    for (let at = 0; at < text.length; ) parts.push(text.slice(at, (at += 1 + chance.below(120))));
    const { statuses } = await exchange(port, parts, { pause: 2, ms: 8000 * slowness });
    assert.deepEqual(statuses, [200, 200, 200]);
  },
};

/** Until `seconds` are over, so many at once. */
export async function random_visits(server, chance, seconds, at_once = 12) {
  const count = {};
  const until = Date.now() + seconds * 1000;
  const one = async () => {
    while (Date.now() < until) {
      const name = chance.pick(Object.keys(kVisits));
      count[name] = (count[name] ?? 0) + 1;
      await kVisits[name](server.port, chance);
    }
  };
  await Promise.all(Array.from({ length: at_once }, one));
  return count;
}

/** Headers and bodies that drip, and clients that say nothing: all are gone in time, while others are served. */
export async function slow_loris(server, { header, body, idle }) {
  const { port } = server;
  const drip = (text) => text.split("");
  const spare = 2.5 * slowness;
  const gone = async (parts, seconds, begin = 0) => {
    const result = await exchange(port, parts, { pause: 100, ms: 1000 * (seconds + begin + spare) });
    assert.ok(result.closed, `still open after ${result.ms} ms: ${parts.length} parts`);
    return result;
  };
  const request = post("/tokenize", '{"content":"x"}');
  const head = `POST /tokenize HTTP/1.1\r\nHost: localhost\r\nA: ${"b".repeat(300)}`;
  const all = [];
  for (let i = 0; i < 60; ++i)
    all.push(
      gone([], header), // says nothing
      gone(drip(head), header),
      gone(["GET / HTTP/1.1\r\n", ...Array(200).fill("A: b\r\n")], header),
      gone([post("/tokenize", "x".repeat(3000)).slice(0, -2990), ...drip("y".repeat(200))], body),
      gone([request], idle), // and nothing after its answer
      gone([request, ...drip(head)], header, idle), // the second header drips
    );
  const watch = (async () => {
    for (let i = 0; i < 10; ++i) {
      const begin = performance.now();
      assert.equal((await server.post("/tokenize", { content: "x" })).status, 200);
      assert.ok(performance.now() - begin < 2000 * slowness, "others wait");
      await sleep(100);
    }
  })();
  await Promise.all([...all, watch]);
  return all.length;
}

const kHidden = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
const kBody = '{"content":"x"}';
const head = (lines, version = "1.1") => `POST /tokenize HTTP/${version}\r\n${["Host: localhost", ...lines].join("\r\n")}\r\n\r\n`;
const chunks = (text, lines = []) => head(["Transfer-Encoding: chunked", "Connection: close", ...lines]) + text;
const length = `Content-Length: ${kBody.length}`;

/** What another reader on the way could divide differently. All are refused, and nothing after them is answered. */
const kRefused = {
  "two lengths": head([length, "Content-Length: 0"]) + kBody + kHidden,
  "two lengths in one": head([`Content-Length: 0, ${kBody.length}`]) + kHidden,
  "length and chunks": head([length, "Transfer-Encoding: chunked"]) + `0\r\n\r\n${kHidden}`,
  "chunks and length": head(["Transfer-Encoding: chunked", "Content-Length: 4"]) + `0\r\n\r\n${kHidden}`,
  "a length with a sign": head([`Content-Length: +${kBody.length}`]) + kBody + kHidden,
  "a length below zero": head(["Content-Length: -1"]) + kHidden,
  "a hexadecimal length": head(["Content-Length: 0x0"]) + kHidden,
  "a length of words": head(["Content-Length: 0 0"]) + kHidden,
  "an empty length": head(["Content-Length:"]) + kHidden,
  "a length beyond 64 bits": head(["Content-Length: 18446744073709551616"]) + kHidden,
  "a space before the colon": head(["Content-Length : 0"]) + kHidden,
  "a coding before the colon": head(["Transfer-Encoding : chunked"]) + `0\r\n\r\n${kHidden}`,
  "an unknown coding": head(["Transfer-Encoding: xchunked"]) + `0\r\n\r\n${kHidden}`,
  "a coding that hides": head(["Transfer-Encoding: \x0bchunked"]) + `0\r\n\r\n${kHidden}`,
  "chunks that are not last": head(["Transfer-Encoding: chunked, identity"]) + `0\r\n\r\n${kHidden}`,
  "chunked twice": head(["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]) + `0\r\n\r\n${kHidden}`,
  "chunks in HTTP/1.0": head(["Transfer-Encoding: chunked"], "1.0") + `0\r\n\r\n${kHidden}`,
  "line feeds alone": `POST /tokenize HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n${kHidden}`,
  "a carriage return alone": head(["A: b\rContent-Length: 0"]) + kHidden,
  "NUL in a header": head(["A: b\0c", "Content-Length: 0"]) + kHidden,
  "a folded coding": head(["Transfer-Encoding:\r\n chunked", "Content-Length: 0"]) + kHidden,
  "two hosts": head(["Host: evil.example", "Content-Length: 0"]) + kHidden,
  "a chunk beyond 64 bits": chunks(`10000000000000000\r\n${kBody}\r\n0\r\n\r\n${kHidden}`),
  "a chunk of all bits": chunks(`ffffffffffffffff\r\n${kBody}\r\n0\r\n\r\n${kHidden}`),
  "a chunk below zero": chunks(`-1\r\n${kBody}\r\n0\r\n\r\n${kHidden}`),
  "a chunk with 0x": chunks(`0xf\r\n${kBody}\r\n0\r\n\r\n${kHidden}`),
  "a chunk without a size": chunks(`\r\n${kBody}\r\n0\r\n\r\n${kHidden}`),
  "a chunk longer than it says": chunks(`2\r\n${kBody}\r\n0\r\n\r\n${kHidden}`),
  "chunks by line feeds": chunks(`f\n${kBody}\n0\n\n${kHidden}`),
  "an endless extension": chunks(`f;a=${"b".repeat(100000)}\r\n${kBody}\r\n0\r\n\r\n`),
  "endless trailers": chunks(`f\r\n${kBody}\r\n0\r\n${"A: b\r\n".repeat(20000)}\r\n`),
};
/** What may be taken or not, but once. */
const kOnce = {
  "the same length twice": head([length, length, "Connection: close"]) + kBody,
  "a folded header": head(["A: b", " Content-Length: 999", length, "Connection: close"]) + kBody,
  "a length in the trailers": chunks(`f\r\n${kBody}\r\n0\r\nContent-Length: 100\r\n\r\n${kHidden}`),
  "an extension": chunks(`f;a="\r\n";b\r\n${kBody}\r\n0\r\n\r\n${kHidden}`),
  "another version": head([length, "Connection: close"], "1.9") + kBody,
  "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "another protocol": head([length, "Connection: Upgrade, close", "Upgrade: h2c", "HTTP2-Settings: AAAA"]) + kBody,
  "a proxy's target": `GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n${kHidden}`,
  "a tunnel": `CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n${kHidden}`,
  "a byte more after the last request": head([length, "Connection: close"]) + kBody + "x".repeat(100000),
};

export async function smuggling(server) {
  const ask = async (name, bytes) => {
    const before = server.log.split("route=other").length;
    const result = await exchange(server.port, bytes, { ms: 6000 * slowness });
    assert.ok(result.closed, `${name}: the connection stays open: ${result.text}`);
    assert.ok(result.statuses.length <= 1, `${name}: ${result.text}`);
    return { ...result, others: server.log.split("route=other").length - before };
  };
  const results = {};
  for (const [name, bytes] of Object.entries(kRefused)) {
    const { statuses, others, text } = await ask(name, bytes);
    results[name] = statuses[0];
    assert.ok([400, 413, 431, 501].includes(statuses[0]), `${name}: ${text}`);
    assert.equal(others, 0, `${name}: what it hid was answered`);
  }
  for (const [name, bytes] of Object.entries(kOnce)) {
    const { statuses } = await ask(name, bytes);
    assert.equal(statuses.length, 1, `${name}: no answer`);
    results[name] = statuses[0];
  }
  return results;
}
