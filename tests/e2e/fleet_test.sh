#!/usr/bin/env bash
# A fleet of four behind the packaged HAProxy and Prometheus, in networks of its own: benchmarks/fleet.sh for some
# seconds, and what it must have seen, speed aside. bash fleet_test.sh SERVER HALO.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$2"
command -v jq >/dev/null || skip 'there is no jq'
last=(benchmarks/fleet.sh --short) status=0
touch "$out" "$err"
# Whether a stream is under way just when a server ends is chance; without one there is nothing to see, so again.
for attempt in 1 2 3; do
  HALO=$(realpath "$2") SERVER=$(realpath "$1") HALO_OUTPUT_DIR=$work bash "$source_dir/benchmarks/fleet.sh" --short \
    >"$out" 2>"$err" || status=$?
  [ $status -ne 77 ] || skip "$(sed -n 's/^skipped: //p' "$err")"
  expect_status 0
  cp "$work/fleet.json" "$out"
  [ "$(jq '.results.faults.streams_broken' "$out")" = 0 ] || break
  echo "attempt $attempt: no stream was under way when a server ended"
done
# Nothing that had not begun to stream failed while one server was killed and one cut off; streams that broke say so.
expect_json '.results.faults | .unstreamed > 0 and .unstreamed_failed == 0'
expect_json '.results.faults | .streams_broken > 0 and .streams_silent == 0'
expect_json '.results.drain | .unstreamed_failed == 0 and .streams_broken == 0 and .streams_silent == 0'
expect_json '.results.seen | all(.[]; (.failed // 0) == 0)'
# Requests of a conversation meet what is remembered of it.
expect_json '.results | .cache_one > 0.5 and .cache_four >= 0.9 * .cache_one'
# Prometheus saw every server's work.
expect_json '[.results.seen[] | select(.tokens)] | length == 2 and (.[1].each | all(. > 0)) and all(.[]; .prometheus_tokens_s > 0)'
