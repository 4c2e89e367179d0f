#!/usr/bin/env bash
# The Debian package: what is in it, and that its server answers as its unit starts it.
#   package_test.sh BUILD [--life-cycle]   with --life-cycle, in a bare Debian 12 (debian_root.sh): installed, started,
# upgraded, rolled back, removed and purged; then the same files are there as before. Needs root and a mirror.
set -euo pipefail
build=$(realpath "$1") deep=${2-}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/debian_root.sh
. "$root/scripts/debian_root.sh"
skip() { echo "skipped: $*"; exit 77; }
for needed in cpack dpkg-deb dpkg-shlibdeps gzip curl; do command -v $needed >/dev/null || skip "there is no $needed"; done
if [ -n "$deep" ]; then
  [ "$(id -u)" -eq 0 ] || skip 'a Debian root needs root'
  [ -f "$root/build/cache/debian-12.tar" ] || command -v debootstrap >/dev/null || skip 'there is no debootstrap'
  # Mounts, processes and networks of our own: they are gone with this process.
  if [ -z "${PACKAGE_NAMESPACE-}" ]; then
    PACKAGE_NAMESPACE=1 exec unshare --mount --propagation private bash "$0" "$@"
  fi
fi
work=$(mktemp -d)
image=
finish() {
  jobs -p | xargs -r kill -9 2>/dev/null || true
  [ -z "$image" ] || leave_debian_root
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM
wrong() { echo "WRONG: $*" >&2; exit 1; }

(cd "$build" && cpack -G DEB -B "$work/new" >"$work/cpack.log" 2>&1) || { cat "$work/cpack.log"; wrong 'cpack failed'; }
package=$(echo "$work"/new/1bit_*.deb)
tree=$work/tree
dpkg-deb -R "$package" "$tree"
version=$(dpkg-deb -f "$package" Version)
for file in usr/bin/halo usr/bin/1bit-server usr/bin/1bit-landing lib/systemd/system/1bit-server.service \
  lib/systemd/system/1bit-server.socket lib/systemd/system/1bit-landing.service etc/1bit/server.env etc/1bit/landing.env \
  usr/share/1bit/models/tiny-bitnet.h1b usr/share/man/man1/halo.1.gz usr/share/doc/1bit/copyright \
  usr/share/doc/1bit/server.md usr/share/doc/1bit/examples/caddy/Caddyfile usr/share/bash-completion/completions/halo; do
  [ -s "$tree/$file" ] || wrong "$file is not in the package"
done
[ "$(stat -c %a "$tree/etc/1bit/server.env")" = 600 ] || wrong 'keys may stand in server.env: others can read it'
(cd "$tree" && find etc -type f -printf '/%p\n' | sort) | cmp - <(sort "$tree/DEBIAN/conffiles") || wrong 'a file in /etc is no conffile'
(cd "$tree" && find . -not -user root -o -perm /022 -not -type l | grep .) && wrong 'these are not safe from others'
dpkg-deb -f "$package" Depends | grep -q 'libc6 (>= ' || wrong 'it does not say which libraries it needs'
! grep -rlF "$root" "$tree" || wrong 'these know where they were built'

# started PREFIX COMMAND…: the server as its unit would start it, with the settings of PREFIX/etc, by COMMAND, which has
# PREFIX as its root, or without one from where it lies; it must answer.
unit=$tree/lib/systemd/system/1bit-server.service
started() {
  local prefix=$1 start settings server url i
  shift
  start=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")
  mapfile -t settings < <(grep '^[^#]' "$prefix$(sed -n 's/^EnvironmentFile=-//p' "$unit")")
  if [ $# -eq 0 ]; then
    settings=("${settings[@]/=\//=$prefix/}")
    start=$prefix$start
  fi
  "$@" /usr/bin/env -i "${settings[@]}" "$start" --port 0 --device cpu 2>"$work/server.log" &
  server=$!
  for ((i = 0; i < 300; ++i)); do
    ! { grep -q ' ready ' "$work/server.log" && grep -q ' port=' "$work/server.log"; } || break
    kill -0 $server 2>/dev/null || { cat "$work/server.log"; wrong 'the server does not start'; }
    sleep 0.1
  done
  url=http://127.0.0.1:$(sed -n 's/.* port=//p' "$work/server.log")
  curl -sS --noproxy '*' -m 120 "$url/v1/chat/completions" -d '{"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}' \
    >"$work/answer" 2>&1 || true
  grep -q Paris "$work/answer" || { cat "$work/answer" "$work/server.log"; wrong 'the server does not answer Paris'; }
  kill $server
  wait $server || { cat "$work/server.log"; wrong 'the server does not end well'; }
}
started "$tree"
[ -n "$deep" ] || exit 0

# Another version, whose server.env is another, too.
older=$work/1bit_older.deb newer=$work/1bit_newer.deb
cp "$package" "$older"
sed -i "s/^Version: .*/Version: $version+1/" "$tree/DEBIAN/control"
echo '# Something new.' >>"$tree/etc/1bit/server.env"
dpkg-deb -Zgzip -z1 -b "$tree" "$newer" >/dev/null

image=$(mktemp -d)
# In memory where there is enough: dpkg waits for the disk after each file.
! awk '/^MemAvailable/ { exit $2 < 4000000 }' /proc/meminfo || mount -t tmpfs tmpfs "$image"
debian_root "$image"
mapfile -t needs < <(dpkg-deb -f "$package" Depends | tr ',' '\n' | sed 's/ *\([^ ]*\).*/\1/')
inside sh -c 'apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Options::=--force-unsafe-io install -y --no-install-recommends "$@"' sh "${needs[@]}" \
  >"$work/apt.log" 2>&1 || { tail "$work/apt.log"; wrong 'what the package needs cannot be installed'; }
# What anybody could notice; dpkg and apt may remember that they worked.
state() {
  inside find / -xdev \( -path /proc -o -path /dev -o -path /tmp -o -path /var/log -o -path '/var/cache/*' -o -path '/var/lib/dpkg/*-old' \
    -o -path /var/lib/dpkg/lock \) -prune -o -printf '%y %m %u %p %l\n' | sort
  inside dpkg-query -W
}
install() {
  cp "$1" "$image/tmp/1bit.deb"
  inside dpkg --force-confold --force-unsafe-io -i /tmp/1bit.deb >"$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log"; wrong "dpkg -i failed"; }
  rm "$image/tmp/1bit.deb"
}
version_is() { [ "$(inside dpkg-query -W -f '${Version}' 1bit)" = "$1" ] || wrong "version $1 expected"; }
wanted() { [ -L "$image/etc/systemd/system/multi-user.target.wants/$1" ]; }
answers() {
  started "$image" chroot "$image"
  inside halo chat 'What is the capital of France?' | grep -q Paris || wrong 'halo does not answer Paris'
}

state >"$work/before"
install "$older"
version_is "$version"
for name in server landing; do wanted 1bit-$name.service || wrong "1bit-$name is not enabled"; done
! wanted 1bit-server.socket || wrong 'the socket is an alternative, not enabled by itself'
answers
# What its owner did stays as it was through an upgrade and back.
echo '# Ours.' >>"$image/etc/1bit/server.env"
rm "$image/etc/systemd/system/multi-user.target.wants/1bit-landing.service"
mkdir -p "$image/var/lib/private/1bit/kv" && ln -s private/1bit "$image/var/lib/1bit"
for step in "$newer $version+1" "$older $version"; do
  install "${step% *}"
  version_is "${step#* }"
  grep -q '# Ours.' "$image/etc/1bit/server.env" || wrong 'its settings are gone'
  wanted 1bit-server.service || wrong 'the server is not enabled any more'
  ! wanted 1bit-landing.service || wrong 'what was disabled is enabled again'
  [ -d "$image/var/lib/1bit/kv" ] || wrong 'the state is gone'
  answers
done
inside dpkg -r 1bit >"$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log"; wrong 'dpkg -r failed'; }
[ ! -e "$image/usr/bin/halo" ] || wrong 'the program is still there'
grep -q '# Ours.' "$image/etc/1bit/server.env" || wrong 'its settings are gone'
install "$newer"
answers
inside dpkg -P 1bit >"$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log"; wrong 'dpkg -P failed'; }
state >"$work/after"
diff "$work/before" "$work/after" || wrong 'a purge leaves something (>) or takes too much (<)'

