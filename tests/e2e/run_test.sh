#!/usr/bin/env bash
# `halo run`: text that goes on, and the JSON that scripts read.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
prompt='Once upon a time'

halo run -n 16 "$prompt"
expect_status 0
text=$(cat "$out")
[ -n "$text" ] || wrong 'some text expected'
halo run -n 16 <<<"$prompt"
expect_same "$(cat "$out")" "$text"  # the last line end of piped text is not part of it

halo run -n 16 --json "$prompt"
expect_status 0
expect_json --arg text "$text" '.text == $text'
expect_json '(.token_ids | length) == 16 and .finish_reason == "length"'
expect_json '(.prompt_token_ids | length) > 1 and all(.prompt_token_ids[]; . >= 0)'
expect_json '.timings | .prompt_tokens > 0 and .prompt_ms > 0 and .answer_tokens == 16 and .answer_ms > 0
             and .prompt_tokens_per_second > 0 and .answer_tokens_per_second > 0'
expect_json 'has("logprobs") | not'
[ ! -s "$err" ] || wrong 'nothing expected on standard error'
ids=$(jq -c .token_ids "$out")

# BOS: once at the front, whoever writes it.
bos=$("${halo_command[@]}" inspect --json | jq .tokenizer.bos)
expect_json --argjson bos "$bos" '.prompt_token_ids[0] == $bos and ([.prompt_token_ids[] | select(. == $bos)] | length) == 1'
halo run -n 1 --json --special '<|begin_of_text|>Hello'
expect_json --argjson bos "$bos" '.prompt_token_ids[0] == $bos and ([.prompt_token_ids[] | select(. == $bos)] | length) == 1'
with_name=$(jq -c .prompt_token_ids "$out")
halo run -n 1 --json Hello
expect_same "$(jq -c .prompt_token_ids "$out")" "$with_name"
# Without --special the same text is text.
halo run -n 1 --json '<|begin_of_text|>Hello'
expect_json --argjson bos "$bos" '([.prompt_token_ids[] | select(. == $bos)] | length) == 1 and (.prompt_token_ids | length) > 5'

# Stop strings: across tokens, before a longer one, more than one of them.
halo run -n 16 --json --logprobs 0 "$prompt"
token() { jq -r ".logprobs[$1].token" "$out"; }
second=$(token 1)
third=$(token 2)
stop="${second: -1}${third:0:2}"  # the end of one token and the beginning of the next
halo run -n 16 --json --stop "$stop" "$prompt"
expect_status 0
expect_json '.finish_reason == "stop"'
expect_same "$(jq -r .text "$out")" "${text%%"$stop"*}"
halo run -n 16 --stop 'never occurs' --stop "$stop" "$prompt"
expect_same "$(cat "$out")" "${text%%"$stop"*}"

# End tokens: the answer ends at one, and goes on with --ignore-eos.
chat=$'<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat is the capital of France?<|eot_id|>'
chat+=$'<|start_header_id|>assistant<|end_header_id|>\n\n'
halo run --json --special -n 40 "$chat"
expect_json '.finish_reason == "stop" and (.text | test("Paris")) and (.token_ids | length) < 40'
halo run --json --special --ignore-eos -n 40 "$chat"
expect_json '.finish_reason == "length" and (.token_ids | length) == 40'

# Log-probabilities: of the token taken first where it is the likeliest, falling, and probabilities that add up to < 1.
halo run -n 8 --json --logprobs 3 "$prompt"
expect_json '(.logprobs | length) == 8'
expect_json 'all(.logprobs[]; (.top | length) == 3 and .top[0].id == .id and .top[0].logprob == .logprob)'
expect_json 'all(.logprobs[]; .top | map(.logprob) | . == (sort | reverse) and (map(exp) | add) <= 1.0001)'
expect_json '[.logprobs[].id] == .token_ids and ([.logprobs[].token] | join("")) == .text'

# Sampling: a seed is an answer; greedy needs none.
sampled() { halo run -n 24 --temp 1 --seed "$1" --json "$prompt"; expect_status 0; jq -c .token_ids "$out"; }
one=$(sampled 1)
expect_same "$(sampled 1)" "$one"
expect_different "$(sampled 2)" "$one"
expect_different "$one" "$ids"
halo run -n 16 --temp 1 --top-k 1 --json "$prompt"
expect_same "$(jq -c .token_ids "$out")" "$ids"
first=$(jq '.[0]' <<<"$ids")
halo run -n 1 --json --logit-bias "$first=-100" "$prompt"
expect_json --argjson id "$first" '.token_ids[0] != $id'
halo run -n 200 --json --repetition-penalty 1.3 --frequency-penalty 0.5 --presence-penalty 0.5 --min-p 0.02 --top-p 0.9 \
  --temp 0.8 --seed 3 "$prompt"
expect_status 0

# The context bounds an answer that nothing else does.
"${halo_command[@]}" synth tiny --layers 1 --context 64 -o "$work/short.h1b" >/dev/null
halo run -m "$work/short.h1b" --json --ignore-eos -n 0 "$prompt"
expect_status 0
expect_json '.finish_reason == "length" and (.prompt_token_ids | length) + (.token_ids | length) <= 65'
halo run -m "$work/short.h1b" --json "$(printf 'word %.0s' {1..200})"
expect_refusal 'context'
