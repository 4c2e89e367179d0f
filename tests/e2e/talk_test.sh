#!/usr/bin/env bash
# Conversations by voice with 1bit-server: OpenAI's client, hostile ones, and the chat page's button in a real browser:
# bash talk_test.sh SERVER HALO [no-page].
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$2"
clients=$source_dir/tests/e2e/server pages=$source_dir/tests/e2e/pages
halo voice --speak x --out "$work/x.wav"
if grep -q 'built without flite' "$err"; then skip 'it was built without flite (flite1-dev)'; fi
expect_status 0
halo voice --transcribe --in "$work/x.wav"
if grep -q 'built without pocketsphinx\|pocketsphinx needs it' "$err"; then
  skip 'there is no pocketsphinx (libpocketsphinx-dev, pocketsphinx-en-us)'
fi
command -v npm >/dev/null || skip 'there is no npm'
for folder in "$clients" "$pages"; do
  if ! npm ls --prefix "$folder" >"$work/npm" 2>&1; then  # what package.json names is not all there
    (cd "$folder" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts) >"$work/npm" 2>&1 </dev/null ||
      skip "npm could not install its packages: $(grep -m 1 -i err "$work/npm")"
  fi
done
server=$(realpath "$1") halo_program=$(realpath "$2")
export WORK=$work SERVER=$server HALO=$halo_program MODEL=${MODEL:-$source_dir/models/tiny-bitnet.h1b}
node --test --test-reporter=spec --test-concurrency=1 "$clients"/talk/realtime.mjs "$clients"/talk/hostile.mjs
CHROMIUM=$(command -v "${CHROMIUM:-chromium}") || skip 'the page was not tried: there is no chromium, the browser'
[ "${3:-page}" = page ] || skip 'the page was not tried: it was built without npm'
export CHROMIUM
node --test --test-reporter=spec "$pages/talk.test.mjs"
