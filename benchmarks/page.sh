#!/usr/bin/env bash
# Writes docs/benchmarks.md from benchmarks/records: no figure on the page comes from anywhere else. --check fails where
# the page differs.
# shellcheck source=benchmarks/lib.sh
. "$(dirname "$0")/lib.sh"
page=$root/docs/benchmarks.md
table() { # RECORD 'COLUMN|COLUMN' JQ: rows as arrays of strings
  printf '| %s |\n|%s\n' "${2//|/ | }" "${2//[^|]/-}|"
  jq -r "def r(n): . * pow(10; n) | round / pow(10; n) | tostring; .results | $3 | \"| \" + join(\" | \") + \" |\"" "$records/$1.json"
}
origin() { # RECORD
  jq -r '"\nFrom [records/\($r).json](../benchmarks/records/\($r).json): \(.machine.cpu), \(.machine.cores) cores, Linux \(.machine.kernel), \(.date | .[:10]), commit \(.commit[:12])\(if .dirty then " with changes" else "" end)."' \
    --arg r "$1" "$records/$1.json"
}
section() { # TITLE COMMAND RECORD COLUMNS JQ
  [ -s "$records/$3.json" ] || return 0
  # shellcheck disable=SC2016 # the backquotes are Markdown's
  printf '\n## %s\n\n`%s`\n\n' "$1" "$2"
  table "$3" "$4" "$5"
  origin "$3"
}
write_page() {
  cat <<END
# Measurements

Written by benchmarks/page.sh from the records in benchmarks/records; each section names the command that makes its
record again. Shapes are those of bitnet-b1.58-2B-4T with random weights (speed does not depend on them) unless said
otherwise. The machine is a shared virtual one whose memory bandwidth changes from minute to minute, so bandwidth is
measured beside each run, engines alternate, and figures are medians.
END
  section 'Decode and prefill against the machine' benchmarks/roofline.sh roofline \
    'packing|threads|KV|depth|decode tok/s|read bandwidth GB/s|fraction of its limit|prefill tok/s|of the int8 peak' \
    '.[] | [.packing, (.threads | tostring), .kv, (.depth | tostring), (.decode_tokens_s | r(1)), (.bandwidth_gb_s | r(1)), (.token_fraction | r(3)), (.prefill.tokens_s // null | if . then r(0) else "" end), (.prefill.fraction // null | if . then r(3) else "" end)]'
  section 'Decode, prefill, batches, a busy neighbour' benchmarks/bench.sh bench \
    'test|packing|KV|threads|prompt|depth|batch|tok/s' \
    '.[] | [(.name | gsub("_"; " ")), .packing, .kv, (.threads | tostring), (.n_prompt | tostring), (.n_depth | tostring), (.n_batch | tostring), (.tokens_s | r(1))]'
  if [ -s "$records/bench.json" ]; then
    printf '\nRatios, medians over rounds: '
    jq -r 'def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
      def seen($n; $p; $kv; $d; $b): .[] | select(.name == $n and .packing == $p and .kv == $kv and .n_depth == $d and .n_batch == $b) | .seen;
      def ratio($a; $b): [range($a | length) | $a[.] / $b[.]] | median * 1000 | round / 1000;
      .results | [("t2", "t1_6") as $p | seen("decode"; $p; "f16"; 64; 1) as $idle | "\($p): " + ([
        "depth 1024 of 64 \(ratio(seen("decode"; $p; "f16"; 1024; 1); $idle)) (q8 KV \(ratio(seen("decode"; $p; "q8"; 1024; 1); seen("decode"; $p; "q8"; 64; 1))))",
        "batch 8 of 1 \(ratio(seen("batch"; $p; "f16"; 64; 8); seen("batch"; $p; "f16"; 64; 1)))",
        "beside a busy process \(ratio(seen("beside_a_busy_process"; $p; "f16"; 64; 1); $idle)) of idle"] | join(", "))] | join("; ") + "."' \
      "$records/bench.json"
  fi
  section 'Beside node-llama-cpp' benchmarks/peers/run.sh peers 'engine|prefill 256 tok/s|decode after 64 tok/s' \
    '.medians | to_entries[] | [.key, (.value.prefill_tokens_s | r(1)), (.value.decode_tokens_s | r(1))]'
  if [ -s "$records/peers.json" ]; then
    printf '\nRatios, medians of rounds side by side: '
    jq -r '[.results.ratios | to_entries[] | "\(.key | gsub("_"; " ")) \(.value * 100 | round / 100)"] | join(", ") + "."' "$records/peers.json"
  fi
  section 'Split-KV attention beside one task a head' benchmarks/attn_fd.sh attn_fd 'KV|threads|context|split µs|one task a head µs|ratio|same bits' \
    '.[] | [.kv, (.threads | tostring), (.length | tostring), (.split_us | r(1)), (.single_us | r(1)), (.ratio | r(2)), (if .same_bits then "yes" else "no" end)]'
  section 'What the numerics contract costs' benchmarks/contract_cost.sh contract_cost 'KV|context|contract µs|free order µs|ratio' \
    '.[] | [.kv, (.length | tostring), (.contract_us | r(1)), (.free_us | r(1)), (.ratio | r(2))]'
  section 'Lookup speculation (bundled model)' benchmarks/lookup.sh lookup 'prompt|off tok/s|on tok/s|ratio|accepted of drafted|same answer' \
    '.[] | [.prompt, (.off_tokens_s | r(0)), (.on_tokens_s | r(0)), (.ratio | r(2)), "\(.accepted) of \(.drafted)", (if .same_answer then "yes" else "no" end)]'
  section 'Start and memory' benchmarks/startup.sh startup 'first token, bundled model|halo inspect, 2B|peak memory, 2B|file|KV cache' \
    '[(.first_token_ms | r(1)) + " ms", (.inspect_2b_ms | r(1)) + " ms", (.memory_bytes / 1e6 | r(0)) + " MB", (.file_bytes / 1e6 | r(0)) + " MB", (.kv_bytes / 1e6 | r(0)) + " MB"]'
  section 'Perplexity (bundled model, WikiText-2 test)' benchmarks/ppl-gen2.sh ppl-gen2 'gen-2, whole text|independent float32|difference|windows by gen-1 too|largest difference there' \
    '[(.token_perplexity | r(4)), (.golden | r(4)), "\(.relative_difference * 100 | r(3)) %", (.windows_by_both | tostring), (.delta_nll | tostring)]'
}
if [ "${1-}" = --check ]; then
  diff <(write_page) "$page"
else
  write_page >"$page"
  echo "written: docs/benchmarks.md" >&2
fi
