# Shared by tests/run, tests/ground, tests/cluster and tests/bench/run: what the tests need, and how it comes about.
# To be sourced by bash under `set -euo pipefail`.
# shellcheck shell=bash
shopt -s inherit_errexit

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$TESTS")
MILLRACE_CACHE=${MILLRACE_CACHE:-$HOME/.cache/millrace}
VERSITYGW=v1.8.0
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$MILLRACE_CACHE/target}
mkdir -p "$MILLRACE_CACHE"

# Progress goes to standard error: the standard output of `tests/ground up` is for `eval`.
say() { printf 'tests: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# packages_for PACKAGE...: installs Debian packages, where that can be done.
packages_for() {
  command -v apt-get >/dev/null || die "please install what the Debian packages $* hold"
  [ "$(id -u)" = 0 ] || die "please install: sudo apt-get install $*"
  say "installing $*"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

need_programs() {
  local missing=()
  command -v cargo >/dev/null || die "please install Rust (cargo, 1.95 or later)"
  command -v cc >/dev/null || missing+=(build-essential)
  command -v flock >/dev/null || missing+=(util-linux)
  command -v python3 >/dev/null || missing+=(python3)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  [ -n "$(postgres_bin)" ] || missing+=(postgresql)
  # Only the whole of the tests reads one.
  [ -z "${MILLRACE_FULL:-}" ] || PATH=$PATH:/usr/sbin command -v mariadbd >/dev/null || missing+=(mariadb-server-core mariadb-client-core)
  [ ${#missing[@]} = 0 ] || packages_for "${missing[@]}"
  [ -n "$(postgres_bin)" ] || die "PostgreSQL 15 or later is needed"
}

# The directory of the newest PostgreSQL here, 15 or later; empty when there is none.
postgres_bin() {
  local bin
  for bin in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5 -rn) $(pg_config --bindir 2>/dev/null || true); do
    [ -x "$bin/initdb" ] || continue
    [ "$("$bin/initdb" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')" -ge 15 ] || continue
    echo "$bin" && return
  done
}

versitygw() { echo "$MILLRACE_CACHE/bin/versitygw-$VERSITYGW"; }

# Builds the S3 server, once; the lock keeps two runs from doing it at the same time.
build_versitygw() {
  [ ! -x "$(versitygw)" ] || return 0
  local go
  go=$(go_toolchain)
  say "building the S3 server, versitygw $VERSITYGW (about a minute)"
  mkdir -p "$MILLRACE_CACHE/bin"
  (
    flock 9
    cd "$TESTS/tools"
    CGO_ENABLED=0 "$go" build -trimpath -ldflags '-s -w' -o "$(versitygw).new" github.com/versity/versitygw/cmd/versitygw
    mv "$(versitygw).new" "$(versitygw)"
  ) 9>"$MILLRACE_CACHE/bin/lock" >&2
}

# From 1.21 on, Go itself fetches the version that tests/tools asks for.
go_toolchain() {
  local minor
  minor=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p' || true)
  if [ "${minor:-0}" -ge 21 ]; then
    command -v go
  else
    echo "$(dirname "$(python_with "$TESTS/tools/requirements.txt")")/go"
  fi
}

# python_with REQUIREMENTS: prints the interpreter of an environment that holds exactly these packages.
python_with() {
  local venv
  venv=$MILLRACE_CACHE/venvs/$(basename "$(dirname "$1")")-$({ python3 --version; cat "$1"; } | sha256sum | cut -c1-12)
  mkdir -p "$(dirname "$venv")"
  (
    flock 9
    [ -e "$venv/complete" ] && exit
    say "installing the Python packages of ${1#"$ROOT"/}"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$1"
    touch "$venv/complete"
  ) 9>"$MILLRACE_CACHE/venvs/lock" >&2
  echo "$venv/bin/python"
}

# A free port below those that the system hands to outgoing connections: a server that a test restarts finds it again.
free_port() {
  python3 - <<'PY'
import random, socket
while True:
    port = random.randint(20000, 32000)
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        continue
    print(port)
    break
PY
}

secret() { python3 -c 'import secrets; print(secrets.token_hex(20))'; }

# One line for `eval`.
variable() { printf 'export %s=%q\n' "$1" "$2"; }

# belongs PID DIRECTORY: whether that process lives and works inside that directory.
belongs() {
  [ -n "$1" ] || return 1
  case $(readlink "/proc/$1/cwd" 2>/dev/null || true) in "$2"/*) return 0 ;; *) return 1 ;; esac
}

# A process id together with the time of its start, so that a reused id is not mistaken for it.
identity() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk -v pid="$1" '{ print pid, $20 }'; }

# Ends what killed runs have left: by `down` of the caller, in whose PREFIX.* a file `owner` names who it was for.
sweep() {
  local file owner
  for file in "$PREFIX".*/owner; do
    [ -e "$file" ] || continue
    owner=$(cat "$file" 2>/dev/null) || continue
    [ "$(identity "${owner%% *}")" != "$owner" ] || continue
    say "ending what a killed run has left in $(dirname "$file")"
    down "$(dirname "$file")"
  done
}

# Starts a ground for this process and sets MILLRACE_TEST_*; it ends with the process, however that ends.
stand_on_ground() {
  ground_variables= cluster_started=
  unset MILLRACE_TEST_GROUND
  trap leave_ground EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  ground_variables=$("$TESTS/ground" up $$)
  eval "$ground_variables"
}

leave_ground() {
  leave_cluster
  eval "$ground_variables"
  [ -z "${MILLRACE_TEST_GROUND:-}" ] || "$TESTS/ground" down
}

# After stand_on_ground: a cluster for this process too, or the one of KUBECONFIG, which stays.
stand_in_cluster() {
  local variables
  variables=$("$TESTS/cluster" up $$) || return
  [ -n "${KUBECONFIG:-}" ] || cluster_started=1
  eval "$variables"
}

leave_cluster() {
  [ -z "$cluster_started" ] || "$TESTS/cluster" down
  cluster_started=
}
