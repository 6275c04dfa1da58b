"""What the operator may do: what it needs, and nothing that would let it, or whoever takes it over, do more."""

from __future__ import annotations

import pytest

from rendered import EVERYTHING, of_kind, one

READ = {"get", "list", "watch"}
MAKE = READ | {"create", "patch"}
OWN = MAKE | {"delete"}
# The rights in a watched namespace, all of them.
WATCHED = {
    ("millrace.dev", "sources"): READ,
    ("millrace.dev", "flows"): READ | {"patch"},
    ("millrace.dev", "jobs"): READ | {"delete"},
    ("millrace.dev", "sources/status"): {"patch"},
    ("millrace.dev", "flows/status"): {"patch"},
    ("millrace.dev", "jobs/status"): {"patch"},
    ("batch", "jobs"): OWN,
    ("apps", "statefulsets"): OWN,
    ("", "configmaps"): OWN | {"update"},
    ("", "serviceaccounts"): OWN,
    ("rbac.authorization.k8s.io", "roles"): OWN,
    ("rbac.authorization.k8s.io", "rolebindings"): OWN,
    ("", "pods"): {"list", "delete"},
    ("events.k8s.io", "events"): {"create", "patch"},
}
# What a worker gets, by name: its plan and triggers, its report and state.
GRANTED = {("", "configmaps"): READ | {"update"}}
FORBIDDEN_VERBS = {"*", "escalate", "bind", "impersonate", "deletecollection", "approve", "sign"}
FORBIDDEN = {
    "*",
    "secrets",
    "pods/exec",
    "pods/attach",
    "pods/portforward",
    "nodes",
    "nodes/proxy",
    "serviceaccounts/token",
    "persistentvolumes",
    "certificatesigningrequests",
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
    "clusterroles",
    "clusterrolebindings",
    "customresourcedefinitions",
}


def rights(role):
    """By group and resource, of rules that are not bound to a name."""
    found = {}
    for rule in role["rules"]:
        if "resourceNames" not in rule:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


def bound(manifests):
    """The roles that are the operator's, not those for people."""
    names = {
        binding["roleRef"]["name"] for kind in ("RoleBinding", "ClusterRoleBinding") for binding in of_kind(manifests, kind)
    }
    return [role for kind in ("Role", "ClusterRole") for role in of_kind(manifests, kind) if role["metadata"]["name"] in names]


@pytest.mark.parametrize("values", [{}, EVERYTHING, {"watch": {"allNamespaces": True}}], ids=["one", "some", "all"])
def test_nothing_is_granted_that_opens_a_door(render, values):
    roles = bound(render(values))
    assert roles
    for role in roles:
        for rule in role["rules"]:
            assert not FORBIDDEN_VERBS & set(rule["verbs"]), rule
            assert not FORBIDDEN & set(rule["resources"]), rule
            assert "*" not in rule["apiGroups"], rule


def test_a_watched_namespace_gives_what_is_needed_and_no_more(render):
    assert rights(one(render(), "Role", "millrace-millrace")) == WATCHED


def test_it_holds_every_verb_that_it_grants():
    for resource, verbs in GRANTED.items():
        assert verbs <= WATCHED[resource]


def test_by_default_the_cluster_gives_it_connectors_alone(render):
    manifests = render()
    roles = [role for role in bound(manifests) if role["kind"] == "ClusterRole"]
    assert [rights(role) for role in roles] == [
        {("millrace.dev", "connectors"): READ, ("millrace.dev", "connectors/status"): {"patch"}}
    ]
    assert {role["metadata"]["namespace"] for role in of_kind(manifests, "Role")} == {"millrace"}


def test_each_watched_namespace_has_a_role_and_no_other_has(render):
    manifests = render({"watch": {"namespaces": ["shop", "lake"]}})
    watched = [role for role in of_kind(manifests, "Role") if not role["metadata"]["name"].endswith("-lease")]
    assert {role["metadata"]["namespace"] for role in watched} == {"shop", "lake"}
    for binding in of_kind(manifests, "RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "millrace", "namespace": "millrace"}]


def test_all_namespaces_are_a_choice(render):
    manifests = render({"watch": {"allNamespaces": True}})
    assert rights(one(manifests, "ClusterRole", "millrace-millrace")) == WATCHED
    assert {role["metadata"]["name"] for role in of_kind(manifests, "Role")} == {"millrace-lease"}


def test_the_lease_is_one_by_name(render):
    role = one(render(), "Role", "millrace-lease")
    assert rights(role) == {("coordination.k8s.io", "leases"): {"create"}}
    named = [rule for rule in role["rules"] if "resourceNames" in rule]
    assert [(rule["resourceNames"], set(rule["verbs"])) for rule in named] == [(["millrace-operator"], {"get", "patch"})]


def test_people_get_no_connectors_to_write(render):
    """A Connector names images and code, for all namespaces."""
    edit = one(render(), "ClusterRole", "millrace-millrace-edit")
    assert {resource for _, resource in rights(edit)} == {"sources", "flows", "jobs"}
    view = rights(one(render(), "ClusterRole", "millrace-millrace-view"))
    assert set().union(*view.values()) == READ


def test_roles_can_be_left_to_somebody_else(render):
    manifests = render({"rbac": {"create": False, "aggregate": False}})
    for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
        assert not of_kind(manifests, kind)
