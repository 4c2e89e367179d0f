#!/usr/bin/env bash
# `halo export` and `halo convert`: a model through GGUF and back.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
bundled=$source_dir/models/tiny-bitnet.h1b
cd "$work"
tensors() { "${halo_command[@]}" inspect --json "$1" | jq -c '[.tensors[] | [.name, .packing, .xxh3]], .config, .tokenizer'; }

halo export -o tiny.gguf
expect_status 0
expect_same "$(head -c 4 tiny.gguf)" GGUF
expect_err 'other programs gate the architecture bitnet with silu, where this model has relu2'
[ "$(wc -l <"$err")" = 1 ] || wrong 'nothing is lost, so nothing else should be told'
halo convert tiny.gguf --packing t2 -o back.h1b
expect_status 0
expect_out 'back\.h1b: 12 layers, .* chat layout llama3'
[ ! -s "$err" ] || wrong 'nothing was assumed, so nothing should be told'
expect_same "$(tensors back.h1b)" "$(tensors "$bundled")"
halo inspect --json back.h1b
expect_json '.provenance | .name == "tiny-bitnet" and .source == "tiny.gguf" and .source_format == "GGUF, tq2_0"'
halo run --json -n 12 --temp 0 'The capital of France is'
answer=$(jq -c .token_ids "$out")
halo run -m back.h1b --json -n 12 --temp 0 'The capital of France is'
expect_same "$(jq -c .token_ids "$out")" "$answer"
halo verify back.h1b
expect_status 0

# What is lost is told; what only other programs lose comes back.
halo export --embedding q8_0 -o rounded.gguf
expect_status 0
expect_err '8192 rows of the embedding are rounded to q8_0; bf16 keeps them'
halo synth bonsai-1.7b --layers 1 --hidden 256 --heads 2 --kv-heads 1 --head-dim 128 --ffn 256 --vocabulary 8192 --context 64 -o groups.h1b
halo export -m groups.h1b -o groups.gguf
expect_refusal 'blk\.0\.attn_q: has a scale for 128 columns.*use f16 or bf16'
[ ! -e groups.gguf ] || wrong 'a refused export left a file'
halo export -m groups.h1b --type f16 -o groups.gguf
expect_status 0
expect_err 'products have scales that f16 blocks do not hold exactly'
halo convert groups.gguf -o groups-back.h1b
expect_status 0
expect_same "$(tensors groups-back.h1b)" "$(tensors groups.h1b)"

# A refused conversion leaves the old file as it was.
before=$(cksum <back.h1b)
head -c 1000000 tiny.gguf >cut.gguf
halo convert cut.gguf -o back.h1b
expect_refusal 'cut\.gguf: .*cut short'
halo convert "$bundled" -o back.h1b
expect_refusal 'tiny-bitnet\.h1b: is neither a GGUF file nor a folder'
expect_same "$(cksum <back.h1b)" "$before"
halo export --architecture mamba -o x.gguf
expect_refusal "architecture 'mamba': this version knows bitnet"
halo export --architecture llama -o x.gguf
expect_refusal 'llama has not the norms of this model'
