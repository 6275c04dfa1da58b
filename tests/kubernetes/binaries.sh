# The programs of the cluster: those of Kubernetes are built from Go modules, the rest are Debian packages.
# Sourced by tests/cluster.
# shellcheck shell=bash

KUBERNETES=v1.34.4
KUBERNETES_PROGRAMS=(
  k8s.io/kubernetes/cmd/kube-apiserver
  k8s.io/kubernetes/cmd/kube-controller-manager
  k8s.io/kubernetes/cmd/kube-scheduler
  k8s.io/kubernetes/cmd/kubelet
  k8s.io/kubernetes/cmd/kube-proxy
  k8s.io/kubernetes/cmd/kubectl
  go.etcd.io/etcd/server/v3
  helm.sh/helm/v3/cmd/helm
)

# One directory for each set of versions.
kubernetes_bin() {
  local set
  set=$({ cat "$TESTS/kubernetes/go.mod"; echo "$KUBERNETES ${KUBERNETES_PROGRAMS[*]}"; } | sha256sum | cut -c1-12)
  echo "$MILLRACE_CACHE/bin/kubernetes-$set"
}

# Builds all in one call, which shares what they have in common; the lock keeps two runs from doing it at once.
# Without the version given, a server would call itself v0.0.0, and charts that ask for a version would refuse it.
build_kubernetes() {
  local bin go
  bin=$(kubernetes_bin)
  [ ! -e "$bin/complete" ] || return 0
  go=$(go_toolchain)
  say "building Kubernetes $KUBERNETES and Helm (about six minutes, once)"
  mkdir -p "$bin"
  (
    flock 9
    [ ! -e "$bin/complete" ] || exit 0
    cd "$TESTS/kubernetes"
    CGO_ENABLED=0 "$go" build -trimpath -ldflags "-s -w $(kubernetes_version)" -o "$bin/" "${KUBERNETES_PROGRAMS[@]}"
    # Go names a program by the last part of its path, and v3 is no part of it.
    [ ! -e "$bin/server" ] || mv "$bin/server" "$bin/etcd"
    touch "$bin/complete"
  ) 9>"$MILLRACE_CACHE/bin/lock" >&2
}

kubernetes_version() {
  local package=k8s.io/component-base/version minor=${KUBERNETES#v1.}
  printf -- '-X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean' \
    $package "$KUBERNETES" $package $package "${minor%%.*}" $package
}

need_node_programs() {
  local missing=() wanted
  [ "$(id -u)" = 0 ] || die "a node needs root: use sudo, or set KUBECONFIG to a cluster that is there (kind, k3d, ...)"
  for wanted in containerd:containerd ctr:containerd runc:runc iptables:iptables conntrack:conntrack ip:iproute2 \
    debootstrap:debootstrap openssl:openssl nsenter:util-linux unshare:util-linux cc:build-essential; do
    command -v "${wanted%:*}" >/dev/null || missing+=("${wanted#*:}")
  done
  [ -n "$(cni_bin)" ] || missing+=(containernetworking-plugins)
  [ ${#missing[@]} = 0 ] || packages_for "${missing[@]}"
  [ -n "$(cni_bin)" ] || die "the CNI plugins are needed in /opt/cni/bin or /usr/lib/cni"
}

cni_bin() {
  local bin
  for bin in /opt/cni/bin /usr/lib/cni; do
    if [ -x "$bin/bridge" ] && [ -x "$bin/host-local" ]; then echo "$bin"; return; fi
  done
}
