"""The network policies as they are written; whether a cluster enforces them is the cluster's."""

from __future__ import annotations

from rendered import EVERYTHING, of_kind, one


def ports(rules):
    return {(port["port"], port["protocol"]) for rule in rules for port in rule.get("ports", [])}


def test_there_are_none_unless_asked_for(render):
    assert not of_kind(render(), "NetworkPolicy")


def test_the_operator_reaches_names_and_the_api_server_alone(render):
    policy = one(render({"networkPolicy": {"enabled": True}}), "NetworkPolicy", "millrace")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert ports(policy["egress"]) == {(53, "UDP"), (53, "TCP"), (443, "TCP"), (6443, "TCP")}
    assert ports(policy["ingress"]) == {(8080, "TCP")}


def test_workers_reach_what_was_declared(render):
    manifests = render(EVERYTHING)
    for namespace in ("shop", "lake"):
        policy = next(p for p in of_kind(manifests, "NetworkPolicy") if p["metadata"]["namespace"] == namespace)["spec"]
        assert ports(policy["egress"]) == {(53, "UDP"), (53, "TCP"), (6443, "TCP"), (5432, "TCP")}
        assert policy["egress"][1]["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]


def test_workers_do_not_reach_the_credentials_of_a_node(render):
    policy = one(render({"networkPolicy": {"enabled": True}}), "NetworkPolicy", "millrace-millrace-workers")["spec"]
    open_to = [peer["ipBlock"] for rule in policy["egress"] for peer in rule.get("to", [])]
    assert {block["cidr"]: block["except"] for block in open_to} == {
        "0.0.0.0/0": ["169.254.0.0/16"],
        "::/0": ["fe80::/10", "fd00:ec2::254/128"],
    }


def test_policies_for_workers_lie_where_they_are(render):
    manifests = render({"networkPolicy": {"enabled": True}, "watch": {"allNamespaces": True, "namespaces": ["shop"]}})
    assert {p["metadata"]["namespace"] for p in of_kind(manifests, "NetworkPolicy")} == {"millrace", "shop"}
