#!/usr/bin/env bash
# What a user waits for and pays before the first token: the bundled model from the command line to its first token,
# `halo inspect` of a 2B file, and the most memory that decoding with it needs, beside its file and its KV cache.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
metrics='[metric("first_token"; .first_token_ms; "ms"; .first_token_seen_ms),
  metric("inspect_2b"; .inspect_2b_ms; "ms"; .inspect_2b_seen_ms), metric("peak_memory"; .memory_bytes; "bytes"),
  metric("model_file"; .file_bytes; "bytes"), metric("kv_cache"; .kv_bytes; "bytes")]'
rounds=${ROUNDS:-21} context=1024
build_halo
file=$(model t1_6)
milliseconds() { # COMMAND…
  local begin=$EPOCHREALTIME
  "$@" >/dev/null 2>&1
  awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print (b - a) * 1000 }'
}
times_of() { # COMMAND…: its milliseconds in each round
  for ((i = 0; i < rounds; ++i)); do milliseconds "$@"; done | jq -cs .
}
# The kernel's own high-water mark of a process, in bytes, read until it ends.
most_memory() { # COMMAND…
  local pid mark=0 now
  "$@" >/dev/null 2>&1 &
  pid=$!
  while now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
    mark=$now
    sleep 0.02
  done
  wait "$pid"
  echo $((mark * 1024))
}
first_token=$(times_of "$halo" run -n 1 Hello)
inspect=$(times_of "$halo" inspect "$file")
memory=$(most_memory "$halo" bench -m "$file" -p 0 -n 8 -d "$((context - 8))" -r 1)
kv=$("$halo" inspect --json "$file" | jq --argjson context "$context" \
  '.config | .layers * .kv_heads * .head_dim * 2 * 2 * $context')
jq -n --argjson first "$first_token" --argjson inspect "$inspect" --argjson memory "$memory" --argjson kv "$kv" \
  --argjson file "$(stat -Lc %s "$file")" --argjson context "$context" '
  def median: sort | .[length / 2 | floor];
  {first_token_ms: ($first | median), first_token_seen_ms: $first, inspect_2b_ms: ($inspect | median),
   inspect_2b_seen_ms: $inspect, memory_bytes: $memory, file_bytes: $file, kv_bytes: $kv, context: $context,
   beside_bytes: ($memory - $file - $kv)}' |
  tee >(jq . >&2) | write_record startup "$metrics" "$root/models/tiny-bitnet.h1b" "$file"
