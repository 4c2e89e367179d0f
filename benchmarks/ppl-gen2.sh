#!/usr/bin/env bash
# Perplexity of the bundled model on WikiText-2's test text: gen-2 on the whole file against the independent float32
# figure of tests/golden, and gen-1 on eight windows, where the difference must be exactly 0;
# and these windows for each type of KV, head and packing.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
metrics='[metric("perplexity_gen2"; .token_perplexity; "perplexity"), metric("delta_nll"; .delta_nll; "nats")]'
build_halo
text=$root/data/wikitext-2/test.txt
whole=$("$halo" ppl --json "$text")
few() { "$halo" ppl --json --windows 8 "$@" "$text"; } # by option
configuration() { # PACKING OPTION…
  few "${@:2}" 2>/dev/null |
    jq -c --arg packing "$1" '{packing: $packing, kv, head, engine, windows: (.windows | length), token_perplexity, nll_sum}'
}
configurations=$(
  for kv in f16 q8 f32; do
    for head in stored bf16; do configuration t2 --kv "$kv" --head "$head"; done
  done
  configuration t2 --engine reference
  # The other packing needs the model's Hugging Face folder.
  folder=${FOLDER:-$root/../shared/models/tiny-bitnet}
  if [ -d "$folder" ]; then
    "$halo" convert "$folder" --packing t1_6 -o "$work/ppl-t1_6.h1b" >&2
    configuration t1_6 -m "$work/ppl-t1_6.h1b"
  fi
)
jq -n --argjson whole "$whole" --argjson gen2 "$(few | jq -c .windows)" --argjson gen1 "$(few --engine reference | jq -c .windows)" \
  --argjson configurations "$(jq -s . <<<"$configurations")" \
  --argjson golden "$(jq .wikitext.token_perplexity "$root/tests/golden/golden.json")" '
  {token_perplexity: $whole.token_perplexity, word_perplexity: $whole.word_perplexity, bits_per_byte: $whole.bits_per_byte,
   tokens: $whole.tokens_scored, $configurations, golden: $golden,
   relative_difference: ($whole.token_perplexity / $golden - 1), windows_by_both: ($gen1 | length),
   delta_nll: ([range($gen1 | length) | ($gen1[.].nll - $gen2[.].nll) | fabs] | max), same: ($gen1 == $gen2)}' |
  tee >(jq . >&2) | write_record ppl-gen2 "$metrics" "$root/models/tiny-bitnet.h1b"
jq -e '.results.same and (.results.relative_difference | fabs) < 0.002' "$records/ppl-gen2.json" >/dev/null
