#!/usr/bin/env bash
# Decode at depths 64 and 1024, prefill of 256 and 512 tokens, batches of 1, 4, 8 and 16, and decode beside another
# busy process: both packings in turn, all threads. Medians over the rounds.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
metrics='map(metric((if .name == "prefill" then "prefill_\(.packing)_\(.n_prompt)"
  elif .name == "batch" then "batch_\(.packing)_\(.n_batch)" else "\(.name)_\(.packing)_\(.kv)_\(.n_depth)" end); .tokens_s; "tok/s"; .seen))'
rounds=${ROUNDS:-5}
build_halo
measure() { # NAME PACKING OPTION…: one line of JSON for each test
  local name=$1 packing=$2
  shift 2
  "$halo" bench -m "$(model "$packing")" -r 1 -o jsonl "$@" | jq -c --arg name "$name" --arg packing "$packing" \
    '{name: $name, packing: $packing, threads, kv, n_prompt, n_gen, n_depth, n_batch, tokens_s: .avg_ts}'
}
busy() { # COMMAND…: with one other process that never rests
  local status=0 pid
  sh -c 'while :; do :; done' &
  pid=$!
  "$@" || status=$?
  kill "$pid"
  wait "$pid" 2>/dev/null || true
  return "$status"
}
for ((i = 0; i < rounds; ++i)); do
  for packing in t2 t1_6; do
    measure decode "$packing" -p 0 -n 32 -d 64,1024
    measure decode "$packing" -p 0 -n 32 -d 64,1024 --kv q8
    measure prefill "$packing" -p 256,512 -n 0
    measure batch "$packing" -p 0 -n 16 -d 64 -b 1,4,8,16
    measure one_thread "$packing" -p 0 -n 32 -d 64 -t 1
    busy measure beside_a_busy_process "$packing" -p 0 -n 32 -d 64
  done
done | jq -s 'def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
  group_by([.name, .packing, .kv, .n_prompt, .n_depth, .n_batch]) | map(.[0] + {tokens_s: (map(.tokens_s) | median),
  seen: map(.tokens_s)})' | tee >(jq -r '.[] | [.name, .packing, "KV \(.kv)", "pp\(.n_prompt)", "tg\(.n_gen)", "depth \(.n_depth)",
    "batch \(.n_batch)", "\(.tokens_s * 100 | round / 100) tok/s"] | join("  ")' >&2) | write_record bench "$metrics" "$(model t2)" "$(model t1_6)"
