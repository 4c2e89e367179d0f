#!/usr/bin/env bash
# What packaging/ puts around the servers, against the servers: each metric that the dashboard and the alerts name is
# told by one of them; promtool's own checks; Caddy passes TLS, streams as they come, and the live page; Kubernetes'
# manifests have flags that the server takes. bash monitoring_test.sh SERVER LANDING. Where a program is missing, its part is
# left out, which is said.
if [ -z "${MONITORING_INSIDE-}" ]; then  # in a network of its own, where all ports are free; what it starts ends with it
  user=()
  [ "$(id -u)" -eq 0 ] || user=(--user --map-root-user)
  unshare "${user[@]}" --net --pid --fork --mount-proc true 2>/dev/null || { echo 'skipped: this system lets nobody make a network (unshare --net)'; exit 77; }
  MONITORING_INSIDE=yes exec unshare "${user[@]}" --net --pid --fork --mount-proc --kill-child bash "$0" "$@"
fi
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$1"
PATH=$PATH:/usr/sbin:/sbin
server=$(realpath "$1") landing=$(realpath "$2") packaging=$source_dir/packaging model=$source_dir/models/tiny-bitnet.h1b
for needed in curl ip jq; do command -v $needed >/dev/null || skip "there is no $needed"; done
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
last=(none) status=none
touch "$out" "$err"
left_out() { echo "left out: $*"; }
patiently() { # COMMAND…: what it prints, once it succeeds
  local i
  for ((i = 0; i < 200; ++i)); do
    ! "$@" 2>/dev/null || return 0
    sleep 0.1
  done
  cp "$work/log" "$err" 2>/dev/null || true
  wrong "this did not come true: $*"
}
ip link set lo up
"$server" -m "$model" --device cpu -t 1 --allow-host box.example 2>>"$work/log" &
"$landing" --allow-host live.localhost 2>>"$work/log" &
patiently curl -sf -m 5 http://127.0.0.1:8080/health >/dev/null
patiently curl -sf -m 5 http://127.0.0.1:8190/_health >/dev/null
chat='{"messages": [{"role": "user", "content": "Count."}], "ignore_eos": true, "max_tokens": 400, "stream": true}'
curl -sf -m 60 http://127.0.0.1:8080/v1/completions -d '{"prompt": "x", "max_tokens": 1}' >/dev/null
curl -s -m 60 http://127.0.0.1:8080/nowhere >/dev/null

# Metrics.
have_haproxy=no
if command -v haproxy >/dev/null; then
  have_haproxy=yes
  sed -e '/^ *user /d; /^ *group /d' -e "s#/run/haproxy#$work#; s#/dev/log#127.0.0.1:514#" "$packaging/haproxy/haproxy.cfg" >"$work/haproxy.cfg"
  haproxy -f "$work/haproxy.cfg" >>"$work/log" 2>&1 &
fi
{
  curl -sf -m 5 http://127.0.0.1:8080/metrics
  curl -sf -m 5 http://127.0.0.1:8190/metrics
  [ $have_haproxy = no ] || patiently curl -sf -m 5 http://127.0.0.1:8405/metrics
} | sed -n 's/^\([a-z_]*\)[{ ].*/\1/p' | sort -u >"$work/told"
named() { grep -ohE '(onebit|haproxy)_[a-z_]+|tokps_recent' "$packaging/grafana/1bit.json" "$packaging/prometheus/1bit.rules.yml" | sort -u; }
if [ $have_haproxy = yes ]; then named; else
  left_out 'metrics of HAProxy: there is no haproxy'
  named | grep -v '^haproxy_'
fi >"$work/named"
[ "$(wc -l <"$work/named")" -gt 20 ] || wrong "these are all that are named: $(cat "$work/named")"
unknown=$(comm -23 "$work/named" "$work/told")
[ -z "$unknown" ] || wrong "nobody tells these: $unknown"
# And the other way: what the server tells of itself can be seen.
unseen=$(grep -E '^(onebit|tokps)_' "$work/told" | grep -v '^onebit_landing_' | sed -E 's/_(bucket|sum|count)$//' | sort -u |
  comm -23 - <(sed -E 's/_bucket$//' "$work/named" | sort -u))
[ -z "$unseen" ] || wrong "no panel and no alert shows these: $unseen"
jq -e '[.panels[].id] | length == (unique | length)' "$packaging/grafana/1bit.json" >/dev/null || wrong 'panels share an id'

