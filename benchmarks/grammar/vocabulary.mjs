// Writes the tokens of llama3-tokenizer-js in hexadecimal, one a line, the last being the end token.
import { Llama3Tokenizer } from "llama3-tokenizer-js";

// GPT-2's printable stand-ins for bytes: those that print stand for themselves, the others follow from U+0100 on.
const bytes = new Map();
for (let b = 0, next = 256; b < 256; ++b) {
  const prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  bytes.set(prints ? b : next++, b);
}
const vocabulary = new Llama3Tokenizer().vocabById;
const lines = vocabulary.map((token) =>
  /^<\|.*\|>$/.test(token) ? "" : [...token].map((c) => (bytes.get(c.codePointAt(0)) ?? 63).toString(16).padStart(2, "0")).join(""));
lines[lines.length - 1] = Buffer.from("<|end|>").toString("hex");
process.stdout.write(lines.join("\n") + "\n");
