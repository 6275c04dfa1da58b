"""After all other tests: the rights that the operator has are those that it, or a worker that it gave them to, has used."""

from __future__ import annotations

import json
import os
from itertools import product

import install
import pytest
from audit import Audit, Request
from cluster import Cluster, Object

Right = tuple[str, str]
# Only for a worker that another one took over, which nothing here brings about: the operator's own tests do
# (a_pod_that_is_stuck_or_fenced_is_replaced_and_a_ready_one_is_not).
SELDOM = {("pods", "delete")}


@pytest.fixture
def requests() -> list[Request]:
    """All that the operator and the workers asked for since the cluster began."""
    if not os.environ.get("MILLRACE_WHOLE"):
        pytest.skip("not all tests were run, so not all rights have been used: tests/run cluster")
    audit = Audit()
    audit.offset = 0
    return [r for r in audit.requests() if r.user.startswith("system:serviceaccount:")]


@pytest.mark.alone
@pytest.mark.own
def test_every_right_is_used_and_none_is_lacking(cluster: Cluster, operator: None, requests: list[Request]) -> None:
    # A worker may outlive the rights of a Flow that was deleted by a moment; the operator has its own for good.
    denied = {str(one) for one in requests if one.denied and f":{install.SYSTEM}:" in one.user}
    assert not denied, "\n".join(sorted(denied))
    used = {right for request in requests for right in needed(request)}
    granted = rights(cluster) - SELDOM
    assert not granted - used, f"granted and never used: {sorted(granted - used)}"
    assert not [right for right in used if right[0].startswith("secrets")]


def needed(request: Request) -> set[Right]:
    """What a request needs. One that applies an object which is not there yet needs the right to create it, too."""
    resource = f"{request.resource}/{request.subresource}".rstrip("/")
    verbs = {request.verb, "create"} if (request.verb, request.code) == ("patch", 201) else {request.verb}
    return {(resource, verb) for verb in verbs}


def rights(cluster: Cluster) -> set[Right]:
    """What the chart's roles for the operator allow."""
    bound = bound_roles(cluster)
    rules = [
        rule
        for role in of_release(cluster, "clusterroles,roles")
        if role["metadata"]["name"] in bound
        for rule in role["rules"]
    ]
    found = set()
    for rule in rules:
        for group, resource, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"]):
            name, _, part = resource.partition("/")
            whole = f"{name}.{group}" if group else name
            found.add((f"{whole}/{part}".rstrip("/"), verb))
    assert found, "the operator has no rights"
    return found


def bound_roles(cluster: Cluster) -> set[str]:
    """The names of the roles that are bound to the operator."""
    return {
        binding["roleRef"]["name"]
        for binding in of_release(cluster, "clusterrolebindings,rolebindings")
        for subject in binding.get("subjects", [])
        if subject["kind"] == "ServiceAccount" and subject.get("namespace") == install.SYSTEM
    }


def of_release(cluster: Cluster, kinds: str) -> list[Object]:
    label = f"app.kubernetes.io/instance={install.RELEASE}"
    found: list[Object] = json.loads(cluster.kubectl("get", kinds, "-A", "-l", label, "-o", "json"))["items"]
    return found
