#!/usr/bin/env bash
# What a user meets who asks for something that cannot be: one sentence, exit code 1; wrong usage: exit code 2.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
cd "$work"
model=$source_dir/models/tiny-bitnet.h1b
echo 'just a text' >text.h1b
: >empty.h1b
head -c 100000 /dev/zero >zeros.h1b
head -c 100000 "$model" >cut.h1b

for subcommand in run chat tokenize; do
  halo "$subcommand" -m nowhere.h1b Hello
  expect_refusal 'nowhere\.h1b: .*No such file'
  halo "$subcommand" -m . Hello
  expect_refusal '\.: .*directory'
  for file in text empty zeros; do
    halo "$subcommand" -m $file.h1b Hello
    expect_refusal "$file\.h1b: .*not an \.h1b model file"
  done
  halo "$subcommand" -m cut.h1b Hello
  expect_refusal 'cut\.h1b: '
done
HALO_MODEL=nowhere.h1b halo chat Hello
expect_refusal 'nowhere\.h1b'
for subcommand in inspect verify; do
  for file in nowhere text empty zeros cut; do
    halo "$subcommand" $file.h1b
    expect_refusal "$file\.h1b: "
  done
done
halo ppl nowhere.txt
expect_refusal 'nowhere\.txt: .*No such file'
halo ppl empty.h1b
expect_refusal 'empty\.h1b: '
halo convert nowhere -o x.h1b
expect_refusal 'nowhere: '
halo convert . -o x.h1b
expect_refusal 'config\.json: '
halo synth tiny -o nowhere/x.h1b
expect_refusal 'nowhere/x\.h1b: '
halo synth tiny --heads 3 --kv-heads 2 -o x.h1b
expect_refusal 'heads'
[ ! -e x.h1b ] || wrong 'no file should be left by a refused command'
halo detokenize 8192
expect_refusal '8192 is outside the vocabulary'
halo detokenize -- -1
expect_refusal '-1 is outside the vocabulary'
halo tokenize --json-lines text.h1b
expect_refusal 'line 1'
halo run --temp -1 Hello
expect_refusal 'temperature'
halo run --temp nan Hello
expect_refusal 'temperature'
halo run --top-p 2 Hello
expect_refusal 'top_p'
halo run --logit-bias x Hello
expect_refusal "'x'"

halo
expect_usage_error 'SUBCOMMAND'
halo nothing
expect_usage_error "no command 'nothing'"
halo run --nothing Hello
expect_usage_error '--nothing'
halo run --kv f8 Hello
expect_usage_error 'f8'
halo run --max-tokens many Hello
expect_usage_error 'many'
halo run --seed x Hello
expect_usage_error '--seed'
halo run -m
expect_usage_error '--model'
halo detokenize
expect_usage_error 'ids'
halo detokenize x
expect_usage_error 'x'
halo convert .
expect_usage_error '--output'
halo synth small -o x.h1b
expect_usage_error 'small'
halo ppl
expect_usage_error 'file'

# An output that cannot be written to is a failure, not a silent success.
if [ -w /dev/full ]; then
  status=0
  last=(inspect --json)
  "${halo_command[@]}" inspect --json >/dev/full 2>"$err" || status=$?
  : >"$out"
  expect_status 1
fi
