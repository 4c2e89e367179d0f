#!/usr/bin/env bash
# How much of the machine's read bandwidth decode reaches, by part, and of its int8 peak prefill: t2 and t1_6, one
# thread and all, f16 and q8 KV, at depths 64 and 1024; and the energy of a token, where the machine tells. The parts of a
# pair alternate. With DEVICE=cuda:0 or hip:0 the same of a GPU, whose script and record are gpu's.
[ "${DEVICE:-cpu}" = cpu ] || exec "$(dirname "$0")/gpu.sh"
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
# Of all threads and f16 KV; the ternary products are a step's parts that read ternary weights.
metrics='def ternary: .bandwidth_gb_s as $limit | [.parts | .qkv, .attn_output, .gate_up, .down] |
    (map(.bytes) | add) / (map(.us) | add) / 1000 / $limit;
  (map(.threads) | max) as $all | [.[] | select(.threads == $all and .kv == "f16")] |
  [metric("read_bandwidth"; map(.bandwidth_gb_s) | sort | .[length / 2 | floor]; "GB/s"; map(.bandwidth_seen_gb_s[])),
    (.[] | "\(.packing)_\(.depth)" as $of | metric("decode_\($of)"; .decode_tokens_s; "tok/s"; .decode_seen_tokens_s),
      metric("decode_fraction_\($of)"; .token_fraction; "fraction"; .token_fractions_seen),
      (select(.joules_per_token) | metric("energy_\($of)"; .joules_per_token; "J"; .joules_per_token_seen)),
      metric("ternary_fraction_\($of)"; ternary; "fraction"), metric("token_bytes_\($of)"; .token_bytes.total; "bytes")),
    (.[] | select(.prefill) | metric("prefill_fraction_\(.packing)"; .prefill.fraction; "fraction"))]'
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
        "$halo" roofline -m "$file" --device cpu -t "$threads" --kv "$kv" -d "$depth" -p "$prompt" -r "$rounds" --json |
          jq -c --arg packing "$packing" '{packing: $packing} + .'
      done
    done
  done
done | tee >(jq -r '[.packing, "\(.threads) threads", "KV \(.kv)", "depth \(.depth)", "\(.decode_tokens_s * 100 | round / 100) tok/s",
    "\(.token_fraction * 1000 | round / 1000) of \(.bandwidth_gb_s * 10 | round / 10) GB/s",
    (if .prefill then "prefill \(.prefill.tokens_s | round) tok/s, \(.prefill.fraction * 1000 | round / 1000) of the int8 peak" else "" end)] | join("  ")' >&2) |
  jq -s . | write_record roofline "$metrics" "$(model t2)" "$(model t1_6)"
