#!/usr/bin/env bash
# The live page in a real browser: bash live_page_test.sh SERVER LANDING HALO SLOW_NAMES (a library to preload:
# tests/support/slow_names.cc). PICTURES=yes renews those of docs/pages, too.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$3"
here=$source_dir/tests/e2e/pages
CHROMIUM=${CHROMIUM:-$(command -v chromium || true)}
[ -n "$CHROMIUM" ] || skip 'there is no chromium (apt install chromium)'
command -v npm >"$work/npm" || skip 'there is no npm'
if ! npm ls --prefix "$here" >"$work/npm" 2>&1; then  # what package.json names is not all there
  (cd "$here" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts) >"$work/npm" 2>&1 </dev/null ||
    skip "npm could not install what drives the browser: $(grep -m 1 -i err "$work/npm")"
fi
server=$(realpath "$1") landing=$(realpath "$2") halo_program=$(realpath "$3") slow_names=$(realpath "$4")
export CHROMIUM SERVER=$server LANDING=$landing HALO=$halo_program SLOW_NAMES=$slow_names WORK=$work
export MODEL=${MODEL:-$source_dir/models/tiny-bitnet.h1b}
cd "$here"
if [ "${PICTURES:-no}" = yes ]; then
  node live_pictures.mjs "$source_dir/docs/pages"
fi
node --test --test-reporter=spec --test-concurrency=1 ./live.test.mjs ./live_edges.test.mjs
