# The node: containerd, the kubelet, the proxy of Services, the network of the pods.
# Sourced by tests/cluster.
# shellcheck shell=bash

PAUSE=localhost/pause:tests

start_node() {
  local cluster=$1 bin
  bin=$(kubernetes_bin)
  containerd_config "$cluster" >"$cluster/containerd.toml"
  network_config "$cluster" >"$cluster/cni/net.d/10-tests.conflist"
  serve "$cluster" containerd containerd --config "$cluster/containerd.toml"
  await 30 ctr --address "$cluster/containerd.sock" version ||
    { tail -n 40 "$cluster/log/containerd.log" >&2; die "containerd does not answer"; }
  pause_image "$cluster"
  kubelet_config "$cluster" >"$cluster/kubelet.yaml"
  serve "$cluster" kubelet "$bin/kubelet" --config "$cluster/kubelet.yaml" --kubeconfig "$cluster/node.kubeconfig" \
    --root-dir "$cluster/kubelet" --node-ip "$(node_address "$cluster")" --hostname-override node
  proxy_config "$cluster" >"$cluster/proxy.yaml"
  serve "$cluster" proxy "$bin/kube-proxy" --config "$cluster/proxy.yaml"
}

await_node() {
  local kubectl
  kubectl="$(kubernetes_bin)/kubectl --kubeconfig $1/admin.kubeconfig"
  # shellcheck disable=SC2086
  await 90 sh -c "$kubectl get node node -o jsonpath='{.status.conditions[?(@.type==\"Ready\")].status}' | grep -q True" &&
    await 30 $kubectl get serviceaccount default || {
    tail -n 30 "$1/log/"{kubelet,controllers}.log >&2
    die "the node does not become ready"
  }
}

# The machine may lack the right to lower the score by which the kernel chooses whom to kill.
containerd_config() {
  cat <<TOML
version = 2
root = "$1/containerd/root"
state = "$1/containerd/state"
[grpc]
  address = "$1/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE"
  restrict_oom_score_adj = true
  disable_apparmor = $([ -d /sys/kernel/security/apparmor ] && echo false || echo true)
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$(snapshotter "$1")"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$(cni_bin)"
    conf_dir = "$1/cni/net.d"
TOML
}

# An overlay cannot lie on every file system (not on another overlay, for one).
snapshotter() {
  local try=$1/overlay
  mkdir -p "$try"/{lower,upper,work,merged}
  if in_room "$1" sh -c "mount -t overlay overlay -o lowerdir=$try/lower,upperdir=$try/upper,workdir=$try/work $try/merged 2>/dev/null && umount $try/merged"; then
    echo overlayfs
  else
    echo native
  fi
}

network_config() {
  cat <<JSON
{ "cniVersion": "0.4.0", "name": "tests", "plugins": [
  { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": { "type": "host-local", "dataDir": "$1/cni/lib", "ranges": [[{ "subnet": "$(pod_range "$1")" }]],
              "routes": [{ "dst": "0.0.0.0/0" }] } } ] }
JSON
}

# The process that holds a pod's namespaces; as an image of its own, since there is no registry to fetch one from.
pause_image() {
  cc -static -Os -o "$1/pause" "$TESTS/kubernetes/pause.c"
  python3 "$TESTS/image" archive "$PAUSE" "$1/pause.tar" --entrypoint /pause "$1/pause:/pause"
  ctr --address "$1/containerd.sock" --namespace k8s.io images import "$1/pause.tar" >/dev/null
}

# Nobody serves names here: a server is known by its address, and a look-up fails at once. A rotated Secret reaches a pod
# within `syncFrequency`. The machine's disk and memory belong to others as well: nothing is evicted for them, and no
# image is deleted.
kubelet_config() {
  cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: { enabled: false }
  x509: { clientCAFile: $1/pki/ca.crt }
authorization: { mode: Webhook }
tlsCertFile: $1/pki/kubelet.crt
tlsPrivateKeyFile: $1/pki/kubelet.key
containerRuntimeEndpoint: unix://$1/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$(cgroup_of "$1")
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
clusterDNS: [$SERVICE_DNS]
clusterDomain: cluster.local
syncFrequency: 5s
evictionHard: { memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1% }
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
volumeStatsAggPeriod: -1s
YAML
}

# Limits of connection tracking belong to the whole machine, so they are left as they are.
proxy_config() {
  cat <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: node
clusterCIDR: $(pod_range "$1")
clientConnection: { kubeconfig: $1/proxy.kubeconfig }
conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s }
YAML
}
