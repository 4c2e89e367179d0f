#!/usr/bin/env bash
# Burn-in of 1bit-server against node-llama-cpp on the bundled model, exported as GGUF: greedy completions. That program
# has no architecture with this model's squared ReLU and sub-norms, so its answers are those of another function; the rate
# says how far the harness itself works across programs. Needs node and npm.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/../lib.sh"
build_halo
server=${SERVER:-$(dirname "$halo")/1bit-server}
here=$root/benchmarks/peers npm=$work/npm
mkdir -p "$npm"
cp "$here/package.json" "$here/endpoint.mjs" "$npm"
[ -d "$npm/node_modules/node-llama-cpp" ] || (cd "$npm" && npm install --ignore-scripts --no-audit --no-fund >&2)
"$halo" export -m "$root/models/tiny-bitnet.h1b" --embedding q8_0 -o "$work/tiny.gguf" >&2
# What the peer can be asked: completions of which nothing is drawn.
grep -v '^#' "$root/data/burnin/prompts.jsonl" |
  jq -c 'select(.prompt and .temperature == null and .logit_bias == null and .dry_multiplier == null and .frequency_penalty == null)' >"$work/peer-prompts.jsonl"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
: >"$work/peer.port"
(cd "$npm" && exec node endpoint.mjs "$work/tiny.gguf") >"$work/peer.port" &
pids+=($!)
: >"$work/peer.server"
"$server" --port 0 -m "$root/models/tiny-bitnet.h1b" 2>"$work/peer.server" &
pids+=($!)
until [ -s "$work/peer.port" ] && grep -q ' ready ' "$work/peer.server"; do
  kill -0 "${pids[@]}"
  sleep 0.05
done
rm -f "$work/peer.jsonl"
"$halo" burnin run --a "http://127.0.0.1:$(sed -n 's/.* port=//p' "$work/peer.server")" \
  --b "http://127.0.0.1:$(cat "$work/peer.port")" --only --prompts "$work/peer-prompts.jsonl" --log "$work/peer.jsonl" \
  --rounds "${ROUNDS:-500}" --max-tokens 16 >&2
"$halo" burnin stats --json --log "$work/peer.jsonl" | jq '{peer: "node-llama-cpp"} + del(.hours, .drift)' |
  tee >(jq -c . >&2) | write_record burnin-peer \
    '[metric("burnin_peer_exact_rate"; .exact_rate; "fraction"), metric("burnin_peer_rounds"; .rounds; "count")]'
