#!/usr/bin/env bash
# Split-KV attention of one token on a GPU at contexts of 256 to 32768 against one block of threads a KV head (same
# kernel, lab/gpu_attn_fd.cc), in microseconds a layer, with the ratio; fails where a logit's bit differs. DEVICE
# (cuda:0) says which GPU, GPU_ATTN_FD a program that is built already.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
metrics='map(metric("gpu_split_kv_ratio_\(.kv)_\(.length)"; .ratio; "ratio"; .ratios_seen; .rounds),
  metric("gpu_attention_us_\(.kv)_\(.length)"; .split_us; "us"; null; .rounds))'
program=${GPU_ATTN_FD:-$root/build/release/bin/gpu_attn_fd}
build_halo
[ -n "${GPU_ATTN_FD-}" ] ||
  (cd "$root" && cmake --preset release-tests -DONEBIT_LAB=ON && cmake --build build/release --target gpu_attn_fd -- --quiet) >&2
work=${GPU_WORK:-$work}
mkdir -p "$work"
file=$work/2b-32k.h1b
[ -s "$file" ] || "$halo" synth bitnet-2b-4t --context 32768 -o "$file" >&2
"$program" "${DEVICE:-cuda:0}" "$file" |
  tee >(jq -r '["KV \(.kv)", "L \(.length)", "split \(.split_us) us", "one block a KV head \(.single_us) us", "ratio \(.ratio)",
    "same bits: \(.same_bits)"] | join("  ")' >&2) | jq -s . | write_record gpu_attn_fd "$metrics" "$file"
