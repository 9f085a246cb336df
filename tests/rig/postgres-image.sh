#!/usr/bin/env bash
# Makes the root file system of a stand-in for PostgreSQL's official image (postgres:15-bookworm), where no image
# registry can be reached: Debian bookworm with Debian's PostgreSQL 15, the same user id and the same paths.
# Usage: postgres-image.sh TAR
set -euo pipefail
TAR=$(realpath "$1") TREE=$(mktemp -d)
trap 'umount -l "$TREE/proc" "$TREE/sys" 2>/dev/null || true; rm -rf "$TREE"' EXIT

# The mirrors are the machine's own: "URI release components", one line each.
mirrors() {
  [ -n "$(ls /var/lib/apt/lists/*Packages* 2>/dev/null)" ] || apt-get update -q >&2
  # shellcheck disable=SC2016  # the fields are apt's
  apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    sort -u | grep -E ' bookworm(-updates|-security)? ' | awk '{c[$1" "$2] = c[$1" "$2]" "$3} END {for (k in c) print k c[k]}'
}
sources=$(mirrors)
main_mirror=$(awk '$2 == "bookworm" {print $1; exit}' <<<"$sources")
[ -n "$main_mirror" ] || { echo "apt's sources name no mirror of Debian bookworm" >&2; exit 1; }

debootstrap --variant=minbase bookworm "$TREE" "$main_mirror"
while read -r line; do echo "deb $line"; done <<<"$sources" >"$TREE/etc/apt/sources.list"
# A machine behind a proxy, or with mirrors that are dated, says so in its own apt settings.
apt-config dump | grep -E '^Acquire::(http|https|Check)[^ ]* "[^"]' >"$TREE/etc/apt/apt.conf.d/90machine" || true
cp /etc/resolv.conf "$TREE/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$TREE/usr/sbin/policy-rc.d"; chmod +x "$TREE/usr/sbin/policy-rc.d"
# Manuals, translations and documentation: nobody reads them in a pod.
printf 'path-exclude /usr/share/%s/*\n' doc man info >"$TREE/etc/dpkg/dpkg.cfg.d/no-documentation"
mkdir -p "$TREE/etc/postgresql-common"
mount -t proc proc "$TREE/proc"

env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} chroot "$TREE" bash -euc '
  groupadd -r postgres --gid=999
  useradd -r -g postgres --uid=999 --home-dir=/var/lib/postgresql --shell=/bin/bash postgres
  apt-get update -q
  apt-get install -qy --no-install-recommends locales
  printf "%s.UTF-8 UTF-8\n" en_US pt_BR >/etc/locale.gen
  locale-gen
  apt-get install -qy --no-install-recommends postgresql-common
  echo "create_main_cluster = false" >>/etc/postgresql-common/createcluster.conf
  apt-get install -qy --no-install-recommends postgresql-15
  install -d -o postgres -g postgres -m 3777 /var/run/postgresql
  install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data
  apt-get clean
  rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt /usr/share/doc/* /usr/share/man/*
'
umount "$TREE/proc"
rm "$TREE/etc/resolv.conf" "$TREE/usr/sbin/policy-rc.d"
tar -C "$TREE" --numeric-owner --one-file-system -cf "$TAR" .
