// Writes a folder with tokenizer.json and tokenizer_config.json for each kind of tokenizer.
//
//   node kinds.mjs OUT_FOLDER
//
// qwen3 is Qwen3's own file, llama2 what LLaMA-2's file has around the vocabulary and merges of llama-tokenizer-js. The
// others have these vocabularies with what other files have around theirs: GPT-NeoX's pattern, normalizer and added runs
// of spaces; Metaspace, as newer versions of Hugging Face's library write LLaMA-2's. The peer reads the same files.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import llama from "llama-tokenizer-js";

const packages = join(dirname(fileURLToPath(import.meta.url)), "node_modules", "@lenml");
const out = process.argv[2];

function write(name, tokenizer) {
  mkdirSync(join(out, name), { recursive: true });
  writeFileSync(join(out, name, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(join(out, name, "tokenizer_config.json"), "{}");
}

const added = (id, content, normalized = false, special = false) => ({
  id, content, single_word: false, lstrip: false, rstrip: false, normalized, special,
});

const qwen3 = JSON.parse(readFileSync(join(packages, "tokenizer-qwen3", "models", "tokenizer.json"), "utf8"));
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

const replace = (from, to) => ({ type: "Replace", pattern: { String: from }, content: to });
const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
const llama2 = {
  version: "1.0", truncation: null, padding: null,
  added_tokens: [added(0, "<unk>", false, true), added(1, "<s>", false, true), added(2, "</s>", false, true)],
  normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, replace(" ", "▁")] },
  pre_tokenizer: null, post_processor: null,
  decoder: { type: "Sequence", decoders: [replace("▁", " "), { type: "ByteFallback" }, { type: "Fuse" }, strip] },
  model: {
    type: "BPE", dropout: null, unk_token: "<unk>", continuing_subword_prefix: null, end_of_word_suffix: null,
    fuse_unk: true, byte_fallback: true,
    vocab: Object.fromEntries(llama.vocabById.map((token, id) => [token, id])),
    merges: [...llama.merges].sort((a, b) => a[1] - b[1]).map(([pair]) => pair),
  },
};
write("llama2", llama2);
for (const prepend_scheme of ["first", "always", "never"]) {
  const metaspace = structuredClone(llama2);
  metaspace.normalizer = null;
  metaspace.pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme, split: false };
  if (prepend_scheme === "never") metaspace.decoder.decoders.pop();
  metaspace.added_tokens.push(added(32000, "<think>"), added(32001, "[INST]"));
  write(`metaspace-${prepend_scheme}`, metaspace);
}
