// Compares the token ids of `halo tokenize` with those of @huggingface/tokenizers on a few thousand texts.
//
//   npm install --no-package-lock
//   node compare.mjs --halo PATH_TO_HALO --tokenizer-dir DIR [--texts N] [--seed N] [--words JSON] [-- ARGUMENTS FOR HALO]
//
// DIR holds tokenizer.json and tokenizer_config.json; WORDS are more of what texts are made of. Exit code: 0 same, 1
// different, 2 usage.
//
// What is left out, and why:
// - Characters that came with Unicode 14 and later: the JavaScript library takes letters and numbers from the
//   tables of the Node.js that runs it, halo from Unicode 16 always (as the native library 0.23 does). SCRIPTS
//   holds older blocks; what Node.js calls unassigned in them becomes '?'.
// - U+017F after an apostrophe, as in 'ſ: halo and the native library take it as another case of 's; the
//   JavaScript library writes (?i:'s) as '[sS], which does not match it.
// - Names of special tokens: the JavaScript library always finds them in a text; `halo tokenize` in its plain
//   mode never does.
// - Lone surrogates: no UTF-8 text has them.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Tokenizer } from "@huggingface/tokenizers";

function usage(message) {
  console.error(`compare.mjs: ${message}`);
  console.error("usage: node compare.mjs --halo PATH --tokenizer-dir DIR [--texts N] [--seed N] [-- HALO_ARGUMENTS]");
  process.exit(2);
}

