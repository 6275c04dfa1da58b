# The room of a cluster: namespaces of processes, mounts and network, with one link to the machine.
# Sourced by tests/cluster.
# shellcheck shell=bash

# Addresses are of the range for benchmarks (RFC 2544), which no real network has. Cluster N has 198.18.N.0/24:
# .1 is this machine as its pods see it, .2 the node, the upper half the pods. Services stay inside the room.
host_address() { echo "198.18.$(cat "$1/number").1"; }
node_address() { echo "198.18.$(cat "$1/number").2"; }
pod_range() { echo "198.18.$(cat "$1/number").128/25"; }
SERVICE_RANGE=198.19.0.0/24
SERVICE_API=198.19.0.1
SERVICE_DNS=198.19.0.10

# The directory's last part names its cgroup as well.
cgroup_of() { basename "$1"; }

# The room's first process makes the mounts and then reaps; when it ends, the kernel ends all others with it, and
# mounts and network are gone.
open_room() {
  local cluster=$1 pid
  mkdir -p "$cluster"/{run,log,servers,kubelet,containerd,cni/lib,cni/net.d,shared/kubelet,shared/cni}
  # Mount points that are compiled into the kubelet and the network plugins.
  mkdir -p /var/lib/kubelet /var/lib/cni
  cat >"$cluster/room.sh" <<ROOM
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$cluster/log" /var/log
mount --bind "$cluster/shared/kubelet" /var/lib/kubelet
mount --bind "$cluster/shared/cni" /var/lib/cni
# The kubelet asks for shared mounts; in this room there is nobody else to share them with.
mount --make-rshared /
touch "$cluster/room.open"
while :; do sleep 3600 & wait \$! || true; done
ROOM
  pid=$(
    cd "$cluster/run"
    setsid unshare --mount --net --pid --fork --mount-proc --kill-child bash "$cluster/room.sh" \
      </dev/null >"$cluster/log/room.log" 2>&1 &
    echo $!
  )
  echo "$pid" >"$cluster/unshare.pid"
  for _ in {1..100}; do
    [ ! -e "$cluster/room.open" ] || break
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  [ -e "$cluster/room.open" ] || { cat "$cluster/log/room.log" >&2; die "no namespaces could be made"; }
  cut -d' ' -f1 "/proc/$pid/task/$pid/children" >"$cluster/room.pid"
  connect_room "$cluster"
  make_cgroups "$cluster"
}

# in_room CLUSTER COMMAND...
in_room() {
  local room
  room=$(cat "$1/room.pid")
  belongs "$room" "$1" || die "the cluster in $1 is down"
  shift
  nsenter --target "$room" --mount --net --pid -- "$@"
}

# The link: the first number whose name is free. Making it is what takes the number.
connect_room() {
  local cluster=$1 number
  for number in {0..99}; do
    ip link add "millrace-$number" type veth peer name eth0 netns "$(cat "$cluster/room.pid")" 2>/dev/null || continue
    echo "$number" >"$cluster/number"
    break
  done
  [ -e "$cluster/number" ] || die "no network link could be made: ip link add millrace-0 type veth"
  ip address add "$(host_address "$cluster")/30" dev "millrace-$number"
  ip link set "millrace-$number" up
  ip route add "$(pod_range "$cluster")" via "$(node_address "$cluster")"
  in_room "$cluster" sh -ec "
    ip link set lo up
    ip address add $(node_address "$cluster")/30 dev eth0
    ip link set eth0 up
    ip route add default via $(host_address "$cluster")
    ip route add unreachable $SERVICE_RANGE
    echo 1 >/proc/sys/net/ipv4/ip_forward"
}

# Every hierarchy of version 1, or the one of version 2.
cgroup_directories() {
  local root
  for root in $(awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts); do
    echo "$root/$(cgroup_of "$1")"
  done
}

make_cgroups() {
  local directory parent file
  while read -r directory; do
    mkdir -p "$directory"
    parent=$(dirname "$directory")
    # A cpuset starts empty, and then takes no process.
    for file in cpuset.cpus cpuset.mems; do
      [ ! -e "$directory/$file" ] || [ -n "$(cat "$directory/$file")" ] || cat "$parent/$file" >"$directory/$file" || true
    done
  done < <(cgroup_directories "$1")
}

close_room() {
  local cluster=$1 pid file directory
  for file in room.pid unshare.pid; do
    pid=$(cat "$cluster/$file" 2>/dev/null) || continue
    belongs "$pid" "$cluster" || continue
    kill -KILL "$pid" 2>/dev/null || true
    for _ in {1..400}; do belongs "$pid" "$cluster" || break; sleep 0.05; done
  done
  [ ! -e "$cluster/number" ] || ip link delete "millrace-$(cat "$cluster/number")" 2>/dev/null || true
  while read -r directory; do
    [ -d "$directory" ] || continue
    for _ in {1..100}; do
      find "$directory" -depth -type d -exec rmdir {} + 2>/dev/null && break
      sleep 0.05
    done
  done < <(cgroup_directories "$cluster")
}

# serve CLUSTER NAME COMMAND...: starts a server in the room. Its log is log/NAME.log; `stop` and `start` know it by NAME.
serve() {
  local cluster=$1 name=$2
  shift 2
  {
    printf 'echo $$ >%q\n' "$cluster/servers/$name.pid"
    printf 'exec'
    printf ' %q' "$@"
    printf ' </dev/null >>%q 2>&1\n' "$cluster/log/$name.log"
  } >"$cluster/servers/$name.sh"
  start_server "$cluster" "$name"
}

start_server() {
  local script=$1/servers/$2.sh
  [ -e "$script" ] || die "the cluster has no server $2"
  (cd "$1/run" && in_room "$1" setsid --fork bash "$script")
}

# Process ids here are those inside the room, where nothing else lives that could have one of them.
stop_server() {
  local pid
  pid=$(cat "$1/servers/$2.pid" 2>/dev/null) || die "the cluster has no server $2"
  in_room "$1" sh -c "
    kill $pid 2>/dev/null || exit 0
    for _ in \$(seq 200); do kill -0 $pid 2>/dev/null || exit 0; sleep 0.05; done
    kill -KILL $pid"
}

# await SECONDS COMMAND...: until the command succeeds.
await() {
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.2
  done
}
