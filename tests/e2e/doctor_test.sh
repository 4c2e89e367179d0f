#!/usr/bin/env bash
# halo doctor on a box that is well, and then without each thing in turn: that check alone changes its colour.
# bash doctor_test.sh SERVER LANDING HALO.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$3"
server=$(realpath "$1") landing=$(realpath "$2") doctor=$(realpath "$3")
halo_command=("$doctor")
root=$work/root bin=$work/bin
mkdir -p "$bin" "$root/etc/1bit" "$root/models" "$root/var/lib/1bit" "$root/dev" "$root/proc/sys/kernel" \
  "$root/sys/kernel/mm/transparent_hugepage" "$work/none"
chmod 755 "$work"
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
last=(none) status=none
touch "$out" "$err"

program() { # NAME SCRIPT
  printf '#!/bin/sh\n%s\n' "$2" >"$bin/$1"
  chmod +x "$bin/$1"
}
units() { # SERVER SOCKET LANDING: their states
  local name states=("$@") i=0
  for name in 1bit-server.service 1bit-server.socket 1bit-landing.service; do
    printf 'Id=%s\nLoadState=%s\nActiveState=%s\nSubState=x\nResult=exit-code\n\n' "$name" \
      "$([ "${states[i]}" = not-found ] && echo not-found || echo loaded)" "${states[i]/not-found/inactive}"
    i=$((i + 1))
  done >"$work/units"
  program systemctl "while read -r line; do echo \"\$line\"; done <$work/units"
}
ready_port() { # LOG PATTERN: the port in it
  until grep -q "$2" "$1"; do
    kill -0 $! || wrong "it ended: $(cat "$1")"
    sleep 0.02
  done
  sed -n 's/.*listening.* port=\([0-9]*\).*/\1/p' "$1" | head -n 1
}

cp "$source_dir/models/tiny-bitnet.h1b" "$root/models/m.h1b"
chmod -R a+rX "$root"
"$server" -m "$root/models/m.h1b" --port 0 --device cpu 2>"$work/server.log" &
port=$(ready_port "$work/server.log" ' ready ')
"$landing" --port 0 2>"$work/landing.log" &
landing_port=$(ready_port "$work/landing.log" 'listening')
version=$("$server" --version | cut -d' ' -f2)
well() {
  printf 'ONEBIT_MODEL=/models/m.h1b\nONEBIT_PORT=%s\n' "$port" >"$root/etc/1bit/server.env"
  printf 'ONEBIT_LANDING_PORT=%s\n' "$landing_port" >"$root/etc/1bit/landing.env"
  echo 'always [madvise] never' >"$root/sys/kernel/mm/transparent_hugepage/enabled"
  echo 6.12.0 >"$root/proc/sys/kernel/osrelease"
  program timedatectl 'echo yes'
  program dpkg-query "echo 'installed $version-1'"
  program 1bit-server "echo '1bit-server $version (0123)'"
  units active inactive active
}
export HALO_ROOT=$root
# examined [OPTION…]: the colours that are not green, as "check colour" with commas between.
examined() {
  local defaults=()
  [[ $* = *--min-bandwidth* ]] || defaults+=(--quick)
  [[ $* = *--min-disk* ]] || defaults+=(--min-disk 0)
  PATH=$bin halo doctor --json --check-time 120 "${defaults[@]}" "$@"
  [ "$status" -lt 2 ] || wrong 'exit code 0 or 1 expected'
  expect_json '.checks | length >= 13 and all(.text != "" and (.colour == "green") == (.advice == null))'
  changed=$(jq -r '[.checks[] | select(.colour != "green") | "\(.check) \(.colour)"] | join(", ")' "$out")
}
# changes EXPECTED [OPTION…]: that and nothing else is not green; then all is well again.
changes() {
  examined "${@:2}"
  [ "$changed" = "$1" ] || wrong "only '$1' expected to be other than green, not '$changed'"
  case $1 in *red) expect_status 1 ;; *) expect_status 0 ;; esac
  well
}

