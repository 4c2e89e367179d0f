#!/usr/bin/env bash
# 1bit-server and random clients for MINUTES (30), well-behaved and rude, with the bundled model: what memory, files and KV
# pages it has on the way and after they left, against those at rest after a tenth of that time before. Needs node.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
metrics='[metric("soak_time"; .seconds; "s"), metric("highest_resident"; .highest_resident_bytes; "bytes"; [.samples[].resident_bytes]),
  metric("memory_growth"; .growth_bytes; "bytes"), metric("pages_left"; .pages_left; "count"), metric("files_left"; .files_left; "count")]'
build_halo
server=${SERVER:-$(dirname "$halo")/1bit-server} log=$work/soak.log
# Little memory for keys and values, so that prefixes are forgotten and requests are put back all the time.
"$server" --port 0 -m "$root/models/tiny-bitnet.h1b" --idle-time 5 --max-waiting 64 --kv-memory 40 2>"$log" &
pid=$!
trap 'kill "$pid" 2>/dev/null || true' EXIT
until grep -q ' ready ' "$log"; do
  kill -0 "$pid"
  sleep 0.01
done
url=http://127.0.0.1:$(sed -n 's/.* port=//p' "$log")
node "$root/benchmarks/server/soak.mjs" "$url" "$pid" $((${MINUTES:-30} * 60)) "${CLIENTS:-12}" >"$work/soak.jsonl"
kill "$pid"
wait "$pid"
jq '. + {highest_resident_bytes: (.samples | map(.resident_bytes) | max),
    pages_left: (.after.pages - .after.prefix_pages), files_left: (.after.files - .before.files),
    growth_bytes: (.after.own_bytes - .warm.own_bytes)}' "$work/soak.jsonl" |
  tee >(jq -c 'del(.samples)' >&2) | write_record soak "$metrics" "$root/models/tiny-bitnet.h1b"
