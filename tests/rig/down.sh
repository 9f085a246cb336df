#!/usr/bin/env bash
# Stops the rig that runs on this machine, whichever checkout started it, and takes away what it made: processes,
# pods, mounts, network, iptables rules, cgroups, and the cluster's own data. Images and certificates stay in .rig/.
# Usage: down.sh [--locked]   (--locked: the caller holds the lock)
set -uo pipefail
# shellcheck source=tests/rig/lib.sh
. "$(dirname "$0")/lib.sh"
[ "${1:-}" = --locked ] || { [ "$(id -u)" -eq 0 ] || fail "make down needs root, as make cluster did"; lock_machine; }

OWNER=$(cat "$RUN/owner" 2>/dev/null || echo "$ROOT")
STATE=$OWNER/.rig
ctr() { command ctr -a "$RUN/containerd.sock" -n k8s.io "$@" 2>/dev/null; }

# The network namespaces of the pods, as the CNI plugins noted them (containerd may be gone already).
pod_networks() { grep -ho '"/[a-z/]*netns/cni-[^"]*"' /var/lib/cni/results/resguardo-rig-* 2>/dev/null | tr -d '"' | sort -u; }

kill_containers() {
  local id
  running containerd || return 0
  for id in $(ctr tasks ls -q); do ctr tasks kill -s SIGKILL -a "$id"; done
  for _ in $(seq 50); do
    ctr tasks ls | grep -q RUNNING || break
    sleep 0.1
  done
  for id in $(ctr tasks ls -q); do ctr tasks delete "$id" >/dev/null; done # ends their shims, and unmounts them
  for id in $(ctr containers ls -q); do ctr containers delete "$id" >/dev/null; done
}

# Each change of the source left an image on the node: the last stays. (An image has several names, and one digest.)
remove_old_images() {
  local last
  running containerd || return 0
  last=$(ctr images ls name==localhost/resguardo:dev | awk 'NR == 2 {print $3}')
  [ -n "$last" ] || return 0
  ctr images ls | awk -v last="$last" '{digest[$1] = $3} /^localhost\/resguardo:/ && $3 != last {old[$3]}
    END {for (name in digest) if (digest[name] in old) print name}' | while read -r name; do ctr images rm "$name" >/dev/null; done
}

# What still runs, where containerd was not there to stop it: the pods' processes by their cgroups, the shims by the
# socket that they report to.
kill_strays() {
  find /sys/fs/cgroup -path '*/kubepods*' -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | xargs -r kill -9 2>/dev/null
  pgrep -f "^/usr/bin/containerd-shim-runc-v2 .*-address $RUN/containerd.sock" | xargs -r kill -9 2>/dev/null
}

unmount_everything() { awk '{print $2}' /proc/mounts | grep -E "^($STATE|$RUN)/" | sort -r | xargs -r -n 1 umount -l; }

take_away_network() { # take_away_network NAMESPACE...
  local namespace table
  for namespace; do # their veths go with them
    umount "$namespace" 2>/dev/null
    rm -f "$namespace"
    grep -lF "$namespace" /var/lib/cni/results/* 2>/dev/null | xargs -r rm -f
  done
  ip link delete "$BRIDGE" 2>/dev/null
  rm -rf /var/lib/cni/results/resguardo-rig-*
  for table in nat filter mangle; do
    without_kubernetes iptables $table
    without_kubernetes ip6tables $table
  done
  [ ! -f "$RUN/ip_forward" ] || sysctl -qw net.ipv4.ip_forward="$(cat "$RUN/ip_forward")"
}

# kube-proxy, the kubelet and the CNI plugins name all their chains so, and every rule of theirs names one.
without_kubernetes() { # without_kubernetes FAMILY TABLE
  local rules; rules=$("$1-save" -c -t "$2" 2>/dev/null) || return 0
  grep -qE 'KUBE-|CNI-' <<<"$rules" || return 0
  grep -vE 'KUBE-|CNI-' <<<"$rules" | "$1-restore" -c
}

take_away_cgroups() { find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null; }

# The cluster's memory and the buckets: the next one begins anew (a bucket's prefix belongs to the cluster that was).
forget_the_cluster() { rm -rf "$STATE"/{etcd,kubelet,s3,env,up,log} "$RUN"; }

if [ ! -d "$RUN" ] && [ ! -d "$STATE/etcd" ]; then say "no rig is running"; exit 0; fi
"$RIG_DIR/network-policies.sh" down
stop kubelet proxy coredns scheduler controller-manager s3 s3-tls
networks=$(pod_networks)
kill_containers
remove_old_images
stop containerd apiserver etcd
kill_strays
unmount_everything
# shellcheck disable=SC2086  # words, on purpose
take_away_network $networks
take_away_cgroups
forget_the_cluster
say "the rig of $OWNER is down"
