#!/usr/bin/env bash
# Compiles the GPU kernels for one architecture, reads from the objects what each kernel needs and which instructions it
# has, and compares that with the committed table.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
program=${0##*/}

usage() {
  cat <<END
usage: scripts/gpu_objects.sh [--update | --print] [--source FILE] [--table FILE] ARCHITECTURE

ARCHITECTURE is AMD's (gfx1151; needs clang++-19, lld-19, llvm-19 and libamdhip64-dev) or NVIDIA's (sm_90a; needs
nvcc). Compiles src/kernels/gpu/module_hip.cc or module_cuda.cu with the flags of the build, and compares with
tests/records/gpu_ARCHITECTURE.json. Fails where a kernel is not in the table or no longer exists, fits fewer times
on a processor than there, has lost its dot or matrix instructions, or, whatever the table says, uses scratch memory,
flushes denormals, rounds otherwise than to nearest even, or lets the compiler fuse or reorder floating-point operations.

  --update   write the table instead
  --print    print it instead
  --source   compile this file
  --table    compare with (or write) this file
END
}

mode=compare
source=
table=
architecture=
while [ $# -gt 0 ]; do
  case $1 in
    --update) mode=update ;;
    --print) mode=print ;;
    --source) source=${2-}; shift $(($# > 1)) ;;
    --table) table=${2-}; shift $(($# > 1)) ;;
    -h | --help) usage; exit 0 ;;
    gfx* | sm_*) architecture=$1 ;;
    *) printf '%s: unknown argument: %s\n\n' "$program" "$1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
