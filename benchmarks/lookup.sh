#!/usr/bin/env bash
# Lookup speculation (--lookup 8) with the bundled model, on prompts that repeat themselves and one that does not: on and
# off in turn, the share of drafted tokens that were accepted, and whether the answers are the same.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
metrics='map(metric("lookup_ratio_\(.prompt[:20] | named)"; .ratio; "ratio"; .ratios_seen))'
rounds=${ROUNDS:-5} answer=200
build_halo
prompts=('one two three four five. one two three four five. one two three four'
  'The town lies on the river. The river runs to the sea. The town lies on'
  'A list of colours: red, green, blue, red, green, blue, red,'
  'Once upon a time there was')
for ((i = 0; i < rounds; ++i)); do
  for prompt in "${prompts[@]}"; do
    for k in 0 8; do
      "$halo" run --temp 0 --ignore-eos -n "$answer" --lookup "$k" --json "$prompt" | jq -c --arg prompt "$prompt" --argjson k "$k" \
        '{prompt: $prompt, k: $k, ids: .token_ids, timings}'
    done
  done
done | jq -s 'def median: sort | .[length / 2 | floor];
  group_by(.prompt) | map((map(select(.k == 0))) as $off | (map(select(.k > 0))) as $on | {prompt: .[0].prompt,
    tokens: ($off[0].ids | length), off_tokens_s: ($off | map(.timings.answer_tokens_per_second) | median),
    on_tokens_s: ($on | map(.timings.answer_tokens_per_second) | median), drafted: $on[0].timings.drafted_tokens,
    accepted: $on[0].timings.accepted_tokens, same_answer: (map(.ids) | unique | length == 1)} |
    . + {ratio: (.on_tokens_s / .off_tokens_s), ratios_seen: [range($off | length) |
      $on[.].timings.answer_tokens_per_second / $off[.].timings.answer_tokens_per_second]})' |
  tee >(jq -r '.[] | "\(.off_tokens_s | round) to \(.on_tokens_s | round) tok/s  ratio \(.ratio * 100 | round / 100)  \(.accepted) of \(.drafted) accepted  same answer: \(.same_answer)  \(.prompt)"' >&2) |
  write_record lookup "$metrics" "$root/models/tiny-bitnet.h1b"
