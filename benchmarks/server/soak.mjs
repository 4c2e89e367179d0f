// Random clients of a running 1bit-server, some of them rude: node soak.mjs URL PID SECONDS CLIENTS. One line of JSON:
// what was asked, and the server's memory, files and pages when it was new, at rest after a tenth of the time (by then it
// has read its model and filled its prefix cache), on the way, and at rest after the last client left.
import fs from "node:fs";
import net from "node:net";

const [url, pid, seconds, clients] = process.argv.slice(2);
let end;
const { hostname, port } = new URL(url);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const below = (n) => Math.floor(Math.random() * n);
const counts = {};

const post = (path, body, signal) =>
  fetch(url + path, { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal });
const ids = (n) => Array.from({ length: n }, () => 100 + below(5000));
const sampling = () => [{ temperature: 0 }, {}, { top_k: 40, top_p: 0.9 }, { typical_p: 0.8 }, { dry_multiplier: 0.8, xtc_probability: 0.5 }, { repetition_penalty: 1.2, min_p: 0.05 }][below(6)];
const answer = () => ({ max_tokens: 1 + below(200), ignore_eos: below(2) === 0, stream: below(2) === 0, ...sampling() });
const chat = () => ({ messages: [{ role: "system", content: "You are terse." }, { role: "user", content: `What is ${below(50)}?` }], logprobs: below(4) === 0, ...answer() });
const completion = () => ({ prompt: ids(1 + below(below(10) === 0 ? 3000 : 60)), n: 1 + below(3), echo: below(8) === 0, logprobs: below(4) === 0 ? 5 : null, stop: below(4) === 0 ? ["a", "the "] : null, ...answer() });

const acts = {
  chat: async () => (await post("/v1/chat/completions", chat())).text(),
  completion: async () => (await post("/v1/completions", completion())).text(),
  async leave() {
    const control = new AbortController();
    setTimeout(() => control.abort(), below(300));
    await (await post("/v1/completions", { ...completion(), max_tokens: 2000 }, control.signal)).text();
  },
  nonsense: async () => (await post("/v1/chat/completions", ["{", "[]", '{"messages": 3}', "[".repeat(below(100000)), '{"prompt": [1e99]}'][below(5)])).text(),
  async half() {
    const socket = net.connect(Number(port), hostname);
    socket.on("error", () => {});
    socket.write(`POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${1 + below(1e6)}\r\n\r\n{"prompt": "`);
    await sleep(below(200));
    socket.destroy();
  },
  tokens: async () => (await post("/tokenize", { content: "word ".repeat(below(5000)), with_pieces: true })).text(),
  pages: async () => (await fetch(url + ["/metrics", "/health", "/v1/models", "/tokenizer_info", "/nothing"][below(5)])).text(),
};

async function client() {
  const names = Object.keys(acts);
  while (performance.now() < end) {
    const name = names[below(names.length)];
    counts[name] = (counts[name] ?? 0) + 1;
    await acts[name]().catch(() => {});
    if (below(20) === 0) await sleep(below(1000));
  }
}

async function state() {
  const page = await (await fetch(url + "/metrics", { headers: { Connection: "close" } })).text();
  const metric = (name) => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(page)[1]);
  const status = fs.readFileSync(`/proc/${pid}/status`, "utf8");
  const bytes = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)[1]) * 1024;
  return { resident_bytes: bytes("VmRSS"), own_bytes: bytes("RssAnon"), files: fs.readdirSync(`/proc/${pid}/fd`).length, connections: metric("onebit_connections"), requests: metric("onebit_running_requests") + metric("onebit_queue_length"), pages: metric("onebit_kv_pages"), prefix_pages: metric("onebit_prefix_cache_pages") };
}

/** When all have left and it has given back what it can. Its prefix cache then holds one long prompt and nothing else. */
async function atRest() {
  await (await post("/v1/completions", { prompt: Array.from({ length: 3000 }, (_, i) => 100 + (i % 5000)), max_tokens: 1 })).text();
  let now = await state();
  for (let i = 0; i < 200 && (now.requests > 0 || now.connections > 1); ++i) {
    await sleep(500); // kept connections close after --idle-time
    now = await state();
  }
  await sleep(8000);
  return state();
}

async function clientsFor(time) {
  end = performance.now() + time * 1000;
  await Promise.all(Array.from({ length: Number(clients) }, client));
}

const before = await state();
await clientsFor(seconds / 10);
const warm = await atRest();
const samples = [];
const begin = performance.now();
const sample = async () => samples.push({ seconds: Math.round((performance.now() - begin) / 1000), ...(await state()) });
const timer = setInterval(sample, Math.max(1, seconds / 60) * 1000);
await clientsFor(Number(seconds));
clearInterval(timer);
console.log(JSON.stringify({ seconds: Number(seconds), clients: Number(clients), counts, before, warm, after: await atRest(), samples }));
process.exit(0);
