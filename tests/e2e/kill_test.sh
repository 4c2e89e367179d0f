#!/usr/bin/env bash
# `halo synth` and `halo convert` killed at random moments, 500 times: the target is as it was or complete, and nothing
# else is left. First argument: the program that makes a folder to convert.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "${@:2}"
kills=500
cd "$work"
"$1" source
mkdir target
seed=${KILL_TEST_SEED:-$RANDOM}
RANDOM=$seed

synth=(synth tiny --layers 4 --hidden 256 --heads 4 --kv-heads 2 --head-dim 64 --ffn 512 --vocabulary 2048
  --context 64 --tokenizer-from "$source_dir/models/tiny-bitnet.h1b" -o target/model.h1b)
convert=(convert source -o target/model.h1b)

microseconds() { echo "$((10#${EPOCHREALTIME/[^0-9]/}))"; }
tensors() { "${halo_command[@]}" inspect --json "$1" | jq -c '[.tensors[] | [.name, .xxh3]]'; }

echo 'an older file that is no model' >old
old_sum=$(cksum <old)

# kill_all NAME HOW_OFTEN ARGUMENT…
kill_all() {
  local name=$1 times=$2 begin duration i delay pid expected
  shift 2
  halo "$@"
  begin=$(microseconds)
  halo "$@"
  duration=$(($(microseconds) - begin))
  expect_status 0
  halo verify target/model.h1b
  expect_status 0
  expected=$(tensors target/model.h1b)
  local complete_sum='' absent=0 old=0 complete=0 in_time=0 passing=0
  for ((i = 0; i < times; ++i)); do
    rm -f target/model.h1b
    ((i % 2)) || cp old target/model.h1b
    delay=$(((RANDOM * 32768 + RANDOM) % (duration + 1)))
    "${halo_command[@]}" "$@" >"$out" 2>"$err" &
    pid=$!
    sleep "$((delay / 1000000)).$(printf %06d $((delay % 1000000)))"
    ! kill -KILL "$pid" 2>/dev/null || in_time=$((in_time + 1))
    { wait "$pid" || true; } 2>/dev/null
    # A kill in the instant of replacing an old file may leave the finished new one under its passing name, until the
    # next one takes its last step for it (src/base/atomic_file.h).
    if [ -e target/.model.h1b.1bit-new ]; then
      passing=$((passing + 1))
      halo verify target/.model.h1b.1bit-new
      expect_status 0
    fi
    if [ ! -e target/model.h1b ]; then
      ((i % 2)) || wrong "kill $i of $name after $delay us (seed $seed): the old file is gone"
      absent=$((absent + 1))
    elif [ "$(cksum <target/model.h1b)" = "$old_sum" ]; then
      old=$((old + 1))
    else
      if [ "$(cksum <target/model.h1b)" != "$complete_sum" ]; then
        halo verify target/model.h1b
        [ "$status" -eq 0 ] || wrong "kill $i of $name after $delay us (seed $seed): neither old nor complete"
        expect_same "$(tensors target/model.h1b)" "$expected"
        complete_sum=$(cksum <target/model.h1b)
      fi
      complete=$((complete + 1))
    fi
    # Nothing but the target and, at most, the one of a passing name.
    local others
    others=$(find target -mindepth 1 ! -name model.h1b ! -name .model.h1b.1bit-new)
    [ -z "$others" ] || wrong "kill $i of $name after $delay us (seed $seed) left $others"
  done
  echo "$name: $times kills within $duration us ($in_time while it ran): target absent $absent, old $old, complete" \
    "$complete; left under the passing name $passing"
  halo "$@"  # and it works as before
  expect_status 0
  expect_same "$(tensors target/model.h1b)" "$expected"
  expect_same "$(ls -A target)" model.h1b
  [ $((absent + old)) -gt $((times / 20)) ] || wrong 'hardly any kill came before the end'
}

kill_all synth $((kills / 2)) "${synth[@]}"
kill_all convert $((kills / 2)) "${convert[@]}"

# Too little memory, from hardly enough to start: a sentence and the old file, or success.
starved=0
for kilobytes in $(seq 16000 2000 60000); do
  cp old target/model.h1b
  last=("${synth[@]}")
  status=0
  (ulimit -v "$kilobytes"; exec "${halo_command[@]}" "${synth[@]}") >"$out" 2>"$err" || status=$?
  if [ "$status" -eq 0 ]; then continue; fi
  expect_same "$(cksum <target/model.h1b)" "$old_sum"
  expect_same "$(ls -A target)" model.h1b
  if [ "$status" -eq 127 ]; then continue; fi  # the loader found no room for the libraries
  expect_refusal 'memory|cannot map'
  starved=$((starved + 1))
done
echo "too little memory: refused with $starved limits"

# A limit on the size of files.
cp old target/model.h1b
status=0
last=("${synth[@]}")
(trap '' XFSZ; ulimit -f 100; exec "${halo_command[@]}" "${synth[@]}") >"$out" 2>"$err" || status=$?
expect_refusal 'target/model\.h1b: cannot write: File too large; nothing was changed'
expect_same "$(cksum <target/model.h1b)" "$old_sum"
