# shellcheck shell=bash
# What every script of the rig shares: where things are, how it speaks, how it starts and stops a process.
# Sourced, never run.

RIG_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$RIG_DIR/../.." && pwd)
STATE=$ROOT/.rig                                              # this checkout's: may stay after `make down`
CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/resguardo-rig  # every checkout's: built once on a machine
RUN=/run/resguardo-rig                                        # the machine's: only one rig runs at a time
BRIDGE=cni0
NODE_IP=10.244.0.1
export RIG_DIR ROOT STATE CACHE RUN BRIDGE NODE_IP
: "${RIG_STARTED_AT:=$(date +%s)}"; export RIG_STARTED_AT     # so that nested scripts count from the same moment

say()  { printf '[%4d s] %s\n' $(($(date +%s) - RIG_STARTED_AT)) "$*" >&2; }
fail() { say "$*"; exit 1; }

# The first 12 digits of a SHA-256 over files (by content and name, relative to the root) and words.
key_of() { # key_of WORDS... -- FILES...
  local words=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do words+=("$1"); shift; done
  [ $# -eq 0 ] || shift
  { printf '%s\n' "${words[@]}"; if [ $# -gt 0 ]; then (cd "$ROOT" && sha256sum -- "$@"); fi; } | sha256sum | cut -c1-12
}

# Runs a command that says nothing for long: its output goes to a log, and a line every 15 s says that it still runs.
patiently() { # patiently WHAT LOG COMMAND...
  local what=$1 log=$2 pid began status=0 beat=0; shift 2
  began=$(date +%s); mkdir -p "$(dirname "$log")"
  say "$what"
  "$@" >"$log" 2>&1 </dev/null & pid=$!
  # shellcheck disable=SC2064  # this very process, should the user interrupt
  trap "kill $pid 2>/dev/null; exit 130" INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.5; beat=$((beat + 1))
    [ $((beat % 30)) -ne 0 ] || say "  … still at it: $what ($(($(date +%s) - began)) s so far)"
  done
  wait "$pid" || status=$?
  trap - INT TERM
  [ "$status" -eq 0 ] || { say "FAILED: $what. The end of $log:"; tail -n 30 "$log" >&2; return "$status"; }
}

# Waits until a command succeeds.
until_true() { # until_true SECONDS WHAT COMMAND...
  local deadline=$(($(date +%s) + $1)) what=$2 began; began=$(date +%s); shift 2
  local said=$began
  until "$@" >/dev/null 2>&1; do
    local now; now=$(date +%s)
    [ "$now" -lt "$deadline" ] || { say "FAILED: $what did not come about within $((deadline - began)) s"; return 1; }
    [ $((now - said)) -lt 15 ] || { say "  … waiting: $what ($((now - began)) s so far)"; said=$now; }
    sleep 0.3
  done
}

# --- Processes: known by pid and by the moment they began, so that a pid used anew is never taken for ours.

# Nothing for a process that has ended and that nobody has reaped yet (state Z).
began_at() { awk '{sub(/^.*\) /, "")} $1 != "Z" && $1 != "X" {print $20}' "/proc/$1/stat" 2>/dev/null; }

running() { # running NAME
  local pid began
  read -r pid began 2>/dev/null <"$RUN/pid/$1" || return 1
  [ -n "$began" ] && [ "$(began_at "$pid")" = "$began" ]
}

start() { # start NAME COMMAND...: in a session of its own, logging to .rig/log/NAME
  local name=$1 pid fd; shift
  mkdir -p "$RUN/pid" "$STATE/log"
  # Locks are held by open files, ours and those of whoever called: what stays running must not inherit them.
  (for fd in /proc/"$BASHPID"/fd/*; do [ "${fd##*/}" -le 2 ] || eval "exec ${fd##*/}>&-"; done
   exec setsid "$@") >>"$STATE/log/$name" 2>&1 </dev/null & pid=$!
  disown "$pid"
  echo "$pid $(began_at "$pid")" >"$RUN/pid/$name"
}

stop() { # stop NAME...: asks them all, waits up to 10 s for them to be gone (their ports with them), then insists
  local name pid _
  for name; do ! running "$name" || { read -r pid _ <"$RUN/pid/$name"; kill "$pid" 2>/dev/null || true; }; done
  for _ in $(seq 100); do any_running "$@" || break; sleep 0.1; done
  for name; do ! running "$name" || { read -r pid _ <"$RUN/pid/$name"; kill -9 "$pid" 2>/dev/null || true; }; rm -f "$RUN/pid/$name"; done
}
any_running() { local name; for name; do ! running "$name" || return 0; done; return 1; }

# One rig on the machine, one script changing it. The file is inherited open as descriptor 9.
lock_machine() {
  exec 9>/run/resguardo-rig.lock
  flock -n 9 || { say "waiting for another \`make cluster\` or \`make down\` to end"; flock 9; }
}
