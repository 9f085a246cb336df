#!/usr/bin/env bash
# Starts the rig: a real one-node Kubernetes on this machine, an S3 server, two PostgreSQL servers in pods, and the
# project's image on the node. What already runs and is healthy stays as it is; what died is started again.
# Writes .rig/env, to be sourced. Usage: up.sh
set -euo pipefail
# shellcheck source=tests/rig/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/rig/services.sh
. "$RIG_DIR/services.sh"

SERVERS=(containerd etcd apiserver controller-manager scheduler kubelet proxy coredns s3 s3-tls)
API=https://127.0.0.1:6443
PROD_IP=10.96.0.50 HOMOLOG_IP=10.96.0.51   # as in manifests/rig.yaml
S3_PORT=7070 S3_TLS_PORT=7071
SOCKET=$RUN/containerd.sock                # short: a socket's path has at most 107 characters

# --- What has to be there first

# Two downloads' worth of work that does not need the processor beside one that does.
build_everything() {
  "$RIG_DIR/machine.sh" packages cluster
  "$RIG_DIR/build.sh" postgres-image & local image=$!
  "$RIG_DIR/build.sh" versitygw pause kube || { wait; exit 1; }
  wait $image
  KUBE=$("$RIG_DIR/build.sh" --path kube)
  PAUSE=$("$RIG_DIR/build.sh" --path pause)
  VERSITYGW=$("$RIG_DIR/build.sh" --path versitygw)
}

lay_out_state() {
  mkdir -p "$STATE"/{bin,pki,log,etcd,kubelet,containerd,kubeconfigs,s3/{data,versions,iam}} "$RUN/pid"
  echo "$ROOT" >"$RUN/owner"
  ln -sfn "$KUBE" "$STATE/bin/kubectl"
  ln -sfn "$VERSITYGW" "$STATE/bin/versitygw"
  ln -sfn "$("$RIG_DIR/build.sh" --where helm)" "$STATE/bin/helm" # built where a test asks for it
  export PATH=$STATE/bin:$PATH
}

other_checkouts_rig_first() {
  local owner; owner=$(cat "$RUN/owner" 2>/dev/null) || return 0
  [ "$owner" != "$ROOT" ] || return 0
  say "the rig of another checkout, $owner, is on this machine, which has room for one: stopping that one first"
  "$RIG_DIR/down.sh" --locked
}

# A rig of which nothing runs any more (the machine was restarted) leaves things that no process looks after.
clean_up_after_a_crash() {
  ! any_running "${SERVERS[@]}" || return 0
  [ -e "$RUN/owner" ] || [ -e "$STATE/etcd/member" ] || return 0
  say "the rig stopped without \`make down\`: cleaning up after it"
  "$RIG_DIR/down.sh" --locked
}

refuse_a_taken_port() {
  running apiserver || ! (exec 3<>/dev/tcp/127.0.0.1/6443) 2>/dev/null ||
    fail "port 6443 is taken, and not by this rig: another Kubernetes runs on this machine. Stop it, or use it: make demo CLUSTER=current"
}

# --- Certificates and kubeconfigs

kubeconfig() { # kubeconfig NAME: for the client certificate of that name
  local file=$STATE/kubeconfigs/$1 p=$STATE/pki
  [ ! -f "$file" ] || return 0
  local k="kubectl config --kubeconfig=$file.new"
  $k set-cluster resguardo-rig --server=$API --certificate-authority="$p/ca.crt" --embed-certs
  $k set-credentials "$1" --client-certificate="$p/$1.crt" --client-key="$p/$1.key" --embed-certs
  $k set-context resguardo-rig --cluster=resguardo-rig --user="$1"
  $k use-context resguardo-rig
  mv "$file.new" "$file"
} >/dev/null
make_identities() {
  local c name
  [ -f "$STATE/pki/sa.key" ] || openssl genrsa -out "$STATE/pki/sa.key" 2048 2>/dev/null
  authority ca /CN=resguardo-rig
  certificate ca apiserver /CN=kube-apiserver "subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:$NODE_IP"
  certificate ca kubelet /O=system:nodes/CN=system:node:node "extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=DNS:node,IP:$NODE_IP"
  for c in "admin /O=system:masters/CN=admin" "controller-manager /CN=system:kube-controller-manager" \
    "scheduler /CN=system:kube-scheduler" "proxy /CN=system:kube-proxy"; do
    certificate ca "${c% *}" "${c#* }" extendedKeyUsage=clientAuth
  done
  for name in admin kubelet controller-manager scheduler proxy; do kubeconfig $name; done
  make_service_identities "IP:$NODE_IP" "IP:$PROD_IP" "IP:$HOMOLOG_IP"
}

