#!/usr/bin/env bash
# Writes what an image is made of to build/resguardo.cdx.json (CycloneDX), and prints the image's name. Usage: sbom.sh IMAGE
set -euo pipefail
# shellcheck source=tests/rig/lib.sh
. "$(dirname "$0")/lib.sh"

box=$(buildah from --pull-never "$1")
trap 'buildah rm "$box" >/dev/null' EXIT
status=$(buildah mount "$box")/var/lib/dpkg/status
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/pyproject.toml")
mkdir -p "$ROOT/build"
"$ROOT/.venv/bin/python" "$RIG_DIR/sbom.py" "${1%%:*}" "$version" "$ROOT/requirements.lock" <"$status" >"$ROOT/build/resguardo.cdx.json.new"
mv "$ROOT/build/resguardo.cdx.json.new" "$ROOT/build/resguardo.cdx.json"
echo "$1"
