#!/usr/bin/env bash
# Shadow burn-in with the bundled model: gen-2 against gen-1, with several instruction sets, KV types and packings, and
# against itself with other instruction sets, fewer threads, other company in its batches, another packing, no prefix
# cache, and on a GPU. An interrupted run goes on where it was.
#   GEN1_ROUNDS (5400, over all pairs with gen-1), ROUNDS (20000, of each pair that is fast), JOBS (1: pairs at once),
#   DEVICE (such as cuda:0; none: no GPU), FOLDER (the model's Hugging Face folder, for the packing; or T1_6, the file)
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
jobs=${JOBS:-1} device=${DEVICE-}
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
trap 'exit 143' TERM INT

# ask NAME ROUNDS PARALLEL TOKENS A-ISA "A options" B-ISA "B options": a process of its own. The empty ISA is the best.
ask() (
  name=$1 pids=() asking=
  # shellcheck disable=SC2317 # by a trap
  leave() { # the one that asks first: a server that goes before it would be a round that is not answered
    [ -z "$asking" ] || { kill "$asking" && wait "$asking"; } 2>/dev/null || true
    [ ${#pids[@]} -eq 0 ] || { kill "${pids[@]}" && wait "${pids[@]}"; } 2>/dev/null || true
  }
  trap leave EXIT
  trap 'exit 143' TERM INT
  start() { # SIDE ISA OPTION…: sets url
    local log=$logs/$name.$1.log isa=$2
    shift 2
    : >"$log" # what an earlier server wrote there is not its port
    env ${isa:+HALO_ISA=$isa} "$server" --port 0 "$@" 2>"$log" &
    pids+=($!)
    until grep -q ' ready ' "$log"; do
      kill -0 "${pids[-1]}"
      sleep 0.01
    done
    url=http://127.0.0.1:$(sed -n 's/.* port=//p' "$log")
  }
  # shellcheck disable=SC2086 # options are words
  start a "$5" $6
  a=$url
  # shellcheck disable=SC2086
  start b "$7" $8
  "$halo" burnin run --a "$a" --b "$url" --log "$logs/$name.jsonl" --rounds "$2" --parallel "$3" --logprobs \
    --max-tokens "$4" 2>"$logs/$name.progress" &
  asking=$!
  wait "$asking"
  asking=
)
# pair, of the same: the rounds that its log lacks.
pair() {
  local name=$1 rounds=$2 have=0
  [ ! -s "$logs/$name.jsonl" ] || have=$(wc -l <"$logs/$name.jsonl")
  names+=("$name")
  what+=("$(jq -nc --arg name "$name" --arg a "${5:-best} ${6}" --arg b "${7:-best} $8" '{name: $name, a: $a, b: $b}')")
  [ "$have" -lt "$rounds" ] || return 0
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
  echo "$name: $((rounds - have)) rounds" >&2
  ask "$name" "$((rounds - have))" "${@:3}" &
}
names=() what=() rounds=${ROUNDS:-20000} few=${GEN1_ROUNDS:-5400}
case $(uname -m) in x86_64) other=avx2 ;; *) other=scalar ;; esac
if [ -n "${T1_6-}" ]; then
  ln -sf "$T1_6" t1_6.h1b
elif [ ! -s t1_6.h1b ] && [ -d "$folder" ]; then
  "$halo" convert "$folder" --packing t1_6 -o t1_6.h1b >&2
fi
here="-m model.h1b --device cpu" gen1="-m model.h1b --engine reference"
[ "$jobs" -eq 1 ] || here+=" --threads 2"
configurations=("::" "::--kv q8" "::--kv f32" ":$other:" ":$other:--kv q8" ":$other:--kv f32" ":scalar:" ":scalar:--kv q8")
[ -z "$device" ] || configurations+=("gpu::" "gpu::--kv q8" "gpu::--kv f32")
[ ! -s t1_6.h1b ] || configurations+=("t1_6::")
for configuration in "${configurations[@]}"; do # WHAT:ISA:OPTIONS
  IFS=: read -r kind isa options <<<"$configuration"
  case $kind in
    gpu) a="-m model.h1b --device $device" ;;
    t1_6) a=${here/model.h1b/t1_6.h1b} ;;
    *) a=$here ;;
  esac
  name=gen-1${kind:+-$kind}${isa:+-$isa}${options:+-${options#--kv }}
  pair "$name" $((few / ${#configurations[@]})) 2 4 "$isa" "$a${options:+ $options}" "" "$gen1${options:+ $options}"
done
[ -z "$device" ] || pair gpu "$rounds" 16 8 "" "$here" "" "-m model.h1b --device $device --max-running 9"
pair batches-preempted "$rounds" 16 8 "" "$here" "" "$here --max-running 5 --kv-memory 30"
pair other-isa-one-thread-no-prefix-cache "$((rounds / 10))" 2 8 "" "$here" "$other" \
  "-m model.h1b --device cpu --threads 1 --no-prefix-cache"
if [ -s t1_6.h1b ]; then
  pair other-packing "$rounds" 4 8 "" "$here" "" "${here/model.h1b/t1_6.h1b}"
else
  echo "skipped: other-packing needs the model's folder ($folder)" >&2
fi
while [ -n "$(jobs -p)" ]; do wait -n; done
for ((i = 0; i < ${#names[@]}; ++i)); do
  "$halo" burnin stats --json --log "$logs/${names[i]}.jsonl" | jq -c --argjson what "${what[i]}" '$what + .'
done | jq -s '{rounds: (map(.rounds) | add), exact: (map(.exact) | add),
    unreachable: (map(.a_unreachable + .b_unreachable) | add), pairs: .} | .exact_rate = .exact / (.rounds - .unreachable)' |
  tee >(jq 'del(.pairs[].hours)' >&2) | write_record burnin \
    '[metric("burnin_exact_rate"; .exact_rate; "fraction"), metric("burnin_rounds"; .rounds; "count")]' "$bundled"
