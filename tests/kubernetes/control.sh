# The servers of the control plane, and the certificates by which all know one another.
# Sourced by tests/cluster.
# shellcheck shell=bash

write_certificates() {
  local cluster=$1 pki=$1/pki node
  node=$(node_address "$1")
  mkdir "$pki"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=millrace-tests \
    -addext keyUsage=critical,keyCertSign,digitalSignature -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
  openssl genrsa -out "$pki/accounts.key" 2048 2>/dev/null
  certificate "$pki" apiserver /CN=kube-apiserver \
    "IP:$node,IP:127.0.0.1,IP:$SERVICE_API,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
  certificate "$pki" kubelet /CN=kubelet "IP:$node"
  certificate "$pki" admin /O=system:masters/CN=admin
  certificate "$pki" controllers /CN=system:kube-controller-manager
  certificate "$pki" scheduler /CN=system:kube-scheduler
  certificate "$pki" proxy /CN=system:kube-proxy
  certificate "$pki" node /O=system:nodes/CN=system:node:node
  local name
  for name in admin controllers scheduler proxy node; do kubeconfig "$cluster" "$name" "https://$node:6443"; done
}

# certificate DIRECTORY NAME SUBJECT [NAMES]
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "$3" -CA "$1/ca.crt" -CAkey "$1/ca.key" \
    -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth,clientAuth \
    ${4:+-addext "subjectAltName=$4"} -keyout "$1/$2.key" -out "$1/$2.crt" 2>/dev/null
}

# kubeconfig CLUSTER NAME SERVER: whole in one file, so that it can be carried elsewhere.
kubeconfig() {
  local pki=$1/pki
  (umask 077 && cat >"$1/$2.kubeconfig") <<YAML
apiVersion: v1
kind: Config
current-context: tests
clusters:
  - name: tests
    cluster: { server: "$3", certificate-authority-data: $(base64 -w0 "$pki/ca.crt") }
contexts:
  - name: tests
    context: { cluster: tests, user: $2 }
users:
  - name: $2
    user:
      client-certificate-data: $(base64 -w0 "$pki/$2.crt")
      client-key-data: $(base64 -w0 "$pki/$2.key")
YAML
}

start_control() {
  local cluster=$1 pki=$1/pki bin
  bin=$(kubernetes_bin)
  # What is lost in a crash of the machine is of no use here: no waiting for the disk.
  serve "$cluster" etcd "$bin/etcd" --data-dir "$cluster/etcd" --unsafe-no-fsync --log-level warn \
    --listen-peer-urls http://127.0.0.1:2380 --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --auto-compaction-retention 30m
  audit_policy >"$cluster/audit.yaml"
  serve "$cluster" apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
    --advertise-address "$(node_address "$cluster")" --service-cluster-ip-range "$SERVICE_RANGE" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" \
    --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/accounts.key" \
    --service-account-signing-key-file "$pki/accounts.key" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --audit-policy-file "$cluster/audit.yaml" --audit-log-path "$cluster/audit.log" --audit-log-maxsize 4096
  await 60 api_ready "$cluster" || { tail -n 40 "$cluster/log/"{etcd,apiserver}.log >&2; die "the API server does not answer"; }
  serve "$cluster" controllers "$bin/kube-controller-manager" --kubeconfig "$cluster/controllers.kubeconfig" \
    --service-account-private-key-file "$pki/accounts.key" --root-ca-file "$pki/ca.crt" \
    --use-service-account-credentials --leader-elect=false --bind-address 127.0.0.1
  serve "$cluster" scheduler "$bin/kube-scheduler" --kubeconfig "$cluster/scheduler.kubeconfig" \
    --leader-elect=false --bind-address 127.0.0.1
}

api_ready() { "$(kubernetes_bin)/kubectl" --kubeconfig "$1/admin.kubeconfig" --request-timeout 2s get --raw /readyz; }

# Who did what, when: all that the operator and the workers do, and what people and tests write. The servers of
# Kubernetes itself are left out, or the file would be theirs.
audit_policy() {
  cat <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: [system:apiserver, system:kube-controller-manager, system:kube-scheduler, system:kube-proxy, "system:node:node"]
  - level: None
    userGroups: ["system:serviceaccounts:kube-system"]
  - level: None
    nonResourceURLs: ["*"]
  - level: Metadata
YAML
}
