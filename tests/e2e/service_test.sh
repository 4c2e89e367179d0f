#!/usr/bin/env bash
# The daemons as a service manager starts them: a socket that is there before them, word when they are ready, and the
# units' hardening. bash service_test.sh SERVER LANDING.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$1"
# shellcheck disable=SC2034  # used by their names
server=$(realpath "$1") landing=$(realpath "$2") units=$source_dir/packaging/systemd
command -v systemd-socket-activate >/dev/null || skip 'there is no systemd-socket-activate'
command -v curl >/dev/null || skip 'there is no curl'
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
last=(none) status=none
touch "$out" "$err"
port() { echo $((20000 + RANDOM % 20000)); }

# asked PORT PATH: what is answered there, with patience.
asked() {
  local i
  for ((i = 0; i < 100; ++i)); do
    curl -sf -m 5 "http://127.0.0.1:$1$2" 2>/dev/null && return
    sleep 0.1
  done
  wrong "nothing answers at port $1"
}
for program in server landing; do
  at=$(port)
  arguments=(-m "$source_dir/models/tiny-bitnet.h1b" --device cpu)
  path=/health
  [ $program = server ] || arguments=() path=/_health
  systemd-socket-activate -l "127.0.0.1:$at" "${!program}" "${arguments[@]}" --port 1 2>"$work/$program.log" &
  manager=$!
  asked "$at" $path >/dev/null
  kill "$manager"
  wait "$manager" || wrong "it did not end well: $(tail -3 "$work/$program.log")"
  grep -q "listening host=\S* port=$at" "$work/$program.log" || wrong "it does not say where: $(cat "$work/$program.log")"
done

if command -v systemd-analyze >/dev/null && systemd-analyze security --help | grep -q offline; then
  for unit in 1bit-server 1bit-landing; do
    systemd-analyze security --offline=true --threshold=25 "$units/$unit.service" >"$work/security" ||
      wrong "$unit is more exposed than 2.5: $(tail -1 "$work/security")"
  done
fi
