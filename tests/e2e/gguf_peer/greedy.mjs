// node greedy.mjs FILE COUNT <PROMPTS: for each line of token ids, the COUNT most likely tokens after it, as node-llama-cpp
// (upstream llama.cpp) finds them, one JSON array a line. One thread: its threads wait for each other by spinning.
import fs from "node:fs";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const [file, count] = [process.argv[2], Number(process.argv[3])];
const llama = await getLlama({ gpu: false, logLevel: LlamaLogLevel.error, build: "never" });
const model = await llama.loadModel({ modelPath: file });
const context = await model.createContext({ contextSize: 256, sequences: 1, threads: 1 });
const sequence = context.getSequence();
for (const line of fs.readFileSync(0, "utf8").trim().split("\n")) {
  await sequence.clearHistory();
  const tokens = [];
  for await (const token of sequence.evaluate(JSON.parse(line), { temperature: 0, yieldEogToken: true })) {
    tokens.push(token);
    if (tokens.length === count) break;
  }
  console.log(JSON.stringify(tokens));
}
process.exit(0);
