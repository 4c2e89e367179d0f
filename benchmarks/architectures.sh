#!/usr/bin/env bash
# Every architecture at the shape of a published model (halo synth): decode after 64 tokens and prefill of 256, all threads,
# t1_6 except for scales by group of columns (t2), in turn. Medians over the rounds. ARCHITECTURES names some of them.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
metrics='map((.preset | gsub("[.]"; "_")) as $name | metric($name + "_decode"; .decode_tokens_s; "tok/s"; .decode_seen),
  metric($name + "_prefill"; .prefill_tokens_s; "tok/s"; .prefill_seen))'
rounds=${ROUNDS:-3}
build_halo
IFS=' ' read -ra presets <<<"${ARCHITECTURES:-bitnet-2b-4t bitnet-large bitnet-3b llama3-8b falcon3-1b trilm-3.9b bonsai-1.7b bitnet-embedding-0.6b}"
packing_of() { if [ "$1" = bonsai-1.7b ]; then echo t2; else echo t1_6; fi; }
for preset in "${presets[@]}"; do
  file=$work/arch-$preset.h1b
  [ -s "$file" ] || "$halo" synth "$preset" --packing "$(packing_of "$preset")" --context 1024 -o "$file" >&2
done
for ((i = 0; i < rounds; ++i)); do
  for preset in "${presets[@]}"; do
    "$halo" bench -m "$work/arch-$preset.h1b" --device cpu -r 1 -o jsonl -p 256 -n 0 | jq -c --arg preset "$preset" \
      '{preset: $preset, threads, prefill: .avg_ts}'
    "$halo" bench -m "$work/arch-$preset.h1b" --device cpu -r 1 -o jsonl -p 0 -n 32 -d 64 | jq -c --arg preset "$preset" \
      '{preset: $preset, threads, decode: .avg_ts}'
  done
done | jq -s --argjson shapes "$(for preset in "${presets[@]}"; do
    "$halo" inspect --json "$work/arch-$preset.h1b" | jq --arg preset "$preset" '{preset: $preset, family: .config.architecture,
      layers: .config.layers, hidden: .config.hidden, head_dim: .config.head_dim, ffn: .config.ffn,
      activation: .config.activation, packing: (.packings | keys | map(select(. == "t2" or . == "t1_6")) | first),
      weights: ([.packings[] | .weights] | add)}'
  done | jq -s .)" 'def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
  group_by(.preset) | map({preset: .[0].preset, threads: .[0].threads, decode_seen: map(.decode // empty),
    prefill_seen: map(.prefill // empty)}) | map(. + {decode_tokens_s: (.decode_seen | median),
    prefill_tokens_s: (.prefill_seen | median)}) | map(. as $m | ($shapes[] | select(.preset == $m.preset)) + $m)' |
  tee >(jq -r '.[] | "\(.preset)  decode \(.decode_tokens_s * 10 | round / 10)  prefill \(.prefill_tokens_s | round) tok/s"' >&2) |
  write_record architectures "$metrics"  # the shapes are the models, more than a record names