[ -n "$architecture" ] || { usage >&2; exit 2; }
table=${table:-$root/tests/records/gpu_$architecture.json}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# amd SOURCE: one tab-separated line a kernel.
#   name registers scalar_registers scratch_bytes shared_bytes spills scalar_spills occupancy dot matrix fused
#   instructions rounding denormals relaxed
amd() {
  local clang=(clang++-19 "@$root/src/kernels/gpu/flags_hip.rsp" -I"$root/src" -I"$root" --cuda-device-only
    "--offload-arch=$architecture" --no-gpu-bundle-output)
  # Occupancy is in remarks only; -S -emit-llvm shows what the optimiser was allowed to do.
  "${clang[@]}" -S -emit-llvm "$1" -o "$work/ir" 2>/dev/null &
  "${clang[@]}" -Rpass-analysis=kernel-resource-usage -c "$1" -o "$work/object" 2>"$work/remarks" ||
    { cat "$work/remarks" >&2; return 1; }
  wait $!
  awk '/remark: Function Name:/ { name = $(NF - 1) } /remark: +Occupancy/ { print name, $(NF - 1) }' \
    "$work/remarks" >"$work/occupancy"
  llvm-readelf-19 --notes "$work/object" | awk '
    function told() { if (name != "") print name, v["vgpr_count"], v["sgpr_count"], v["private_segment_fixed_size"],
                                            v["group_segment_fixed_size"], v["vgpr_spill_count"],
                                            v["sgpr_spill_count"] }
    /^  - / { told(); name = "" }
    /^    \.name:/ { name = $2 }
    /^    \.[a-z_]+: / { v[substr($1, 2, length($1) - 2)] = $2 }
    END { told() }' >"$work/resources"
  llvm-objdump-19 -d --no-show-raw-insn "$work/object" | awk '
    /^[0-9a-f]+ <.*>:$/ { name = substr($2, 2, length($2) - 3); seen[name] = 1 }
    /^\t/ && $1 !~ /^s_(code_end|nop)/ {
      ++instructions[name]
      dot[name] += gsub(/v_dot4_/, "&")
      matrix[name] += gsub(/v_s?wmma/, "&")
      fused[name] += gsub(/[sv]_(dual_|pk_)?(fma|mad_f|mac_f)/, "&")
    }
    END { for (name in seen) print name, dot[name] + 0, matrix[name] + 0, fused[name] + 0, instructions[name] + 0 }' \
    >"$work/instructions"
  awk '
    /^define / { name = $0; sub(/\(.*/, "", name); sub(/.*@/, "", name); relaxed[name] = 0 }
    / (fadd|fsub|fmul|fdiv|frem|fneg|call|select|phi)( [a-z]+)* (contract|fast|reassoc|arcp|afn) / { ++relaxed[name] }
    END { for (name in relaxed) print name, relaxed[name] }' "$work/ir" >"$work/relaxed"
  float_modes
  join_all resources occupancy instructions modes relaxed
}

# Rounding (0: to nearest even) and denormals (3: kept) of 32-bit floats, from the kernels' descriptors, whose 13th word
# is COMPUTE_PGM_RSRC1. llvm-objdump 19 cannot decode those of gfx11.
float_modes() {
  local begin name at word
  llvm-objcopy-19 -O binary --only-section=.rodata "$work/object" "$work/rodata"
  begin=$(llvm-readelf-19 -S --wide "$work/object" | awk '$2 == ".rodata" || $3 == ".rodata" { for (i = 1; i < NF; ++i) if ($i == "PROGBITS") print $(i + 1) }')
  llvm-nm-19 "$work/object" | awk '$3 ~ /\.kd$/ { print $3, $1 }' | while read -r name at; do
    word=$(od -An -tu4 -j $((16#$at - 16#$begin + 48)) -N 4 "$work/rodata")
    echo "${name%.kd} $((word >> 12 & 3)) $((word >> 16 & 3))"
  done >"$work/modes"
}

# nvidia SOURCE: the same; NVIDIA has no modes, but denormals are flushed where an instruction says so.
nvidia() {
  local registers_of_processor=65536 warps=64
  case $architecture in sm_86 | sm_89 | sm_12*) warps=48 ;; esac
  nvcc -optf "$root/src/kernels/gpu/flags_cuda.rsp" -I"$root/src" -I"$root" -x cu -arch="$architecture" -cubin \
    -Xptxas -v -keep -keep-dir "$work" "$1" -o "$work/object" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }
  awk '
    /Compiling entry function/ { split($0, part, "'\''"); name = part[2] }
    /bytes stack frame/ { stack[name] = $1; spills[name] = ($5 + $9) / 4 }
    /Used [0-9]+ registers/ {
      registers[name] = $5
      shared[name] = 0
      for (i = 2; i <= NF; ++i) if ($i == "bytes" && $(i + 1) ~ /^smem/) shared[name] = $(i - 1)
    }
    END { for (name in registers) print name, registers[name], 0, stack[name] + 0, shared[name], spills[name] + 0, 0 }' \
    "$work/log" >"$work/resources"
  awk -v warps="$warps" -v all="$registers_of_processor" '
    FNR == NR { registers[$1] = $2; next }
    /\.entry / { name = $0; sub(/\(.*/, "", name); sub(/.*\.entry /, "", name); threads[name] = 1024 }
    /^\.maxntid/ { threads[name] = $2 + 0 }
    /\/\/ begin inline asm/ { assembly = 1 }
    /\/\/ end inline asm/ { assembly = 0 }
    /^}/ && !assembly { name = "" }
    name == "" { next }
    /[ \t]dp4a/ { ++dot[name] }
    /(^|[ \t])(mma\.sync|wgmma\.mma_async)/ { ++matrix[name] }
    /[ \t](fma|mad)\.[a-z.]*f32/ { ++fused[name] }
    /[ \t](add|sub|mul|fma|mad|div|sqrt|rcp)\.([a-z.]+\.)?f32/ && !/\.rn\.f32/ { ++relaxed[name] }
    /\.ftz/ { ++ftz[name] }
    /^\t[a-z@]/ { ++instructions[name] }
    END {
      for (name in threads) {
        of_warp = int((registers[name] * 32 + 255) / 256) * 256
        resident = int(all / of_warp)
        if (resident > warps) resident = warps
        block = threads[name] / 32
        print name, int(resident / block) * block, dot[name] + 0, matrix[name] + 0, fused[name] + 0,
              instructions[name] + 0, 0, ftz[name] ? 0 : 3, relaxed[name] + 0
      }
    }' "$work/resources" "$work"/*.ptx >"$work/rest"
  join_all resources rest
}

join_all() {
  local file joined="$work/joined"
  sort "$work/$1" >"$joined"
  shift
  for file in "$@"; do
    join "$joined" <(sort "$work/$file") >"$joined.next"
    mv "$joined.next" "$joined"
  done
  tr ' ' '\t' <"$joined"
}

# Names without namespaces and arguments.
readable() {
  c++filt | sed -E 's/onebit::gpu::(\(anonymous namespace\)::)?//g; s/^void //; s/\([^()]*\)\t/\t/; s/\(([A-Za-z]+)\)([0-9])/\1 \2/g'
}

case $architecture in
  gfx*) kernels=$(amd "${source:-$root/src/kernels/gpu/module_hip.cc}" | readable) ;;
  *) kernels=$(nvidia "${source:-$root/src/kernels/gpu/module_cuda.cu}" | readable) ;;
