#!/usr/bin/env bash
# gpu_objects_test.sh: what scripts/gpu_objects.sh must find, it finds.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/kernels.cc" <<'END'
#include "kernels/gpu/gpu_api.h"
namespace onebit::gpu {
GPU_KERNEL(64, 1) scratch(float* p, const uint32_t* i) {
  float a[64];
  for (int k = 0; k < 64; ++k) a[k] = p[k] * 2;
  a[i[0] % 64] = 1;
  p[thread()] = a[i[1] % 64];
}
GPU_KERNEL(64, 1) loose(float* p) {
#pragma clang fp contract(fast)
  p[0] = p[1] * p[2] + p[3];
}
GPU_KERNEL(64, 1) dots(int32_t* p, const uint32_t* q) {
  p[thread()] = dot4(p[0], q[0], q[1]);
}
GPU_KERNEL(64, 1) fine(float* p) {
  p[thread()] += 1.0f;
}
}  // namespace onebit::gpu
END
objects() { "$root/scripts/gpu_objects.sh" --source "$work/kernels.cc" --table "$work/table" "$@" gfx1151; }
objects --update >/dev/null
jq -e 'map({key: .kernel, value: .}) | from_entries | .dots.dot == 1 and .fine.dot == 0 and .loose.fused == 1
  and .fine.fused == 0 and .scratch.scratch_bytes > 0 and all(.[]; .denormals == 3 and .rounding == 0)' "$work/table" >/dev/null
jq '[.[] | select(.kernel != "scratch") | if .kernel == "fine" then .dot = 1 | .occupancy += 1 else . end]
  + [{kernel: "gone"}]' "$work/table" >"$work/changed"
mv "$work/changed" "$work/table"
if objects >"$work/said"; then echo 'nothing was found'; exit 1; fi
cat "$work/said"
for text in 'scratch: [0-9]* bytes of scratch' 'scratch: not in the table' 'loose: 2 floating-point' 'fine: fits 16 times, was 17' \
  'fine: no dot' 'gone: in the table'; do
  grep -q "^$text" "$work/said" || { echo "not found: $text"; exit 1; }
done
[ "$(grep -c '^[a-z]*: ' "$work/said")" -eq 6 ]
