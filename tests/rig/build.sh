#!/usr/bin/env bash
# Builds what the rig runs, once on a machine: into the cache, under a key of versions and sources, so that another
# checkout finds it. Usage: build.sh [--path|--where] NAME...   NAMEs: kube pause versitygw minio azurite helm kube-router
# postgres-image postgres-17
# With --path it prints where each is, building what is missing; with --where it prints that and builds nothing.
set -euo pipefail
# shellcheck source=tests/rig/lib.sh
. "$(dirname "$0")/lib.sh"

KUBERNETES=1.34.4
VERSITYGW=1.8.0
MINIO=v0.0.0-20260212201848-7aac2a2c5b7c  # the tags of its releases are no versions to Go: a commit of 2026-02-12
HELM=4.3.1
KUBE_ROUTER=2.1.0
POSTGRES_RELEASE=trixie  # the Debian whose PostgreSQL is newer than the machine's: 17. Its newest minor version is taken

# The folder in the cache, named by everything that decides what is in it.
folder_of() {
  local key
  case $1 in
    kube) key=$(key_of "$KUBERNETES" -- tests/rig/kube/{main.go,go.mod,go.sum}) ;;
    pause) key=$(key_of 1 -- tests/rig/pause/main.go) ;;
    versitygw) key=$(key_of "$VERSITYGW") ;;
    minio) key=$(key_of "$MINIO") ;;
    azurite) key=$(key_of 1 -- tests/rig/azurite/{package.json,package-lock.json}) ;;
    helm) key=$(key_of "$HELM") ;;
    kube-router) key=$(key_of "$KUBE_ROUTER") ;;
    postgres-image) key=$(key_of 1 -- tests/rig/postgres-image.sh) ;;
    postgres-17) key=$(key_of "$POSTGRES_RELEASE" -- tests/rig/postgres-tree.sh) ;;
    *) fail "build.sh knows no '$1'; it knows: kube pause versitygw minio azurite helm kube-router postgres-image postgres-17" ;;
  esac
  echo "$CACHE/$1-$key"
}

file_of() { case $1 in postgres-image) echo rootfs.tar ;; postgres-17) echo tree ;; *) echo "$1" ;; esac; }

with_go() {
  local go; go=$("$RIG_DIR/machine.sh" go)
  env CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-buildvcs=false PATH="$(dirname "$go"):$PATH" "$@"
}

# Each makes FILE (its argument).
make_kube() {
  local v=k8s.io/component-base/version # without these, kubectl and helm cannot read the server's version
  cd "$RIG_DIR/kube"
  with_go go build -mod=readonly -trimpath -o "$1" \
    -ldflags "-s -w -X $v.gitVersion=v$KUBERNETES -X $v.gitMajor=1 -X $v.gitMinor=${KUBERNETES:2:2} -X $v.gitTreeState=clean" .
}
make_pause() { with_go go build -trimpath -ldflags '-s -w' -o "$1" "$RIG_DIR/pause/main.go"; }
make_versitygw() { with_go env GOBIN="$(dirname "$1")" go install -trimpath -ldflags "-s -w -X main.Version=v$VERSITYGW" "github.com/versity/versitygw/cmd/versitygw@v$VERSITYGW"; }
make_minio() { with_go env GOBIN="$(dirname "$1")" go install -trimpath -ldflags '-s -w' "github.com/minio/minio@$MINIO"; }
# From npm, by a lock file that says each package's hash, and no registry: that is for npm's own settings to say.
make_azurite() {
  local node folder; node=$("$RIG_DIR/machine.sh" node); folder=$(dirname "$1")
  cp "$RIG_DIR"/azurite/{package.json,package-lock.json,.npmrc} "$folder"
  (cd "$folder" && PATH="$(dirname "$node"):$PATH" npm ci --no-progress)
  printf '#!/bin/sh\nexec "%s" "$(dirname "$0")/node_modules/azurite/dist/src/blob/main.js" "$@"\n' "$node" >"$1"
  chmod +x "$1"
  "$1" --version
}
make_helm() { with_go env GOBIN="$(dirname "$1")" go install -trimpath -ldflags '-s -w' "helm.sh/helm/v4/cmd/helm@v$HELM"; }
make_kube-router() { with_go env GOBIN="$(dirname "$1")" go install -trimpath -ldflags '-s -w' "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router@v$KUBE_ROUTER"; }
make_postgres-image() { "$RIG_DIR/machine.sh" packages cluster && "$RIG_DIR/postgres-image.sh" "$1"; }
make_postgres-17() { "$RIG_DIR/postgres-tree.sh" 17 "$POSTGRES_RELEASE" "$1"; }

described() {
  case $1 in
    kube) echo "Kubernetes $KUBERNETES (etcd, servers, kubelet, kubectl, CoreDNS), about 6 minutes on 2 cores" ;;
    pause) echo "the pause program" ;;
    versitygw) echo "the S3 server versitygw $VERSITYGW, about 2 minutes" ;;
    minio) echo "the S3 server MinIO, about 4 minutes" ;;
    azurite) echo "Azure's emulator azurite, from npm, about a minute" ;;
    helm) echo "helm $HELM, about 2 minutes" ;;
    kube-router) echo "kube-router $KUBE_ROUTER, which enforces NetworkPolicies, about 2 minutes" ;;
    postgres-image) echo "a stand-in for PostgreSQL's official image (debootstrap), about 2 minutes" ;;
    postgres-17) echo "PostgreSQL 17 from the packages of Debian $POSTGRES_RELEASE (unpacked, not installed), about half a minute" ;;
  esac
}

# Made beside its place and renamed into it: what is in the cache is whole.
build() {
  local name=$1 folder work; folder=$(folder_of "$name")
  [ ! -e "$folder/$(file_of "$name")" ] || return 0
  mkdir -p "$CACHE"
  (
    exec 8>"$CACHE/$name.lock"
    flock -n 8 || { say "waiting: another build of $name is under way"; flock 8; }
    [ ! -e "$folder/$(file_of "$name")" ] || exit 0
    work=$(mktemp -d "$CACHE/.$name.XXXXXX"); trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    patiently "building $(described "$name")" "$STATE/log/build-$name" "make_$name" "$work/$(file_of "$name")"
    rm -rf "$folder"; mv "$work" "$folder"
  )
}

print="" build=yes
case ${1:-} in
  --path) print=yes; shift ;;
  --where) print=yes build=""; shift ;;
esac
[ $# -gt 0 ] || { sed -n 2,5p "$0" >&2; exit 2; }
for name; do
  [ -z "$build" ] || build "$name"
  [ -z "$print" ] || echo "$(folder_of "$name")/$(file_of "$name")"
done
