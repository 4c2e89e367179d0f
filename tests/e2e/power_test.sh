#!/usr/bin/env bash
# halo power against a stand-in for ryzenadj and a folder for /sys: bash power_test.sh HALO.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
mkdir -p "$work/bin" "$work/smu" "$work/root/sys/class/hwmon/hwmon0" "$work/root/sys/class/hwmon/hwmon1" \
  "$work/root/sys/firmware/acpi" "$work/root/sys/class/powercap/intel-rapl:0" "$work/root/etc/1bit"
export HALO_ROOT=$work/root RYZENADJ_FOLDER=$work/smu
export PATH=$work/bin:/usr/bin:/bin
sys=$work/root/sys
echo balanced >"$sys/firmware/acpi/platform_profile"
echo k10temp >"$sys/class/hwmon/hwmon0/name"
echo 61500 >"$sys/class/hwmon/hwmon0/temp1_input"
echo amdgpu >"$sys/class/hwmon/hwmon1/name"
echo 58250 >"$sys/class/hwmon/hwmon1/temp1_input"
echo 43000000 >"$sys/class/hwmon/hwmon1/power1_average"

# Without ryzenadj it says so, and that is no failure.
command -v ryzenadj >/dev/null && skip 'there is a ryzenadj on $PATH'
halo power chat
expect_status 0
expect_err 'no ryzenadj on \$PATH: nothing was set'
halo power
expect_status 0
expect_out '^profile +none \(the platform.s: balanced\)'
expect_out '^limits +unknown'
expect_out '^temperatures +processor 61\.5 °C, GPU 58\.3 °C|^temperatures +processor 61\.5 °C, GPU 58\.2 °C'
expect_out '^power +AMD GPU 43\.0 W \(hwmon\)'
expect_out '^inference +STAPM 120 W, fast 140 W, slow 120 W, Tctl 98 °C'
halo power --json
expect_json '.profile == null and .power_profile == "balanced" and .limits == null and .ryzenadj == false and
  .cpu_temperature_c == 61.5 and .gpu_temperature_c == 58.25 and .power == [{what: "AMD GPU", source: "hwmon", watts: 43}]'
[ ! -e "$work/root/run" ] || wrong 'showing should leave nothing'

# With it: a dry run sets nothing and prints what a real one then calls, in its order.
ln -s "$source_dir/tests/support/ryzenadj_stand_in.sh" "$work/bin/ryzenadj"
echo 45000 | tee "$work/smu/stapm-limit" "$work/smu/slow-limit" >"$work/smu/fast-limit"
echo 90 >"$work/smu/tctl-temp"
halo power inference --dry-run
expect_status 0
planned=$(cat "$out")
expect_same "$planned" 'ryzenadj --tctl-temp=98
ryzenadj --fast-limit=140000
ryzenadj --slow-limit=120000
ryzenadj --stapm-limit=120000'
expect_same "$(cat "$work/smu/stapm-limit")" 45000
: >"$work/smu/calls"
halo power inference
expect_status 0
expect_same "$(grep -v -- --info "$work/smu/calls" | sed 's/^/ryzenadj /')" "$planned"
halo power
expect_out '^profile +inference'
expect_out '^limits +STAPM 120 W, fast 140 W, slow 120 W, Tctl 98 °C \(in force\)'
halo power --json
expect_json '.profile == "inference" and .power_profile == "halo inference" and .limits.stapm_w == 120 and .changed_since == false'
echo 30000 >"$work/smu/stapm-limit"  # as a desktop's daemon would
halo power
expect_out 'something else set them since'
echo 120000 >"$work/smu/stapm-limit"
: >"$work/smu/calls"
halo power idle
expect_status 0
expect_same "$(grep -v -- --info "$work/smu/calls" | tr '\n' ' ')" \
  '--stapm-limit=25000 --slow-limit=25000 --fast-limit=35000 --tctl-temp=90 '

# One that fails half-way.
echo slow-limit >"$work/smu/fail"
halo power chat
expect_status 1
expect_err 'set_slow-limit is rejected by SMU; the limits were restored to STAPM 25 W, fast 35 W, slow 25 W, Tctl 90 °C'
expect_same "$(cat "$work/smu/tctl-temp") $(cat "$work/smu/fast-limit")" '90 35000'
halo power --json
expect_json '.profile == "idle" and .changed_since == false'
rm "$work/smu/fail"

# A box's own profiles, good and bad.
printf '[chat]\nstapm_w = 60\nfast_mw = 70000\nslow_w = 65\ntctl_c = 89\n' >"$work/root/etc/1bit/power.toml"
halo power chat
expect_status 0
expect_out '^chat: STAPM 60 W, fast 70 W, slow 65 W, Tctl 89 °C'
printf '[chat]\nstapm_w = 6000\nfast_w = 70\nslow_w = 65\ntctl_c = 89\n' >"$work/root/etc/1bit/power.toml"
: >"$work/smu/calls"
halo power chat
expect_refusal "power\.toml:2: chat\.stapm_w is 6000: expected a number from 5 to 160 W"
expect_same "$(cat "$work/smu/calls")" ''
halo power chat --profiles "$work/none.toml"
expect_refusal 'none\.toml: '
halo power turbo
expect_usage_error 'turbo'
halo power --dry-run
expect_usage_error 'profile'

# Two at once: the second waits for nobody.
rm "$work/root/etc/1bit/power.toml"
(
  flock 9
  halo power chat
  expect_refusal 'another halo power is at work'
) 9>"$work/root/run/halo/power.lock"