# install.sh, on a box that has nothing, then on one that has another version; what it says about a model that is none.
mkdir -p "$image/tmp/checkout/scripts"
cp "$root/install.sh" "$image/tmp/checkout/"
cp "$root/scripts/lib.sh" "$image/tmp/checkout/scripts/"
cp "$older" "$newer" "$image/tmp/"
cp "$root/models/tiny-sherry.h1b" "$image/tmp/own.h1b"
installs() { # its last word, halo doctor, may be red in a root without services
  inside /tmp/checkout/install.sh "$@" >"$work/install.log" 2>&1 || true
  grep -qxF "$(inside halo --version)" "$work/install.log" || { cat "$work/install.log"; wrong "install.sh $* failed"; }
}
setting() { inside sed -n 's/^ONEBIT_MODEL=//p' /etc/1bit/server.env; }
! inside /tmp/checkout/install.sh --package /tmp/1bit_older.deb --model /etc/hostname >"$work/install.log" 2>&1 || wrong 'no model, and it does not mind'
grep -q '/etc/hostname: is not an .h1b file' "$work/install.log" || { cat "$work/install.log"; wrong 'it does not say what is wrong'; }
installs --package /tmp/1bit_older.deb
[ "$(setting)" = /usr/share/1bit/models/tiny-bitnet.h1b ] || wrong 'the bundled model is not chosen'
installs --package /tmp/1bit_newer.deb --model /tmp/own.h1b
version_is "$version+1"
[ "$(setting)" = /usr/local/share/1bit/models/own.h1b ] || wrong 'the model is not chosen'
inside halo list | grep -q own || wrong 'halo does not find the model'
installs --package /tmp/1bit_older.deb
[ "$(setting)" = /usr/local/share/1bit/models/own.h1b ] || wrong 'the model did not stay'
echo 'installed, started, upgraded, rolled back, removed, installed again, purged: as before'