# --- The servers

start_network() {
  # The bridge must be there before CoreDNS, the kubelet and the S3 server bind to its address.
  if ! ip link show $BRIDGE >/dev/null 2>&1; then
    ip link add $BRIDGE type bridge; ip addr add $NODE_IP/24 dev $BRIDGE; ip link set $BRIDGE up
  fi
  [ -f "$RUN/ip_forward" ] || sysctl -n net.ipv4.ip_forward >"$RUN/ip_forward" # down.sh puts it back
  sysctl -qw net.ipv4.ip_forward=1
  mkdir -p "$STATE/cni"
  cat >"$STATE/cni/10-rig.conflist" <<C
{"cniVersion":"1.0.0","name":"resguardo-rig","plugins":[
 {"type":"bridge","bridge":"$BRIDGE","isGateway":true,"ipMasq":true,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":"$RUN/ipam","ranges":[[{"subnet":"10.244.0.0/24","rangeStart":"10.244.0.2"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
C
}

start_containerd() {
  # restrict_oom_score_adj: where the machine lacks CAP_SYS_RESOURCE, runc could not lower a pod's OOM score.
  cat >"$STATE/containerd.toml" <<C
version = 2
root = "$STATE/containerd"
state = "$RUN/containerd"
[grpc]
  address = "$SOCKET"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$STATE/cni"
C
  start containerd containerd --config "$STATE/containerd.toml"
}

start_etcd() {
  start etcd "$KUBE" etcd --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
}

start_apiserver() {
  local p=$STATE/pki
  start apiserver "$KUBE" apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address=$NODE_IP --secure-port=6443 \
    --tls-cert-file="$p/apiserver.crt" --tls-private-key-file="$p/apiserver.key" --client-ca-file="$p/ca.crt" --authorization-mode=Node,RBAC \
    --service-cluster-ip-range=10.96.0.0/16 --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$p/sa.key" --service-account-signing-key-file="$p/sa.key" \
    --kubelet-client-certificate="$p/admin.crt" --kubelet-client-key="$p/admin.key" \
    --kubelet-preferred-address-types=InternalIP --allow-privileged # InternalIP, or `kubectl logs` looks the node's name up
}

as() { echo "--kubeconfig=$STATE/kubeconfigs/$1 --authentication-kubeconfig=$STATE/kubeconfigs/$1 --authorization-kubeconfig=$STATE/kubeconfigs/$1"; }

start_controller-manager() {
  # shellcheck disable=SC2046  # words, on purpose
  start controller-manager "$KUBE" controller-manager $(as controller-manager) --service-account-private-key-file="$STATE/pki/sa.key" \
    --root-ca-file="$STATE/pki/ca.crt" --use-service-account-credentials --allocate-node-cidrs --cluster-cidr=10.244.0.0/16 --leader-elect=false
}
# shellcheck disable=SC2046
start_scheduler() { start scheduler "$KUBE" scheduler $(as scheduler) --leader-elect=false; }

start_kubelet() {
  cat >"$STATE/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
failSwapOn: false
enforceNodeAllocatable: []
clusterDomain: cluster.local
clusterDNS: [$NODE_IP]
containerRuntimeEndpoint: unix://$SOCKET
tlsCertFile: $STATE/pki/kubelet.crt
tlsPrivateKeyFile: $STATE/pki/kubelet.key
imageGCHighThresholdPercent: 100 # the images cannot be pulled again
evictionHard: {nodefs.available: "1%", imagefs.available: "1%", memory.available: 100Mi}
C
  start kubelet "$KUBE" kubelet --config="$STATE/kubelet.yaml" --kubeconfig="$STATE/kubeconfigs/kubelet" --hostname-override=node \
    --node-ip=$NODE_IP --root-dir="$STATE/kubelet" --cert-dir="$STATE/pki"
}

start_proxy() {
  cat >"$STATE/proxy.yaml" <<C
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $STATE/kubeconfigs/proxy}
mode: iptables
# A pod's answer to a pod goes through the node also where bridges bypass iptables.
iptables: {masqueradeAll: true}
clusterCIDR: 10.244.0.0/16
conntrack: {maxPerCore: 0}
C
  start proxy "$KUBE" proxy --config="$STATE/proxy.yaml" --hostname-override=node
}

start_coredns() {
  printf '.:53 {\n bind %s\n errors\n kubernetes cluster.local in-addr.arpa {\n  kubeconfig %s\n }\n cache 5\n}\n' $NODE_IP "$STATE/kubeconfigs/admin" >"$STATE/Corefile"
  start coredns "$KUBE" dns -conf "$STATE/Corefile"
}

# Both over one folder. Users are files in s3/iam; without the cache, a key that is refused from now on is refused at once.
start_gateway() { # start_gateway NAME PORT FLAGS...
  local name=$1 port=$2; shift 2
  ROOT_ACCESS_KEY=rig-root ROOT_SECRET_KEY=$(password s3) start "$name" "$VERSITYGW" --port "$NODE_IP:$port" --region us-east-1 --quiet \
    --iam-dir "$STATE/s3/iam" --iam-cache-disable "$@" posix --versioning-dir "$STATE/s3/versions" "$STATE/s3/data"
}
start_s3() { start_gateway s3 $S3_PORT; }
start_s3-tls() { start_gateway s3-tls $S3_TLS_PORT --cert "$STATE/pki/s3.crt" --key "$STATE/pki/s3.key"; }

healthy() { # healthy NAME: it runs, and says that it is well
  running "$1" || return 1
  case $1 in
    containerd) ctr -a "$SOCKET" version ;;
    etcd) curl -fsm 3 http://127.0.0.1:2379/health ;;
    apiserver) kubectl get --raw /readyz ;;
    controller-manager) curl -fskm 3 https://127.0.0.1:10257/healthz ;;
    scheduler) curl -fskm 3 https://127.0.0.1:10259/healthz ;;
    kubelet) curl -fsm 3 http://127.0.0.1:10248/healthz && kubectl wait --for=condition=Ready node/node --timeout=1s ;;
    proxy) curl -fsm 3 http://127.0.0.1:10256/healthz ;;
    coredns) (exec 3<>/dev/tcp/$NODE_IP/53) ;;
    s3) curl -sm 3 "http://$NODE_IP:$S3_PORT/" ;;
    s3-tls) curl -sm 3 --cacert "$STATE/pki/services-ca.crt" "https://$NODE_IP:$S3_TLS_PORT/" ;;
  esac
} >/dev/null 2>&1

