#!/usr/bin/env bash
# What the numerics contract costs attention beside a variant that adds in any order (lab/contract_cost.cc; AVX-512).
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
metrics='map(metric("contract_ratio_\(.kv)_\(.length)"; .ratio; "ratio"; .ratios_seen; .rounds))'
(cd "$root" && cmake --preset release-tests -DONEBIT_LAB=ON && cmake --build build/release --target contract_cost -- --quiet) >&2
"$root/build/release/bin/contract_cost" |
  tee >(jq -r '["KV \(.kv)", "L \(.length)", "contract \(.contract_us) us", "free \(.free_us) us", "ratio \(.ratio)"] | join("  ")' >&2) |
  jq -s . | write_record contract_cost "$metrics"
