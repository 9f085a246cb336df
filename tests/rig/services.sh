# shellcheck shell=bash
# The servers that backups speak to, the same in the rig and in a cluster that a user brings: their authority, their
# certificates and passwords, and the objects that run PostgreSQL. Sourced by up.sh and current.sh.

authority() { # authority NAME SUBJECT
  [ -f "$STATE/pki/$1.crt" ] || openssl req -x509 -newkey rsa:2048 -nodes -keyout "$STATE/pki/$1.key" -out "$STATE/pki/$1.crt" \
    -subj "$2" -days 365 -addext 'keyUsage=critical,keyCertSign,cRLSign' 2>/dev/null
}
certificate() { # certificate AUTHORITY NAME SUBJECT EXTENSIONS
  local p=$STATE/pki/$2
  [ ! -f "$p.crt" ] || return 0
  openssl req -newkey rsa:2048 -nodes -keyout "$p.key" -out "$p.csr" -subj "$3" 2>/dev/null
  openssl x509 -req -in "$p.csr" -CA "$STATE/pki/$1.crt" -CAkey "$STATE/pki/$1.key" -CAcreateserial -days 365 \
    -out "$p.crt.new" -extfile <(printf '%b\nauthorityKeyIdentifier=keyid' "$4") 2>/dev/null
  mv "$p.crt.new" "$p.crt"
}
password() { # password NAME: random, made once
  local file=$STATE/pki/$1.password
  [ -s "$file" ] || openssl rand -hex 12 >"$file"
  cat "$file"
}

names_of() { echo "DNS:$1,DNS:$1.rig,DNS:$1.rig.svc,DNS:$1.rig.svc.cluster.local"; }

# An authority of their own, as such servers would have elsewhere.
make_service_identities() { # make_service_identities S3-ADDRESSES PROD-ADDRESSES HOMOLOG-ADDRESSES
  authority services-ca /CN=resguardo-rig-services
  certificate services-ca s3 /CN=s3 "subjectAltName=DNS:localhost,IP:127.0.0.1,$(names_of s3),$1"
  certificate services-ca db-prod /CN=db-prod "subjectAltName=$(names_of db-prod),$2"
  certificate services-ca db-homolog /CN=db-homolog "subjectAltName=$(names_of db-homolog),$3"
}

secret_for() { # secret_for NAME USER: its password, and its certificate
  kubectl -n rig create secret generic "$1" --from-literal=username="$2" --from-literal=password="$(password "$1")" --dry-run=client -o yaml
  echo ---
  kubectl -n rig create secret tls "$1-tls" --cert="$STATE/pki/$1.crt" --key="$STATE/pki/$1.key" --dry-run=client -o yaml
  echo ---
}

# Fills in a manifest and applies it with the secrets of the servers in it.
apply_databases() { # apply_databases POSTGRES-IMAGE [SED-EXPRESSION]
  sed -e "s#@IMAGE@#$1#" -e "${2:-}" "$RIG_DIR/manifests/rig.yaml" | kubectl apply -f - >/dev/null
  { secret_for db-prod postgres; secret_for db-homolog postgres
    kubectl -n rig create configmap services-ca --from-file=ca.crt="$STATE/pki/services-ca.crt" --dry-run=client -o yaml
  } | kubectl apply -f - >/dev/null
}

# Waits for a server in the namespace rig; where it does not come, shows what a person would look at.
wait_for_server() { # wait_for_server SECONDS NAME COMMAND...
  local seconds=$1 name=$2; shift 2
  until_true "$seconds" "$name answers" "$@" && return
  kubectl -n rig get pods,events >&2
  kubectl -n rig logs "deployment/$name" --all-containers --tail=20 >&2
  return 1
}

# What demo, tests and bench read. Arguments: the machine's way to each server, then the pods'.
write_env() { # write_env FILE S3 S3-TLS PROD HOMOLOG POD-S3 POD-S3-TLS; more lines on standard input
  { cat
    cat <<E
# From this machine
export RIG_S3_ENDPOINT='$2'
export RIG_S3_TLS_ENDPOINT='$3'
export RIG_S3_CA='$STATE/pki/services-ca.crt'
export RIG_S3_REGION='us-east-1'
export RIG_S3_ACCESS_KEY='rig-root'
export RIG_S3_SECRET_KEY='$(password s3)'
export RIG_PG_CA='$STATE/pki/services-ca.crt'
export RIG_PROD_DSN='postgresql://postgres:$(password db-prod)@$4/postgres'
export RIG_HOMOLOG_DSN='postgresql://postgres:$(password db-homolog)@$5/postgres'
# From pods
export RIG_POD_S3_ENDPOINT='$6'
export RIG_POD_S3_TLS_ENDPOINT='$7'
export RIG_POD_PROD_HOST='db-prod.rig.svc'
export RIG_POD_HOMOLOG_HOST='db-homolog.rig.svc'
E
  } >"$1.new"
  mv "$1.new" "$1"
}