running_or_started() { # running_or_started NAME
  running "$1" && return
  [ ! -f "$STATE/up" ] || say "  $1 is not running: starting it again"
  "start_$1"
}
healthy_or_started() { healthy "$1" || { running_or_started "$1"; return 1; }; }

until_healthy() { # until_healthy NAME: what died is started again; what hangs is stopped once and started again
  until_true 60 "$1 is well" healthy_or_started "$1" && return
  say "  $1 runs but is not well: stopping it and starting it again"
  stop "$1"
  until_true 90 "$1 is well" healthy_or_started "$1" || { tail -n 20 "$STATE/log/$1" >&2; fail "$1 does not get well; its log is $STATE/log/$1"; }
}
default_account_is_there() { kubectl get serviceaccount -n default default; }

start_servers() {
  local name
  start_network
  for name in containerd etcd apiserver; do running_or_started $name; until_healthy $name; done
  put_on_node localhost/pause:1
  for name in "${SERVERS[@]}"; do running_or_started "$name"; done
  for name in "${SERVERS[@]}"; do until_healthy "$name"; done
  until_true 30 "the default service account is there" default_account_is_there
  [ -f "$STATE/up" ] || say "Kubernetes and the S3 server are up"
}

# --- Images on the node

on_node() { ctr -a "$SOCKET" -n k8s.io images ls -q "name==$1" | grep -q .; }

