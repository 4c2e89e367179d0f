#!/usr/bin/env bash
# How long halo burnin stats takes for a million rounds.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
build_halo
log=$work/million.jsonl
# Made up, in the form that halo burnin run writes: 66 prompts that take turns, one round in ten thousand differs.
[ -s "$log" ] || awk 'BEGIN { for (i = 0; i < 1000000; ++i) printf "{\"round\":%d,\"time\":%.3f,\"prompt\":\"prompt-%d\",\"verdict\":\"%s\",\"a_ms\":%.3f,\"b_ms\":%.3f,\"bytes\":64,\"prefix\":%d}\n",
  i, 1.76e9 + i * 8, i % 66, i % 10000 == 7 ? "prefix_only" : "exact", 20 + i % 977 / 10, 21 + i % 773 / 10, i % 10000 == 7 ? 12 : 64 }' >"$log"
for ((i = 0; i < ${ROUNDS:-5}; ++i)); do
  begin=$EPOCHREALTIME
  "$halo" burnin stats --json --log "$log" >"$work/stats.json"
  jq -c --argjson begin "$begin" --argjson now "$EPOCHREALTIME" '{ms: (($now - $begin) * 1000), rounds}' "$work/stats.json"
done | jq -s 'def median: sort | .[length / 2 | floor]; {rounds: .[0].rounds, ms: (map(.ms) | median), seen: map(.ms)}' |
  tee >(jq -c . >&2) | write_record burnin-stats '[metric("burnin_stats"; .ms; "ms"; .seen)]'
