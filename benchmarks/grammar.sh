#!/usr/bin/env bash
# What structured output costs: compiling a schema or grammar, and the mask of each step over 128,256 tokens, for a
# synthetic vocabulary and for a real one (of the npm package llama3-tokenizer-js). One thread.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
here=$root/benchmarks/grammar
metrics='[.[] | "\(.vocabulary_name)_\(.source)" as $of | metric("mask_mean_\($of)"; .mean_ms; "ms"),
  metric("mask_p99_\($of)"; .p99_ms; "ms"), metric("mask_first_\($of)"; .most_of_first_answer_ms; "ms"),
  metric("compile_\($of)"; .compile_ms; "ms")]'
build_halo
synthetic=$work/vocabulary.h1b
[ -s "$synthetic" ] || "$halo" synth tiny --vocabulary 128256 -o "$synthetic" >&2
[ -d "$here/node_modules/llama3-tokenizer-js" ] ||
  (cd "$here" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts) >&2
node "$here/vocabulary.mjs" >"$work/llama3.hex"
measure() { # NAME OF-THE-VOCABULARY OPTION…
  local name=$1 source
  shift
  for source in person.json any.json sums.gbnf; do
    local option=--schema
    [ "${source##*.}" = json ] || option=--gbnf
    "$halo" grammar "$@" "$option" "$here/$source" --walks "${WALKS:-20}" --json |
      jq -c --arg name "$name" --arg source "${source%.*}" '{vocabulary_name: $name, source: $source} + .'
  done
}
{
  measure synthetic -m "$synthetic"
  measure llama3 --vocabulary "$work/llama3.hex"
} | tee >(jq -r '[.vocabulary_name, .source, "compile \(.compile_ms * 100 | round / 100) ms", "\(.steps) masks", "mean \(.mean_ms * 1000 | round) us",
    "99 % \(.p99_ms * 1000 | round) us", "longest \(.most_ms * 1000 | round) us"] | join("  ")' >&2) |
  jq -s . | write_record grammar "$metrics" "$synthetic"
