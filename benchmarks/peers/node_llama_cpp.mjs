// Prefill and decode of a GGUF file by node-llama-cpp (upstream llama.cpp), as one line of JSON:
// node node_llama_cpp.mjs FILE THREADS PROMPT ANSWER. Token ids are arbitrary: speed does not depend on them.
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const [file, threads, prompt, answer] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const llama = await getLlama({ gpu: false, logLevel: LlamaLogLevel.error, build: "never", maxThreads: threads });
const model = await llama.loadModel({ modelPath: file });
const context = await model.createContext({ contextSize: 2048, batchSize: 512, sequences: 1, threads });
const sequence = context.getSequence();
const id = (i) => (i * 7919 + 11) % 100000;
const seconds = async (work) => {
  const begin = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - begin) / 1e9;
};

// Once unmeasured, so that the file is in memory; then the prompt, then an answer after 64 tokens.
const ids = (n) => Array.from({ length: n }, (_, i) => id(i));
await sequence.evaluateWithoutGeneratingNewTokens(ids(64));
await sequence.clearHistory();
const prefill = await seconds(() => sequence.evaluateWithoutGeneratingNewTokens(ids(prompt)));
await sequence.clearHistory();
await sequence.evaluateWithoutGeneratingNewTokens(ids(64));
let decoded = 0;
let begin;
const iterator = sequence.evaluate([id(64)], { temperature: 0, yieldEogToken: true });
for await (const _ of iterator) {
  if (begin === undefined) begin = process.hrtime.bigint(); // the first token comes with what was fed
  else if (++decoded === answer) break;
}
const decode = Number(process.hrtime.bigint() - begin) / 1e9;
console.log(JSON.stringify({ prefill_tokens_s: prompt / prefill, decode_tokens_s: decoded / decode, threads }));
process.exit(0);
