#!/usr/bin/env bash
# Every way to use a model, on one so small that this is quick under sanitizers and emulators too, where the tests that
# need the bundled model's answers are not.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
cd "$work"
shape=(--layers 2 --hidden 128 --heads 2 --kv-heads 1 --head-dim 64 --ffn 256 --context 64)
halo synth tiny "${shape[@]}" -o small.h1b
expect_status 0
export HALO_MODEL=$work/small.h1b

for kv in f16 f32 q8; do
  for head in stored bf16; do
    halo run --kv $kv --head $head -n 8 --ignore-eos --json --logprobs 3 'Once upon a time'
    expect_status 0
    expect_json '(.token_ids | length) == 8 and (.logprobs | length) == 8'
  done
done
halo run -n 12 --ignore-eos --temp 0.9 --top-k 50 --top-p 0.9 --min-p 0.01 --repetition-penalty 1.2 --frequency-penalty 0.5 \
  --presence-penalty 0.5 --logit-bias 11=-5 --logit-bias 12=5 --seed 4 --stop 'never occurs' --stop 'nor this' 'Hello'
expect_status 0
expect_err '^\[prompt '
halo run --special --ignore-eos -n 0 '<|begin_of_text|>Hello<|eot_id|>'  # until the context is full
expect_status 0
halo run -n 4 </dev/null
expect_status 0
halo chat -n 8 --system 'Be brief.' 'Hello'
expect_status 0
halo chat -n 8 <<<$'Hello,\nworld \xff'
expect_status 0
head -c 600 "$source_dir/data/wikitext-2/test.txt" >text
for options in '--json' '--json --no-bos' '--kv q8'; do
  # shellcheck disable=SC2086  # several words
  halo ppl text --window 32 --windows 2 $options
  expect_status 0
done
halo inspect
expect_status 0
halo verify
expect_status 0
