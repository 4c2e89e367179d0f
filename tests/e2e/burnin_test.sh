#!/usr/bin/env bash
# Burn-in between real servers: bash burnin_test.sh SERVER PLANTED_SERVER HALO. Two that are sound agree, one with a wrong
# last bit is caught and named, and 500 kills lose nothing.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$3"
server=$(realpath "$1") planted=$(realpath "$2")
model=$source_dir/models/tiny-bitnet.h1b
cd "$work"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT
start() { # PROGRAM OPTION…: sets url
  local log=$work/server.${#pids[@]}
  : >"$log"
  "$1" -m "$model" --port 0 --threads 1 "${@:2}" 2>"$log" &
  pids+=($!)
  until grep -q ' ready ' "$log"; do
    kill -0 "${pids[-1]}" || wrong "the server ended: $(cat "$log")"
    sleep 0.01
  done
  url=http://127.0.0.1:$(sed -n 's/.* port=//p' "$log")
}
start "$server"
a=$url
start "$server" --no-prefix-cache
b=$url
start "$planted"
bad=$url

# Two sound ones.
halo burnin run --a "$a" --b "$b" --log sound.jsonl -n 80 --parallel 4 --max-tokens 8
expect_status 0
expect_out '^80 rounds, 80 exact'
halo burnin stats --log sound.jsonl --json
expect_json '.rounds == 80 and .exact_rate == 1 and .drift == [] and .prompts == 66 and .a_ms.p50 > 0'
halo burnin drift --log sound.jsonl
expect_out '^no drift: 80 rounds'
# It goes on where it ended.
halo burnin run --a "$a" --b "$b" --log sound.jsonl -n 3 --max-tokens 2
halo burnin recent --log sound.jsonl -n 2 --json
expect_json -s 'map(.round) == [81, 82]'
halo burnin since 1h --log sound.jsonl
expect_out '^rounds +83 '
halo burnin since 2099-01-01 --log sound.jsonl --json
expect_json '.rounds == 0'
halo burnin since yesterday --log sound.jsonl
expect_status 1
expect_err "'yesterday' is no time"

# One unit in the last place of one value.
halo burnin run --a "$a" --b "$bad" --log planted.jsonl -n 66 --max-tokens 8 --logprobs
expect_status 0
halo burnin stats --log planted.jsonl --json
expect_json '.exact_rate < 1 and (.drift | length) > 0 and ([.drift[].misses] | add) == .prefix_only + .no_match'
name=$(jq -r '.drift[0].prompt' "$out")
halo burnin drift --log planted.jsonl
expect_out "^$name: [0-9]+ of [0-9]+ rounds differ"
expect_out "^  token [0-9]+: A '.*' \(-?[0-9.e-]+\), B '.*' \(-?[0-9.e-]+\)$"

# The gate.
cat >gate.toml <<'END'
[perplexity]
max_delta = 0.05
max_nll_delta = 0
[burnin]
min_exact_rate = 1.0
min_rounds = 80
max_unreachable_rate = 0
END
head -c 3000 "$source_dir/data/wikitext-2/test.txt" >text
halo ppl text -m "$model" --window 128 --json
cp "$out" gen2.json
halo ppl text -m "$model" --window 128 --windows 2 --engine reference --json
cp "$out" gen1.json
halo gate gate.toml --log sound.jsonl --ppl-a gen1.json --ppl-b gen2.json
expect_status 0
expect_out '^pass  exact rate is 1, as wanted at least 1$'
expect_out '^passed$'
halo gate gate.toml --log planted.jsonl --ppl-a gen1.json --ppl-b gen2.json
expect_status 1
expect_out '^FAIL  exact rate is 0[.0-9]*, not at least 1$'
halo gate gate.toml --log sound.jsonl
expect_status 1
expect_out '^FAIL  difference of perplexities is asked for, and there is no result of it$'
echo '[burnin]' >empty.toml
halo gate empty.toml --log sound.jsonl
expect_status 1
expect_err 'has no threshold'
echo 'min_exact_rat = 1' >wrong.toml
halo gate wrong.toml --log sound.jsonl
expect_status 1
expect_err 'min_exact_rat is no threshold'

# Killed at any moment: every round that was written stays, the next run goes on, nobody repairs anything by hand.
kills=${KILLS:-500} seen=0
for ((i = 0; i < kills; ++i)); do
  "${halo_command[@]}" burnin run --a "$a" --b "$b" --log killed.jsonl --max-tokens 1 2>/dev/null >/dev/null &
  victim=$!
  printf -v pause '0.%03d' $((RANDOM % 80 + 5))
  sleep "$pause"
  kill -9 "$victim"
  wait "$victim" 2>/dev/null || true
  [ -e killed.jsonl ] || continue
  whole=$(grep -c '}$' killed.jsonl || true)
  [ "$whole" -ge "$seen" ] || wrong "kill $i: $seen rounds were written, $whole are there"
  seen=$whole
done
halo burnin run --a "$a" --b "$b" --log killed.jsonl --max-tokens 1 -n 1
expect_status 0
expect_same "$(jq -c .round killed.jsonl | sort -n | awk '$1 != NR - 1' | head -n 1)" ''
halo burnin stats --log killed.jsonl --json
expect_json --argjson seen "$seen" '.rounds == $seen + 1 and .damaged_lines == 0 and .exact == .rounds'
echo "$kills kills, $seen rounds kept"

# An endpoint that is away is said, not taken for a difference; wrong usage is refused.
halo burnin run --a "$a" --b http://127.0.0.1:9 --log away.jsonl -n 1
expect_status 0
halo burnin stats --log away.jsonl --json
expect_json '.b_unreachable == 1 and .exact_rate == 0'
halo burnin run --a "$a" --b https://127.0.0.1 --log x.jsonl -n 1
expect_status 1
expect_err 'expected http://'
halo burnin stats --log nowhere.jsonl
expect_status 1
expect_err 'nowhere.jsonl: cannot be read'
echo 'no log' >foreign.txt
halo burnin run --a "$a" --b "$b" --log foreign.txt -n 1
expect_status 1
expect_err 'foreign.txt: does not begin with'
[ "$(cat foreign.txt)" = 'no log' ] || wrong 'a file that is no log was changed'
printf '{"id": "mine", "kind": "own", "prompt": "Say {n}"}\n{"id": "mine"}\n' >prompts.jsonl
halo burnin run --a "$a" --b "$b" --log own.jsonl --prompts prompts.jsonl --only -n 1
expect_status 1
expect_err 'prompts.jsonl: line 2: kind must be a text'
sed -i 2d prompts.jsonl
halo burnin run --a "$a" --b "$b" --log own.jsonl --prompts prompts.jsonl --only -n 3
expect_out '^3 rounds, 3 exact'
