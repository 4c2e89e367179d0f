#!/usr/bin/env bash
# halo status, logs, restart, update, rollback: bash box_test.sh SERVER HALO. systemctl, journalctl and apt-get are stand-ins
# that note their calls; the server is a real one, and packages are made, compared and installed by the real dpkg, into a
# folder.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$2"
server=$(realpath "$1")
halo_command=("$(realpath "$2")")
command -v dpkg-deb >/dev/null || skip 'there is no dpkg-deb'
root=$work/root bin=$work/bin debian=$work/debian
mkdir -p "$bin" "$root/etc/1bit" "$debian/var/lib/dpkg/updates" "$debian/var/lib/dpkg/info" "$work/repository"
touch "$debian/var/lib/dpkg/status" "$work/calls" "$work/sick" "$out" "$err"
last=(none) status=none
# shellcheck disable=SC2317  # called by the trap
end_server() { [ ! -s "$work/pid" ] || kill "$(cat "$work/pid")" 2>/dev/null || true; }
trap 'end_server; rm -rf "$work"' EXIT
export HALO_ROOT=$root PATH=$bin:/usr/sbin:/usr/bin:/sbin:/bin work server source_dir debian
program() { # NAME, its script on standard input
  { echo '#!/bin/bash'; cat; } >"$bin/$1"
  chmod +x "$bin/$1"
}

# A free port, that the server keeps over restarts.
port=$((20000 + RANDOM % 20000))
export port
echo "ONEBIT_PORT=$port" >"$root/etc/1bit/server.env"
program systemctl <<'END'
echo "systemctl $*" >>"$work/calls"
case $1 in
  show)
    active=inactive
    [ ! -s "$work/pid" ] || active=active
    printf 'Id=1bit-server.service\nLoadState=loaded\nActiveState=%s\nSubState=running\nUnitFileState=enabled\n\n' "$active"
    printf 'Id=1bit-server.socket\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n\n'
    printf 'Id=1bit-landing.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n'
    ;;
  restart)
    [[ " $* " = *" 1bit-server.service "* ]] || exit 0
    if [ -s "$work/pid" ]; then
      kill -KILL "$(cat "$work/pid")" 2>/dev/null  # what is under way there is not this test's matter
      while kill -0 "$(cat "$work/pid")" 2>/dev/null; do sleep 0.02; done
    fi
    # A version that is sick starts and is never healthy.
    command=("$server" -m "$source_dir/models/tiny-bitnet.h1b" --device cpu --threads 1 --port "$port")
    version=$(dpkg-query --show '--showformat=${Version}' 1bit 2>/dev/null)
    ! grep -qxF "$version" "$work/sick" || command=(sleep 600)
    # In a session of its own before this ends: what is left of a program's process group is ended with it.
    rm -f "$work/pid"
    setsid bash -c 'echo $$ >"$work/pid.new"; mv "$work/pid.new" "$work/pid"; exec "$@"' - "${command[@]}" \
      >"$work/server.log" 2>&1 </dev/null 3>&- &
    until [ -s "$work/pid" ]; do sleep 0.02; done
    ;;
esac
END
program journalctl <<'END'
printf '%s\n' "$*"
END
program dpkg-query <<'END'
[ "$(id -u)" -ne 0 ] || exec /usr/bin/dpkg-query --root="$debian" "$@"
version=$(cat "$debian/usr/share/1bit/version" 2>/dev/null) || exit 1
format=${2#--showformat=} format=${format/'${db:Status-Status}'/installed}
printf %s "${format/'${Version}'/$version}"
END
program apt-get <<'END'
echo "apt-get $*" >>"$work/calls"
case $1 in
  download)
    version=${2#1bit} version=${version#=}
    [ -n "$version" ] || version=$(ls "$work/repository" | sed 's/.*_\(.*\)_.*/\1/' | sort -V | tail -n 1)
    cp "$work/repository/1bit_${version}_all.deb" . 2>/dev/null || { echo "E: Version '$version' for '1bit' was not found" >&2; exit 100; }
    ;;
  install)
    if grep -qxF "broken $(dpkg-deb -f "${@: -1}" Version)" "$work/sick"; then echo 'E: Sub-process dpkg returned an error' >&2; exit 100; fi
    # Only root can have dpkg give files to root.
    if [ "$(id -u)" -ne 0 ]; then
      dpkg-deb -x "${@: -1}" "$debian"
      exit
    fi
    dpkg --root="$debian" --force-not-root --force-script-chrootless --force-downgrade --log=/dev/null -i "${@: -1}" >"$work/dpkg.log" 2>&1
    ;;
esac
END
package() { # VERSION [NAME]
  local name=${2:-1bit} tree=$work/tree
  rm -rf "$tree"
  mkdir -p "$tree/DEBIAN" "$tree/usr/share/$name"
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: a test\n' \
    "$name" "$1" >"$tree/DEBIAN/control"
  echo "$1" >"$tree/usr/share/$name/version"
  dpkg-deb --root-owner-group --build "$tree" "$work/${name}_$1.deb" >"$work/dpkg.log"
}
installed() { cat "$debian/usr/share/1bit/version" 2>/dev/null || echo none; }
for version in 1.0-1 1.9-1 1.10-1 1.11-1 2.0-1; do package $version; done
package 3.0 other

