"""The manifests of the chart against Kubernetes' own description of its API."""

from __future__ import annotations

import copy

import pytest

import openapi
from rendered import EVERYTHING, one
from test_templates import SWITCHES

# Kinds of others, which a cluster has by definitions of its own.
FOREIGN = {"monitoring.coreos.com/v1"}


@pytest.mark.parametrize("values", SWITCHES.values(), ids=SWITCHES.keys())
def test_the_api_knows_every_field(render, values):
    for manifest in render(values):
        if manifest["apiVersion"] not in FOREIGN:
            assert openapi.problems(manifest) == [], f"{manifest['kind']} {manifest['metadata']['name']}"


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ["spec", "replcas"], 1),
        ("Deployment", ["spec", "template", "spec", "hostUsers"], "no"),
        ("Deployment", ["spec", "template", "spec", "containers"], None),
        ("Role", ["rules"], {"verbs": ["get"]}),
        ("NetworkPolicy", ["spec", "ingres"], []),
        ("CustomResourceDefinition", ["spec", "scope"], None),
    ],
)
def test_a_mistake_is_seen(render, kind, path, value):
    manifest = copy.deepcopy(next(found for found in render(EVERYTHING) if found["kind"] == kind))
    inner = manifest
    for part in path[:-1]:
        inner = inner[part]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    assert openapi.problems(manifest)


def test_foreign_kinds_hold_what_prometheus_asks_for(render):
    """Few fields, each known by name: there is no published description of these kinds here to hold them against."""
    manifests = render(EVERYTHING)
    service, pods = one(manifests, "ServiceMonitor")["spec"], one(manifests, "PodMonitor")["spec"]
    assert set(service) == {"selector", "endpoints"}
    assert set(pods) == {"selector", "namespaceSelector", "podMetricsEndpoints"}
    for endpoint in service["endpoints"] + pods["podMetricsEndpoints"]:
        assert set(endpoint) == {"port", "path", "interval", "honorLabels"}
    assert pods["namespaceSelector"] == {"matchNames": ["shop", "lake"]}
    assert set(one(manifests, "PrometheusRule")["spec"]) == {"groups"}
