# shellcheck shell=bash disable=SC2034,SC2154
# Shared by quickstart, run-tests and tests/e2e/bare_debian.sh. The caller sets `root`, the checkout.

program=${0##*/}

say() { printf '%s\n' "$*"; }
fail() { printf '%s: %s\n' "$program" "$*" >&2; exit 1; }

# What a release build needs from Debian. Mirrors the find_package lines of CMakeLists.txt.
build_packages=(g++ cmake ninja-build pkg-config libexpected-dev libcli11-dev nlohmann-json3-dev libfmt-dev
  libpcre2-dev libutf8proc-dev libxxhash-dev libedit-dev libboost1.81-dev prometheus-cpp-dev libspdlog-dev libsystemd-dev
  libpocketsphinx-dev pocketsphinx-en-us flite1-dev libcurl4-openssl-dev libssl-dev ca-certificates)

# missing_packages PACKAGE…: those of them that are not installed, one a line.
missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || printf '%s\n' "$package"
  done
}

# How a command becomes root: nothing in front of it where we are, else sudo, which may ask for its password on a
# terminal and fails at once everywhere else.
sudo=()
if [ "$(id -u)" -ne 0 ]; then
  sudo=(sudo)
  [ -t 0 ] || sudo=(sudo -n)
fi

apt_get() {
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# install_packages PACKAGE…: installs what is missing and says so; silent and quick where nothing is.
install_packages() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    fail "this system has no apt-get: install what corresponds to Debian's $* and build with" \
      "'cmake --preset release && cmake --build --preset release'"
  fi
  local missing log="$root/build/logs/apt.log"
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  say "Installing from Debian: ${missing[*]}"
  if ! "${sudo[@]}" true 2>/dev/null; then
    fail "installing packages needs root or sudo: as root, run 'apt-get update && apt-get install" \
      "--no-install-recommends ${missing[*]}', then this again"
  fi
  mkdir -p "$root/build/logs"
  # A list that cannot be refreshed matters only if the installation then fails.
  if ! { apt_get update || true; apt_get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    fail "the packages could not be installed (whole log: $log)"
  fi
}

# configure PRESET FOLDER [OPTION…]: cmake's first step. A build folder that came here with a moved or copied
# checkout is started afresh; cmake would refuse it.
configure() {
  local preset=$1 cache="$root/build/$2/CMakeCache.txt" fresh=()
  shift 2
  if [ -f "$cache" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$cache"; then fresh=(--fresh); fi
  (cd "$root" && cmake --preset "$preset" "${fresh[@]}" "$@")
}

# commit_state: "COMMIT DIRTY", what a record says about the checkout; records and the page of them count for nothing.
commit_state() {
  if [ -n "${ONEBIT_COMMIT-}" ]; then echo "$ONEBIT_COMMIT false"; return; fi  # a copy without its history
  local git=(git -C "$root" -c "safe.directory=$root") commit dirty=true
  commit=$("${git[@]}" rev-parse --verify --quiet HEAD 2>/dev/null) || commit=unknown
  if [ "$commit" != unknown ] && [ -z "$("${git[@]}" status --porcelain -- ':!tests/records' ':!benchmarks/records' ':!docs/benchmarks.md')" ]; then dirty=false; fi
  echo "$commit $dirty"
}
