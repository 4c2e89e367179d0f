#!/usr/bin/env bash
# The chat page in a real browser: bash chat_page_test.sh SERVER HALO. PICTURES=yes renews those of docs/pages, too.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$2"
here=$source_dir/tests/e2e/pages
CHROMIUM=$(command -v "${CHROMIUM:-chromium}") || skip 'there is no chromium, the browser'
command -v npm >/dev/null || skip 'there is no npm, and so no page'
if ! npm ls --prefix "$here" >"$work/npm" 2>&1; then  # what package.json names is not all there
  (cd "$here" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts) >"$work/npm" 2>&1 </dev/null ||
    skip "npm could not install its packages: $(grep -m 1 -i err "$work/npm")"
fi
server=$(realpath "$1") halo_program=$(realpath "$2")
export CHROMIUM SERVER=$server HALO=$halo_program MODEL=${MODEL:-$source_dir/models/tiny-bitnet.h1b}
cd "$here"
if [ "${PICTURES:-no}" = yes ]; then
  node chat_pictures.mjs "$source_dir/docs/pages"
fi
node --test --test-reporter=spec --test-concurrency=1 chat.test.mjs chat_safety.test.mjs
