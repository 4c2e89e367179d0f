// Bodies that are not what they should be: every field with every kind of value, and JSON that is none.
import { assert, exchange, kMarker, post } from "./common.mjs";

const messages = `[{"role":"user","content":"${kMarker}"}]`;
/** A short request for each route that takes a body, as text: what is put into it need not be JSON. */
const kSound = {
  "/v1/chat/completions": { messages, max_tokens: "1" },
  "/v1/completions": { prompt: `"${kMarker}"`, max_tokens: "1" },
  "/v1/responses": { input: `"${kMarker}"`, max_output_tokens: "1" },
  "/v1/messages": { messages, max_tokens: "1" },
  "/v1/messages/count_tokens": { messages },
  "/v1/embeddings": { input: `"${kMarker}"` },
  "/api/chat": { messages, stream: "false" },
  "/api/generate": { prompt: `"${kMarker}"`, stream: "false" },
  "/api/embed": { input: `"${kMarker}"` },
  "/api/show": { model: '"tiny-bitnet"' },
  "/tokenize": { content: `"${kMarker}"` },
  "/detokenize": { tokens: "[1, 2]" },
  "/apply-template": { messages },
  "/kv/save": { messages, file: '"x"' },
  "/kv/restore": { file: '"x"' },
  "/v1/audio/speech": { input: `"${kMarker}"` },
};
const kNumbers = [
  "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "seed", "temperature", "top_p", "top_k", "min_p", "typical_p",
  "repetition_penalty", "repeat_penalty", "frequency_penalty", "presence_penalty", "dry_multiplier", "dry_base", "dry_allowed_length",
  "dry_penalty_last_n", "xtc_probability", "xtc_threshold", "logprobs", "top_logprobs", "dimensions", "keep_alive", "truncation", "speed",
];
const kOthers = [
  "model", "messages", "prompt", "input", "content", "tokens", "stop", "stop_sequences", "stream", "stream_options", "logit_bias", "echo", "suffix",
  "response_format", "tools", "tool_choice", "parallel_tool_calls", "grammar", "regex", "choice", "format", "text", "options", "system", "instructions",
  "metadata", "thinking", "reasoning", "include", "store", "raw", "images", "context", "template", "encoding_format", "pooling", "file", "user", "add_special",
  "parse_special", "with_pieces", "add_generation_prompt", "continue_final_message", "ignore_eos", "voice", "instructions", "stream_format", "dry_sequence_breakers", "previous_response_id",
];
const kNumberValues = ["-1", "0", "-0", "2147483648", "-2147483649", "4294967296", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "0.5", "1".repeat(5000)];
const kValues = [...kNumberValues, "null", "true", '""', '"\\u0000"', '"\\ud800"', '"\xff\xfe"', `"${"x".repeat(2000)}"`, "[]", "{}", "[[]]", '[{}]', '[null]', '{"type":1}', '[1e400]', '[-1]', '[9223372036854775808]', '{"a":NaN}', '[{"role":"user"}]', '[{"role":1,"content":2}]', '[{"role":"\xc3","content":"x"}]', '[{"type":"function"}]', '{"type":"json_schema"}'];

const object = (fields) => `{${Object.entries(fields).map(([name, value]) => `"${name}":${value}`).join(",")}}`;

/** Of a body that was answered, whatever it was. So many speeches at once are not spoken, and none without a voice. */
const kAnswers = [200, 400, 403, 404, 413, 422];
const kSpeechAnswers = [...kAnswers, 429, 501, 503];

