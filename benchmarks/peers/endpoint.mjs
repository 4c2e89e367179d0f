// node-llama-cpp (upstream llama.cpp) as an OpenAI-compatible endpoint for greedy completions, for halo burnin:
// node endpoint.mjs FILE. Prints its port. One thread: its threads wait for each other by spinning, which beside the other
// server takes minutes.
import http from "node:http";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const llama = await getLlama({ gpu: false, logLevel: LlamaLogLevel.error, build: "never" });
const model = await llama.loadModel({ modelPath: process.argv[2] });
const context = await model.createContext({ contextSize: 4096, sequences: 1, threads: 1 });
const sequence = context.getSequence();

async function complete({ prompt, max_tokens = 16, stop = [], ignore_eos = false }) {
  const ids = Array.isArray(prompt) ? prompt : [model.tokens.bos, ...model.tokenize(prompt, true)].filter((id) => id !== null);
  await sequence.clearHistory();
  const tokens = [];
  let finish_reason = "length";
  for await (const token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
    if (model.isEogToken(token) && !ignore_eos) {
      finish_reason = "stop";
      break;
    }
    tokens.push(token);
    const found = [stop].flat().map((s) => model.detokenize(tokens).indexOf(s)).filter((at) => at >= 0);
    if (found.length > 0) return { text: model.detokenize(tokens).slice(0, Math.min(...found)), finish_reason: "stop" };
    if (tokens.length >= max_tokens) break;
  }
  return { text: model.detokenize(tokens), finish_reason };
}

let last = Promise.resolve(); // one sequence: one request at a time
const server = http.createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  last = last.then(async () => {
    try {
      if (request.url !== "/v1/completions") throw new Error("completions only");
      response.end(JSON.stringify({ choices: [{ index: 0, ...(await complete(JSON.parse(body))) }] }));
    } catch (error) {
      response.writeHead(400).end(JSON.stringify({ error: { message: String(error) } }));
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
