#!/usr/bin/env python3
"""How soon a trigger is taken: from the API server's time of the annotation to the worker's first read.

  eval "$(tests/ground up)"; eval "$(tests/cluster up)"
  python tests/e2e/latency.py [--samples 50] [--json FILE]

Measured with a running worker, and with none, when a pod has to be started. Beside it: how long a pod of the same image
takes that only prints its version, from its creation to that line. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "blackbox"))

import harness
import install
from audit import Audit, moment
from cluster import Cluster, Namespace, until
from forward import Forward
from manifests import Shop, flow
from test_cluster import pod

Milliseconds = list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    address = urlsplit(os.environ["MILLRACE_TEST_POSTGRES"])
    assert address.hostname and address.port
    cluster = Cluster()
    with tempfile.TemporaryDirectory() as scratch:
        install.images(Path(scratch))
    install.chart(install.VALUES)
    name = f"bench_{uuid.uuid4().hex[:8]}"
    with (
        harness.database(os.environ["MILLRACE_TEST_POSTGRES"], name) as postgres,
        Forward(os.environ["MILLRACE_TEST_HOST_ADDRESS"], (address.hostname, address.port)) as server,
    ):
        shop = Shop(postgres, server)
        shop.table("users", 1000)
        namespace = Namespace.make(cluster, "latency")
        try:
            figures = {
                "a pod that prints its version": version_pods(namespace, args.samples),
                "no worker": triggers(namespace, shop, "Batch", args.samples),
                "running worker": triggers(namespace, shop, "Continuous", args.samples),
            }
        finally:
            namespace.remove()
            cluster.close()
    summary = {name: summarised(samples) for name, samples in figures.items()}
    for case, row in summary.items():
        print(f"{case:40}" + "".join(f"{key} {value:8.1f} ms  " for key, value in row.items()))
    if args.json:
        args.json.write_text(json.dumps({"summary": summary, "samples": figures}, indent=1))


def summarised(samples: Milliseconds) -> dict[str, float]:
    ordered = sorted(samples)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[int(len(ordered) * 0.95)],
        "min": ordered[0],
        "max": ordered[-1],
    }


def version_pods(namespace: Namespace, samples: int) -> Milliseconds:
    """From the API server's time of the creation to the time of the line that the program prints."""
    found = []
    for number in range(samples):
        name = f"version-{number}"
        audit = Audit()
        namespace.apply(pod(name, install.WORKER, "--version"))
        namespace.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=60s")
        created = answered(audit, lambda r: r.resource == "pods" and r.name == name and r.verb == "create")
        line = namespace.kubectl("logs", name, "--timestamps")
        found.append((moment(line.split()[0]) - created).total_seconds() * 1000)
        namespace.kubectl("delete", "pod", name, "--wait=false")
    return found


def triggers(namespace: Namespace, shop: Shop, mode: str, samples: int) -> Milliseconds:
    """From the annotation's time to `firstReadAt` of the run's report."""
    name = f"copy-{mode.lower()}"
    schema = name.replace("-", "_")
    namespace.apply(shop.secret, shop.source("users"), flow(name, "shop", shop.destination(schema=schema), mode=mode))
    namespace.wait_for("Ready", f"flow/{name}")
    until(lambda: shop.same("users", schema), 60, lambda: shop.difference("users", schema))
    found = []
    for number in range(samples):
        audit = Audit()
        token = namespace.trigger(f"flow/{name}", "full_load", f"{mode}-{number}")
        namespace.await_token(name, token, seconds=60)
        asked = answered(
            audit, lambda r: r.resource.startswith("flows") and r.name == name and r.verb == "patch" and not r.subresource
        )
        found.append((first_read(namespace, name) - asked).total_seconds() * 1000)
    return found


def first_read(namespace: Namespace, flow: str) -> datetime:
    """Of the last run, as the workers report it."""
    runs: dict[int, str] = {}
    for configmap in namespace.list("configmaps", f"millrace.dev/flow={flow}"):
        for key, text in configmap.get("data", {}).items():
            if key.startswith("report-"):
                report = json.loads(text or "{}")
                runs |= {int(n): run["firstReadAt"] for n, run in report.get("runs", {}).items() if run.get("firstReadAt")}
    return moment(runs[max(runs)])


def answered(audit: Audit, which: Callable[..., bool]) -> datetime:
    """When the API server took the request; it writes the log a moment after its answer."""
    return until(lambda: [r for r in audit.requests() if which(r) and r.code < 300], 5, "the audit log")[0].received


if __name__ == "__main__":
    main()
