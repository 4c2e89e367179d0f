#!/usr/bin/env bash
# Four servers of the bundled model, each in a network of its own, behind HAProxy and watched by Prometheus, both as in
# packaging/: tokens a second of one, two and four of them, what of their prompts was remembered, and requests while one
# is killed and one is cut off. --short: for a test, some seconds. Needs haproxy, prometheus, node and iproute2, and a
# system that lets it make networks. Exit code 77 where one of these is missing.
#
# How it is told apart whether the fleet or the machine ends growth: "paced", each server may take a part of one
# processor (PACE, 0.2), so that four of them leave the machine idle and tokens a second must grow with their number;
# "free", they take what there is until all processors are used up, and what a token costs in processor time shows
# whether the fleet adds to it.
missing() { echo "skipped: $*" >&2; exit 77; }
for program in haproxy prometheus node ip nsenter unshare jq curl; do
  PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null || missing "there is no $program"
done
if [ -z "${FLEET_INSIDE-}" ]; then
  user=()
  [ "$(id -u)" -eq 0 ] || user=(--user --map-root-user)
  unshare "${user[@]}" --net --pid --fork --mount-proc true 2>/dev/null || missing 'this system lets nobody make a network (unshare --net)'
  # Whatever ends this ends all that it started.
  FLEET_INSIDE=yes exec unshare "${user[@]}" --net --pid --fork --mount-proc --kill-child bash "$0" "$@"
fi
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
short=no
[ "${1-}" != --short ] || short=yes
[ $short = yes ] || build_halo
server=${SERVER:-$(dirname "$halo")/1bit-server} bundled=$root/models/tiny-bitnet.h1b pace=${PACE:-0.2}
load=$root/benchmarks/fleet/load.mjs key=fleet-key cores=$(nproc)
work=$(mktemp -d)
declare -A pid network
all=(1 2 3 4)

# A group of processes that gets $pace of a processor, where control groups can be made; $cgroup is empty otherwise.
cgroup=
groups() { # N: of server N
  if [ -w /sys/fs/cgroup/cgroup.subtree_control ] && grep -qw cpu /sys/fs/cgroup/cgroup.controllers; then
    cgroup=/sys/fs/cgroup/1bit-fleet-$$-$1
    echo +cpu >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null && mkdir "$cgroup" 2>/dev/null || cgroup=
  elif [ -w /sys/fs/cgroup/cpu ]; then
    cgroup=/sys/fs/cgroup/cpu/1bit-fleet-$$-$1
    mkdir "$cgroup" 2>/dev/null || cgroup=
  fi
}
paced() { # MICROSECONDS of 20,000, or max
  local i
  for i in "${all[@]}"; do
    groups_of=${group[$i]-}
    [ -n "$groups_of" ] || continue
    if [ -e "$groups_of/cpu.max" ]; then echo "$1 20000" >"$groups_of/cpu.max"
    else
      echo 20000 >"$groups_of/cpu.cfs_period_us"
      echo "${1/max/-1}" >"$groups_of/cpu.cfs_quota_us"
    fi
  done
}
declare -A group
finish() {
  local i
  kill -9 "${pid[@]}" "${network[@]}" "${others[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  for i in "${group[@]}"; do rmdir "$i" 2>/dev/null || true; done
  rm -rf "$work"
}
others=()
trap finish EXIT

