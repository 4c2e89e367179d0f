#!/usr/bin/env bash
# How much of the machine's read bandwidth decode reaches, by part, and of its int8 peak prefill: t2 and t1_6, one
# thread and all, f16 and q8 KV, at depths 64 and 1024. The parts of a pair alternate.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
rounds=${ROUNDS:-5}
build_halo
for packing in t2 t1_6; do
  file=$(model "$packing")
  for threads in "$(nproc)" 1; do
    for kv in f16 q8; do
      for depth in 64 1024; do
        [ "$threads" -ne 1 ] || [ "$depth$kv" = 64f16 ] || continue
        prompt=0
        [ "$depth$kv" != 64f16 ] || prompt=256
        "$halo" roofline -m "$file" -t "$threads" --kv "$kv" -d "$depth" -p "$prompt" -r "$rounds" --json |
          jq -c --arg packing "$packing" '{packing: $packing} + .'
      done
    done
  done
done | tee >(jq -r '[.packing, "\(.threads) threads", "KV \(.kv)", "depth \(.depth)", "\(.decode_tokens_s * 100 | round / 100) tok/s",
    "\(.token_fraction * 1000 | round / 1000) of \(.bandwidth_gb_s * 10 | round / 10) GB/s",
    (if .prefill then "prefill \(.prefill.tokens_s | round) tok/s, \(.prefill.fraction * 1000 | round / 1000) of the int8 peak" else "" end)] | join("  ")' >&2) |
  jq -s . | write_record roofline
