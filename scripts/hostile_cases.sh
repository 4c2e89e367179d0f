#!/usr/bin/env bash
# Prints docs/security.md's table of how many hostile inputs the tests try, as a release build counts them now.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

if [ $# -gt 1 ] || [[ ${1-} == -* ]]; then
  echo "usage: scripts/hostile_cases.sh [BUILD_FOLDER]   (build/release, with the tests built)"
  [[ ${1-} == -h || ${1-} == --help ]] && exit 0 || exit 2
fi
bin=$(cd "${1:-$root/build/release}/bin" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Those that say test::hostile() (tests/support/hostile_cases.h); random inputs are the same ones every time.
for program in h1b_hostile_test format_test gguf_test convert_hostile_test json_hostile_test tokenizer_data_test tokenizer_test; do
  RC_PARAMS=seed=1 "$bin/$program" --gtest_output="json:$work/$program.json" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    echo "hostile_cases.sh: $program failed" >&2
    exit 1
  }
done

jq -rs '
  # A format or class that is not in these lists is an error: it would be missing from the table.
  [["h1b", ".h1b"], ["safetensors", "safetensors and index"], ["gguf", "GGUF"], ["config.json", "config.json"],
   ["tokenizer.json", "tokenizer.json and companions"], ["tokenizer", "tokenizer section"],
   ["layout", "chat layouts"], ["prompt", "prompts and ids"]] as $formats |
  [["cut", "cut short"], ["bytes", "flipped or changed bytes"],
   ["numbers", "counts, sizes, offsets, ids: 0, 1, maximum, random, with and without repaired checksums"],
   ["types", "any type in any field"], ["structure", "overlaps, duplicates, circles, shapes that do not fit"],
   ["values", "NaN, infinity, scales that are none, code 3, padding"],
   ["text", "names and texts: no UTF-8, control characters, paths, markers"],
   ["other", "parts or settings missing, unknown or of another file"],
   ["nesting", "nesting 100,000 deep"], ["runs", "megabytes of one character"]] as $kinds |
  [.[].testsuites[].testsuite[] | to_entries[] | select(.key | startswith("hostile-")) |
    (.key | split("-")) + [.value | tonumber]] as $cases |
  def known($list): . as $name | any($list[]; .[0] == $name);
  (first($cases[] | select((.[1] | known($formats) | not) or (.[2] | known($kinds) | not)) |
    error("no such format or class: \(.[1]), \(.[2])")) // empty),
  def sum(select_case): [$cases[] | select(select_case) | .[3]] | add // "" | tostring;
  "| input | \([$formats[][1]] | join(" | ")) |",
  "|---|\("---|" * ($formats | length))",
  ($kinds[] | . as [$kind, $words] |
    "| \($words) | \([$formats[][0] as $format | sum(.[1] == $format and .[2] == $kind)] | join(" | ")) |"),
  "| together | \([$formats[][0] as $format | sum(.[1] == $format)] | join(" | ")) |"
' "$work"/*.json
