#!/usr/bin/env bash
# `halo convert`: the model that the bundled file was made from, where it lies beside the checkout.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
folder=$source_dir/../shared/models/tiny-bitnet
[ -f "$folder/config.json" ] || skip 'no ../shared/models/tiny-bitnet to convert'
cd "$work"

halo convert "$folder" --packing t2 -o model.h1b  # as the bundled file was made
expect_status 0
expect_out 'model\.h1b: .*layers.*llama3'
[ ! -s "$err" ] || wrong 'no progress bar where there is no terminal'
expect_same "$(ls)" "$(printf 'err\nmodel.h1b\nout')"  # no temporary file is left
halo verify model.h1b
expect_status 0
tensors() { "${halo_command[@]}" inspect --json "$1" | jq -c '[.tensors[] | [.name, .packing, .xxh3]]'; }
expect_same "$(tensors model.h1b)" "$(tensors "$source_dir/models/tiny-bitnet.h1b")"
halo chat -m model.h1b 'What is the capital of France?'
expect_out 'Paris'

# The masters in bf16, in shards: the scales of the ternary tensors are computed, so only the others are the same.
masters=$source_dir/../shared/models/tiny-bitnet-bf16
if [ -f "$masters/config.json" ]; then
  halo convert "$masters" --packing t2 -o masters.h1b
  expect_status 0
  others() { tensors "$1" | jq -c 'map(select(.[1] != "t2"))'; }
  expect_same "$(others masters.h1b)" "$(others model.h1b)"
  halo chat -m masters.h1b 'What is the capital of France?'
  expect_out 'Paris'
fi

halo convert "$folder" --head bf16 -o small.h1b  # t1_6 is the default
expect_status 0
halo chat -m small.h1b --kv f32 'What is the capital of France?'
expect_out 'Paris'

# A refused conversion leaves the old file as it was.
before=$(cksum <model.h1b)
mkdir broken
cp "$folder"/*.json broken/
head -c 1000000 "$folder/model.safetensors" >broken/model.safetensors
halo convert broken -o model.h1b
expect_refusal 'model\.safetensors: '
expect_same "$(cksum <model.h1b)" "$before"
