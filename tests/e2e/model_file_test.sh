#!/usr/bin/env bash
# `halo inspect`, `verify` and `synth`.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
cd "$work"
model=$source_dir/models/tiny-bitnet.h1b

halo inspect
expect_status 0
for word in layers vocabulary bits/weight t2 q8 Tokenizer converter; do expect_out "$word"; done
halo inspect --tensors "$model"
expect_out '^  [a-z_0-9.]+ .*t2 .*xxh3 [0-9a-f]{16}$'

halo inspect --json "$model"
expect_status 0
expect_json --argjson bytes "$(stat -c %s "$model")" '.format == "h1b" and .version == 3 and .bytes == $bytes'
expect_json '.config | .layers > 0 and .hidden > 0 and .heads > 0 and .kv_heads > 0 and .head_dim > 0 and .ffn > 0
             and .vocabulary > 0 and .context > 0 and .rope_theta > 0 and .rms_epsilon > 0'
expect_json '.packings.t2 | .bits_per_weight >= 2 and .bits_per_weight < 2.1 and .bytes > 0 and .tensors > 0'
expect_json '.tokenizer | .tokens > 0 and .merges > 0 and .bos > 0 and .chat_layout == "llama3"'
expect_json '.provenance | .name != "" and .converter != "" and .date != ""'
expect_json '.config.vocabulary == .tokenizer.tokens'
expect_json '([.packings[].tensors] | add) == (.tensors | length) and ([.packings[].bytes] | add) == ([.tensors[].bytes] | add)'
expect_json 'all(.tensors[]; .offset > 0 and .offset + .bytes <= '"$(stat -c %s "$model")"')'

halo verify
expect_status 0
expect_out 'sound'

# One bit flipped in the middle of a tensor: verify names the tensor.
read -r name offset bytes < <(jq -r '[.tensors[] | select(.packing == "t2")][7] | "\(.name) \(.offset) \(.bytes)"' \
  <("${halo_command[@]}" inspect --json "$model"))
cp "$model" damaged.h1b
at=$((offset + bytes / 2))
byte=$(od -An -tu1 -j "$at" -N 1 damaged.h1b)
printf "\\x$(printf %02x $((byte ^ 1)))" | dd of=damaged.h1b bs=1 seek="$at" conv=notrunc status=none
halo verify damaged.h1b
expect_refusal "damaged\.h1b: tensor ${name//./\\.}: .*checksum"

# Synthetic models: the same seed gives the same file, and what is made runs.
export SOURCE_DATE_EPOCH=1700000000
halo synth tiny -o one.h1b
expect_status 0
halo synth tiny -o two.h1b
cmp one.h1b two.h1b || wrong 'the same seed should give the same file'
halo synth tiny --seed 2 -o two.h1b
! cmp -s one.h1b two.h1b || wrong 'another seed should give another file'
halo verify one.h1b
expect_status 0
halo run -m one.h1b -n 4 --json Hello
expect_json '(.token_ids | length) > 0'
halo synth tiny --packing t1_6 --head f16 --layers 2 --hidden 256 --heads 4 --kv-heads 1 --head-dim 64 --ffn 512 \
  --vocabulary 9000 --context 128 -o free.h1b
expect_status 0
halo inspect --json free.h1b
expect_json '.config | .layers == 2 and .hidden == 256 and .heads == 4 and .kv_heads == 1 and .head_dim == 64 and .ffn == 512
             and .vocabulary == 9000 and .context == 128'
expect_json '.packings.t1_6.bits_per_weight < 1.7'
halo verify free.h1b
expect_status 0
halo run -m free.h1b -n 4 Hello
expect_status 0
halo chat -m free.h1b -n 4 Hello
expect_status 0

# ppl on a short text.
head -c 2000 "$source_dir/data/wikitext-2/test.txt" >text
halo ppl text --window 64 --windows 2 --json
expect_status 0
expect_json '.tokens_scored == 128 and .token_perplexity > 1 and (.windows | length) == 2 and .bos == true'
expect_json '(((.nll_sum / .tokens_scored) | exp) / .token_perplexity - 1 | fabs) < 1e-6'
halo ppl text --window 64 --windows 2
expect_out '^perplexity [0-9.]+ over 128 tokens; a word [0-9.]+, [0-9.]+ bits per byte$'
# Windows that overlap score every token once; words and bytes are those of the text.
halo ppl text --window 64 --stride 16 --json
expect_json '.bytes == 2000 and .words == '"$(wc -w <text)"' and (.windows[1].tokens == 16)'
halo ppl text --window 64 --stride 65
expect_status 1
expect_err 'stride is 65, expected at most the window of 64'
# What was interrupted goes on, to the same figures; another run's state is refused.
halo ppl text --window 64 --json
cp out whole
halo ppl text --window 64 --windows 2 --state state
printf '{"tokens":64,"nl' >>state
halo ppl text --window 64 --state state --json
cmp out whole || wrong "a resumed run gave other figures"
[ "$(wc -l <state)" = "$(($(jq '.windows | length' whole) + 1))" ] || wrong "the state has other lines than windows"
halo ppl text --window 32 --state state
expect_status 1
expect_err 'state: holds another run'
