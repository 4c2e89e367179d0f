#!/usr/bin/env bash
# 1bit-server under load: streams of the 2B shape together and alone, a long prompt among them, its overhead over halo
# bench; one-token completions, refusals, waiting streams and memory with the bundled model; start and size. Needs node.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
metrics='def seen($test; f): [.seen[] | select(.test == $test) | f];
  [metric("stripped_bytes"; .stripped_bytes; "bytes"), metric("ready"; .ready_ms; "ms"; seen("start"; .ready_ms)),
  metric("one_stream"; .one_stream_tokens_s; "tok/s"; seen("overhead"; .one)),
  metric("server_overhead"; .overhead; "fraction"; seen("overhead"; .part)),
  metric("eight_streams"; .eight_streams_tokens_s; "tok/s"; seen("eight streams"; .tokens_s)),
  metric("eight_to_one"; .eight_to_one; "ratio"; seen("eight streams"; .to_one)),
  metric("long_prompt_p99"; .long_prompt.p99_ms; "ms"; seen("long prompt"; .p99_ms)),
  metric("one_token_served"; .one_token_served_s; "1/s"; seen("one token"; .served_s)),
  metric("refused_p99"; .refused_p99_ms; "ms"; seen("too many arrivals"; .refused_p99_ms)),
  metric("memory_growth"; .memory_growth_bytes; "bytes"; seen("memory"; .after - .before)),
  metric("waiting_streams"; .waiting_streams_bytes; "bytes"; seen("1000 waiting streams"; .bytes))]'
rounds=${ROUNDS:-3} load=$root/benchmarks/server/load.mjs
build_halo
server=${SERVER:-$(dirname "$halo")/1bit-server}
file=$(model t1_6)
log=$work/server.log
start() { # OPTION…: sets pid and url, once it is ready
  "$server" --port 0 "$@" 2>"$log" &
  pid=$!
  until grep -q ' ready ' "$log"; do
    kill -0 "$pid"
    sleep 0.005
  done
  url=http://127.0.0.1:$(sed -n 's/.* port=//p' "$log")
}
finish() { kill "$pid"; wait "$pid"; }
resident() { awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$pid/status"; }
measure() { node "$load" "$url" "$@"; }

for ((round = 0; round < rounds; ++round)); do
  start -m "$file"
  jq -nc --argjson ms "$(sed -n 's/.* ready .* ms=//p' "$log")" '{test: "start", ready_ms: $ms}'
  # In turn and often, and the medians of a round: what else the machine does is then seen by both or by neither.
  overhead=$(for ((pair = 0; pair < 9; ++pair)); do
    bench=$("$halo" bench -m "$file" -p 0 -n 64 -d 64 -r 1 -o jsonl | jq .avg_ts)
    measure streams 1 64 | jq -c --argjson bench "$bench" '{bench: $bench, one: .tokens_s}'
  done | jq -sc 'def median: sort | .[length / 2 | floor];
    {test: "overhead", bench: (map(.bench) | median), one: (map(.one) | median), pairs: .} | .part = 1 - .one / .bench')
  echo "$overhead"
  for ((i = 0; i < 3; ++i)); do
    measure streams 8 128 | jq -c --argjson one "$(jq .one <<<"$overhead")" \
      '{test: "eight streams"} + . + {to_one: (.tokens_s / $one)}'
  done
  measure long_prompt 8 3900 | jq -c '{test: "long prompt"} + .'
  finish
  bundled=$root/models/tiny-bitnet.h1b
  start -m "$bundled"
  measure one_token 32 5 >/dev/null
  before=$(resident)
  measure one_token 32 5 | jq -c '{test: "one token"} + .'
  jq -nc --argjson before "$before" --argjson after "$(resident)" '{test: "memory", before: $before, after: $after}'
  finish
  start -m "$bundled" --max-running 1 --max-waiting 2 # so that 1,500 a second are too many
  measure arrivals 1500 5 | jq -c '{test: "too many arrivals"} + .'
  finish
  start -m "$bundled" --max-running 1 --max-waiting 2000
  before=$(resident)
  measure idle_streams 1000 4 >"$work/idle" &
  client=$!
  sleep 3.5
  jq -nc --argjson before "$before" --argjson after "$(resident)" '{test: "1000 waiting streams", bytes: ($after - $before)}'
  wait "$client"
  finish
done >"$work/server.jsonl"
strip -o "$work/stripped" "$server"
jq -s --argjson size "$(stat -c %s "$work/stripped")" 'def median: sort | .[length / 2 | floor];
  def of($test; f): map(select(.test == $test) | f) | median;
  {stripped_bytes: $size, ready_ms: of("start"; .ready_ms), bench_tokens_s: of("overhead"; .bench),
   one_stream_tokens_s: of("overhead"; .one), overhead: of("overhead"; .part),
   eight_streams_tokens_s: of("eight streams"; .tokens_s), eight_to_one: of("eight streams"; .to_one),
   long_prompt: {p50_ms: of("long prompt"; .p50_ms), p99_ms: of("long prompt"; .p99_ms),
     time_to_first_token_ms: of("long prompt"; .time_to_first_token_ms)},
   one_token_served_s: of("one token"; .served_s), refused_p99_ms: of("too many arrivals"; .refused_p99_ms),
   refused_s: of("too many arrivals"; .refused_s), memory_growth_bytes: of("memory"; .after - .before),
   waiting_streams_bytes: of("1000 waiting streams"; .bytes), seen: .}' \
  "$work/server.jsonl" | tee >(jq 'del(.seen)' >&2) | write_record server "$metrics" "$file" "$root/models/tiny-bitnet.h1b"
