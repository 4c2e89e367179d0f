#!/usr/bin/env bash
# `halo ppl` and `halo batch` by several processes: one process's bits, whichever of them die, by mpirun where it is.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
text=$source_dir/data/wikitext-2/test.txt state=$work/state
ppl=(ppl -m "$source_dir/models/tiny-bitnet.h1b" -t 1 --window 63 --windows 11 --json "$text")
same_as_one() { cmp "$out" "$work/one" || wrong 'not the bits of one process'; }

halo "${ppl[@]}"
expect_status 0
cp "$out" "$work/one"

# A process alone does its own share, then the others', and leaves one file, with which a single process goes on.
halo "${ppl[@]}" --state "$state" --shard 0/3
expect_status 0
same_as_one
expect_same "$(ls "$work"/state*)" "$state"
cp "$state" "$work/joined"
halo "${ppl[@]}" --state "$state" --shard 2/3
expect_status 0
expect_no_out
halo "${ppl[@]}" --state "$state"
expect_err '11 windows are known'
same_as_one
cmp "$state" "$work/joined"
rm "$state"

# More processes than windows; the file of another share.
halo "${ppl[@]}" --state "$state" --shard 0/13
same_as_one
head -n 3 "$state" >"$state.1-of-3"
sed -i '1s/}$/,"share":"0\/3"}/' "$state.1-of-3"
rm "$state"
halo "${ppl[@]}" --state "$state" --shard 1/3
expect_refusal 'state\.1-of-3: holds another run'
rm "$state"*
halo "${ppl[@]}" --shard 0/2
expect_refusal '2 processes share this: name a file .* with --state'
halo "${ppl[@]}" --shard 2/2
expect_usage_error "'2/2' is no share"

# Two at once, and one of three killed in the middle: the others do what is left of its share.
together() { # COUNT: all but share 0, in the background
  local i
  pids=()
  for ((i = 1; i < $1; ++i)); do
    "${halo_command[@]}" "${ppl[@]}" --state "$state" --shard "$i/$1" >"$work/out.$i" 2>"$work/err.$i" &
    pids+=($!)
  done
}
together 2
halo "${ppl[@]}" --state "$state" --shard 0/2
expect_status 0
wait "${pids[@]}" || wrong "the other process failed: $(cat "$work/err.1")"
same_as_one
rm "$state"
ppl=("${ppl[@]/#11/40}")
halo "${ppl[@]}"
cp "$out" "$work/one"
together 3
until [ "$(wc -l 2>/dev/null <"$state.1-of-3")" -gt 2 ] 2>/dev/null; do sleep 0.01; done
kill -9 "${pids[0]}" || wrong 'it was too quick to be killed'
halo "${ppl[@]}" --state "$state" --shard 0/3
expect_status 0
wait "${pids[1]}" || wrong "the other process failed: $(cat "$work/err.2")"
same_as_one
expect_same "$(ls "$work"/state*)" "$state"
rm "$state"

# The same of a batch, whose answers are those of one process but for times.
stable() { jq -c 'del(.response.body | .timings, .created, .usage.prompt_tokens_details)' "$1"; }
for i in $(seq 30); do
  [ $((i % 7)) != 0 ] || echo
  jq -nc --arg id "$i" '{custom_id: $id, method: "POST", url: "/v1/completions", body: {prompt: ("Number " + $id), max_tokens: 20, temperature: 0}}'
done >"$work/in"
sed -i '5s/.*/no JSON/' "$work/in"
batch=(batch "$work/in" -t 1 --parallel 2 -m "$source_dir/models/tiny-bitnet.h1b")
halo "${batch[@]}" -o "$work/answers"
expect_status 0
for i in 1 2; do
  "${halo_command[@]}" "${batch[@]}" -o "$work/shared" --shard "$i/3" >/dev/null 2>"$work/err.$i" &
  pids[i]=$!
done
until [ -s "$work/shared.1-of-3" ]; do sleep 0.01; done
kill -9 "${pids[1]}" 2>/dev/null || true
halo "${batch[@]}" -o "$work/shared" --shard 0/3
expect_status 0
wait "${pids[2]}" || wrong "the other process failed: $(cat "$work/err.2")"
expect_same "$(stable "$work/shared")" "$(stable "$work/answers")"
expect_same "$(ls "$work"/shared*)" "$work/shared"
halo "${batch[@]}" -o "$work/shared" --shard 1/3
expect_err '^0 answered, 0 refused'
halo batch - -o "$work/other" --shard 0/2
expect_refusal 'standard input cannot be shared by 2 processes'

# By mpirun. Where a rank dies, it ends them all, and the same command goes on; or, told to go on, the others do its share.
command -v mpirun >/dev/null || { echo 'without mpirun: there is none'; exit 0; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
by_mpirun() { mpirun --oversubscribe --bind-to none "$@" "${halo_command[@]}" "${ppl[@]}" --state "$state" >"$out" 2>"$err"; }
last=(mpirun) status=0
by_mpirun -np 2 || wrong 'mpirun failed'
same_as_one
rm "$state"
cat >"$work/dies" <<'END'
#!/usr/bin/env bash
# Its rank 1 is killed once it has two windows.
[ "$OMPI_COMM_WORLD_RANK" = 1 ] || exec "${@:2}"
"${@:2}" &
until [ "$(wc -l 2>/dev/null <"$1.1-of-2")" -gt 2 ] 2>/dev/null; do sleep 0.01; done
kill -9 $!
kill -9 $$
END
chmod +x "$work/dies"
by_mpirun -np 2 --enable-recovery "$work/dies" "$state" || wrong 'mpirun failed'
same_as_one
rm "$state"
! by_mpirun -np 2 "$work/dies" "$state" || wrong 'mpirun should tell that a rank died'
by_mpirun -np 2 || wrong 'mpirun failed'
same_as_one