# Prometheus.
if command -v promtool >/dev/null; then
  (cd "$packaging/prometheus" && promtool test rules 1bit.rules.test.yml && promtool check rules 1bit.rules.yml) >"$out" 2>&1 ||
    wrong 'promtool objects to the alerts'
  comm -13 <(sed -n 's/.*alertname: *\([A-Za-z]*\).*/\1/p' "$packaging/prometheus/1bit.rules.test.yml" | sort -u) \
    <(sed -n 's/.*- alert: *//p' "$packaging/prometheus/1bit.rules.yml" | sort -u) | grep . && wrong 'these alerts have no test'
  for file in prometheus fleet; do
    echo key >"$work/key"
    sed -e "s#/etc/prometheus/1bit.key#$work/key#; s#/etc/prometheus#$packaging/prometheus#" "$packaging/prometheus/$file.yml" >"$work/$file.yml"
    promtool check config "$work/$file.yml" >"$out" 2>&1 || wrong "promtool objects to $file.yml"
  done
else
  left_out 'alerts: there is no promtool (prometheus)'
fi

# Caddy, with certificates of its own, which it puts nowhere but here.
if command -v caddy >/dev/null; then
  caddy() { env XDG_DATA_HOME="$work/data" XDG_CONFIG_HOME="$work/config" HOME="$work" caddy "$@"; }
  caddy validate --config "$packaging/caddy/Caddyfile" --adapter caddyfile >"$out" 2>&1 || wrong 'Caddy objects to the Caddyfile'
  sed '0,/^{/s//{\n\tskip_install_trust/' "$packaging/caddy/Caddyfile" >"$work/Caddyfile"
  caddy run --config "$work/Caddyfile" --adapter caddyfile >>"$work/log" 2>&1 &
  root=$work/data/caddy/pki/authorities/local/root.crt
  tls() { curl -s --noproxy '*' -m 60 --cacert "$root" --resolve live.localhost:443:127.0.0.1 --resolve localhost:443:127.0.0.1 "$@"; }
  patiently tls -f -o /dev/null https://localhost/health
  tls -f https://localhost/v1/models | jq -e '.data[0].id == "tiny-bitnet"' >/dev/null || wrong 'no /v1 behind Caddy'
  tls https://localhost/ -o "$out" -w '%{http_code}' | grep -qE '200|404' || wrong 'no / behind Caddy'
  [ "$(tls -o /dev/null -w '%{http_code}' https://localhost/metrics)" = 404 ] || wrong 'anybody can read /metrics'
  [ "$(curl -s --noproxy '*' -o /dev/null -w '%{http_code}' http://localhost/v1/models)" = 308 ] || wrong 'no way from http to https'
  # A stream's first words are there long before its last.
  tls -fN https://localhost/v1/chat/completions -d "$chat" -o "$out" -w '%{time_starttransfer} %{time_total}\n' >"$work/times" ||
    wrong 'no stream through Caddy'
  grep -q 'data: \[DONE\]' "$out" || wrong 'a stream through Caddy has no end'
  awk '{ exit !($1 < $2 / 2) }' "$work/times" || wrong "a stream was held back: $(cat "$work/times")"
  (tls -N -m 4 https://localhost/_live/stats || true) | grep -q '^event: history' || wrong 'no /_live behind Caddy'
  tls https://live.localhost/_health | jq -e .server >/dev/null || wrong 'no live page behind Caddy'
else
  left_out 'the Caddyfile: there is no caddy'
fi

# Kubernetes: what the pods' servers are given, they take. kubectl drops what it does not know.
manifest=$packaging/kubernetes/1bit.yaml
if python3 -c 'import yaml' 2>/dev/null; then
  python3 -c 'import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)' "$manifest" >"$work/manifest"
  mkdir "$work/etc"
  echo key >"$work/etc/keys"
  mapfile -t flags < <(jq -r '.[] | select(.kind == "StatefulSet").spec.template.spec.containers[0].args[]' "$work/manifest")
  flags=("${flags[@]/#\/etc\/1bit/$work/etc}")
  flags=("${flags[@]/#\/usr\/share\/1bit/$source_dir}")
  "$server" "${flags[@]/#8080/8081}" 2>>"$work/log" &
  patiently curl -sf -m 5 http://127.0.0.1:8081/health >/dev/null
  jq -e '[.[] | select(.kind == "StatefulSet").spec] | .[0] | .replicas == 4 and .template.spec.terminationGracePeriodSeconds > 60' \
    "$work/manifest" >/dev/null || wrong 'pods end before their answers'
  if command -v kubectl >/dev/null; then
    (kubectl set env --local -f "$manifest" CHECK=1 -o json 2>"$err" || true) | jq -s . >"$work/known"
    jq -n --slurpfile given "$work/manifest" --slurpfile known "$work/known" '
      def leaves: [paths(scalars)] | map(map(tostring) | join("."));
      [$given[0][] | select(.kind == "StatefulSet" or .kind == "Deployment")] as $g | [range($g | length) as $i |
        ($g[$i] | leaves) - ([$known[0][] | if .kind == "List" then .items[] else . end][$i] | leaves)] | add' >"$out"
    jq -e '. == []' "$out" >/dev/null || wrong 'Kubernetes does not know these fields'
  else
    left_out 'fields of the manifests: there is no kubectl'
  fi
else
  left_out 'the manifests: there is no python3-yaml'
fi
