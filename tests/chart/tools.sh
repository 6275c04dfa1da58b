# The programs that the tests of the chart run: Helm, built with Kubernetes; kube-score, built from Go modules; promtool
# and Prometheus itself, from Debian. Sourced after tests/lib.sh.
# shellcheck shell=bash
. "$TESTS/kubernetes/binaries.sh"

# Makes them, and Go, known to the tests; what is on the PATH already is taken.
take_chart_tools() {
  if ! command -v helm >/dev/null; then
    build_kubernetes
    PATH=$(kubernetes_bin):$PATH
  fi
  MILLRACE_TEST_PROMTOOL=$(prometheus_program promtool)
  MILLRACE_TEST_KUBE_SCORE=$(kube_score)
  MILLRACE_TEST_GO=$(go_toolchain)
  export PATH MILLRACE_TEST_PROMTOOL MILLRACE_TEST_KUBE_SCORE MILLRACE_TEST_GO
}

# prometheus_program prometheus|promtool: the one on the PATH, or that of Debian's package, which is unpacked and not
# installed: installed, it would start a server.
prometheus_program() {
  local kept=$MILLRACE_CACHE/bin/prometheus-debian
  if type -P "$1"; then return; fi
  if [ ! -e "$kept/complete" ]; then
    command -v apt-get >/dev/null || die "please install Prometheus, with promtool"
    say "fetching Prometheus"
    mkdir -p "$kept"
    (
      flock 9
      [ ! -e "$kept/complete" ] || exit 0
      scratch=$(mktemp -d)
      trap 'rm -rf "$scratch"' EXIT
      cd "$scratch" || exit
      # Not as a user of apt's own, who could not write here.
      fetch=(apt-get -o APT::Sandbox::User=root download -qq prometheus)
      "${fetch[@]}" || { [ "$(id -u)" != 0 ] || apt-get update -qq; "${fetch[@]}"; }
      dpkg -x prometheus_*.deb .
      mv usr/bin/prometheus usr/bin/promtool "$kept"
      touch "$kept/complete"
    ) 9>"$kept.lock" >&2
  fi
  echo "$kept/$1"
}

# kube-score of tests/chart/linter: the one on the PATH, or built once.
kube_score() {
  local go bin
  if type -P kube-score; then return; fi
  bin=$MILLRACE_CACHE/bin/kube-score-$(sha256sum <"$TESTS/chart/linter/go.mod" | cut -c1-12)
  if [ ! -x "$bin" ]; then
    go=$(go_toolchain)
    say "building kube-score (about a minute, once)"
    mkdir -p "$MILLRACE_CACHE/bin"
    (
      flock 9
      [ ! -x "$bin" ] || exit 0
      cd "$TESTS/chart/linter" || exit
      CGO_ENABLED=0 "$go" build -trimpath -ldflags '-s -w' -o "$bin.new" github.com/zegl/kube-score/cmd/kube-score
      mv "$bin.new" "$bin"
    ) 9>"$bin.lock" >&2
  fi
  echo "$bin"
}
