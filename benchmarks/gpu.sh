#!/usr/bin/env bash
# A GPU with the shape of bitnet-b1.58-2B-4T: its read bandwidth and what of it decode reaches, by part, and the energy of
# a token, with t2 and t1_6, f16 and q8 KV, after 64 and 1024 positions; batches and prompts. DEVICE (cuda:0) says which.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
device=${DEVICE:-cuda:0} rounds=${ROUNDS:-5}
metrics='[(.decode[] | "\(.packing)_\(.kv)_\(.depth)" as $of | metric("gpu_decode_\($of)"; .decode_tokens_s; "tok/s"; .decode_seen_tokens_s),
    metric("gpu_fraction_\($of)"; .token_fraction; "fraction"; .token_fractions_seen),
    (select(.joules_per_token) | metric("gpu_energy_\($of)"; .joules_per_token; "J"; .joules_per_token_seen))),
  (.bench[] | ((.n_prompt + .n_gen) * .n_batch) as $tokens | metric("gpu_\(if .n_prompt > 0 then "prefill_\(.n_prompt)" else
    "batch_\(.n_batch)_\(.n_depth)" end)_\(.packing)_\(.kv)"; .median_ts; "tok/s"; [.samples_s[] | $tokens / .]))]'
build_halo
work=${GPU_WORK:-$work}
mkdir -p "$work"
for packing in t2 t1_6; do
  file=$(model "$packing")
  for kv in f16 q8; do
    for depth in 64 1024; do
      "$halo" roofline -m "$file" --device "$device" --kv "$kv" -d "$depth" -n 64 -p 0 -r "$rounds" --json |
        jq -c --arg packing "$packing" '{packing: $packing} + .'
    done
  done
done >"$work/gpu-decode.jsonl"
for packing in t2 t1_6; do
  file=$(model "$packing")
  for kv in f16 q8; do
    "$halo" bench -m "$file" --device "$device" --kv "$kv" -p 512,2048 -n 0 -r "$rounds" -o jsonl
    "$halo" bench -m "$file" --device "$device" --kv "$kv" -p 0 -n 16 -d 64,1024 -b 8,64 -r "$rounds" -o jsonl
  done | jq -c --arg packing "$packing" '{packing: $packing} + .'
done >"$work/gpu-bench.jsonl"
jq -n --slurpfile decode "$work/gpu-decode.jsonl" --slurpfile bench "$work/gpu-bench.jsonl" '{decode: $decode, bench: $bench}' |
  tee >(jq -r '(.decode[] | "\(.packing) \(.kv) depth \(.depth): \(.decode_tokens_s | round) tok/s, \(.token_fraction * 1000 | round / 1000) of \(.bandwidth_gb_s | round) GB/s, \(if .joules_per_token then .joules_per_token * 1000 | round else "?" end) mJ a token"),
    (.bench[] | "\(.packing) \(.kv) prompt \(.n_prompt) depth \(.n_depth) batch \(.n_batch): \(.median_ts | round) tok/s")' >&2) |
  write_record gpu "$metrics" "$(model t2)" "$(model t1_6)"
