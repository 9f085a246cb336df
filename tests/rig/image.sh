#!/usr/bin/env bash
# Builds the project's image from its own Dockerfile over the stand-in base, where the source changed, and prints its
# name: localhost/resguardo:dev-<hash of the source>. It is tagged localhost/resguardo:dev too.
# Usage: image.sh [postgres]   With `postgres`, only the stand-in, whose name it prints.
set -euo pipefail
# shellcheck source=tests/rig/lib.sh
. "$(dirname "$0")/lib.sh"

image_exists() { buildah inspect --type image "$1" >/dev/null 2>&1; }

make_postgres_image() { # make_postgres_image NAME ROOTFS
  local box; box=$(buildah from scratch)
  buildah add -q "$box" "$2" /
  buildah config --env LANG=en_US.UTF-8 --env PG_MAJOR=15 --env PGDATA=/var/lib/postgresql/data \
    --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin "$box"
  buildah commit -q --rm "$box" "$1"
}

# What pip needs to reach this machine's package index: its settings, and the authorities that it trusts, which the
# image must not inherit. Under other paths, as installing ca-certificates in the image writes to the usual one.
pip_volumes() {
  local authorities=/etc/ssl/certs/ca-certificates.crt
  [ -e /etc/pip.conf ] || return 0
  mkdir -p "$STATE"
  sed "s#$authorities#/run/machine-authorities.crt#" /etc/pip.conf >"$STATE/pip.conf"
  echo "--volume $STATE/pip.conf:/etc/pip.conf:ro"
  [ ! -e $authorities ] || echo "--volume $authorities:/run/machine-authorities.crt:ro"
}

make_project_image() { # make_project_image NAME BASE
  # No container engine and perhaps no user namespaces here: chroot isolation. --layers keeps the dependencies' layer.
  # shellcheck disable=SC2046  # words, on purpose
  buildah bud --pull-never --isolation chroot --network host --layers $(pip_volumes) \
    --build-arg "BASE=$2" --tag "$1" --tag localhost/resguardo:dev "$ROOT"
}

# Each change of the source makes an image: the newest few stay.
remove_old_images() {
  buildah images --format '{{.Name}}:{{.Tag}}' | grep '^localhost/resguardo:dev-' | tail -n +6 | xargs -r buildah rmi >/dev/null 2>&1 || true
}

rootfs=$("$RIG_DIR/build.sh" --path postgres-image)
base=localhost/resguardo-rig-postgres:$(basename "$(dirname "$rootfs")" | sed 's/.*-//')
image_exists "$base" || patiently "making the image $base" "$STATE/log/image-postgres" make_postgres_image "$base" "$rootfs"
[ "${1:-}" != postgres ] || { echo "$base"; exit; }

mapfile -t sources < <(cd "$ROOT" && find Dockerfile .dockerignore pyproject.toml LICENSE requirements.lock requirements-dev.lock operator -type f ! -path '*/__pycache__/*' | sort)
name=localhost/resguardo:dev-$(key_of "$base" -- "${sources[@]}")
if ! image_exists "$name"; then
  patiently "building the project's image $name" "$STATE/log/image-project" make_project_image "$name" "$base"
  remove_old_images
fi
echo "$name"
