# shellcheck shell=bash
# Sourced by the scripts of this folder. Each builds halo, makes the model it measures (random weights of a real
# model's shape: speed does not depend on values) under build/bench, prints a table, and writes what it measured, with
# the machine and the commit, to benchmarks/records/NAME.json ($RECORDS/NAME.json).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
halo=${HALO:-$root/build/release/bin/halo}
work=$root/build/bench
records=${RECORDS:-$root/benchmarks/records}
mkdir -p "$work" "$records"

build_halo() { [ -n "${HALO-}" ] || "$root/quickstart" --no-run >&2; }  # or $HALO as it is

# model PACKING: the path of the shape of bitnet-b1.58-2B-4T in that packing (t2, t1_6), made once; $MODEL instead, if set.
model() {
  local file=$work/2b-$1.h1b
  [ -z "${MODEL-}" ] || { echo "$MODEL"; return; }
  [ -s "$file" ] || "$halo" synth bitnet-2b-4t --packing "$1" -o "$file" >&2
  echo "$file"
}

# write_record NAME: standard input, a JSON value, as the record's "results", beside what it was measured on.
write_record() {
  local commit dirty
  read -r commit dirty < <(commit_state)
  jq --arg commit "$commit" --argjson dirty "$dirty" --arg date "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    --arg kernel "$(uname -r | cut -d- -f1)" --argjson cores "$(nproc)" \
    --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
    '{commit: $commit, dirty: $dirty, date: $date, machine: {kernel: $kernel, cpu: $cpu, cores: $cores}, results: .}' \
    >"$records/$1.json"
  echo "written: $records/$1.json" >&2
}
