#!/usr/bin/env bash
# What a hostile network, hostile bodies and a failing machine do to 1bit-server: it answers with an error and lives, and
# what it holds returns to where it began. bash chaos_test.sh SERVER CLOCK [SECONDS [SEED]]: CLOCK is the library that
# lets the test turn the clock (chaos/clock.cc); SECONDS are for random moments, beside what is always tried.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$1"
command -v node >/dev/null || skip 'there is no node'
server=$(realpath "$1") clock=$(realpath "$2") seconds=${3:-20} seed=${4:-${CHAOS_SEED:-$RANDOM}}
echo "seed $seed, $seconds s"
cd "$source_dir/tests/e2e/chaos"
SERVER=$server CLOCK=$clock MODEL=${MODEL:-$source_dir/models/tiny-bitnet.h1b} WORK=$work \
  node chaos.mjs "$seconds" "$seed"
