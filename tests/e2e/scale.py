#!/usr/bin/env python3
"""What many Flows cost the operator: requests, memory, and the time until all are looked at after a restart.

  eval "$(tests/cluster up)"
  python tests/e2e/scale.py [--flows 1000] [--minutes 10] [--operator PROGRAM] [--json FILE]

The pods run on nodes that are none (kwok): each seems to run, and that of a Job to end well. One Flow in ten is
Continuous, the others are Batch; their Sources declare every stream. The operator is a process of this machine, by
default the development build; nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "blackbox"))

from audit import Audit, Request
from cluster import Cluster, Object, condition, until
from install import CHART
from manifests import flow, source

ROOT = Path(__file__).resolve().parent.parent.parent
LISTEN = "127.0.0.1:18080"
SYSTEM = "scale-system"
NAMESPACES = 10
NODES = 10
ON_FAKE_NODES = {
    "nodeSelector": {"fake": "true"},
    "tolerations": [{"key": "fake", "operator": "Exists", "effect": "NoSchedule"}],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=10)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--operator", type=Path, default=target / "debug" / "millrace-operator")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    subprocess.run([str(ROOT / "tests" / "cluster"), "fake", str(NODES)], check=True)
    cluster = Cluster()
    cluster.kubectl("apply", "--server-side", "-f", str(CHART / "files" / "crds.yaml"))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all")
    names = [SYSTEM, *(f"scale-{number}" for number in range(NAMESPACES))]
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names)
    figures = measured(cluster, args.flows, args.minutes, args.operator)
    for name, value in figures.items():
        print(f"{name:60} {value}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    cluster.close()


def measured(cluster: Cluster, flows: int, minutes: float, program: Path) -> dict[str, Any]:
    figures: dict[str, Any] = {"flows": flows}
    patience = max(300.0, flows)
    with operator(program) as process:
        began, audit = time.monotonic(), Audit()
        make(cluster, flows)
        figures["seconds to make them"] = round(time.monotonic() - began, 1)
        until(lambda: all_ready(cluster, flows), patience, "all Flows Ready")
        figures["seconds until all are Ready"] = round(time.monotonic() - began, 1)
        until(lambda: settled(cluster, flows), patience, "the first load of every Batch Flow")
        figures["seconds until every first load is over"] = round(time.monotonic() - began, 1)
        figures["requests until then, a Flow"] = per_flow(audit, flows)
        time.sleep(30)
        quiet = Audit()
        time.sleep(minutes * 60)
        figures["MB of memory afterwards"] = megabytes(process.pid)
        figures["requests in those minutes"] = counted(quiet)
        figures["MB of memory at the most"] = megabytes(process.pid, "VmHWM")
    with operator(program) as process:
        began, audit = time.monotonic(), Audit()
        until(lambda: reconciled("Flow") >= flows, patience, lambda: f"{reconciled('Flow')} Flows looked at")
        figures["seconds until all were looked at after a kill"] = round(time.monotonic() - began, 1)
        assert all_ready(cluster, flows)
        time.sleep(20)
        figures["requests after the kill, a Flow"] = per_flow(audit, flows)
        figures["writes after the kill"] = str(Counter(str(r.verb) + " " + r.resource for r in ours(audit) if r.writes))
        figures["MB of memory after the restart"] = megabytes(process.pid)
    return figures


@contextmanager
def operator(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The operator, as a process; it ends by SIGKILL."""
    environment = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": os.environ["KUBECONFIG"],
        "POD_NAMESPACE": SYSTEM,
        "POD_NAME": f"operator-{os.getpid()}",
        "MILLRACE_WORKER_IMAGE": "localhost/none:scale",
        "MILLRACE_LISTEN": LISTEN,
        "MILLRACE_LOG": "warn",
    }
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        process = subprocess.Popen([str(program), "run"], env=environment, stderr=log)
        try:
            until(lambda: 'millrace_operator_leader 1' in metrics(), 90, "a leader")
            yield process
            assert process.poll() is None, "the operator has ended"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            log.seek(0)
            lines = log.read().splitlines()
            print(f"the operator's log has {len(lines)} lines", *lines[:5], sep="\n")


def make(cluster: Cluster, flows: int) -> None:
    """Creates all, several at a time, each in one of the namespaces."""

    def one(number: int) -> None:
        namespace = f"scale-{number // 10 % NAMESPACES}"
        for plural, made in (("sources", a_source(number)), ("flows", a_flow(number))):
            post(cluster, f"/apis/millrace.dev/v1alpha1/namespaces/{namespace}/{plural}", made)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, range(flows)))


def a_source(number: int) -> Object:
    column = {"name": "id", "logicalType": "integer"}
    stream = {"name": "rows", "primaryKey": ["id"], "schema": [column]}
    return source(f"rows-{number}", "file", {"url": "https://files.invalid/rows.csv"}, [stream])


def a_flow(number: int) -> Object:
    destination = {"connector": {"name": "null"}}
    mode = "Continuous" if number % 10 == 0 else "Batch"
    return flow(f"rows-{number}", f"rows-{number}", destination, mode=mode, pod=ON_FAKE_NODES)


def post(cluster: Cluster, path: str, body: Object) -> None:
    request = urllib.request.Request(cluster.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def all_flows(cluster: Cluster) -> list[Object]:
    return [one for number in range(NAMESPACES) for one in cluster.list("flows", f"scale-{number}")]


def all_ready(cluster: Cluster, flows: int) -> bool:
    time.sleep(1)
    ready = [one for one in all_flows(cluster) if condition(one, "Ready").get("status") == "True"]
    return len(ready) == flows


def settled(cluster: Cluster, flows: int) -> bool:
    time.sleep(1)
    batch = [one for one in all_flows(cluster) if one["spec"].get("mode") != "Continuous"]
    return all(condition(one, "LastRunSucceeded").get("status") == "True" for one in batch)


def metrics() -> str:
    try:
        with urllib.request.urlopen(f"http://{LISTEN}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def reconciled(kind: str) -> int:
    """How often objects of a kind were looked at with success."""
    pattern = rf'millrace_operator_reconciles_total\{{kind="{kind}",result="ok"\}} (\d+)'
    return sum(int(found) for found in re.findall(pattern, metrics()))


def ours(audit: Audit) -> list[Request]:
    return [
        request
        for request in audit.requests()
        if "millrace" in request.agent or "kube-client" in request.agent or request.agent == ""
    ]


def counted(audit: Audit) -> str:
    return str(dict(Counter(f"{r.verb} {r.resource}" for r in ours(audit) if r.verb != "watch")))


def per_flow(audit: Audit, flows: int) -> str:
    counts = Counter(r.verb for r in ours(audit))
    return str({verb: round(count / flows, 2) for verb, count in counts.items()})


def megabytes(pid: int, field: str = "VmRSS") -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (kilobytes,) = re.findall(rf"{field}:\s+(\d+) kB", status)
    return round(int(kilobytes) / 1024, 1)


if __name__ == "__main__":
    main()
