#!/usr/bin/env bash
# Unpacks a newer PostgreSQL than this Debian's into a folder, server and client programs, beside the machine's own: from
# the packages of a newer Debian on the machine's own mirror, checked by Debian's keys. Nothing is installed.
# Usage: postgres-tree.sh MAJOR RELEASE FOLDER      afterwards FOLDER/usr/lib/postgresql/MAJOR/bin/ can be run in place,
# and FOLDER can be moved or copied; FOLDER/VERSIONS says what is in it.
set -euo pipefail
MAJOR=$1 RELEASE=$2 TREE=$3
KEYS=/usr/share/keyrings/debian-archive-keyring.gpg
WORK=$(mktemp -d); trap 'rm -rf "$WORK"' EXIT

# A machine with dated mirrors, a proxy or an index of its own says so in apt's settings, which are read here as well.
[ -n "$(ls /var/lib/apt/lists/*Packages* 2>/dev/null)" ] || apt-get update -q
# shellcheck disable=SC2016  # the fields are apt's
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' | awk '$2 !~ /-/ {print $1; exit}')
[ -n "$mirror" ] || { echo "apt's sources name no mirror of Debian" >&2; exit 1; }
mkdir -p "$WORK"/{lists/partial,archives/partial} "$TREE"
touch "$WORK/status"
echo "deb [signed-by=$KEYS] $mirror $RELEASE main" >"$WORK/sources.list"
mine() {
  local command=$1; shift
  "$command" -q -o Dir::State::Lists="$WORK/lists" -o Dir::State::status="$WORK/status" -o Dir::Cache="$WORK" \
    -o Dir::Cache::Archives="$WORK/archives" -o Dir::Etc::SourceList="$WORK/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null -o APT::Sandbox::User= \
    -o APT::Install-Recommends=false "$@"
}
mine apt-get update

# What it runs with, and what only its maintainer scripts, its manuals and its JIT compiler want.
wanted=$(mine apt-get install --simulate "postgresql-$MAJOR" | awk '$1 == "Inst" {print $2}' |
  grep -E "^(postgresql-(client-)?$MAJOR|libc6|libgcc-s1|lib.*|zlib1g)$" | grep -vE '^(libllvm|libz3|libperl|.*-perl$|libc-l10n|libsemanage|libsepol)')
# shellcheck disable=SC2086  # words, on purpose
(cd "$WORK/archives" && mine apt-get download $wanted)
for package in "$WORK"/archives/*.deb; do
  dpkg-deb -x "$package" "$TREE"
  dpkg-deb -W --showformat '${Package} ${Version}\n' "$package" >>"$TREE/VERSIONS"
done
rm -rf "$TREE"/usr/share/{doc,man,locale,lintian,bug} "$TREE/usr/lib/postgresql/$MAJOR"/lib/{bitcode,llvmjit*}

# Its C library is newer than the machine's, so each program is started by its own loader. PostgreSQL's programs look for
# each other, and for their files, beside the name that they were called by: that of the script.
bin=$TREE/usr/lib/postgresql/$MAJOR/bin
loader=$(cd "$TREE" && find usr -name 'ld-linux*.so.*' -type f)
libraries=$(cd "$TREE" && dirname "$(find usr -name libpq.so.5)")
[ -n "$loader" ] || { echo "no loader among the packages of $RELEASE" >&2; exit 1; }
mv "$bin" "$bin.elf"; mkdir "$bin"
for program in "$bin.elf"/*; do
  name=$(basename "$program")
  cat >"$bin/$name" <<SCRIPT
#!/bin/sh
tree=\${0%/*}/../../../../..
exec "\$tree/$loader" --argv0 "\$0" --library-path "\$tree/$libraries" "\${0%/*}/../bin.elf/$name" "\$@"
SCRIPT
  chmod 755 "$bin/$name"
done
"$bin/postgres" --version
"$bin/pg_dump" --version
