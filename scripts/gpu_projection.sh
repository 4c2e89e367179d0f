#!/usr/bin/env bash
# What AMD's Strix Halo (gfx1151) should reach: a projection, since none could be had to measure on. Bytes are those of
# the shape of bitnet-b1.58-2B-4T (benchmarks/records/roofline.json), instructions those of the compiled kernels
# (tests/records/gpu_gfx1151.json).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
page=${PAGE:-$root/docs/gpu.md}

usage() {
  cat <<END
usage: scripts/gpu_projection.sh [--update | --check]

Prints the tables; --update puts them into docs/gpu.md, --check fails where those there are others.
END
}

# A matrix–vector or matrix–matrix product reads each weight once and multiplies it by every token of a tile of the
# kernel's (its second parameter, in eights), however many there are: four products a lane in each dot instruction. What
# a kernel has beside its dot instructions is taken to be as many for each of them as in the whole of its code.
tables() {
  jq -nr --slurpfile kernels "$root/tests/records/gpu_gfx1151.json" --slurpfile roofline "$root/benchmarks/records/roofline.json" '
    # Of the machine: bytes a second read, as others measured; 40 compute units of two 32-lane processors, at 2.9 GHz.
    202e9 as $bandwidth | (40 * 2 * 2.9e9) as $issue |
    {t2: {code: 0, weights: 4}, t1_6: {code: 1, weights: 5}, q8: {code: 2, weights: 1}} as $packings |
    def us: . * 1e6 | round;
    def products($packing): [$kernels[0][] | select(.dot > 0) | . as $k | .kernel |
      capture("^products<Code (?<code>[0-9]+), (?<tiles>[0-9]+)u,") | select((.code | tonumber) == $packings[$packing].code) |
      {tokens: ((.tiles | tonumber) * 8), each: ($k.instructions / $k.dot), k: $k}];
    def of_one($packing): products($packing) | (map(.tokens) | min) as $least | map(select(.tokens == $least)) | min_by(.each);
    def of_many($packing): products($packing) | min_by(.each);
    # Seconds to issue the instructions of one tile of tokens.
    def seconds($product; $weights): $weights * $product.tokens / 4 / 32 * $product.each / $issue;
    def entry($packing; $depth): ($roofline[0].results | map(.threads) | max) as $all | [$roofline[0].results[] |
      select(.packing == $packing and .depth == $depth and .kv == "f16" and .threads == $all)][0];
    def parts($packing; $depth): entry($packing; $depth).parts | [
      (["qkv", "QKV"], ["attn_output", "attention output"], ["gate_up", "gate and up"], ["down", "down"], ["head", "head"]) as $part |
      (if $part[0] == "head" then "q8" else $packing end) as $of | .[$part[0]].bytes as $bytes | of_one($of) as $product |
      {name: $part[1], $bytes, read: ($bytes / $bandwidth), product: $product.k, issue: seconds($product; $bytes * $packings[$of].weights)}] +
      [.attention.bytes | {name: "attention", bytes: ., read: (. / $bandwidth), product: null, issue: 0}];
    "| packing | part | MB a token | µs to read them | µs to issue the instructions of one token | instructions, dots among them | registers | waves |",
    "|---|---|---|---|---|---|---|---|",
    (("t2", "t1_6") as $p | parts($p; 64)[] | "| \($p) | \(.name) | \(.bytes / 1e5 | round / 10) | \(.read | us) | " +
      (if .product then "\(.issue | us) | \(.product.instructions), \(.product.dot) | \(.product.registers) | \(.product.occupancy) |" else " | | | |" end)),
    "",
    "| packing | KV positions | tok/s that the bytes allow | tok/s where each part takes the longer of the two | prompts: tok/s that the instructions allow |",
    "|---|---|---|---|---|",
    (("t2", "t1_6") as $p | (64, 1024) as $depth | parts($p; $depth) as $parts |
      (entry($p; $depth).token_bytes.other / $bandwidth) as $other | of_many($p) as $many |
      (entry($p; $depth).token_bytes.ternary * $packings[$p].weights) as $weights |
      "| \($p) | \($depth) | \(1 / (($parts | map(.read) | add) + $other) | round) | \(1 / (($parts | map([.read, .issue] | max) | add) + $other) | round) | \($many.tokens / seconds($many; $weights) | round) |")'
}

# PAGE with the tables between its two marks.
with_tables() {
  local made
  made=$(tables)
  MADE=$made awk '/^<!-- projection: / { print; print ""; print ENVIRON["MADE"]; print ""; skip = 1 }
    /^<!-- end of the projection -->/ { skip = 0 } !skip && !/^<!-- projection: / { print }' "$page"
}

case ${1-} in
  "") tables ;;
  --update) made=$(with_tables) && printf '%s\n' "$made" >"$page" ;;
  --check) diff -u "$page" <(with_tables) || { echo "$page: not as scripts/gpu_projection.sh --update writes it" >&2; exit 1; } ;;
  -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
