#!/usr/bin/env bash
# Help good enough to need no manual: every command has it, and every option in it is explained.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"

halo --help
expect_status 0
for subcommand in chat voice run ppl batch tokenize detokenize convert synth inspect verify pull list rm completion man bench roofline export report burnin gate grammar; do
  halo --help
  expect_out "^  $subcommand "
  halo "$subcommand" --help
  expect_status 0
  expect_out "^Usage: .*$subcommand"
  expect_out '^  -h,--help '
  [ ! -s "$err" ] || wrong 'nothing expected on standard error'
done
halo run --help
for option in --model --kv --head --max-tokens --stop --ignore-eos --temp --top-k --top-p --min-p --repetition-penalty \
  --frequency-penalty --presence-penalty --logit-bias --seed --json --special --logprobs; do
  expect_out "(^| |,)$option( |=)"
done

# Completions and manual pages come from the same descriptions.
for shell in bash zsh fish; do
  halo completion $shell
  expect_status 0
  expect_out 'repetition-penalty'
done
halo completion bash
bash -n "$out" || wrong 'the bash completion should be valid bash'
completed=$(bash -c '. "$1"; COMP_WORDS=(halo chat --te); COMP_CWORD=2; _halo; printf "%s " "${COMPREPLY[@]}"' - "$out")
expect_same "$completed" '--temp '
for page in '' chat convert; do
  # shellcheck disable=SC2086  # no argument where the page is halo's own
  halo man $page
  expect_status 0
  expect_out '^\.TH halo'
  expect_out '^\.SH OPTIONS'
done
halo man --write-all "$work"
expect_status 0
for page in halo halo-bench; do [ -s "$work/$page.1" ] || wrong "$page.1 was not written"; done
halo man nothing
expect_refusal "no command 'nothing'"

halo --version
expect_status 0
expect_out '^1bit [0-9]+\.[0-9]+\.[0-9]+'

# The two commands of the checkout.
cd /
for command in quickstart run-tests; do
  last=("($command)")
  for option in --help -h; do
    status=0
    "$source_dir/$command" "$option" >"$out" 2>"$err" || status=$?
    expect_status 0
    expect_out "^usage: ./$command"
  done
  status=0
  "$source_dir/$command" --nothing >"$out" 2>"$err" || status=$?
  expect_status 2
  expect_no_out
  expect_err "^$command: unknown option: --nothing"
done
