# shellcheck shell=bash disable=SC2154
# A bare Debian 12 in a folder, for tests that need one. Sourced after lib.sh, by root, in a mount namespace of its own.

# The mirror that apt uses here: of the sources, the one that has bookworm itself.
mirror() {
  # shellcheck disable=SC2016  # apt-get fills these in
  apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' | awk '$1 == "bookworm" && $2 == "main" { print $3; exit }'
}

# debian_root FOLDER: unpacks it into the empty FOLDER, made once by debootstrap and kept as a tarball under build/cache.
# Network, mounts and `inside` are then ready.
debian_root() {
  local tarball="$root/build/cache/debian-12.tar" uri name
  image=$1
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
}

# inside COMMAND…: in the root of debian_root.
inside() { env -i "${environment[@]}" chroot "$image" "$@" </dev/null; }

leave_debian_root() {
  umount -R "$image/proc" "$image/dev" 2>/dev/null || true
  ! mountpoint -q "$image" || umount "$image"
  rm -rf --one-file-system "$image"
}
