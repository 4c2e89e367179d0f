#!/usr/bin/env bash
# The token ids of each kind of tokenizer against independent ones: @huggingface/tokenizers from npm on real vocabularies
# and, where Debian's sentencepiece is installed, spm_encode on a tokenizer.model that spm_train makes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
kinds=$source_dir/tests/e2e/tokenizer_kinds
peer=$source_dir/tests/e2e/tokenizer_peer
text=$source_dir/data/wikitext-2/test.txt

if command -v spm_train >/dev/null && command -v node >/dev/null; then
  mkdir "$work/spm"
  head -c 300000 "$text" >"$work/text"
  spm_train --input="$work/text" --model_prefix="$work/spm/tokenizer" --vocab_size=1500 --model_type=bpe \
    --byte_fallback=true --normalization_rule_name=identity --remove_extra_whitespaces=false \
    --user_defined_symbols='[INST],<think>' --control_symbols='<pad>' >"$work/train" 2>&1
  node "$kinds/sentencepiece.mjs" "$1" "$work/spm" "$text"
else
  echo 'no spm_train (Debian: sentencepiece) or no node: tokenizer.model was not compared'
fi

for folder in "$peer" "$kinds"; do
  [ ! -f "$folder/node_modules/.package-lock.json" ] || continue
  (cd "$folder" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts) >"$work/npm" 2>&1 </dev/null ||
    skip "npm could not install what $(basename "$folder") needs: $(grep -m 1 -i err "$work/npm")"
done
node "$kinds/kinds.mjs" "$work/kinds"
for kind in qwen3 neox llama2 metaspace-first metaspace-always metaspace-never; do
  echo "$kind"
  theirs=$work/kinds/$kind
  [ ! -d "$theirs-peer" ] || theirs+=-peer
  node "$peer/compare.mjs" --halo "$1" --tokenizer-dir "$theirs" --texts 800 \
    --words '["<think>", "</think>", "<tool_call>", "<think", "[INST]", "  ", "    ", "▁"]' -- "$work/kinds/$kind"
done
