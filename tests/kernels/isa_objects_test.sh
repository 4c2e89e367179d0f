#!/usr/bin/env bash
# isa_objects_test.sh LIBRARY: objects compiled for an instruction set beyond the base define no symbol that the
# linker may merge with somebody else's (weak, unique or common): such a copy could run on a machine without it.
set -euo pipefail
merged=$(nm --defined-only "$1" 2>/dev/null |
  awk '/^(avx|neon)[^:]*\.o:$/ { inside = $1; ++objects } /^[a-z].*\.o:$/ && !/^(avx|neon)/ { inside = "" }
       inside && $2 ~ /^[WVuC]$/ { print inside, $3 } END { print "objects " objects + 0 }')
grep -q '^objects [1-9]' <<<"$merged" || { echo "no such object in $1"; exit 1; }
if grep -v '^objects ' <<<"$merged"; then exit 1; fi
