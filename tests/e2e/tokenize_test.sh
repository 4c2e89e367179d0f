#!/usr/bin/env bash
# `halo tokenize` and `detokenize`: every byte comes back, and special tokens only when asked for.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"

# round_trip FILE: its bytes through both commands.
round_trip() {
  halo tokenize <"$1"
  expect_status 0
  local ids
  read -r -a ids <"$out" || true
  halo detokenize "${ids[@]}"
  expect_status 0
  cmp "$1" "$out" || wrong "the bytes of $1 should come back"
}

cd "$work"
printf 'Hello, world!\n' >plain
printf '  two  spaces \t\r\n\n\n  caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80 don'\''t 1234567' >mixed
printf 'zero \0 byte, \xff\xfe\x80 bytes that are no UTF-8, \xe6\x97' >bytes
for i in {0..255}; do printf "\\x$(printf %02x "$i")"; done >every
printf '<|begin_of_text|><|eot_id|>' >special
head -c 20000 "$source_dir/data/wikitext-2/test.txt" >text
for file in plain mixed bytes every special text; do round_trip $file; done

halo tokenize 'Hello, world!'
expect_same "$(cat "$out")" '39 505 78 11 992 0'  # tests/golden/tokenizer_vectors.json
halo tokenize ''
expect_status 0
expect_same "$(cat "$out")" ''

halo tokenize --special '<|eot_id|>'
expect_same "$(wc -w <"$out" | tr -d ' ')" 1
eot=$(cat "$out")
halo detokenize "$eot"
expect_same "$(cat "$out")" '<|eot_id|>'
halo detokenize --skip-special 39 "$eot" 505 78
expect_same "$(cat "$out")" 'Hello'
halo tokenize '<|eot_id|>'
[ "$(wc -w <"$out")" -gt 1 ] || wrong 'the name of a special token in plain text is text'

halo tokenize --show 'Hello, world!'
expect_same "$(wc -l <"$out" | tr -d ' ')" 6
expect_out '^ +992 +" world"$'

printf '"Hello, world!"\n"a\\nb"\n""\n' >lines
halo tokenize --json-lines lines
expect_status 0
expect_same "$(head -n 1 "$out")" '[39,505,78,11,992,0]'
expect_same "$(jq -c type "$out" | sort -u)" '"array"'
expect_same "$(wc -l <"$out" | tr -d ' ')" 3
