#!/usr/bin/env bash
# The promise of the README's first lines: in a bare Debian 12, a checkout and ./quickstart lead to an answer. Makes
# such a root with debootstrap (kept as a tarball under build/cache), puts HEAD into it under a path with a space, and
# runs quickstart there twice. Needs root. The mirror, proxies and certificates are this machine's own.
#   bare_debian.sh [--worktree]   with --worktree: the files as they lie here instead of HEAD's
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/debian_root.sh
. "$root/scripts/debian_root.sh"
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
trap leave_debian_root EXIT
trap 'exit 1' INT TERM
debian_root "$image"

checkout="$image/srv/a checkout"
mkdir "$checkout"
if [ "$worktree" = yes ]; then
  (cd "$root" && "${git[@]}" ls-files -coz --exclude-standard | tar --null -T - -cf -) | tar -C "$checkout" -xf -
else
  "${git[@]}" archive HEAD | tar -C "$checkout" -xf -
fi

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
