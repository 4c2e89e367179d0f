#!/usr/bin/env bash
# The promise of the README's first lines: in a bare Debian 12, a checkout and ./quickstart lead to an answer. Makes
# such a root with debootstrap (kept as a tarball under build/cache), puts HEAD into it under a path with a space, and
# runs quickstart there twice. Needs root. The mirror, proxies and certificates are this machine's own.
#   bare_debian.sh [--worktree]   with --worktree: the files as they lie here instead of HEAD's
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
git=(git -C "$root" -c "safe.directory=$root")

worktree=no
for argument in "$@"; do
  case $argument in
    --worktree) worktree=yes ;;
    *) printf 'usage: %s [--worktree]\n' "$program" >&2; exit 2 ;;
  esac
done
[ "$(id -u)" -eq 0 ] || fail 'needs root'
"${git[@]}" rev-parse --verify --quiet HEAD >/dev/null || worktree=yes  # nothing is committed yet

# All mounts are made in a mount namespace of our own: they are gone with this process, whatever happens.
if [ -z "${BARE_DEBIAN_NAMESPACE:-}" ]; then
  BARE_DEBIAN_NAMESPACE=1 exec unshare --mount --propagation private bash "$0" "$@"
fi

image=$(mktemp -d)
cleanup() {
  umount -R "$image/proc" "$image/dev" 2>/dev/null || true
  rm -rf --one-file-system "$image"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# The mirror that apt uses here: of the sources, the one that has bookworm itself.
mirror() {
  # shellcheck disable=SC2016  # apt-get fills these in
  apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' | awk '$1 == "bookworm" && $2 == "main" { print $3; exit }'
}

tarball="$root/build/cache/debian-12.tar"
if [ ! -f "$tarball" ]; then
  say 'Making a Debian 12 root'
  uri=$(mirror)
  [ -n "$uri" ] || fail "apt knows no Debian 12 mirror here; run 'apt-get update' first"
  debootstrap --variant=minbase bookworm "$image" "$uri" >"$image.log" 2>&1 ||
    { tail -n 20 "$image.log" >&2; rm -f "$image.log"; fail 'debootstrap failed'; }
  rm -f "$image.log"
  mkdir -p "${tarball%/*}"
  tar -C "$image" --one-file-system --exclude './var/cache/apt/archives/*.deb' -cf "$tarball.tmp" .
  mv "$tarball.tmp" "$tarball"
else
  tar -C "$image" -xf "$tarball"
fi

chmod 755 "$image"  # mktemp made it root's alone; apt downloads as another user

# How this machine reaches its mirror.
cp -L /etc/resolv.conf /etc/hosts "$image/etc/"
grep -slE '^ *Acquire::' /etc/apt/apt.conf /etc/apt/apt.conf.d/* | xargs -r cp -t "$image/etc/apt/apt.conf.d/" || true
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
  mkdir -p "$image/etc/ssl/certs"
  cp /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/"
fi
environment=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
for name in http_proxy https_proxy no_proxy; do
  [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done
mount -t proc proc "$image/proc"
mount --bind /dev "$image/dev"

checkout="$image/srv/a checkout"
mkdir "$checkout"
if [ "$worktree" = yes ]; then
  (cd "$root" && "${git[@]}" ls-files -coz --exclude-standard | tar --null -T - -cf -) | tar -C "$checkout" -xf -
else
  "${git[@]}" archive HEAD | tar -C "$checkout" -xf -
fi

inside() { env -i "${environment[@]}" chroot "$image" "$@" </dev/null; }
begin=$SECONDS
inside '/srv/a checkout/quickstart' | tee "$image/first" || fail 'quickstart failed in the bare root'
first=$((SECONDS - begin))
grep -q Paris "$image/first" || fail 'the model did not answer Paris'

begin=$SECONDS
inside '/srv/a checkout/quickstart' >"$image/second" 2>&1 || { cat "$image/second"; fail 'the second quickstart failed'; }
second=$((SECONDS - begin))
grep -q Paris "$image/second" || fail 'the second time the model did not answer Paris'

rm -rf "$checkout/build"
begin=$SECONDS
inside '/srv/a checkout/quickstart' --no-run >"$image/third" 2>&1 || { cat "$image/third"; fail 'the clean build failed'; }
build=$((SECONDS - begin))
[ -x "$checkout/build/release/bin/halo" ] || fail 'no build/release/bin/halo'

say "quickstart in a bare Debian 12 on $(nproc) cores: $first s, the second time $second s; a clean build: $build s"
[ "$second" -le 10 ] || fail 'the second quickstart should be quick'
[ "$build" -le 360 ] || fail 'a clean build should take under 6 minutes'
