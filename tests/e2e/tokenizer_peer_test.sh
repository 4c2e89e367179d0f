#!/usr/bin/env bash
# halo's token ids against an independent tokenizer's, @huggingface/tokenizers from npm, on a few thousand texts.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
model=$source_dir/../shared/models/tiny-bitnet
peer=$source_dir/tests/e2e/tokenizer_peer
[ -f "$model/tokenizer.json" ] || skip 'no ../shared/models/tiny-bitnet, whose tokenizer.json the peer reads'

if [ ! -f "$peer/node_modules/@huggingface/tokenizers/package.json" ]; then
  (cd "$peer" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts) >"$work/npm" 2>&1 </dev/null ||
    skip "npm could not install @huggingface/tokenizers: $(grep -m 1 -i err "$work/npm")"
fi
node "$peer/compare.mjs" --halo "$1" --tokenizer-dir "$model"
