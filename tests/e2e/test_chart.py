"""The chart in the cluster: the server takes every manifest of it, and Argo CD's rule reads what the operator says."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml
from cluster import Cluster, Namespace, until
from manifests import flow, resource, source

import argo
from rendered import CHART, EVERYTHING

# Kinds of others, whose definitions the cluster of the tests does not have.
FOREIGN = {"monitoring.coreos.com/v1"}


@pytest.mark.parametrize("everywhere", [False, True], ids=["namespaces", "cluster"])
def test_the_server_takes_every_manifest_of_the_chart(cluster: Cluster, namespace: Namespace, everywhere: bool) -> None:
    values = {**EVERYTHING, "watch": {"namespaces": [namespace.name], "allNamespaces": everywhere}}
    rendered = subprocess.run(
        ["helm", "template", "dry", str(CHART), "--namespace", namespace.name, "--values=-", "--kube-version=1.34.4"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=True,
    )
    manifests = [one for one in yaml.safe_load_all(rendered.stdout) if one and one["apiVersion"] not in FOREIGN]
    assert len(manifests) > 10
    # The definitions may be there already, and are then Helm's.
    cluster.apply(manifests, "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict")


def await_health(namespace: Namespace, kind: str, name: str, status: str) -> None:
    until(
        lambda: argo.health(namespace.must(kind, name))["status"] == status,
        120,
        lambda: f"{kind}/{name} {status}; it has {namespace.must(kind, name).get('status')}",
    )


def test_argo_cd_shows_how_things_are(namespace: Namespace, operator: None) -> None:
    to = {"connector": {"name": "null"}}
    namespace.apply(
        source("rows", "generator", {"rows": 10}),
        flow("well", "rows", to),
        flow("waits", "rows", to, suspend=True),
        flow("wrong", "nobody", to),
        resource("Job", "again", {"flow": {"name": "well"}, "load": "Full"}),
    )
    await_health(namespace, "sources", "rows", "Healthy")
    await_health(namespace, "flows", "well", "Healthy")
    await_health(namespace, "flows", "waits", "Suspended")
    await_health(namespace, "flows", "wrong", "Degraded")
    await_health(namespace, "mrj", "again", "Healthy")