esac
[ -n "$kernels" ] || { echo "$program: no kernels were found" >&2; exit 1; }
jq -R 'split("\t") | [.[0]] + (.[1:] | map(tonumber)) | {kernel: .[0], registers: .[1], scalar_registers: .[2],
  scratch_bytes: .[3], shared_bytes: .[4], spills: .[5], scalar_spills: .[6], occupancy: .[7], dot: .[8], matrix: .[9],
  fused: .[10], instructions: .[11], rounding: .[12], denormals: .[13], relaxed: .[14]}' <<<"$kernels" |
  jq -s 'sort_by(.kernel)' | jq -r '"[", (to_entries[] | (if .key > 0 then "," else "" end) + (.value | tojson)), "]"' \
  >"$work/table"

if [ "$mode" = print ]; then cat "$work/table"; exit 0; fi
if [ "$mode" = update ]; then
  mkdir -p "$(dirname "$table")"
  cp "$work/table" "$table"
  echo "$(jq length "$table") kernels: $table"
  exit 0
fi
[ -s "$table" ] || { echo "$program: there is no table $table: make it with --update" >&2; exit 1; }
jq -r --slurpfile old "$table" '
  ($old[0] | map({key: .kernel, value: .}) | from_entries) as $old
  | (map({key: .kernel, value: .}) | from_entries) as $new
  | [(.[] | . as $k | $old[.kernel] as $o |
      if .scratch_bytes > 0 or .spills > 0 then
        "\(.kernel): \(.scratch_bytes) bytes of scratch memory, \(.spills) registers spilled" else empty end,
      if .rounding != 0 or .denormals != 3 then "\(.kernel): float mode \(.rounding), \(.denormals)" else empty end,
      if .relaxed > 0 then "\(.kernel): \(.relaxed) floating-point operations may be fused or reordered" else empty end,
      if $o == null then "\(.kernel): not in the table"
      else
        (if .occupancy < $o.occupancy then
          "\(.kernel): fits \(.occupancy) times, was \($o.occupancy) (\(.registers) registers, were \($o.registers))"
        else empty end),
        (("dot", "matrix") as $i | if .[$i] == 0 and $o[$i] > 0 then
          "\(.kernel): no \($i) instructions, were \($o[$i])" else empty end)
      end),
     ($old | keys[] | select($new[.] == null) | "\(.): in the table, but there is no such kernel")]
  | .[]' "$work/table" >"$work/problems"
if [ -s "$work/problems" ]; then
  cat "$work/problems"
  echo "$program: $architecture: compare with $table; if what changed is meant, write it with --update"
  exit 1
fi
echo "$(jq length "$work/table") kernels for $architecture as in the table"
