# shellcheck shell=bash
# Sourced by the tests of this folder. Each is run as `bash NAME.sh COMMAND…`: the words that start halo, of which there
# is more than one under an emulator. Exit code 77 means skipped; the reason is printed.
set -euo pipefail
halo_command=("$@")
# shellcheck disable=SC2034  # for the tests
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/out
err=$work/err
unset HALO_MODEL
exec 3>&1  # where wrong() speaks, in a command substitution too

# halo ARGUMENT…: leaves its exit code in $status, what it printed in the files $out and $err. Never ends the test.
halo() {
  last=("$@")
  status=0
  "${halo_command[@]}" "$@" >"$out" 2>"$err" || status=$?
}

wrong() {
  {
    echo "WRONG: $*"
    printf 'command: halo'
    printf ' %q' "${last[@]}"
    printf '\nexit code: %s\n--- standard output\n%s\n--- standard error\n%s\n' "$status" \
      "$(head -c 4000 "$out" | tr -d '\0')" "$(head -c 4000 "$err" | tr -d '\0')"
  } >&3
  exit 1
}

skip() { echo "skipped: $*"; exit 77; }

expect_status() { [ "$status" -eq "$1" ] || wrong "exit code $1 expected"; }
expect_out() { grep -qE -- "$1" "$out" || wrong "standard output should match: $1"; }
expect_err() { grep -qE -- "$1" "$err" || wrong "standard error should match: $1"; }
expect_no_out() { [ ! -s "$out" ] || wrong 'nothing expected on standard output'; }
expect_json() { jq -e "$@" "$out" >"$work/jq" 2>&1 || wrong "standard output should satisfy: ${*: -1} ($(cat "$work/jq"))"; }
expect_same() { [ "$1" = "$2" ] || wrong "these should be the same: '${1:0:300}' and '${2:0:300}'"; }
expect_different() { [ "$1" != "$2" ] || wrong "these should differ: '${1:0:300}'"; }

# The answer to a request that cannot be met: exit code 1, nothing on standard output, one sentence that matches $1.
expect_refusal() {
  expect_status 1
  expect_no_out
  [ "$(wc -l <"$err")" -eq 1 ] || wrong 'one line expected on standard error'
  grep -q '^halo: ' "$err" || wrong "standard error should begin with 'halo: '"
  expect_err "$1"
}

# The answer to wrong usage: exit code 2, nothing on standard output, what was wrong and where help is.
expect_usage_error() {
  expect_status 2
  expect_no_out
  expect_err "$1"
  expect_err '-(-help|h,--help)'
}
