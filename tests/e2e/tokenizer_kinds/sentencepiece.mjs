// Compares the ids of a tokenizer.model with those of SentencePiece's own spm_encode.
//
//   node sentencepiece.mjs TOKENIZE_FOLDER FOLDER TEXT_FILE
//
// FOLDER holds tokenizer.model. Exit code: 0 same, 1 different.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [, , program, folder, textFile] = process.argv;
let state = 7;
const random = (below) => {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return (state >>> 8) % below;
};
const PARTS = [
  "a", "b", "the", " the", "  ", "   ", " ", "e\u0301", "日本", "😀", "▁", "he", "in", "ing", "aaaa", "\t", "!", "1234",
  "é", "<", "[INST", "x", "Ω", "\u0085",
];
const texts = readFileSync(textFile, "utf8").split("\n").filter((line) => line.trim() !== "").slice(0, 1000);
for (let i = 0; i < 2000; ++i)
  texts.push(Array.from({ length: 1 + random(14) }, () => PARTS[random(PARTS.length)]).join(""));

function linesOf(command, args, input) {
  const run = spawnSync(command, args, { input, maxBuffer: 2 ** 30 });
  if (run.error) throw run.error;
  if (run.status !== 0) throw new Error(`${command} ended with ${run.status}: ${run.stderr}`);
  return run.stdout.toString("utf8").trimEnd().split("\n");
}

const file = join(folder, "texts.jsonl");
writeFileSync(file, texts.map((text) => JSON.stringify(text) + "\n").join(""));
const ours = linesOf(program, ["tokenize", "--json-lines", file, folder]).map((line) => JSON.parse(line).join(" "));
const theirs = linesOf("spm_encode", [`--model=${join(folder, "tokenizer.model")}`, "--output_format=id"],
  texts.join("\n") + "\n");
const different = texts.map((text, i) => [text, ours[i], theirs[i]]).filter(([, a, b]) => a !== b);
for (const [text, a, b] of different.slice(0, 5)) console.log(`${JSON.stringify(text)}\n  ours ${a}\n  theirs ${b}`);
console.log(`texts=${texts.length} different=${different.length}`);
process.exitCode = ours.length === texts.length && different.length === 0 ? 0 : 1;