put_on_node() { # put_on_node IMAGE: from buildah's store into containerd's, where it is not there yet
  on_node "$1" && return
  [ "$1" != localhost/pause:1 ] || make_pause_image
  patiently "putting the image $1 on the node" "$STATE/log/import" import "$1"
}
# Through a folder in OCI layout, uncompressed (buildah itself would compress), of which containerd is handed only what
# it has not got: a change of the code is one small layer. Its name is an annotation, which skopeo does not write.
import() {
  local layout=$CACHE/images tar=$STATE/import.tar blob had; local -a parts=(oci-layout index.json)
  rm -rf "$layout/index.json" "$tar"
  mkdir -p "$layout"
  skopeo copy -q --dest-oci-accept-uncompressed-layers "containers-storage:$1" "oci:$layout:image"
  python3 - "$layout/index.json" "$1" <<'PYTHON'
import json, sys
path, name = sys.argv[1:]
with open(path) as file:
    index = json.load(file)
[image] = index["manifests"]
image["annotations"] = {"io.containerd.image.name": name}
with open(path, "w") as file:
    json.dump(index, file)
PYTHON
  had=$(ctr -a "$SOCKET" -n k8s.io content ls -q)
  for blob in "$layout"/blobs/sha256/*; do
    blob=${blob##*/}
    grep -q "$blob" <<<"$had" || parts+=("blobs/sha256/$blob")
  done
  tar -C "$layout" -cf "$tar" "${parts[@]}"
  ctr -a "$SOCKET" -n k8s.io images import "$tar"
  rm -f "$tar"
}
make_pause_image() { # one static program over an empty root
  local box; box=$(buildah from scratch)
  buildah copy -q "$box" "$PAUSE" /pause >/dev/null
  buildah config --entrypoint '["/pause"]' "$box"
  buildah commit -q --rm "$box" localhost/pause:1 >/dev/null
}

put_images_on_node() {
  POSTGRES_IMAGE=$("$RIG_DIR/image.sh" postgres)
  put_on_node "$POSTGRES_IMAGE"
  put_project_image_on_node
}
put_project_image_on_node() {
  IMAGE=$("$RIG_DIR/image.sh")
  on_node "$IMAGE" && return
  put_on_node "$IMAGE"
  ctr -a "$SOCKET" -n k8s.io images tag --force "$IMAGE" localhost/resguardo:dev >/dev/null
}

# --- The databases

database_answers() { PGPASSWORD=$(password "$1") PGCONNECT_TIMEOUT=2 psql -qXtA -h "$2" -U postgres -c 'select 1' postgres; }

start_databases() {
  apply_databases "$POSTGRES_IMAGE"
  wait_for_server 120 db-prod database_answers db-prod $PROD_IP
  wait_for_server 120 db-homolog database_answers db-homolog $HOMOLOG_IP
}

# --- What the tests read

write_rig_env() {
  write_env "$STATE/env" "http://$NODE_IP:$S3_PORT" "https://$NODE_IP:$S3_TLS_PORT" $PROD_IP:5432 $HOMOLOG_IP:5432 \
    "http://$NODE_IP:$S3_PORT" "https://$NODE_IP:$S3_TLS_PORT" <<E
# Written by tests/rig/up.sh; source it.
export KUBECONFIG='$STATE/kubeconfigs/admin'
export PATH='$STATE/bin':\$PATH
export RIG_CONTEXT='resguardo-rig'
export RIG_IMAGE='$IMAGE'
export RIG_POSTGRES_IMAGE='$POSTGRES_IMAGE'
export RIG_VERSITYGW='$VERSITYGW'
E
}

"$RIG_DIR/machine.sh" check
lock_machine
build_everything
other_checkouts_rig_first
clean_up_after_a_crash
refuse_a_taken_port
lay_out_state
make_identities
export KUBECONFIG=$STATE/kubeconfigs/admin
start_servers
put_images_on_node
start_databases
write_rig_env
touch "$STATE/up"
say "the cluster is up: Kubernetes, S3, db-prod and db-homolog. To use it:  . .rig/env"