ip link set lo up
ip link add fleet type bridge
ip addr add 10.77.0.1/24 dev fleet
ip link set fleet up
start() { # N: server N, in its network
  local cgroup_procs=
  [ -z "${group[$1]-}" ] || cgroup_procs=${group[$1]}/cgroup.procs
  # shellcheck disable=SC2016  # by the shell inside
  nsenter -t "${network[$1]}" -n sh -c '[ -z "$1" ] || echo $$ >"$1"; shift; exec "$@"' sh "$cgroup_procs" \
    "$server" -m "$bundled" --host "10.77.0.1$1" --port 8080 -t 1 --keep-alive 2 --api-key "$key" 2>"$work/server.$1" &
  pid[$1]=$!
}
for i in "${all[@]}"; do
  unshare --net sleep 100000 &
  network[$i]=$!
  until [ "$(readlink "/proc/${network[$i]}/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
  ip link add "box$i" type veth peer name box netns "${network[$i]}"
  ip link set "box$i" master fleet up
  nsenter -t "${network[$i]}" -n sh -c "ip link set lo up; ip addr add 10.77.0.1$i/24 dev box; ip link set box up"
  groups "$i"
  [ -z "$cgroup" ] || group[$i]=$cgroup
  start "$i"
done
# As packaged, but for who runs them and where they write; probes and silences are shorter, to wait less.
export ONEBIT_PROBE=1s ONEBIT_SILENCE=4s
sed -e '/^ *user /d; /^ *group /d' -e "s#/run/haproxy#$work#; s#log /dev/log local0#log stderr format raw local0#" \
  "$root/packaging/haproxy/haproxy.cfg" >"$work/haproxy.cfg"
haproxy -f "$work/haproxy.cfg" 2>"$work/haproxy.log" >&2 &
others+=($!)
echo "$key" >"$work/key"
sed -e "s#/etc/prometheus/1bit.key#$work/key#; s#/etc/prometheus#$root/packaging/prometheus#; s#_interval: 15s#_interval: 1s#" \
  "$root/packaging/prometheus/fleet.yml" >"$work/prometheus.yml"
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address=127.0.0.1:9090 \
  2>"$work/prometheus.log" &
others+=($!)
admin() { # a command of HAProxy's
  node -e 'const c = require("net").connect(process.argv[1], () => c.write(process.argv[2] + "\n")); c.pipe(process.stdout)' \
    "$work/admin.sock" "$1"
}
query() { # PROMQL: its value
  curl -sf --data-urlencode "query=$1" http://127.0.0.1:9090/api/v1/query | jq -r '.data.result[0].value[1] // empty'
}
patiently() { # COMMAND…: until it succeeds, half a minute at most
  local i
  for ((i = 0; i < 150; ++i)); do
    ! "$@" 2>/dev/null || return 0
    sleep 0.2
  done
  echo "this did not come true: $*" >&2
  tail -n 5 "$work"/server.* "$work/haproxy.log" "$work/prometheus.log" >&2
  return 1
}
up() { [ "$(admin 'show stat' | grep -c '^by_prefix,box.*,UP,')" = "$1" ]; }
seen_up() { [ "$(query 'sum(up{job="1bit-server"})')" = "$1" ]; }
serving() { # N…: only these servers get requests
  local i state
  for i in "${all[@]}"; do
    state=maint
    [[ " $* " != *" $i "* ]] || state=ready
    admin "set server by_prefix/box$i state $state" >/dev/null
  done
  patiently up $#
}
seed=0
measure() { # TEST URLS NUMBERS: URLS, JSON; NUMBERS, the rest of the specification
  local servers
  servers=$(for i in "${all[@]}"; do
    [ -e "/proc/${pid[$i]}" ] && jq -nc --arg u "http://10.77.0.1$i:8080" --arg p "${pid[$i]}" '{url: $u, pid: $p}'
  done | jq -sc .)
  node "$load" "$(jq -nc --arg test "$1" --arg key "$key" --argjson seed "$((++seed))" --argjson urls "$2" \
    --argjson servers "$servers" --argjson more "$3" '{$test, $key, $seed, $urls, $servers} + $more')"
}
balancer='["http://10.77.0.1:8000"]'
patiently up 4
patiently seen_up 4
if [ $short = yes ]; then
  talk='{"conversations": 60, "turns": 3, "tokens": 3, "clients": 12}' clients=4 seconds=2 tokens=8 fault_clients=8 fault_seconds=5
else
  talk='{"conversations": 120, "turns": 4, "tokens": 16, "clients": 16}' clients=8 seconds=15 tokens=32 fault_clients=24 fault_seconds=12
fi

{
  # The cache first, while nothing is remembered. Each time other words, and servers that were started anew.
  again() {
    for i in "${all[@]}"; do
      kill "${pid[$i]}"
      wait "${pid[$i]}" || true
      start "$i"
    done
    patiently up 4
  }
  serving 1
  measure conversations "$balancer" "$talk" | jq -c '{test: "cache", servers: 1} + .'
  serving 1 2 3 4
  again
  measure conversations "$balancer" "$talk" | jq -c '{test: "cache", servers: 4} + .'
  if [ $short = no ]; then  # to compare: without regard to prompts
    again
    measure conversations "$(jq -nc '[range(1; 5) | "http://10.77.0.1\(.):8080"]')" "$talk" | jq -c '{test: "cache in turn", servers: 4} + .'
  fi
  kinds=(free)
  [ ${#group[@]} -lt 4 ] || kinds=(paced free)
  [ $short = no ] || kinds=("${kinds[0]}")
  for kind in "${kinds[@]}"; do
    if [ "$kind" = paced ]; then paced "$(jq -n "$pace * 20000 | floor")"; else paced max; fi
    for n in 1 2 4; do
      [ $short = no ] || [ $n != 2 ] || continue
      serving "${all[@]:0:n}"
      # As many clients a server, so that each batches the same.
      saw=$(measure steady "$balancer" "{\"clients\": $((clients * n)), \"seconds\": $seconds, \"warmup\": 1, \"tokens\": $tokens}")
      jq -c --arg kind "$kind" --argjson n $n --arg seen "$(query "sum(rate(onebit_generated_tokens_total[${seconds}s]))")" \
        '{test: $kind, servers: $n} + . + {prometheus_tokens_s: ($seen | tonumber? // null)}' <<<"$saw"
    done
  done
  paced max
  serving 1 2 3 4
  faults=$(jq -nc --arg kill "kill -9 ${pid[2]}" --argjson clients $fault_clients --arg cut 'ip link set box3 down' \
    '{clients: $clients, tokens: 150, seconds: '$fault_seconds', faults: [[1, $kill], [2, $cut]]}')
  measure faults "$balancer" "$faults" | jq -c '{test: "faults"} + .'
  patiently seen_up 2
  # Back again: who was cut off, and who is started anew; then one is drained, which costs nobody anything.
  ip link set box3 up
  start 2
  patiently up 4
  (sleep 1; kill -TERM "${pid[4]}") &
  drain=$!
  measure faults "$balancer" "$(jq -nc --argjson clients $fault_clients '{clients: $clients, tokens: 60, seconds: 3, faults: []}')" |
    jq -c '{test: "drain"} + .'
  wait $drain
} >"$work/seen"

jq -s --arg pace "$pace" --argjson cores "$cores" '
  def one($test; $n): map(select(.test == $test and .servers == $n)) | first;
  {cores: $cores, pace: ($pace | tonumber), haproxy: $haproxy, prometheus: $prometheus,
   paced_tokens_s: {one: one("paced"; 1).tokens_s?, two: one("paced"; 2).tokens_s?, four: one("paced"; 4).tokens_s?},
   free_tokens_s: {one: one("free"; 1).tokens_s?, two: one("free"; 2).tokens_s?, four: one("free"; 4).tokens_s?},
   cpu_ms_token: {paced_one: one("paced"; 1).cpu_ms_token?, paced_four: one("paced"; 4).cpu_ms_token?,
     free_one: one("free"; 1).cpu_ms_token?, free_four: one("free"; 4).cpu_ms_token?},
   cache_one: one("cache"; 1).hit_rate, cache_four: one("cache"; 4).hit_rate, cache_in_turn: one("cache in turn"; 4).hit_rate?,
   faults: (map(select(.test == "faults")) | first), drain: (map(select(.test == "drain")) | first), seen: .}' \
  --arg haproxy "$(haproxy -v | sed -n '1s/HAProxy version \(\S*\).*/\1/p')" \
  --arg prometheus "$(prometheus --version 2>&1 | sed -n '1s/.*version \(\S*\).*/\1/p')" "$work/seen" |
  tee >(jq 'del(.seen)' >&2) | write_record fleet '
  [("paced", "free") as $kind | .[$kind + "_tokens_s"] | select(.one != null) |
    metric($kind + "_one_server"; .one; "tok/s"),
    (if .two then metric($kind + "_two_to_one"; .two / .one; "ratio") else empty end),
    metric($kind + "_four_to_one"; .four / .one; "ratio")] +
  [(.cpu_ms_token | to_entries[] | select(.value != null) | metric("cpu_a_token_" + .key; .value; "ms"))] +
  [metric("cache_hits_one_server"; .cache_one; "fraction"), metric("cache_hits_four_servers"; .cache_four; "fraction"),
  metric("cache_four_to_one"; .cache_four / .cache_one; "ratio"),
  (if .cache_in_turn then metric("cache_hits_in_turn"; .cache_in_turn; "fraction") else empty end),
  metric("faults_unstreamed"; .faults.unstreamed; "count"),
  metric("faults_unstreamed_failed"; .faults.unstreamed_failed; "count"),
  metric("faults_streams_broken"; .faults.streams_broken; "count"),
  metric("faults_streams_silent"; .faults.streams_silent; "count"),
  metric("faults_slowest"; .faults.slowest_ms; "ms"),
  metric("drain_failed"; .drain | .unstreamed_failed + .streams_broken; "count")]' "$bundled"
