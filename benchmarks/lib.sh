# shellcheck shell=bash
# Sourced by the scripts of this folder. Each builds halo, makes the model it measures (random weights of a real
# model's shape: speed does not depend on values) under build/bench, prints a table, and writes what it measured, with
# the machine and the commit, to NAME.json in $HALO_OUTPUT_DIR ($RECORDS, benchmarks/records).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=benchmarks/machine.sh
. "$root/benchmarks/machine.sh"
halo=${HALO:-$root/build/release/bin/halo}
work=$root/build/bench
records=${HALO_OUTPUT_DIR:-${RECORDS:-$root/benchmarks/records}}
command=$(realpath --relative-to="$root" "$0")  # what records name as theirs; never a path outside
case $command in ../*) command=$(basename "$0") ;; esac
mkdir -p "$work" "$records"
records=$(cd "$records" && pwd)  # scripts may change folders

build_halo() { [ -n "${HALO-}" ] || "$root/quickstart" --no-run >&2; }  # or $HALO as it is

# model PACKING: the path of the shape of bitnet-b1.58-2B-4T in that packing (t2, t1_6, s1_25), made once; $MODEL instead, if set.
model() {
  local file=$work/2b-$1.h1b
  [ -z "${MODEL-}" ] || { echo "$MODEL"; return; }
  [ -s "$file" ] || "$halo" synth bitnet-2b-4t --packing "$1" -o "$file" >&2
  echo "$file"
}

# model_facts FILE…: the name of a model and a hash of what it holds, not of when it was made; null without files.
model_facts() {
  local file
  for file in "$@"; do
    "$halo" inspect --json "$file" | jq -c --arg file "$(basename "$file")" \
      --arg hash "$("$halo" inspect --json "$file" | jq -r '.tensors[] | "\(.name) \(.xxh3)"' | sha256sum | cut -c 1-64)" \
      '{name: "\(.provenance.name // "unnamed") (\($file))", hash: "sha256:\($hash)"}'
  done | jq -s 'unique | if . == [] then null else {name: map(.name) | join(", "), hash: map(.hash) | join(", ")} end'
}

# write_record NAME [METRICS [MODEL…]]: standard input, a JSON value, as the record's "results", beside what it was measured
# on (docs/records.md). METRICS: a jq expression on the results, an array of what metrics.jq makes.
write_record() {
  local commit dirty machine model_json
  read -r commit dirty < <(commit_state)
  machine=$(machine_facts)
  model_json=$(model_facts "${@:3}")
  jq -L "$root/benchmarks" --arg name "$1" --arg command "$command" --arg commit "$commit" --argjson dirty "$dirty" \
    --arg date "$(date -u +%Y-%m-%dT%H:%M:%SZ)" --argjson machine "$machine" --argjson model "$model_json" \
    'include "metrics"; . as $results | ('"${2:-[]}"') as $metrics | {schema: 1, name: $name, command: $command,
    commit: $commit, dirty: $dirty, date: $date, machine: ($machine + {bandwidth_gb_s:
    ([$metrics[] | select(.metric == "read_bandwidth") | .value] | first)}), model: $model, metrics: $metrics,
    results: $results}' >"$records/.$1.new"
  mv "$records/.$1.new" "$records/$1.json"
  echo "written: $records/$1.json" >&2
}
