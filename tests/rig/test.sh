#!/usr/bin/env bash
# Runs make targets one after the other, all of them even when one fails, so that a run shows every failure; says at
# the end how each went. In CI (CI=true) the rig, if it is this checkout's, is stopped at the end, however it ends.
# Usage: test.sh TARGET...
set -uo pipefail
# shellcheck source=tests/rig/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1

leave_nothing_running() {
  local status=$?
  trap - EXIT
  if [ "${CI:-}" = true ] && [ "$(cat "$RUN/owner" 2>/dev/null)" = "$ROOT" ]; then "$RIG_DIR/down.sh" || status=1; fi
  exit "$status"
}
trap leave_nothing_running EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

failed="" summary=""
for target; do
  say "make $target"
  began=$(date +%s)
  if make --no-print-directory "$target"; then result=passed; else result=FAILED failed+=" $target"; fi
  summary+=$(printf '\n  %-14s %s in %d s' "$target" $result $(($(date +%s) - began)))
done
printf '%s\n' "$summary" >&2
[ -z "$failed" ] || { say "failed:$failed"; exit 1; }
