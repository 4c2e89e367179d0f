#!/usr/bin/env bash
# halo report, and the records that benchmarks/lib.sh writes, in a folder whose name has spaces.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
folder="$work/my own records"
mkdir "$folder"

# A benchmark of one metric, on a machine whose sensors are files of this test.
mkdir -p "$work/sys/class/hwmon/hwmon0" "$work/sys/devices/system/cpu/cpu0/cpufreq"
echo k10temp >"$work/sys/class/hwmon/hwmon0/name"
echo 61500 >"$work/sys/class/hwmon/hwmon0/temp1_input"
mkdir -p "$work/sys/class/hwmon/hwmon1"
echo amdgpu >"$work/sys/class/hwmon/hwmon1/name"
echo 55250 >"$work/sys/class/hwmon/hwmon1/temp1_input"
echo performance >"$work/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
mkdir -p "$work/sys/devices/system/cpu/cpu0/cache/index0" "$work/tools"
for fact in 'level 1' 'type Data' 'size 48K'; do
  echo "${fact#* }" >"$work/sys/devices/system/cpu/cpu0/cache/index0/${fact% *}"
done
printf '#!/bin/sh\necho Some GPU\n' >"$work/tools/nvidia-smi"
printf '#!/bin/sh\necho balanced\n' >"$work/tools/powerprofilesctl"
chmod +x "$work"/tools/*
cat >"$work/program" <<END
#!/usr/bin/env bash
exec $(printf '%q ' "${halo_command[@]}") "\$@"
END
chmod +x "$work/program"
cat >"$work/measure.sh" <<END
. $(printf %q "$source_dir")/benchmarks/lib.sh
jq -n '{decode: [3, 1, 2]}' | write_record bench '[metric("decode_t1_6_f16_64"; 2; "tok/s"; .decode), metric("read_bandwidth"; 9.5; "GB/s")]' \
  "\$root/models/tiny-bitnet.h1b"
END
PATH=$work/tools:$PATH HALO=$work/program HALO_ROOT=$work HALO_OUTPUT_DIR=$folder ONEBIT_COMMIT=0123456789abcdef0123456789abcdef01234567 \
  bash "$work/measure.sh" 2>"$err" || { cat "$err"; exit 1; }
cp "$folder/bench.json" "$out"
last=(the record) status=0
expect_json '.schema == 1 and .name == "bench" and .command == "measure.sh" and .dirty == false'
expect_json '.machine | .temperature_c == 61.5 and .gpu_temperature_c == 55.25 and .governor == "performance" and .power_profile == "balanced" and
  .bandwidth_gb_s == 9.5 and .caches == [{level: 1, type: "Data", bytes: 49152}] and .gpu == "Some GPU" and .cores >= 1'
expect_json '.model | (.name | startswith("tiny-bitnet")) and (.hash | test("^sha256:[0-9a-f]{64}$"))'
expect_json '.metrics[0] == {metric: "decode_t1_6_f16_64", value: 2, unit: "tok/s", spread: {low: 1, high: 3, rounds: 3}}'

# A profile of halo power goes before the platform's.
mkdir -p "$work/run/halo"
echo '{"profile": "chat", "stapm-limit": 85000}' >"$work/run/halo/power.json"
PATH=$work/tools:$PATH HALO=$work/program HALO_ROOT=$work HALO_OUTPUT_DIR=$work bash "$work/measure.sh" 2>"$err"
expect_same "$(jq -r .machine.power_profile "$work/bench.json")" 'halo chat'

HALO_OUTPUT_DIR=$folder halo report
expect_status 0
expect_out '^\| decode after 64 positions \| 2\.0 tok/s \(1\.0 to 3\.0 in 3 rounds\) \| \[bench\.json\]\(.*my%20own%20records/bench\.json\)'
expect_out '^\| server binary \| missing: run benchmarks/server\.sh \| none \|'
halo report --records "$folder" --against 0123456789ab
! grep -q 'stale\*\* (commit' "$out" || wrong 'the record is of that commit'
halo report --records "$folder" --against HEAD
expect_refusal "--against: 'HEAD'"

# A page is a pure function of the records.
for format in md html json; do
  halo report --records "$folder" --format "$format" -o "$work/a page"
  expect_status 0
  expect_no_out
  halo report --records "$folder" --format "$format" --check "$work/a page"
  expect_status 0
done
expect_same "$(jq -r '.rows[0].figures[0].value' "$work/a page")" 2
halo report --records "$folder" -o "$work/page.md"
sed -i '1s/M/x/' "$work/page.md"
halo report --records "$folder" --check "$work/page.md"
expect_refusal 'page\.md: line 1 is not what the records give'
halo report --records "$folder" --format html
! grep -qE '<script|src=|<link' "$out" || wrong 'the page loads something'

jq '.metrics[1].value = "fast"' "$folder/bench.json" >"$folder/spoilt"
mv "$folder/spoilt" "$folder/bench.json"
halo report --records "$folder"
expect_refusal 'my own records/bench\.json: metrics\[1\]\.value: expected a number'
halo report --records "$work/nothing"
expect_refusal 'nothing: there is no such folder'
halo report --format pdf
expect_usage_error 'format'
