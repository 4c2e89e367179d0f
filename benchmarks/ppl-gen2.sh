#!/usr/bin/env bash
# Perplexity of the bundled model on WikiText-2's test text: gen-2 on the whole file against the independent float32
# figure of tests/golden, and gen-1 on eight windows, where the difference must be exactly 0.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
metrics='[metric("perplexity_gen2"; .token_perplexity; "perplexity"), metric("delta_nll"; .delta_nll; "nats")]'
build_halo
text=$root/data/wikitext-2/test.txt
whole=$("$halo" ppl --json "$text")
few() { "$halo" ppl --json --windows 8 --engine "$1" "$text" | jq -c .windows; }
jq -n --argjson whole "$whole" --argjson gen2 "$(few cpu)" --argjson gen1 "$(few reference)" \
  --argjson golden "$(jq .wikitext.token_perplexity "$root/tests/golden/golden.json")" '
  {token_perplexity: $whole.token_perplexity, tokens: $whole.tokens_scored, golden: $golden,
   relative_difference: ($whole.token_perplexity / $golden - 1), windows_by_both: ($gen1 | length),
   delta_nll: ([range($gen1 | length) | ($gen1[.].nll - $gen2[.].nll) | fabs] | max), same: ($gen1 == $gen2)}' |
  tee >(jq . >&2) | write_record ppl-gen2 "$metrics" "$root/models/tiny-bitnet.h1b"
jq -e '.results.same and (.results.relative_difference | fabs) < 0.002' "$records/ppl-gen2.json" >/dev/null
