#!/usr/bin/env bash
# Puts what demo and tests need into the cluster of the current kubectl context (for example one made by kind), in
# place of the rig: two PostgreSQL servers and an S3 server in the namespace `rig`, reached through port-forwards.
# Refuses a cluster that is not marked as one that may be used up. Needs kubectl, openssl, psql and curl; no root.
# RIG_IMAGE, RIG_POSTGRES_IMAGE and RIG_S3_IMAGE name other images than the usual ones. Usage: current.sh up | down
set -euo pipefail
# shellcheck source=tests/rig/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/rig/services.sh
. "$RIG_DIR/services.sh"
STATE=$STATE/current
RUN=$STATE

IMAGE=${RIG_IMAGE:-localhost/resguardo:dev}
POSTGRES_IMAGE=${RIG_POSTGRES_IMAGE:-postgres:15-bookworm}
S3_IMAGE=${RIG_S3_IMAGE:-versity/versitygw:v1.8.0}
FORWARDS=(db-prod:15432:5432 db-homolog:15433:5432 s3:17070:7070 s3:17071:7071)

refuse_what_may_not_be_used_up() {
  local context program mark
  for program in kubectl openssl psql curl; do command -v $program >/dev/null || fail "$program is needed, and is not on PATH"; done
  context=$(kubectl config current-context 2>/dev/null) || fail "kubectl has no current context: kubectl config use-context …"
  kubectl get --raw /readyz >/dev/null || fail "the cluster of the context '$context' does not answer"
  mark=$(kubectl -n kube-system get configmap resguardo-rig --ignore-not-found \
    -o 'jsonpath={.metadata.labels.resguardo\.dev/may-be-used-up}{.metadata.annotations.resguardo\.dev/may-be-used-up}')
  [[ $mark != true* ]] || { say "using the context '$context'"; return; }
  cat >&2 <<MESSAGE
The cluster of the context '$context' is not marked as one that may be used up, and the demo and the tests install
CRDs and an operator for all namespaces, and delete what they made. If that is fine for this cluster, mark it:

  kubectl --context '$context' -n kube-system create configmap resguardo-rig
  kubectl --context '$context' -n kube-system label configmap resguardo-rig resguardo.dev/may-be-used-up=true
MESSAGE
  exit 1
}

apply_s3() {
  { sed "s#@IMAGE@#$S3_IMAGE#" "$RIG_DIR/manifests/s3.yaml"; echo ---; secret_for s3 rig-root; } | kubectl apply -f - >/dev/null
}

# A pod that only says its version tells at once whether the nodes have the image.
nodes_have_the_image() {
  kubectl -n rig delete pod image-check --ignore-not-found --now >/dev/null 2>&1
  kubectl -n rig apply -f - >/dev/null <<POD
apiVersion: v1
kind: Pod
metadata: {name: image-check}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: check
      image: "$IMAGE"
      imagePullPolicy: IfNotPresent
      args: [--version]
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
POD
  kubectl -n rig wait --for=jsonpath='{.status.phase}'=Succeeded pod/image-check --timeout=60s >/dev/null 2>&1 ||
    fail "the cluster cannot run the image $IMAGE. Build it and give it to the nodes, for kind:
  docker build -t $IMAGE . && kind load docker-image $IMAGE
or name one that they can pull: RIG_IMAGE=… make demo CLUSTER=current"
  kubectl -n rig delete pod image-check --now >/dev/null 2>&1
}

forward() {
  local line service local_port port
  for line in "${FORWARDS[@]}"; do
    IFS=: read -r service local_port port <<<"$line"
    running "forward-$local_port" || start "forward-$local_port" "$ROOT/.venv/bin/python" "$RIG_DIR/forward.py" "$service" "$local_port" "$port"
  done
}
database_answers() { forward; PGPASSWORD=$(password "$1") PGCONNECT_TIMEOUT=2 psql -qXtA -h 127.0.0.1 -p "$2" -U postgres -c 'select 1' postgres; }
s3_answers() { forward; curl -sm 3 "http://127.0.0.1:17070/"; }

up() {
  local name
  refuse_what_may_not_be_used_up
  mkdir -p "$STATE"/{pki,log,pid}
  make_service_identities IP:127.0.0.1 IP:127.0.0.1 IP:127.0.0.1
  say "applying db-prod, db-homolog and the S3 server to the namespace rig"
  apply_databases "$POSTGRES_IMAGE" '/^  clusterIP: /d' # a cluster has its own range of addresses
  apply_s3
  for name in db-prod db-homolog s3; do wait_for_server 300 $name kubectl -n rig rollout status deployment/$name --timeout=5s; done
  wait_for_server 60 db-prod database_answers db-prod 15432
  wait_for_server 60 db-homolog database_answers db-homolog 15433
  wait_for_server 60 s3 s3_answers
  nodes_have_the_image
  write_env "$STATE/env" http://127.0.0.1:17070 https://127.0.0.1:17071 127.0.0.1:15432 127.0.0.1:15433 \
    http://s3.rig.svc:7070 https://s3.rig.svc:7071 <<ENV
# Written by tests/rig/current.sh; source it.
export CLUSTER=current
export RIG_CONTEXT='$(kubectl config current-context)'
export RIG_IMAGE='$IMAGE'
ENV
  say "db-prod, db-homolog and S3 are up. To use them:  . .rig/current/env"
}

down() {
  local line
  for line in "${FORWARDS[@]}"; do IFS=: read -r _ line _ <<<"$line"; stop "forward-$line"; done
  refuse_what_may_not_be_used_up
  kubectl delete namespace rig --ignore-not-found --timeout=120s
  rm -rf "$STATE"
  say "the namespace rig is gone; the cluster itself is yours"
}

case ${1:-} in
  up) up ;;
  down) down ;;
  *) sed -n 2,6p "$0" >&2; exit 2 ;;
esac
