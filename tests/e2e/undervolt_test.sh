#!/usr/bin/env bash
# An undervolt and its burn-in between real servers: bash undervolt_test.sh SERVER PLANTED_SERVER HALO. The planted server
# errs in the last bit, as a processor with too little voltage might.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$3"
server=$(realpath "$1") planted=$(realpath "$2")
mkdir -p "$work/bin" "$work/smu" "$work/root/etc/1bit"
ln -s "$source_dir/tests/support/ryzenadj_stand_in.sh" "$work/bin/ryzenadj"
export HALO_ROOT=$work/root RYZENADJ_FOLDER=$work/smu PATH=$work/bin:$PATH
echo 25000 | tee "$work/smu/stapm-limit" "$work/smu/slow-limit" >"$work/smu/fast-limit"
echo 90 >"$work/smu/tctl-temp"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT
start() { # PROGRAM: sets url
  local log=$work/server.${#pids[@]}
  : >"$log"
  "$1" -m "$source_dir/models/tiny-bitnet.h1b" --port 0 --threads 1 --no-prefix-cache 2>"$log" &
  pids+=($!)
  until grep -q ' ready ' "$log"; do
    kill -0 "${pids[-1]}" || wrong "the server ended: $(cat "$log")"
    sleep 0.01
  done
  url=http://127.0.0.1:$(sed -n 's/.* port=//p' "$log")
}
recipe() { # A B ROUNDS
  printf '[chat]\nstapm_w = 30\nfast_w = 40\nslow_w = 30\ntctl_c = 92\n[chat.undervolt]\ncurve_all = -10\na = "%s"\nb = "%s"\nrounds = %s\n' \
    "$@" >"$work/root/etc/1bit/power.toml"
}
last=(none) status=none
touch "$out" "$err"
start "$server"
a=$url
start "$planted"
bad=$url

recipe "$a" "$a" 10
halo power chat --dry-run
expect_out '^ryzenadj --set-coall=1048566$'
halo power chat
expect_status 0
expect_out '^burn-in: 10 of 10 rounds exact'
expect_same "$(cat "$work/smu/set-coall")" 1048566
halo power --json
expect_json '.undervolt == {curve_all: -10, checked: true} and .profile == "chat"'

recipe "$a" "$bad" 5000
halo power chat
expect_status 1
expect_err 'the burn-in met an answer that was not exact; the undervolt of -10 counts was taken back, the limits of chat are in force'
expect_same "$(cat "$work/smu/set-coall") $(cat "$work/smu/stapm-limit")" '0 30000'
halo power --json
expect_json '.undervolt == null and .profile == "chat"'

recipe "$a" http://127.0.0.1:1 5000
halo power chat
expect_status 1
expect_err 'no answer to compare: http://127\.0\.0\.1:1: .*refused.*; the undervolt of -10 counts was taken back'
expect_same "$(cat "$work/smu/set-coall")" 0

# Ended in the middle, it takes the undervolt back as well.
recipe "$a" "$a" 100000
rm -f "$work/root/run/halo/undervolt-burnin.jsonl"
last=(power chat) status=0
"${halo_command[@]}" power chat >"$out" 2>"$err" &
pids+=($!)
for ((i = 0; i < 600; ++i)); do
  rounds=$(grep -cs . "$work/root/run/halo/undervolt-burnin.jsonl") || rounds=0
  [ "${rounds:-0}" -lt 2 ] || break
  sleep 0.1
done
expect_same "$(cat "$work/smu/set-coall")" 1048566
kill -TERM "${pids[-1]}"
wait "${pids[-1]}" || status=$?
expect_status 1
expect_err 'the burn-in was ended after [0-9]+ of 100000 rounds; the undervolt of -10 counts was taken back'
expect_same "$(cat "$work/smu/set-coall")" 0

# Killed, it leaves word of what was not checked.
"${halo_command[@]}" power chat >"$out" 2>"$err" &
pids+=($!)
for ((i = 0; i < 600; ++i)); do
  [ "$(cat "$work/smu/set-coall")" = 0 ] || break
  sleep 0.1
done
kill -KILL "${pids[-1]}"
wait "${pids[-1]}" 2>/dev/null || true
halo power
expect_out 'undervolt +-10 counts, NOT CHECKED'
halo power chat --no-undervolt
expect_status 0
expect_out '^ryzenadj --set-coall=0$'
expect_same "$(cat "$work/smu/set-coall")" 0
