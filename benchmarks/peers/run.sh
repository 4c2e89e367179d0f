#!/usr/bin/env bash
# halo and node-llama-cpp in turn, A B A B, on the same shape and threads: prefill of 256 tokens, decode after 64.
# Medians, and ratios of rounds that stood side by side. Needs node and npm.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/../lib.sh"
metrics='. as {$medians, $ratios, $rounds} |
  [($medians | to_entries[] | .key as $engine | ("prefill", "decode") as $what | "\($what)_tokens_s" as $field |
    metric("\($what)_\($engine | named)"; .value[$field]; "tok/s"; [$rounds[] | select(.name == $engine) | .[$field]])),
  ($ratios | to_entries[] | metric("ratio_\(.key)"; .value; "ratio"))]'
rounds=${ROUNDS:-5} threads=${THREADS:-$(nproc)} prompt=256 answer=32
build_halo
here=$root/benchmarks/peers npm=$work/npm
mkdir -p "$npm"
cp "$here/package.json" "$here/node_llama_cpp.mjs" "$npm"
[ -d "$npm/node_modules/node-llama-cpp" ] || (cd "$npm" && npm install --ignore-scripts --no-audit --no-fund >&2)
for type in tq2_0 tq1_0; do
  [ -s "$work/2b-$type.gguf" ] || "$halo" export -m "$(model t2)" --type "$type" --embedding q8_0 -o "$work/2b-$type.gguf" >&2
done
ours() { # PACKING
  local tests
  tests=$("$halo" bench -m "$(model "$1")" -t "$threads" -p "$prompt" -n 0 -r 1 -o jsonl
    "$halo" bench -m "$(model "$1")" -t "$threads" -p 0 -n "$answer" -d 64 -r 1 -o jsonl)
  jq -s --arg name "halo $1" --argjson round "$2" '{name: $name, round: $round, prefill_tokens_s: .[0].avg_ts,
    decode_tokens_s: .[1].avg_ts}' -c <<<"$tests"
}
peer() { # TYPE
  (cd "$npm" && node node_llama_cpp.mjs "$work/2b-$1.gguf" "$threads" "$prompt" "$answer") |
    jq -c --arg name "node-llama-cpp $1" --argjson round "$2" '{name: $name, round: $round} + .'
}
for ((i = 0; i < rounds; ++i)); do
  ours t2 "$i"
  peer tq2_0 "$i"
  ours t1_6 "$i"
  peer tq1_0 "$i"
done | jq -s --argjson threads "$threads" --argjson prompt "$prompt" --argjson answer "$answer" '
  def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
  def medians: group_by(.name) | map({key: .[0].name, value: {prefill_tokens_s: (map(.prefill_tokens_s) | median),
    decode_tokens_s: (map(.decode_tokens_s) | median)}}) | from_entries;
  def ratio($a; $b; $what): . as $all | [$all[] | select(.name == $a)] | map(. as $x |
    $x[$what] / ($all[] | select(.name == $b and .round == $x.round) | .[$what])) | median;
  {threads: $threads, prompt: $prompt, answer: $answer, medians: medians, ratios: {
    decode_t2_to_tq2_0: ratio("halo t2"; "node-llama-cpp tq2_0"; "decode_tokens_s"),
    decode_t1_6_to_tq2_0: ratio("halo t1_6"; "node-llama-cpp tq2_0"; "decode_tokens_s"),
    prefill_t2_to_tq2_0: ratio("halo t2"; "node-llama-cpp tq2_0"; "prefill_tokens_s"),
    prefill_t1_6_to_tq1_0: ratio("halo t1_6"; "node-llama-cpp tq1_0"; "prefill_tokens_s")}, rounds: .}' |
  tee >(jq 'del(.rounds)' >&2) | write_record peers "$metrics" "$(model t2)" "$(model t1_6)"
