// Clients that load a running 1bit-server and say what they saw, as one line of JSON: node load.mjs URL TEST [NUMBER…].
import http from "node:http";

const [url, test, ...numbers] = process.argv.slice(2);
const [a, b] = numbers.map(Number);
const agent = new http.Agent({ keepAlive: true, maxSockets: 4096 });
const now = () => performance.now();
const quantile = (values, q) => [...values].sort((x, y) => x - y)[Math.min(values.length - 1, Math.floor(q * values.length))];

/** One completion; `onData` hears each piece of the answer with its time. Resolves to status, text and time taken. */
function complete(body, onData = () => {}) {
  return new Promise((resolve, reject) => {
    const begin = now();
    const request = http.request(url + "/v1/completions", { method: "POST", agent, headers: { "Content-Type": "application/json" } }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (piece) => (text += piece, onData(piece, now())));
      response.on("end", () => resolve({ status: response.statusCode, text, ms: now() - begin }));
    });
    request.on("error", reject);
    request.end(JSON.stringify({ ignore_eos: true, temperature: 0, ...body }));
  });
}

/** A stream of `tokens` tokens: when each came. `prompt`: as many token ids, different for each `seed`. */
async function stream(prompt, tokens, seed, times = []) {
  const ids = Array.from({ length: prompt }, (_, i) => 100 + ((i * 7919 + seed * 104729) % 5000));
  await complete({ prompt: ids, max_tokens: tokens, stream: true }, (piece, at) => {
    for (let i = piece.split('"finish_reason":null').length - 1; i > 0; --i) times.push(at);
  });
  return times;
}

const tests = {
  /** a streams of b tokens at once: tokens a second in all, from the first token on. */
  async streams() {
    const all = await Promise.all(Array.from({ length: a }, (_, i) => stream(64, b, i)));
    const first = Math.max(...all.map((times) => times[0])), end = Math.min(...all.map((times) => times.at(-1)));
    const counted = all.flat().filter((t) => t > first && t <= end).length;
    return { streams: a, tokens_s: (counted * 1000) / (end - first) };
  },
  /** a streams while a prompt of b tokens arrives: the gaps between their tokens meanwhile. */
  async long_prompt() {
    const running = Array.from({ length: a }, () => []);
    const done = running.map((times, i) => stream(64, 600, i, times));
    while (running.some((times) => times.length < 10)) await new Promise((r) => setTimeout(r, 10));
    const begin = now();
    const first = [];
    stream(b, 2, 99, first);
    while (first.length === 0) await new Promise((r) => setTimeout(r, 10));
    const gaps = running.flatMap((times) => times.slice(1).map((t, i) => [t, t - times[i]])).filter(([t]) => t > begin && t <= first[0]).map(([, gap]) => gap);
    done.forEach((d) => d.catch(() => {}));
    return { streams: a, prompt: b, time_to_first_token_ms: first[0] - begin, gaps: gaps.length, p50_ms: quantile(gaps, 0.5), p99_ms: quantile(gaps, 0.99) };
  },
  /** One-token completions by a clients for b seconds. */
  async one_token() {
    const end = now() + b * 1000;
    const served = [], refused = [];
    const client = async (i) => {
      for (let n = 0; now() < end; ++n) {
        const r = await complete({ prompt: [100 + i, 200 + (n % 500), 300], max_tokens: 1 });
        (r.status === 200 ? served : refused).push(r.ms);
      }
    };
    await Promise.all(Array.from({ length: a }, (_, i) => client(i)));
    return { clients: a, served_s: served.length / b, served_p50_ms: quantile(served, 0.5), refused: refused.length, refused_p99_ms: refused.length ? quantile(refused, 0.99) : 0 };
  },
  /** a one-token completions a second for b seconds, whether the earlier ones were answered or not. */
  async arrivals() {
    const served = [], refused = [], open = new Set();
    const begin = now();
    for (let n = 0; n < a * b; ++n) {
      while (begin + (n * 1000) / a > now()) await new Promise((resolve) => setTimeout(resolve, 1));
      const one = complete({ prompt: [100 + (n % 64), 200 + (n % 500), 300], max_tokens: 1 }).then((r) => (r.status === 200 ? served : refused).push(r.ms)).finally(() => open.delete(one));
      open.add(one);
    }
    await Promise.all(open);
    return { offered_s: a, served_s: served.length / b, refused_s: refused.length / b, refused_p50_ms: quantile(refused, 0.5), refused_p99_ms: quantile(refused, 0.99) };
  },
  /** a streams that wait, for b seconds. */
  async idle_streams() {
    for (let i = 0; i < a; ++i) complete({ prompt: [100, 101, 102], max_tokens: 4000, stream: true }).catch(() => {});
    await new Promise((r) => setTimeout(r, b * 1000));
    return { streams: a };
  },
};
console.log(JSON.stringify(await tests[test]()));
process.exit(0);
