#!/usr/bin/env bash
# Split-KV attention at contexts of 256 to 32768 against a kernel that gives each head one task (same inner loop,
# lab/attn_fd.cc), with the ratio; fails where a bit differs.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
metrics='map(metric("split_kv_ratio_\(.kv)_\(.length)"; .ratio; "ratio"; .ratios_seen; .rounds))'
(cd "$root" && cmake --preset release-tests -DONEBIT_LAB=ON && cmake --build build/release --target attn_fd -- --quiet) >&2
"$root/build/release/bin/attn_fd" "${THREADS:-$(nproc)}" |
  tee >(jq -r '["KV \(.kv)", "L \(.length)", "split \(.split_us) us", "one task a head \(.single_us) us", "ratio \(.ratio)",
    "same bits: \(.same_bits)"] | join("  ")' >&2) | jq -s . | write_record attn_fd "$metrics"
