#!/usr/bin/env bash
# halo bench, roofline and export, the engines and instruction sets: what they print, and what they refuse.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
bundled=$source_dir/models/tiny-bitnet.h1b
small=$work/small.h1b
halo synth tiny --layers 1 --hidden 256 --heads 2 --kv-heads 1 --head-dim 128 --ffn 512 --vocabulary 300 --context 64 \
  --tokenizer-from "$bundled" -o "$small"
expect_status 0

halo bench -m "$small" -p 8,16 -n 4 -d 0-8+8 -b 1,2 -t 1-2 -r 2 -o jsonl
expect_status 0
expect_same "$(wc -l <"$out")" 24
expect_same "$(jq -s 'map(.samples_s | length) | unique' -c "$out")" '[2]'
expect_same "$(jq -s 'map(select(.avg_ts <= 0 or .stddev_ts < 0)) | length' "$out")" 0
halo bench -m "$small" -p 16 -n 4 -r 1 -o json
expect_json 'length == 2 and .[0].n_prompt == 16 and .[1].n_gen == 4'
halo bench -m "$small" -p 0 -n 4 -r 1 -o csv
expect_out '^model,model_bytes,engine,isa,threads,'
halo bench -m "$small" -p 16 -n 0 -r 1
expect_out '^\| small \| .* \| pp16 \| [0-9.]+ ± 0\.00 \|$'
halo bench -m "$small" -p 65
expect_refusal 'pp65: 65 positions .* context of 64'
halo bench -m "$small" -p 4-2
expect_refusal "-p: '4-2' is no list of numbers"
halo bench -m "$small" -p 0 -n 0
expect_refusal 'nothing to measure'

halo export -m "$small" --embedding q8_0 -o "$work/small.gguf"
expect_status 0
expect_same "$(head -c 4 "$work/small.gguf")" GGUF
halo export -m "$small" --type tq1_0 --embedding bf16 -o "$work/tq1.gguf"
expect_status 0
halo synth tiny --layers 1 --hidden 48 --heads 1 --kv-heads 1 --head-dim 48 --ffn 80 --vocabulary 300 --context 64 \
  --tokenizer-from "$bundled" -o "$work/narrow.h1b"
halo export -m "$work/narrow.h1b" -o "$work/narrow.gguf"
expect_refusal 'multiple of 256'
[ ! -e "$work/narrow.gguf" ] || wrong 'a refused export left a file'

# The same answer, byte for byte, from both engines and every instruction set this machine has.
halo run -m "$small" --engine reference --json --logprobs 2 -n 12 --temp 0.8 --seed 3 Hello
expect_status 0
expected=$(jq -c '[.token_ids, .logprobs]' "$out")
for isa in avx512 avx2-vnni avx2 neon scalar; do
  for threads in 1 3; do
    HALO_ISA=$isa halo run -m "$small" -t "$threads" --lookup 4 --json --logprobs 2 -n 12 --temp 0.8 --seed 3 Hello
    [ "$status" -eq 0 ] || { expect_refusal "HALO_ISA: instruction set '$isa': this machine runs .*scalar"; continue; }
    expect_same "$(jq -c '[.token_ids, .logprobs]' "$out")" "$expected"
  done
done
HALO_ISA=sse9 halo run -m "$small" Hello
expect_refusal "HALO_ISA: instruction set 'sse9'"
halo roofline -m "$small" --engine reference
expect_refusal 'gen-2'
