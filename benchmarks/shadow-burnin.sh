#!/usr/bin/env bash
# Shadow burn-in with the bundled model: gen-2 against gen-1, and against itself with another instruction set, fewer
# threads, other company in its batches, another packing, no prefix cache. An interrupted run goes on where it was.
#   GEN1_ROUNDS (5200; an eighth of them with scalar code), ROUNDS (21500, of each other pair; a tenth with another instruction set), FOLDER (the model's Hugging Face folder, for the packing)
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
build_halo
server=${SERVER:-$(dirname "$halo")/1bit-server}
bundled=$root/models/tiny-bitnet.h1b
folder=${FOLDER:-$root/../shared/models/tiny-bitnet}
read -r commit _ < <(commit_state)
logs=$work/burnin-${commit:0:12} # of what is measured: another commit begins anew
mkdir -p "$logs"
cd "$logs" # options name files in it, so that they have no spaces whatever the checkout's path has
ln -sf "$bundled" model.h1b
pids=() asking=
leave() { # the one that asks first: a server that goes before it would be a round that is not answered
  [ -z "$asking" ] || { kill "$asking" && wait "$asking"; } 2>/dev/null || true
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
}
trap leave EXIT
trap 'exit 143' TERM INT
start() { # ISA OPTION…: sets url; the empty ISA is the machine's best
  local log=$logs/server.${#pids[@]} isa=$1
  shift
  : >"$log" # what an earlier server wrote there is not its port
  env ${isa:+HALO_ISA=$isa} "$server" --port 0 "$@" 2>"$log" &
  pids+=($!)
  until grep -q ' ready ' "$log"; do
    kill -0 "${pids[-1]}"
    sleep 0.01
  done
  url=http://127.0.0.1:$(sed -n 's/.* port=//p' "$log")
}
finish() {
  kill "${pids[@]}"
  wait "${pids[@]}" || true
  pids=()
}
# pair NAME ROUNDS PARALLEL A-ISA "A options" B-ISA "B options": the rounds that its log lacks.
pair() {
  local name=$1 rounds=$2 parallel=$3 a b have=0
  [ ! -s "$logs/$name.jsonl" ] || have=$(wc -l <"$logs/$name.jsonl")
  names+=("$name")
  what+=("$(jq -nc --arg name "$name" --arg a "${4:-best} ${5}" --arg b "${6:-best} $7" '{name: $name, a: $a, b: $b}')")
  [ "$have" -lt "$rounds" ] || return 0
  echo "$name: $((rounds - have)) rounds" >&2
  # shellcheck disable=SC2086 # options are words
  start "$4" $5
  a=$url
  # shellcheck disable=SC2086
  start "$6" $7
  b=$url
  "$halo" burnin run --a "$a" --b "$b" --log "$logs/$name.jsonl" --rounds $((rounds - have)) --parallel "$parallel" \
    --logprobs --max-tokens "$tokens" --timeout 900 2>"$logs/$name.progress" &
  asking=$!
  wait "$asking"
  asking=
  finish
}
names=() what=() rounds=${ROUNDS:-21500} few=${GEN1_ROUNDS:-5200}
case $(uname -m) in x86_64) other=avx2 ;; *) other=scalar ;; esac
tokens=8
pair other-isa-one-thread-no-prefix-cache "$((rounds / 10))" 2 "" "-m model.h1b" "$other" "-m model.h1b --threads 1 --no-prefix-cache"
pair batches-preempted "$rounds" 16 "" "-m model.h1b" "" "-m model.h1b --max-running 5 --kv-memory 30"
if [ -d "$folder" ]; then
  [ -s t1_6.h1b ] || "$halo" convert "$folder" --packing t1_6 -o t1_6.h1b >&2
  pair other-packing "$rounds" 4 "" "-m model.h1b" "" "-m t1_6.h1b"
else
  echo "skipped: other-packing needs the model's folder ($folder)" >&2
fi
tokens=4 # these take their time
pair gen-1 "$few" 2 "" "-m model.h1b" "" "-m model.h1b --engine reference"
pair scalar "$((few / 8))" 2 "" "-m model.h1b" scalar "-m model.h1b"
for ((i = 0; i < ${#names[@]}; ++i)); do
  "$halo" burnin stats --json --log "$logs/${names[i]}.jsonl" | jq -c --argjson what "${what[i]}" '$what + .'
done | jq -s '{rounds: (map(.rounds) | add), exact: (map(.exact) | add),
    unreachable: (map(.a_unreachable + .b_unreachable) | add), pairs: .} | .exact_rate = .exact / (.rounds - .unreachable)' |
  tee >(jq 'del(.pairs[].hours)' >&2) | write_record burnin \
    '[metric("burnin_exact_rate"; .exact_rate; "fraction"), metric("burnin_rounds"; .rounds; "count")]' "$bundled"