async function ask(server, path, body) {
  const { text, statuses } = await exchange(server.port, post(path, body, "Connection: close\r\n"), { ms: 30000 });
  const shown = `${path} ${body.slice(0, 300)}`;
  const answers = path === "/v1/audio/speech" ? kSpeechAnswers : kAnswers;
  assert.ok(answers.includes(statuses[0]), `${shown}: ${text.slice(0, 500) || "no answer"}`);
  if (/Content-Type: audio\//i.test(text)) return statuses[0];
  const answer = Buffer.from(text.slice(text.indexOf("\r\n\r\n") + 4), "latin1");
  const words = new TextDecoder("utf-8", { fatal: true }).decode(answer);
  if (/Content-Type: application\/json/i.test(text)) JSON.parse(words);
  if (statuses[0] >= 400) assert.ok(words.length < 2000, `${shown}: a long error`);
  return statuses[0];
}

/** `share` of all fields with all values, by chance. */
export async function fields(server, chance, share) {
  const all = [];
  for (const [path, sound] of Object.entries(kSound)) {
    for (const name of kNumbers) for (const value of kNumberValues) all.push([path, sound, name, value]);
    for (const name of [...kNumbers, ...kOthers]) for (const value of kValues) all.push([path, sound, name, value]);
  }
  const count = {};
  const some = all.filter(() => chance.is(share));
  const one = async () => {
    for (let next; (next = some.pop()); ) {
      const [path, sound, name, value] = next;
      const inner = path.startsWith("/api/") && chance.is(0.5) && kNumbers.includes(name);
      const body = inner ? object({ ...sound, options: object({ [name]: value }) }) : object({ ...sound, [name]: value });
      const status = await ask(server, path, body);
      count[status] = (count[status] ?? 0) + 1;
    }
  };
  await Promise.all([one(), one(), one(), one()]);
  return count;
}

/** JSON that is none, or that has more than anybody needs; the same for every route. */
export async function malformed(server) {
  const text = `"${kMarker}"`;
  const deep = (open, close, n, inner = "1") => open.repeat(n) + inner + close.repeat(n);
  const bodies = [
    "", " ", "\0", "null", "1", "NaN", '"x"', "[]", "{", "}", "{]", '{"', '{"a"', '{"a":', '{"a":1,}', "{'a':1}", "{a:1}", '{"a":1}{"a":1}', "{} x", '/**/{"a":1}',
    "\xef\xbb\xbf{}", "\xff\xfe{\0}\0", "{\0}\0", '{"a":01}', '{"a":+1}', '{"a":.5}', '{"a":1e}', '{"a":"\x01"}', '{"a":"\\x"}', '{"a":"\\u12"}', '{"a":"\\udc00"}',
    '{"\xc0\xaf":1}', '{"a":"\xed\xa0\x80"}', '{"a":"\xf4\x90\x80\x80"}', '{"a":"\xe2\x82"}', '{"model":"\xff"}',
    '{"a":1,"a":2,"a":3}', `{"prompt":"x","prompt":${text},"prompt":"y"}`, `{"messages":[],"messages":[{"role":"user","content":${text},"content":1}]}`, '{"model":"tiny-bitnet","model":"other"}',
    deep("[", "]", 64), deep("[", "]", 100000), "[".repeat(100000), `{"a":${deep("[", "]", 62)}}`, `{"a":${deep("[", "]", 63)}}`, `{"a":${deep("[", "]", 64)}}`, deep('{"a":', "}", 63), deep('{"a":', "}", 20000),
    `{"messages":${deep("[", "]", 60)}}`, `{"messages":${deep('[{"content":', "}]", 30, "[]")}}`, `{"prompt":${deep("[", "]", 60)}}`, `{"input":${deep("[", "]", 60)}}`,
    `{"a":[${"[],".repeat(60000)}0]}`, `{"a":[${"{},".repeat(60000)}0]}`, `{"a":[${"0,".repeat(90000)}0]}`, `{${Array.from({ length: 15000 }, (_, i) => `"${i}":0`).join(",")}}`, `{"a":${"1".repeat(190000)}}`,
    `{"prompt":"${"\\n".repeat(90000)}"}`, `{"prompt":[${Array(90000).fill('""')}]}`, `{"prompt":[${Array(60000).fill("[1]")}]}`, `{"messages":[${Array(40000).fill("{}")}]}`, `{"input":[${Array(60000).fill('""')}]}`, " ".repeat(190000) + "{}", `{"tokens":[${Array(60000).fill(-1)}]}`,
    `{"prompt":"x","max_tokens":1,"stop":[${Array(17).fill('"a"')}]}`, `{"prompt":"x","max_tokens":1,"stop":"${"a".repeat(100000)}"}`, `{"prompt":"x","max_tokens":1,"logit_bias":{${Array.from({ length: 2000 }, (_, i) => `"${i}":1`).join(",")}}}`,
    `{"prompt":"x","max_tokens":1,"dry_multiplier":1,"dry_sequence_breakers":[${Array(32).fill(`"${"b".repeat(5000)}"`)}]}`, `{"prompt":"x","max_tokens":1,"user":"${"u".repeat(190000)}"}`, `{"model":"${"m".repeat(190000)}"}`,
  ];
  const count = {};
  for (const path of Object.keys(kSound))
    for (const body of bodies) {
      const status = await ask(server, path, body);
      count[status] = (count[status] ?? 0) + 1;
    }
  return count;
}

/** Sound bodies of which some bytes are others. */
export async function flipped(server, chance, times) {
  const count = {};
  for (let i = 0; i < times; ++i) {
    const [path, sound] = chance.pick(Object.entries(kSound));
    const bytes = Buffer.from(object(sound), "latin1");
    for (let k = chance.below(3); k >= 0; --k) bytes[chance.below(bytes.length)] = chance.below(256);
    const status = await ask(server, path, bytes.toString("latin1"));
    count[status] = (count[status] ?? 0) + 1;
  }
  return count;
}
