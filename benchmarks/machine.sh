# shellcheck shell=bash
# Sourced by lib.sh. machine_facts: what a record says of the machine, as one JSON object; null where it cannot be read.
# docs/records.md says what each field means. $HALO_ROOT stands for / in tests.
sys=${HALO_ROOT-}/sys proc=${HALO_ROOT-}/proc

first_line() { { head -n 1 "$1" | tr -d '\0'; } 2>/dev/null || true; }  # FILE: nothing where it cannot be read

cpu_name() {
  local name
  name=$(sed -n 's/^model name[^:]*: //p' "$proc/cpuinfo" 2>/dev/null | head -n 1)
  [ -n "$name" ] || name=$(LC_ALL=C lscpu 2>/dev/null | sed -n 's/^Model name: *//p' | head -n 1)
  echo "$name"
}

# The first processor's caches, a line each: LEVEL TYPE SIZE.
cache_lines() {
  local index
  for index in "$sys"/devices/system/cpu/cpu0/cache/index*; do
    [ ! -r "$index/size" ] || echo "$(first_line "$index/level") $(first_line "$index/type") $(first_line "$index/size")"
  done
}

governors() { cat "$sys"/devices/system/cpu/cpu*/cpufreq/scaling_governor 2>/dev/null | sort -u | paste -sd, || true; }

# What `halo power` tells: the profile and temperatures. An older halo ($HALO) has no such command, and they are null.
power_facts() { "${halo:?}" power --json 2>/dev/null || echo '{}'; }

gpu_names() {
  local names
  names=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null) || return 0  # without a driver it talks, and fails
  paste -sd, <<<"$names"
}

# Of a platform whose profile the kernel does not tell.
platform_profile() { ! command -v powerprofilesctl >/dev/null || powerprofilesctl get 2>/dev/null || true; }

machine_facts() {
  jq -n --arg cpu "$(cpu_name)" --argjson cores "$(nproc)" --arg kernel "$(uname -r | cut -d- -f1)" --arg gpu "$(gpu_names)" \
    --arg caches "$(cache_lines)" --arg memory "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' "$proc/meminfo" 2>/dev/null)" \
    --arg governor "$(governors)" --argjson power "$(power_facts)" --arg platform "$(platform_profile)" '
    def known: if . == "" then null else . end;
    def bytes: capture("^(?<n>[0-9]+)(?<unit>[KMG]?)$") | (.n | tonumber) * ({K: 1024, M: 1048576, G: 1073741824}[.unit] // 1);
    def lines: split("\n") | map(select(. != ""));
    {cpu: ($cpu | known), cores: $cores,
     caches: ([$caches | lines[] | split(" ") | {level: (.[0] | tonumber?), type: .[1], bytes: (.[2] | bytes)}] | if . == [] then null else . end),
     memory_bytes: ($memory | known | if . then tonumber * 1024 else null end), bandwidth_gb_s: null, gpu: ($gpu | known),
     kernel: $kernel, governor: ($governor | known),
     temperature_c: $power.cpu_temperature_c, gpu_temperature_c: $power.gpu_temperature_c,
     power_profile: ($power.power_profile // ($platform | known))}'
}
