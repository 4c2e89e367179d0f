#!/usr/bin/env bash
# Which part of the sources that read what strangers made (model files, Hugging Face folders, layouts, prompts) runs in
# the tests of the format, the tokenizer and base, and with the committed inputs of the fuzz targets. Fails where it is
# less than 90 % of a file's lines.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
least=90

record=
case ${1-} in
  '') ;;
  --record) record=${2:?} ;;
  *) echo "usage: scripts/coverage.sh [--record FILE]   (FILE: the figures as JSON)"; [ "$1" = --help ]; exit ;;
esac

cd "$root"
sources=()
for file in src/format/{h1b_file,h1b_layout,h1b_verify,verify,model_config,model_tensors,tokenizer_data,sentencepiece,chat_format}.cc \
  src/format/import/*.cc src/hub/{repo,part_record}.cc src/tokenizer/*.cc; do
  [ ! -f "$file" ] || sources+=("$file")
done
tests=(base_test format_test gguf_test h1b_hostile_test convert_hostile_test json_hostile_test tokenizer_data_test interrupted_test
  hub_test tokenizer_test)
fuzz=()
for file in tests/fuzz/*_fuzz.cc; do fuzz+=("fuzz_$(basename "$file" _fuzz.cc)"); done

configure coverage coverage
cmake --build --preset coverage --target "${tests[@]}" "${fuzz[@]}"

build=build/coverage
rm -rf "$build/profiles"
mkdir "$build/profiles"
programs=()  # all but the first with an option before them, as llvm-cov wants it
# run PROGRAM ARGUMENT…: each process of it leaves a profile.
run() {
  echo "running $1"
  programs+=(${programs:+-object} "$build/bin/$1")
  LLVM_PROFILE_FILE="$root/$build/profiles/$1-%p.profraw" "$build/bin/$1" "${@:2}" >"$build/log" 2>&1 || {
    cat "$build/log"
    fail "$1 failed"
  }
}
for program in "${tests[@]}"; do RC_PARAMS=seed=1 run "$program" --gtest_brief=1; done
for program in "${fuzz[@]}"; do run "$program" tests/fuzz/corpus/"${program#fuzz_}_fuzz"/*; done
llvm-profdata-19 merge -sparse "$build"/profiles/*.profraw -o "$build/all.profdata"
llvm-cov-19 export -summary-only -instr-profile "$build/all.profdata" "${programs[@]}" "${sources[@]}" |
  jq --arg root "$root/" '[.data[0].files[] | {file: .filename | ltrimstr($root), lines: .summary.lines.count,
    covered: .summary.lines.covered, percent: (.summary.lines.percent * 10 | floor / 10)}] | sort_by(.file)' \
    >"$build/coverage.json"

echo 'line coverage of the parsers:'
jq -r '.[] | "\(.percent) % of \(.lines) lines  \(.file)"' "$build/coverage.json"
[ "$(jq length "$build/coverage.json")" -eq ${#sources[@]} ] || fail 'a source has no lines that could run'
if [ -n "$record" ]; then
  read -r commit dirty < <(commit_state)
  mkdir -p "$(dirname "$record")"
  jq --arg commit "$commit" --argjson dirty "$dirty" '{commit: $commit, dirty: $dirty, files: .}' \
    "$build/coverage.json" >"$record"
fi
low=$(jq -r --argjson least "$least" 'map(select(.percent < $least) | .file) | join(", ")' "$build/coverage.json")
[ -z "$low" ] || fail "less than $least %: $low"
