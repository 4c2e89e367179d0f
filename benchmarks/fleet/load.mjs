// Clients of a fleet: node load.mjs SPECIFICATION, a JSON object; what they saw is one line of JSON.
//   test      "steady", "conversations" or "faults"
//   urls      where they ask, in turn: the balancer, or the servers themselves
//   servers   whose counters are read: [{url, pid}]
import { execSync } from "node:child_process";
import { readFileSync } from "node:fs";
import http from "node:http";

const spec = JSON.parse(process.argv[2]);
const agent = new http.Agent({ keepAlive: true, maxSockets: 4096 });
const headers = { "Content-Type": "application/json", Authorization: `Bearer ${spec.key}` };
const now = () => performance.now();
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const words = "river stone window paper garden copper silent number market winter bridge yellow engine letter forest simple".split(" ");
const text = (seed, n) => Array.from({ length: n }, (_, i) => words[(seed * 7919 + i * 104729 + ((seed * i) % 13)) % words.length]).join(" ");

let turn = 0;
/** One chat: status, text, whether anything of an answer came, how it ended (whole, broken, cut off without a word), ms. */
function ask(messages, tokens, stream) {
  const begin = now();
  const url = spec.urls[turn++ % spec.urls.length];
  const seen = { stream, begun: false, end: "broken", status: 0, text: "", error: "" };
  return new Promise((resolve) => {
    const done = (end, error = "") => resolve({ ...seen, end, error, ms: now() - begin });
    const request = http.request(`${url}/v1/chat/completions`, { method: "POST", agent, headers }, (response) => {
      seen.status = response.statusCode;
      response.setEncoding("utf8");
      response.on("data", (piece) => ((seen.begun = true), (seen.text += piece)));
      response.on("error", (error) => done("broken", error.code ?? error.message));
      response.on("end", () => {
        if (!response.complete) return done("broken", "cut off");
        if (response.statusCode !== 200) return done("refused", seen.text.slice(0, 200));
        const whole = stream ? seen.text.includes("data: [DONE]") : seen.text.endsWith("}");
        done(whole ? "whole" : "silent");
      });
    });
    request.on("error", (error) => done("broken", error.code ?? error.message));
    request.end(JSON.stringify({ model: "tiny-bitnet", temperature: 0, ignore_eos: true, max_tokens: tokens, stream, messages }));
  });
}

const get = (url) =>
  new Promise((resolve, reject) => {
    http.get(url, { headers, agent }, (response) => {
      let all = "";
      response.on("data", (piece) => (all += piece)).on("end", () => resolve(all));
    }).on("error", reject);
  });
const ticks = 100; // of /proc/PID/stat, a second
/** What the servers have done so far, together. */
async function counters() {
  const sums = { generated: 0, computed: 0, known: 0, cpu_s: 0, each: [] };
  for (const { url, pid } of spec.servers) {
    const metrics = await get(`${url}/metrics`);
    const value = (name) => Number(metrics.match(new RegExp(`^${name} (.*)$`, "m"))[1]);
    sums.generated += value("onebit_generated_tokens_total");
    sums.each.push(value("onebit_generated_tokens_total"));
    sums.computed += value("onebit_prompt_tokens_total");
    sums.known += value("onebit_prefix_cache_hit_tokens_total");
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
    sums.cpu_s += (Number(stat[11]) + Number(stat[12])) / ticks;
  }
  return sums;
}

let serial = 0;
const conversation = () => {
  const id = ++serial + spec.seed * 100003;
  return [{ role: "system", content: `You are assistant ${id % 3}. ${text(id % 3, 60)}` }, { role: "user", content: `Question ${id}: ${text(id, 20)}` }];
};

const tests = {
  /** `clients` that always ask, for `seconds`: tokens a second, and what a token costs. */
  async steady() {
    let more = true, failed = 0;
    const client = async () => {
      while (more) if ((await ask(conversation(), spec.tokens, false)).end !== "whole") ++failed;
    };
    const all = Array.from({ length: spec.clients }, client);
    await sleep(spec.warmup * 1000);
    const begin = now(), before = await counters();
    await sleep(spec.seconds * 1000);
    const after = await counters(), seconds = (now() - begin) / 1000;
    more = false;
    await Promise.all(all);
    const tokens = after.generated - before.generated;
    return { seconds, tokens, tokens_s: tokens / seconds, cores: (after.cpu_s - before.cpu_s) / seconds,
      cpu_ms_token: ((after.cpu_s - before.cpu_s) * 1000) / tokens, each: after.each.map((n, i) => n - before.each[i]), failed };
  },
  /** `conversations` of `turns` questions, `clients` at a time: how much of their prompts was remembered. */
  async conversations() {
    const before = await counters();
    let left = spec.conversations, failed = 0;
    const client = async () => {
      while (left-- > 0) {
        const messages = conversation();
        for (let i = 0; i < spec.turns; ++i) {
          const reply = await ask(messages, spec.tokens, false);
          if (reply.end !== "whole") { ++failed; break; }
          messages.push(JSON.parse(reply.text).choices[0].message, { role: "user", content: `And ${text(i + serial, 12)}` });
        }
      }
    };
    await Promise.all(Array.from({ length: spec.clients }, client));
    const after = await counters();
    const computed = after.computed - before.computed, known = after.known - before.known;
    return { computed, known, hit_rate: known / (known + computed), failed };
  },
  /** Half streams, half whole answers, without end; meanwhile the commands of `faults`, [[second, command], …]. */
  async faults() {
    let more = true;
    const all = [];
    const client = async (i) => {
      for (let n = i; more; ++n) all.push(await ask(conversation(), spec.tokens, n % 2 === 0));
    };
    const clients = Array.from({ length: spec.clients }, (_, i) => client(i));
    const begin = now();
    for (const [second, command] of spec.faults) {
      await sleep(Math.max(0, second * 1000 - (now() - begin)));
      execSync(command);
    }
    await sleep(Math.max(0, spec.seconds * 1000 - (now() - begin)));
    more = false;
    await Promise.all(clients);
    const unstreamed = all.filter((r) => !(r.stream && r.begun));
    const failed = unstreamed.filter((r) => r.end !== "whole");
    const streams = all.filter((r) => r.stream && r.begun);
    return { requests: all.length, unstreamed: unstreamed.length, unstreamed_failed: failed.length,
      streams: streams.length, streams_broken: streams.filter((r) => r.end === "broken").length,
      streams_silent: streams.filter((r) => r.end === "silent").length,
      slowest_ms: Math.max(...all.map((r) => r.ms)), errors: [...new Set(all.filter((r) => r.end !== "whole").map((r) => `${r.status} ${r.end} ${r.error}`))] };
  },
};

console.log(JSON.stringify(await tests[spec.test]()));
agent.destroy();
