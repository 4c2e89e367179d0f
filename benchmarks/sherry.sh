#!/usr/bin/env bash
# s1_25 beside the dense packings. Quality: twins trained on the same tokens (train/), the dense one, the 3:4 sparse one and
# the dense one forced into s1_25: perplexity on WikiText-2's test text and the 254 held-out questions. Speed: the twins,
# and the shape of bitnet-b1.58-2B-4T in each packing, in turn. The sparse twin is bundled; $TWINS is a folder with dense/
# and sparse/ as train/export.py writes them, without which the dense ones' rows keep away. With DEVICE=cuda:0 or hip:0 the speed of that GPU alone, in a record of its own.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
rounds=${ROUNDS:-7} device=${DEVICE:-cpu}
build_halo
work=${GPU_WORK:-$work}
sparse=$root/models/tiny-sherry.h1b
declare -A twins=([sparse_s1_25]=$sparse)
order=(sparse_s1_25)
if [ "$device" != cpu ]; then
  order=()
elif [ -d "${TWINS-}/dense" ]; then
  convert() { "$halo" convert "$TWINS/dense" -o "$work/twin-$1.h1b" --packing "${@:2}" >&2; twins[dense_$1]=$work/twin-$1.h1b; }
  convert t1_6 t1_6
  convert t2 t2
  convert s1_25 s1_25 --force
  order=(dense_t2 dense_t1_6 sparse_s1_25 dense_s1_25)
fi

questions=$work/questions.jsonl
jq -c '{custom_id: "\(input_line_number)", method: "POST", url: "/v1/chat/completions",
  body: {messages: [{role: "user", content: .prompt}], temperature: 0, max_tokens: 48}}' "$root/tests/golden/heldout_qa.jsonl" >"$questions"
# exact FILE: how many of the questions it answers to the letter.
exact() {
  rm -f "$work/answers.jsonl"
  "$halo" batch "$questions" --any-model -m "$1" -o "$work/answers.jsonl" --device cpu >&2
  jq -n --slurpfile asked "$root/tests/golden/heldout_qa.jsonl" --slurpfile answered "$work/answers.jsonl" \
    '[range($asked | length) | select(($answered[.].response.body.choices[0].message.content | gsub("^\\s+|\\s+$"; "")) == $asked[.].expected)] | length'
}
quality=$(for name in "${order[@]}"; do
  "$halo" ppl --json -m "${twins[$name]}" --device cpu "$root/data/wikitext-2/test.txt" |
    jq -c --arg name "$name" --argjson exact "$(exact "${twins[$name]}")" --argjson bytes "$(stat -c %s "${twins[$name]}")" \
      '{name: $name, file_bytes: $bytes, token_perplexity, bits_per_byte, exact: $exact, questions: 254}'
done | jq -s .)
jq . <<<"$quality" >&2

# A round of each in turn, so that what else the machine does meets all alike.
look() { "$halo" roofline -m "$2" --device "$device" -d "$3" -p 0 -n "$4" -r 1 --json | jq -c --arg name "$1" --argjson round "$5" '{name: $name, round: $round} + .'; }
speed=$(for ((round = 0; round < rounds; ++round)); do
  for packing in t2 t1_6 s1_25; do look "shape_$packing" "$(model "$packing")" 64 32 "$round"; done
  for name in "${order[@]}"; do [ "$name" = dense_s1_25 ] || look "$name" "${twins[$name]}" 64 128 "$round"; done
done | jq -s .)
name=sherry models=("$(model t1_6)" "$(model s1_25)")
if [ "$device" = cpu ]; then models+=("$sparse"); else name=sherry_gpu; fi
metrics='def median: sort | .[length / 2 | floor];
  .ratios as $r | [(.models[] | select(.token_perplexity) |
      metric("perplexity_\(.name)"; .token_perplexity; "perplexity"), metric("exact_\(.name)"; .exact; "count")),
    (.models[] | select(.decode_tokens_s) | metric("decode_\(.name)"; .decode_tokens_s; "tok/s"; .decode_seen)),
    metric("decode_s1_25_over_t1_6"; $r.decode | median; "ratio"; $r.decode),
    metric("product_s1_25_over_t1_6"; $r.product | median; "ratio"; $r.product)]'
jq -n --argjson quality "$quality" --argjson looks "$speed" '
  def median: sort | .[length / 2 | floor];
  def ternary_us: [.parts | .qkv, .attn_output, .gate_up, .down | .us] | add;
  def pairs(f): [$looks | group_by(.round)[] | (map(select(.name == "shape_t1_6"))[0] | f) as $a |
    (map(select(.name == "shape_s1_25"))[0] | f) as $b | [$a, $b]];
  def words: {dense: "dense twin", sparse: "sparse twin", shape: "2B shape"}[split("_")[0]];
  {ratios: {decode: (pairs(.decode_tokens_s) | map(.[1] / .[0])), product: (pairs(ternary_us) | map(.[0] / .[1]))},
   models: ([$quality[].name, $looks[].name] | unique | map(. as $name | {name: $name, what: words,
     packing: sub("^[a-z]+_"; "")} + ($quality | map(select(.name == $name))[0] // {}) +
     ($looks | map(select(.name == $name)) | if . == [] then {} else {threads: .[0].threads, isa: .[0].isa,
       token_bytes: .[0].token_bytes, bandwidth_gb_s: (map(.bandwidth_gb_s) | median),
       decode_tokens_s: (map(.decode_tokens_s) | median), decode_seen: map(.decode_tokens_s),
       ternary_us: (map(ternary_us) | median)} end)) | map(if .name == "dense_s1_25" then .what = "dense twin, forced" else . end))}' |
  tee >(jq -c '.ratios, (.models[] | {what, packing, token_perplexity, exact, decode_tokens_s, ternary_us})' >&2) |
  write_record "$name" "$metrics" "${models[@]}"