# Nothing is installed, nothing runs.
halo update "$work/1bit_1.9-1.deb"
expect_refusal 'the package 1bit is not installed'
halo status
expect_status 1
expect_out '^1bit-server\.service +inactive \(running\), enabled'
expect_out '^health +http://127\.0\.0\.1:[0-9]+: .*refused'
halo status --json
expect_status 1
expect_json '.server.healthy == false and .units[1].load == "not-found" and .units_error == null'
apt-get install "$work/1bit_1.0-1.deb"

# restart waits until the server is healthy; or says that it did not become so.
halo restart
expect_status 0
expect_out '^restarted 1bit-server\.service, 1bit-landing\.service'
expect_out "^healthy at http://127\.0\.0\.1:$port"
halo status
expect_status 0
expect_out '^1bit-server\.service +active \(running\), enabled'
expect_out '^health +ok at http'
expect_out '^version +[0-9.]+ \(halo is [0-9.]+\)'
expect_out '^models +\S'
echo 1.0-1 >"$work/sick"
halo restart server --health-time 1
expect_status 1
expect_err "http://127\.0\.0\.1:$port is not healthy after 1 s: .*refused.*'halo logs' tells more"
: >"$work/sick"
halo restart server
expect_status 0

# logs
halo logs
expect_same "$(cat "$out")" '--no-pager -u 1bit-server.service -u 1bit-server.socket -u 1bit-landing.service -n 50'
halo logs server -f -n 3
expect_same "$(cat "$out")" '--no-pager -u 1bit-server.service -u 1bit-server.socket -f -n 3'
halo logs landing --since '1 hour ago'
expect_same "$(cat "$out")" '--no-pager -u 1bit-landing.service --since 1 hour ago'

# An update needs a way back.
halo update "$work/1bit_1.9-1.deb"
expect_status 1
expect_err "the package of the installed version 1\.0-1 was not kept and .*--previous, or --without-rollback"
expect_same "$(installed)" 1.0-1
halo update "$work/1bit_1.9-1.deb" --previous "$work/1bit_2.0-1.deb"
expect_status 1
expect_err 'is version 2\.0-1, and 1\.0-1 is installed'
: >"$work/calls"
halo update "$work/1bit_1.9-1.deb" --previous "$work/1bit_1.0-1.deb"
expect_status 0
expect_out '^1\.9-1 is installed and healthy'
expect_same "$(installed)" 1.9-1
expect_same "$(grep -v show "$work/calls" | sed 's/ .*packages/ …/; s/apt-get .*deb/apt-get install …deb/' | tr '\n' ';')" \
  'apt-get install …deb;systemctl daemon-reload;systemctl restart 1bit-server.service 1bit-landing.service;'
# 1.10 is newer than 1.9, and 1.9 is older than it.
halo update "$work/1bit_1.10-1.deb"
expect_status 0
expect_same "$(installed)" 1.10-1
halo update "$work/1bit_1.9-1.deb"
expect_status 1
expect_err "1\.9-1 is older than 1\.10-1, which is installed; 'halo rollback' goes back"
halo update "$work/1bit_1.10-1.deb"
expect_status 0
expect_out '^1\.10-1 is installed already'

# Back, and forth again.
halo rollback
expect_status 0
expect_out '^1\.9-1 is installed and healthy'
expect_same "$(installed)" 1.9-1
halo rollback
expect_status 0
expect_same "$(installed)" 1.10-1

# What is not well goes back by itself: one that is not healthy, one that cannot be installed.
printf '1.11-1\nbroken 2.0-1\n' >"$work/sick"
halo update "$work/1bit_1.11-1.deb" --health-time 2
expect_status 1
expect_err '1\.11-1 is not well: .* is not healthy after 2 s: .*; 1\.10-1 is installed again and healthy$'
expect_same "$(installed)" 1.10-1
halo update "$work/1bit_2.0-1.deb"
expect_status 1
expect_err 'Sub-process dpkg returned an error.*; 1\.10-1 is installed again and healthy$'
expect_same "$(installed)" 1.10-1
halo status
expect_status 0

# An update that is cut off in the middle is undone by rollback.
"${halo_command[@]}" update "$work/1bit_1.11-1.deb" --health-time 600 >"$out" 2>"$err" &
cut=$!
for ((i = 0; i < 600; ++i)); do
  ! grep -q '^restarting' "$out" || break
  sleep 0.05
done
kill -KILL $cut
wait $cut 2>/dev/null || true
expect_same "$(installed)" 1.11-1
halo rollback
expect_status 0
expect_same "$(installed)" 1.10-1
: >"$work/sick"

# From a repository, and files that are no package of ours.
cp "$work/1bit_1.11-1.deb" "$work/repository/1bit_1.11-1_all.deb"
halo update
expect_status 0
expect_same "$(installed)" 1.11-1
halo update
expect_out '^1\.11-1 is installed already'
halo rollback
expect_same "$(installed)" 1.10-1
halo update "$work/other_3.0.deb"
expect_status 1
expect_err 'is the package other, not 1bit'
echo text >"$work/text.deb"
halo update "$work/text.deb"
expect_status 1
expect_err 'dpkg-deb: .*not a Debian format archive'
halo update "$work/nowhere.deb"
expect_refusal 'nowhere\.deb: is no file'
expect_same "$(installed)" 1.10-1

# Without systemd, or without dpkg.
mkdir "$work/empty"
PATH=$work/empty halo status
expect_refusal 'no systemctl on \$PATH'
PATH=$work/empty halo logs
expect_refusal 'no journalctl on \$PATH'
PATH=$work/empty halo update
expect_refusal 'no dpkg on \$PATH: packages are Debian'
