#!/usr/bin/env bash
# GGUF files that halo writes of LLaMA-shaped models, read by node-llama-cpp from npm: its greedy tokens against ours. They
# need not all be the same: its activations are not int8 for a whole row. With the rows of one product in the wrong
# order less than half are.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
peer=$source_dir/tests/e2e/gguf_peer
count=16
case $(uname -m) in
  x86_64) binaries=@node-llama-cpp/linux-x64 ;;
  aarch64) binaries=@node-llama-cpp/linux-arm64 ;;
  *) skip "node-llama-cpp has no binaries for $(uname -m)" ;;
esac
{ command -v node && command -v npm; } >/dev/null || skip 'no node or npm'

if [ ! -f "$peer/node_modules/$binaries/package.json" ]; then
  version=$(jq -r '.dependencies["node-llama-cpp"]' "$peer/package.json")
  options=(--no-package-lock --no-audit --no-fund --ignore-scripts --omit=optional)  # without binaries for every GPU there is
  (cd "$peer" && npm install "${options[@]}" && npm install --no-save "${options[@]}" "$binaries@$version") \
    >"$work/npm" 2>&1 </dev/null || skip "npm could not install node-llama-cpp: $(grep -m 1 -i err "$work/npm")"
fi

prompts=('The capital of France is' 'Once upon a time' 'Water is made of' 'In the morning' 'A list of numbers: one, two,'
  'The king and the' 'She said that' 'def main():' 'The' 'My name is')
# agreement MODEL TYPE: exports and compares; prints how many of the tokens are the same.
agreement() {
  halo export -m "$1" --type "$2" -o "$work/model.gguf"
  expect_status 0
  : >"$work/prompts"
  : >"$work/ours"
  for prompt in "${prompts[@]}"; do
    halo run -m "$1" --json --ignore-eos -n "$count" --temp 0 "$prompt"
    jq -c .prompt_token_ids "$out" >>"$work/prompts"
    jq -c .token_ids "$out" >>"$work/ours"
  done
  node "$peer/greedy.mjs" "$work/model.gguf" "$count" <"$work/prompts" >"$work/theirs" || wrong "node-llama-cpp failed on $2"
  paste -d '\n' "$work/ours" "$work/theirs" |
    jq -s '[range(0; length; 2) as $i | range(.[$i] | length) as $k | select(.[$i][$k] == .[$i + 1][$k])] | length'
}

halo synth llama3-8b --layers 4 --hidden 512 --heads 4 --kv-heads 2 --head-dim 128 --ffn 1536 --vocabulary 8192 --context 256 \
  -o "$work/llama.h1b"
expect_status 0
all=$((count * ${#prompts[@]}))
for type in f16 tq2_0 tq1_0; do
  same=$(agreement "$work/llama.h1b" "$type")
  echo "$type: $same of $all greedy tokens are node-llama-cpp's"
  [ "$same" -ge $((all * 3 / 4)) ] || wrong "only $same of $all tokens are the same for $type"
done