/** mulberry32: small, and the same numbers on every machine. */
function makeRandom(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

const SCRIPTS = [
  [0x20, 0x7e], [0xa0, 0x17f], [0x180, 0x24f], [0x250, 0x2ff], [0x300, 0x36f], [0x370, 0x3ff], [0x400, 0x52f],
  [0x531, 0x58f], [0x591, 0x5f4], [0x600, 0x6ff], [0x900, 0x97f], [0x980, 0x9ff], [0xb80, 0xbff], [0xe00, 0xe7f],
  [0xf00, 0xfff], [0x10a0, 0x10ff], [0x1100, 0x11ff], [0x1200, 0x137f], [0x13a0, 0x13ff], [0x16a0, 0x16ff],
  [0x1780, 0x17ff], [0x1800, 0x18aa], [0x1e00, 0x1fff], [0x2000, 0x206f], [0x2070, 0x209f], [0x20a0, 0x20c0],
  [0x20d0, 0x20f0], [0x2100, 0x218b], [0x2190, 0x23ff], [0x2460, 0x24ff], [0x2500, 0x27bf], [0x3000, 0x303f],
  [0x3040, 0x30ff], [0x3100, 0x312f], [0x3200, 0x33ff], [0x4e00, 0x9ffc], [0xac00, 0xd7a3], [0xe000, 0xf8ff],
  [0xfb00, 0xfb4f], [0xfe00, 0xfe0f], [0xff00, 0xffef], [0x10000, 0x100fa], [0x10330, 0x1034a], [0x12000, 0x12399],
  [0x1d400, 0x1d7ff], [0x1f100, 0x1f1ff], [0x1f300, 0x1f64f], [0x1f680, 0x1f6c5], [0x20000, 0x2a6dd],
  [0xe0001, 0xe007f], [0xf0000, 0xffffd],
];
const SPACES = [
  " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\v", "\f", "\u0085", "\u00a0", "\u1680", "\u180e", "\u2003",
  "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff", "\u001c", "\u001f",
];
const CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
const WORDS = [
  "the", "history", "of", "don", "we", "I", "it", "they", "Straße", "naïve", "KELVIN", "ﬁnal", "x", "SHOUT", "CamelCase",
  "snake_case", "e-mail", "www", "日本語", "русский", "العربية", "हिन्दी", "한국어", "ภาษาไทย", "ελληνικά",
];
const EMOJI = ["😀", "👩‍👩‍👧", "🏳️‍🌈", "🇩🇪", "👍🏽", "❤️", "1️⃣", "🧑🏿‍🚀", "☃", "✈︎"];
const CODE = [
  "for (int i = 0; i < n; ++i) {\n\tx[i] += y;\n}\n", "def f(a, b=1):\n    return a**b  # power\n", "<div class=\"a\">&nbsp;</div>",
  "SELECT * FROM t WHERE a='b''s';", "if (a && !b || c) { ... }", "https://example.org/a/b?x=1&y=%20#z", "0xFF_u8 != 1e-5f;",
  "#include <vector>\r\n\r\nint main() {}\r\n", "C:\\dir\\file.txt", "{\"k\": [1, 2.5, null]}", "a->b::c<d>()", "@@ -1,3 +1,4 @@\n",
];

function makeTexts(count, seed, lines, words, names) {
  const random = makeRandom(seed);
  const pick = (list) => list[random(list.length)];
  const repeat = (most, make) => Array.from({ length: 1 + random(most) }, make).join("");
  const character = ([first, last]) => {
    const text = String.fromCodePoint(first + random(last - first + 1));
    return /\p{Cn}/u.test(text) ? "?" : text;
  };
  const anyCase = (text) => [...text].map((c) => (random(2) ? c.toUpperCase() : c)).join("");
  const kinds = [
    () => pick(lines),
    () => pick(lines).slice(random(40), 40 + random(200)),
    () => repeat(60, () => character([0x20, 0x7e])),
    () => repeat(30, () => character(pick(SCRIPTS))),
    () => {
      const script = pick(SCRIPTS);
      return repeat(12, () => repeat(8, () => character(script)) + pick(SPACES));
    },
    () => repeat(10, () => pick(EMOJI) + (random(2) ? " " : "")),
    () => repeat(10, () => pick(WORDS) + repeat(3, () => character([0x300, 0x36f])) + pick(SPACES)),
    () => repeat(10, () => repeat(9, () => String(random(10))) + pick([" ", ",", ".", "", "٣", "²", "½", "%"])),
    () => repeat(10, () => pick(WORDS) + anyCase(pick(CONTRACTIONS)) + pick(["", " ", "x", "'"])),
    () => repeat(15, () => pick(SPACES)) + pick(WORDS) + repeat(6, () => pick(SPACES)) + pick(["", "!", "9", "a"]),
    () => repeat(4, () => pick(CODE) + pick(["", "\n", "    "])),
    () => repeat(12, () => pick([...WORDS, ...SPACES, ...EMOJI, ...CODE, "'s", "123", "...", "!?", "-"])),
    () => repeat(12, () => pick([...words, ...SPACES, "a", "é", "e\u0301", "x "])),
    () => pick(["a", " ", "\n", "=", "7", "é", "日", " a", "\n "]).repeat(1 + random(300)) + pick(["", "x"]),
  ];
  const excluded = (text) => /'ſ/u.test(text) || names.some((name) => text.includes(name));
  const texts = ["", " ", "\n"];
  for (let i = 0; texts.length < count; ++i) {
    const text = kinds[i % kinds.length]();
    const wellFormed = !/\p{Surrogate}/u.test(text); // isWellFormed() needs Node 20; Debian 12 has 18
    if (wellFormed && !excluded(text)) texts.push(text);
  }
  return texts;
}

function askHalo(halo, texts, haloArguments) {
  const folder = mkdtempSync(join(tmpdir(), "tokenizer-peer-"));
  try {
    const file = join(folder, "texts.jsonl");
    writeFileSync(file, texts.map((text) => JSON.stringify(text) + "\n").join(""));
    const run = spawnSync(halo, ["tokenize", "--json-lines", file, ...haloArguments], { maxBuffer: 2 ** 30 });
    if (run.error) throw run.error;
    if (run.status !== 0) throw new Error(`${halo} ended with ${run.status}: ${run.stderr}`);
    return run.stdout.toString("utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function main() {
  const split = process.argv.indexOf("--");
  const args = process.argv.slice(2, split < 0 ? undefined : split);
  const haloArguments = split < 0 ? [] : process.argv.slice(split + 1);
  const string = { type: "string" };
  let options;
  try {
    options = parseArgs({ args, options: { halo: string, "tokenizer-dir": string, texts: string, seed: string, words: string } }).values;
  } catch (error) {
    usage(error.message);
  }
  if (!options.halo || !options["tokenizer-dir"]) usage("--halo and --tokenizer-dir are needed");

  const read = (name) => JSON.parse(readFileSync(join(options["tokenizer-dir"], name), "utf8"));
  const tokenizer = read("tokenizer.json");
  const special = tokenizer.added_tokens.filter((token) => token.special).map((token) => token.content);
  const peer = new Tokenizer(tokenizer, read("tokenizer_config.json"));
  const wikitext = join(dirname(fileURLToPath(import.meta.url)), "../../../data/wikitext-2/test.txt");
  const lines = readFileSync(wikitext, "utf8").split("\n").filter((line) => line.trim() !== "");
  const texts = makeTexts(Number(options.texts ?? 3000), Number(options.seed ?? 1), lines, JSON.parse(options.words ?? "[\"word\"]"),
    special);
  const ours = askHalo(options.halo, texts, haloArguments);
  if (ours.length !== texts.length) throw new Error(`halo answered ${ours.length} of ${texts.length} lines`);

  let tokens = 0;
  const different = [];
  texts.forEach((text, i) => {
    const { ids } = peer.encode(text, { add_special_tokens: false });
    tokens += ids.length;
    if (JSON.stringify(ids) !== JSON.stringify(ours[i])) different.push({ text, halo: ours[i], peer: ids });
  });
  for (const { text, halo, peer: expected } of different.slice(0, 5))
    console.log(`${JSON.stringify(text)}\n  halo ${JSON.stringify(halo)}\n  peer ${JSON.stringify(expected)}`);
  console.log(`texts=${texts.length} tokens=${tokens} different=${different.length}`);
  process.exitCode = different.length === 0 ? 0 : 1;
}

main();