well
examined
[[ $changed != *permissions* ]] || skip "the folder for temporary files is closed to others: $(cat "$out")"
[[ $changed != *cpu* ]] || skip 'this processor has no fast kernels'
changes '' --min-bandwidth 0.001
expect_json '.red == 0 and .yellow == 0 and .green == 14'

HALO_ISA=scalar changes 'cpu yellow'
HALO_ISA=none changes 'cpu red'
echo 'always madvise [never]' >"$root/sys/kernel/mm/transparent_hugepage/enabled"
changes 'huge pages yellow'
rm "$root/sys/kernel/mm/transparent_hugepage/enabled"
changes 'huge pages yellow'
changes 'bandwidth yellow' --min-bandwidth 900000
changes 'disk red' --min-disk 1000000000
gpu=$root/sys/bus/pci/devices/0000:c1:00.0
mkdir -p "$gpu"
echo 0x1002 >"$gpu/vendor"
echo 0x030000 >"$gpu/class"
changes 'gpu yellow'
ln -s /drivers/amdgpu "$gpu/driver"
changes 'gpu yellow'
touch "$root/dev/kfd"
HALO_GPU_MODULES=$work/none changes 'gpu modules yellow'
echo 'half of a module' >"$work/none/libonebit_gpu_hip.so"
HALO_GPU_MODULES=$work/none changes 'gpu modules red'
rm -r "$gpu"
mkdir -p "$root/run/halo"
echo '{"profile": "chat", "curve_all": -10, "undervolt_checked": false}' >"$root/run/halo/power.json"
changes 'power red'
rm "$root/run/halo/power.json"
program timedatectl 'echo no'
changes 'clock yellow'

printf '\1' | dd of="$root/models/m.h1b" bs=1 seek=20000000 conv=notrunc 2>/dev/null
cp "$root/models/m.h1b" "$work/damaged.h1b"
cp "$source_dir/models/tiny-bitnet.h1b" "$root/models/m.h1b"
changes 'model red' --model "$work/damaged.h1b"
changes 'model red' --model "$work/nowhere.h1b"
chmod o-r "$root/models/m.h1b"
changes 'permissions red'
chmod o+r "$root/models/m.h1b"
chmod o-x "$root/models"
changes 'permissions red'
chmod o+x "$root/models"

units failed inactive active
changes 'services red'
expect_json '.checks[] | select(.check == "services") | .text | test("1bit-server.service failed \\(exit-code\\)")'
units not-found not-found not-found
changes 'services yellow'
units inactive inactive active
changes 'services yellow'
units active inactive inactive
changes 'services yellow'
units inactive active active  # the first request starts it; this is none
echo ONEBIT_PORT=1 >>"$root/etc/1bit/server.env"
changes ''
rm "$bin/systemctl"
changes 'services yellow'

# Another program where one of ours should be; and nothing where one should.
sed -i "s/ONEBIT_PORT=.*/ONEBIT_PORT=$landing_port/" "$root/etc/1bit/server.env"
changes 'server port red'
echo "ONEBIT_LANDING_PORT=$port" >"$root/etc/1bit/landing.env"
changes 'live page port red'
sed -i 's/ONEBIT_PORT=.*/ONEBIT_PORT=1/' "$root/etc/1bit/server.env"
changes 'server port yellow'
sed -i 's/ONEBIT_PORT=.*/ONEBIT_PORT=1/' "$root/etc/1bit/server.env"
echo 'ONEBIT_LANDING_PORT=1' >"$root/etc/1bit/landing.env"
units inactive active active
changes ''

program dpkg-query "echo 'installed 9.9.9-1'"
changes 'versions yellow'
program 1bit-server "echo '1bit-server 9.9.9'"
changes 'versions yellow'

# For people, and where something hangs.
program timedatectl 'sleep 3'
PATH=$bin:/usr/bin:/bin halo doctor --quick --min-disk 0 --check-time 2
expect_status 0
expect_out '^yellow clock +did not end within 2 s'
expect_out '^ +-> see what the machine waits for'
expect_out '^green  cpu '
expect_out '^[0-9]+ green, [0-9]+ yellow, 0 red$'
