"""A Prometheus that reads the operator and a worker in the cluster by the chart's own rules: the alerts reach it.

It is Debian's, and runs on this machine; `kubectl proxy` brings it to the pods. What the Prometheus operator would make of
the ServiceMonitor (the job's name, the target's namespace, `honorLabels`) is written out here.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import install
import pytest
import yaml
from cluster import Cluster, Namespace, Object, until
from harness import ROOT
from manifests import flow, source

METRICS = ROOT / "docs" / "metrics.md"
# Read and judged each second, so that a test need not wait.
SOON = {"metrics": {"rules": {"enabled": True, "for": "1s", "lagSeconds": 10}}}
OPERATOR = f"/api/v1/namespaces/{install.SYSTEM}/services/{install.RELEASE}-metrics:http/proxy/metrics"


class Prometheus:
    """One that runs."""

    def __init__(self, program: str, directory: Path, config: Object) -> None:
        self.log = directory / "prometheus.log"
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api/v1"
        options = [f"--web.listen-address=127.0.0.1:{port}", "--config.file=prometheus.yaml", "--storage.tsdb.path=data"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen([program, *options], cwd=directory, stdout=log, stderr=log)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()

    def ask(self, path: str) -> Any:
        """The data of an answer; `None` while there is none."""
        try:
            with urllib.request.urlopen(f"{self.url}/{path}", timeout=10) as answer:
                return json.loads(answer.read())["data"]
        except OSError:
            return None

    def firing(self, namespace: str) -> set[tuple[str, str]]:
        """Name and Flow of what fires in a namespace."""
        alerts = (self.ask("alerts") or {"alerts": []})["alerts"]
        return {
            (one["labels"]["alertname"], one["labels"].get("flow", ""))
            for one in alerts
            if one["state"] == "firing" and one["labels"].get("namespace") == namespace
        }


@pytest.fixture(scope="module")
def program() -> str:
    script = '. tests/lib.sh; . tests/chart/tools.sh; prometheus_program prometheus'
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def watches(cluster: Cluster, program: str, tmp_path: Path) -> Iterator[Callable[[], Prometheus]]:
    """Starts a Prometheus with the rules of the chart, which reads the operator."""
    started: list[Prometheus] = []
    command = ["helm", "template", install.RELEASE, str(install.CHART), "--namespace", install.SYSTEM, "--values=-"]
    options = ["--show-only=templates/rules.yaml", "--kube-version=1.34.4"]
    rules = subprocess.run([*command, *options], input=json.dumps(SOON), capture_output=True, text=True, check=True)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(yaml.safe_load(rules.stdout)["spec"]))
    scrape = {
        "job_name": f"{install.RELEASE}-metrics",
        "metrics_path": OPERATOR,
        "honor_labels": True,
        "static_configs": [
            {"targets": [cluster.url.removeprefix("http://")], "labels": {"namespace": install.SYSTEM}}
        ],
    }
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [scrape],
    }

    def start() -> Prometheus:
        started.append(Prometheus(program, tmp_path, config))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_alerts_for_failing_runs_and_for_lag_fire(
    namespace: Namespace, operator: None, watches: Callable[[], Prometheus]
) -> None:
    to = {"connector": {"name": "null"}}
    namespace.apply(
        source("rows", "generator", {"rows": 10}),
        flow("late", "rows", to),
        # No column has this name, which shows once the rows are there.
        flow("fails", "rows", to, transforms=[{"sql": "select id, nobody from input"}]),
    )
    namespace.wait_for("LastRunSucceeded", "flow/late")
    namespace.await_condition("flows", "fails", "LastRunSucceeded", "False")
    loaded = time.monotonic()

    prometheus = watches()
    expected = {("MillraceRunsFail", "fails"), ("MillraceLags", "late")}
    until(
        lambda: expected <= prometheus.firing(namespace.name),
        120,
        lambda: f"{expected}; {prometheus.firing(namespace.name)}\n{prometheus.log.read_text()[-3000:]}",
    )
    assert time.monotonic() - loaded > 5, "nothing can be late so soon"
    fires = prometheus.firing(namespace.name)
    assert ("MillraceRunsFail", "late") not in fires and ("MillraceFlowIsNotReady", "late") not in fires, fires
    # The operator is at work, and the rule finds it by its job and its namespace.
    until(lambda: not prometheus.firing(install.SYSTEM), 120, lambda: str(prometheus.firing(install.SYSTEM)))

    # What is put right, falls silent.
    namespace.apply(flow("fails", "rows", to))
    namespace.trigger("flow/fails", "full_load", "again")
    namespace.wait_for("LastRunSucceeded", "flow/fails")
    until(lambda: ("MillraceRunsFail", "fails") not in prometheus.firing(namespace.name), 120)


def test_what_is_served_is_what_the_documents_name(cluster: Cluster, namespace: Namespace, operator: None) -> None:
    to = {"connector": {"name": "null"}}
    namespace.apply(
        source("rows", "generator", {"rows": 10}, deltaLoadInterval="1s"),
        flow("follow", "rows", to, mode="Continuous"),
    )
    namespace.wait_for("Ready", "flow/follow")
    # So that runs are counted too.
    namespace.trigger("flow/follow", "full_load", "now")
    namespace.await_token("follow", "now")
    of_workers, of_operator = METRICS.read_text().split("# Metrics of the operator")
    pod = until(lambda: namespace.workers("follow"), 120, "the worker")[0]
    worker = f"/api/v1/namespaces/{namespace.name}/pods/{pod['metadata']['name']}:8080/proxy/metrics"
    for place, text in ((worker, of_workers), (OPERATOR, of_operator)):
        names = documented(text)
        assert names
        until(lambda: told(cluster, place) == names, 120, lambda: f"{told(cluster, place) ^ names} are not in both")


def told(cluster: Cluster, place: str) -> set[str]:
    """The names of the metrics that are served, as Prometheus keeps them."""
    found = set()
    for line in cluster.raw(place).decode().splitlines():
        if kind := re.match(r"# TYPE (\S+) (\S+)", line):
            found.add(kind[1] + ("_total" if kind[2] == "counter" else ""))
    return found


def documented(text: str) -> set[str]:
    return set(re.findall(r"^\| `(millrace_\w+)`", text, re.MULTILINE))
