#!/usr/bin/env bash
# A fresh box, from nothing to running services: checks, the package, a model, services, halo doctor. Again on a box that
# has it: an upgrade.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

usage() {
  cat <<END
usage: ./install.sh [--package FILE] [--model FILE] [--no-services] [--check]

Installs 1bit on this box as a Debian package, with its services, and looks it over with halo doctor.

  --package FILE   this package; otherwise one is built from this checkout, with what that needs from Debian
  --model FILE     the model that the server begins with, copied to /usr/local/share/1bit/models; otherwise the one
                   it has, the largest that lies there, or the bundled one
  --no-services    enable and start nothing
  --check          say whether this box can have it, and change nothing
  --help           this text
END
}

package='' model='' services=yes check=no
while [ $# -gt 0 ]; do
  case $1 in
    --package | --model)
      [ $# -gt 1 ] || { printf 'install.sh: %s wants a file\n\n' "$1" >&2; usage >&2; exit 2; }
      declare "${1#--}=$2"
      shift
      ;;
    --no-services) services=no ;;
    --check) check=yes ;;
    -h | --help) usage; exit 0 ;;
    *) printf 'install.sh: unknown option: %s\n\n' "$1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

settings=/etc/1bit/server.env models=/usr/local/share/1bit/models bundled=/usr/share/1bit/models/tiny-bitnet.h1b

# What would make the installation fail, or the server useless afterwards.
check_box() {
  local free memory
  command -v apt-get >/dev/null || fail 'this system has no apt-get: build with ./quickstart and take packaging/ as an example'
  # shellcheck disable=SC1091
  (. /etc/os-release && [ "${ID-}" = debian ] && [ "${VERSION_ID:-99}" -ge 12 ]) ||
    say 'note: this is not Debian 12; the package may ask for libraries that are not there'
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) fail "there is no fast code for this processor ($(uname -m))" ;;
  esac
  [ "$(id -u)" -eq 0 ] || "${sudo[@]}" true 2>/dev/null || fail 'installing needs root or sudo'
  free=$(df --output=avail -m / | tail -n 1)
  [ "$free" -ge 500 ] || fail "there are $free MB left on /: 500 are needed"
  memory=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
  [ "$memory" -ge 1000 ] || say "note: with $memory MB of memory only small models run"
  [ -z "$package" ] || dpkg-deb -f "$package" Package 2>/dev/null | grep -qx 1bit || fail "$package: is not a package of 1bit"
  [ -z "$model" ] || [ "$(head -c 3 "$model" 2>/dev/null)" = H1B ] ||
    fail "$model: is not an .h1b file (halo convert makes them)"
  if [ $services = yes ] && [ ! -d /run/systemd/system ]; then
    say 'note: systemd does not run here: services are enabled, but start with the next boot'
  fi
}

build_package() {
  say 'Building the package'
  install_packages dpkg-dev
  "$root/quickstart" --no-run
  rm -rf "$root/build/package"
  (cd "$root/build/release" && cpack -G DEB -B "$root/build/package" >"$root/build/logs/cpack.log" 2>&1) ||
    { tail -n 20 "$root/build/logs/cpack.log" >&2; fail 'the package could not be made'; }
  package=$(echo "$root"/build/package/1bit_*.deb)
}

# choose_model: the server's setting, unless it has one of the owner's already.
choose_model() {
  local chosen now
  if [ -n "$model" ]; then
    "${sudo[@]}" install -D -m 644 "$model" "$models/$(basename "$model")"
    chosen=$models/$(basename "$model")
  else
    now=$("${sudo[@]}" sed -n 's/^ONEBIT_MODEL=//p' "$settings")
    if [ "$now" != "$bundled" ] && [ -f "$now" ]; then chosen=$now; else
      # shellcheck disable=SC2012  # names are ours
      chosen=$(ls -S "$models"/*.h1b 2>/dev/null | head -n 1) || true
      chosen=${chosen:-$bundled}
    fi
  fi
  halo verify "$chosen" >/dev/null || fail "$chosen: is damaged (above)"
  "${sudo[@]}" sed -i "s#^ONEBIT_MODEL=.*#ONEBIT_MODEL=$chosen#" "$settings"
  say "Model: $chosen"
}

check_box
[ $check = no ] || { say 'This box can have it.'; exit 0; }
[ -n "$package" ] || build_package
say "Installing $(basename "$package")"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
first_time=no
dpkg-query -W -f '${db:Status-Status}' 1bit 2>/dev/null | grep -qx installed || first_time=yes
apt_get update >"$log" 2>&1 || true
if ! apt_get install -y --no-install-recommends --allow-downgrades -o DPkg::Options::=--force-confold "$(realpath "$package")" >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  fail 'the package could not be installed'
fi
choose_model
if [ $services = no ] && [ $first_time = no ]; then
  : # they are as they were
elif [ $services = no ]; then
  "${sudo[@]}" systemctl disable --now 1bit-server.service 1bit-landing.service >/dev/null 2>&1 || true
else
  "${sudo[@]}" systemctl enable 1bit-server.service 1bit-landing.service >/dev/null 2>&1 || true
  if [ -d /run/systemd/system ]; then
    "${sudo[@]}" systemctl restart 1bit-server.service 1bit-landing.service ||
      fail 'the services do not start: journalctl -u 1bit-server -u 1bit-landing says why'
    say 'Running: http://127.0.0.1:8080 (chat and API), http://127.0.0.1:8190 (the live page)'
  fi
fi
halo --version
# Yellow and red lines say what to do; their exit code is this script's.
if halo doctor --help >/dev/null 2>&1; then halo doctor; fi
