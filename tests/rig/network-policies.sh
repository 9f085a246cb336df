#!/usr/bin/env bash
# Has the rig enforce NetworkPolicies, which its bridge does not, by kube-router's part for them; takes that back again,
# rules and all. A test that needs it does both: it writes the node's whole filter table anew whenever a pod comes or
# goes, which the other tests can do without. Usage: network-policies.sh up | down
set -euo pipefail
# shellcheck source=tests/rig/lib.sh
. "$(dirname "$0")/lib.sh"

OURS='KUBE-(ROUTER|POD-FW|NWPLCY)-'

up() {
  local program; program=$("$RIG_DIR/build.sh" --path kube-router)
  running kube-router || start kube-router "$program" --run-firewall --run-router=false --run-service-proxy=false --hostname-override=node \
    --kubeconfig="$STATE/kubeconfigs/admin" --service-cluster-ip-range=10.96.0.0/16 --health-port=20244
  until_true 30 "kube-router is well" curl -fsm 3 http://127.0.0.1:20244/healthz ||
    { tail -n 20 "$STATE/log/kube-router" >&2; fail "kube-router does not get well; its log is $STATE/log/kube-router"; }
}

# In one step, so that kube-proxy's rules, in the same table, stay as they are.
without_rules() {
  local rules; rules=$(iptables-save -t filter)
  grep -qE "^:$OURS" <<<"$rules" || return 0
  {
    echo '*filter'
    grep -E "^:$OURS" <<<"$rules" # named anew: emptied
    sed -nE 's/^-A ((INPUT|FORWARD|OUTPUT) .*-j KUBE-ROUTER-)/-D \1/p' <<<"$rules"
    sed -nE "s/^:(${OURS}[^ ]+) .*/-X \1/p" <<<"$rules"
    echo COMMIT
  } | iptables-restore --noflush
}

without_sets() {
  local sets set; sets=$(ipset list -n)
  for set in $sets; do [[ $set != KUBE-SRC-* && $set != KUBE-DST-* ]] || ipset destroy "$set"; done
}

down() {
  stop kube-router
  command -v ipset >/dev/null || return 0 # it never ran here
  without_rules
  without_sets
}

case ${1:-} in
  up) up ;;
  down) down ;;
  *) sed -n 2,4p "$0" >&2; exit 2 ;;
esac
