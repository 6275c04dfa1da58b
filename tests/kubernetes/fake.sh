# Nodes that are none: kwok says of their pods that they run, or have ended well. For what is measured at a scale that
# one machine cannot run. Sourced by tests/cluster.
# shellcheck shell=bash

KWOK=v0.7.0

kwok_program() { echo "$MILLRACE_CACHE/bin/kwok-$KWOK/kwok"; }

build_kwok() {
  [ ! -x "$(kwok_program)" ] || return 0
  local go
  go=$(go_toolchain)
  say "building kwok $KWOK (a minute and a half, once)"
  (
    mkdir -p "$MILLRACE_CACHE/bin"
    flock 9
    [ ! -x "$(kwok_program)" ] || exit 0
    CGO_ENABLED=0 GOBIN=$(dirname "$(kwok_program)") "$go" install -trimpath -ldflags '-s -w' "sigs.k8s.io/kwok/cmd/kwok@$KWOK"
  ) 9>"$MILLRACE_CACHE/bin/lock" >&2
}

# fake_nodes CLUSTER NUMBER: nodes fake-1 to fake-NUMBER; pods get there by the label and the toleration of `fake`.
fake_nodes() {
  local cluster=$1 number
  build_kwok
  serve "$cluster" kwok "$(kwok_program)" --kubeconfig "$cluster/admin.kubeconfig" --manage-nodes-with-label-selector fake=true --node-lease-duration-seconds 120
  for number in $(seq "$2"); do fake_node "$number"; done |
    "$(kubernetes_bin)/kubectl" --kubeconfig "$cluster/admin.kubeconfig" apply -f - >&2
}

fake_node() {
  cat <<YAML
---
apiVersion: v1
kind: Node
metadata:
  name: fake-$1
  labels: { fake: "true" }
  annotations: { kwok.x-k8s.io/node: fake }
spec:
  taints: [{ key: fake, value: "true", effect: NoSchedule }]
status:
  allocatable: { cpu: "1000", memory: 4Ti, pods: "10000" }
  capacity: { cpu: "1000", memory: 4Ti, pods: "10000" }
YAML
}
