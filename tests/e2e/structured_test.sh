#!/usr/bin/env bash
# Structured output and tools with real clients: bash structured_test.sh SERVER HALO.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$2"
here=$source_dir/tests/e2e/structured
if [ ! -f "$here/node_modules/ajv/package.json" ]; then
  (cd "$here" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts) >"$work/npm" 2>&1 </dev/null ||
    skip "npm could not install its packages: $(grep -m 1 -i err "$work/npm")"
fi
server=$(realpath "$1") halo_program=$(realpath "$2")
cd "$here"
SERVER=$server HALO=$halo_program MODEL=${MODEL:-$source_dir/models/tiny-bitnet.h1b} node --test --test-reporter=spec ./*.test.mjs
