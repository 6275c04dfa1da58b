"""The chart under every switch: it renders, and says what it should."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rendered import CHART, EVERYTHING, of_kind, one

# Each switch the other way round, on its own, and the ones that meet.
SWITCHES = {
    "defaults": {},
    "everything": EVERYTHING,
    "all namespaces": {"watch": {"allNamespaces": True}},
    "all namespaces, everything": EVERYTHING | {"watch": {"allNamespaces": True, "namespaces": ["shop"]}},
    "no definitions": {"crds": {"install": False}},
    "definitions that go": {"crds": {"keep": False}},
    "no roles": {"rbac": {"create": False, "aggregate": False}},
    "an account of one's own": {"serviceAccount": {"create": False, "name": "mine"}},
    "no service": {"metrics": {"service": False}},
    "monitors": {"metrics": {"monitors": {"enabled": True}}},
    "alerts": {"metrics": {"rules": {"enabled": True}}},
    "network": {"networkPolicy": {"enabled": True}},
    "network for some": {"networkPolicy": {"enabled": True}, "watch": {"allNamespaces": True, "namespaces": ["shop"]}},
    "budget": {"podDisruptionBudget": {"enabled": True}},
    "names": {"fullnameOverride": "mill", "nameOverride": "race"},
    "a subchart": {"global": {"anything": 1}},
}


@pytest.mark.parametrize("values", SWITCHES.values(), ids=SWITCHES.keys())
def test_lint_finds_nothing(helm, values):
    ended = helm("lint", "--strict", "--kube-version", "1.34.4", str(CHART), values=values)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "[WARNING]" not in ended.stdout and "[ERROR]" not in ended.stdout, ended.stdout


@pytest.mark.parametrize("values", SWITCHES.values(), ids=SWITCHES.keys())
def test_every_manifest_is_whole_and_there_once(render, values):
    manifests = render(values)
    seen = set()
    for manifest in manifests:
        metadata = manifest["metadata"]
        key = (manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), metadata["name"])
        assert key not in seen
        seen.add(key)
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        assert len(metadata["name"]) <= 253


REFUSED = {
    "a typo": {"operater": {}},
    "a typo below": {"operator": {"replica": 2}},
    "text for a number": {"operator": {"replicas": "2"}},
    "a tag in the repository's digest": {"operator": {"image": {"digest": "latest"}}},
    "a namespace that none can have": {"watch": {"namespaces": ["Shop"]}},
    "text for a switch": {"crds": {"keep": "no"}},
    "an interval without a unit": {"metrics": {"monitors": {"interval": "30"}}},
}


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED.keys())
def test_the_schema_refuses(template, values):
    ended = template(values)
    assert ended.returncode != 0
    assert "don't meet the specifications of the schema" in ended.stderr, ended.stderr


def test_the_schema_knows_every_value():
    """A value that the schema lets through by silence is one that a typo hides behind."""
    import json

    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def walk(value, part, path):
        part = schema["definitions"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
        if isinstance(value, dict) and "properties" in part:
            assert set(value) <= set(part["properties"]), path
            assert part["additionalProperties"] is False, path
            # `global` is Helm's own; an empty digest or tag is a value too.
            assert set(part["properties"]) - {"global"} <= set(value) | {"pullPolicy"}, path
            for name, inner in value.items():
                walk(inner, part["properties"][name], f"{path}.{name}")

    walk(values, schema, "values")


def test_monitors_without_a_service_are_refused(template):
    ended = template({"metrics": {"service": False, "monitors": {"enabled": True}}})
    assert ended.returncode != 0 and "metrics.monitors needs metrics.service" in ended.stderr


def test_an_account_that_is_not_made_must_be_named(template):
    ended = template({"serviceAccount": {"create": False}})
    assert ended.returncode != 0 and "serviceAccount.name is needed" in ended.stderr


def test_the_definitions_come_through_unchanged(render):
    committed = list(yaml.load_all((CHART / "files" / "crds.yaml").read_text(), yaml.CSafeLoader))
    rendered = of_kind(render(), "CustomResourceDefinition")
    assert [crd["metadata"]["name"] for crd in committed] == [
        f"{plural}.millrace.dev" for plural in ("connectors", "sources", "flows", "jobs")
    ]
    by_name = {crd["metadata"]["name"]: crd for crd in rendered}
    for crd in committed:
        assert by_name[crd["metadata"]["name"]]["spec"] == crd["spec"]
        assert by_name[crd["metadata"]["name"]]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_definitions_can_be_left_out_or_go_with_the_release(render):
    assert not of_kind(render({"crds": {"install": False}}), "CustomResourceDefinition")
    for crd in of_kind(render({"crds": {"keep": False}}), "CustomResourceDefinition"):
        assert "annotations" not in crd["metadata"]


def environment(manifests):
    container = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return {entry["name"]: entry.get("value", "from the pod") for entry in container["env"]}


def test_the_operator_is_told_what_it_watches(render):
    assert environment(render())["WATCH_NAMESPACES"] == "millrace"
    assert environment(render({"watch": {"namespaces": ["b", "a", "b"]}}))["WATCH_NAMESPACES"] == "b,a"
    assert environment(render({"watch": {"allNamespaces": True, "namespaces": ["a"]}}))["WATCH_NAMESPACES"] == ""


def test_the_operator_is_told_about_workers(render):
    told = environment(render())
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert told["MILLRACE_WORKER_IMAGE"] == f"millrace-worker:{version}"
    assert told["MILLRACE_WORKER_PYTHON_IMAGE"] == f"millrace-worker-python:{version}"
    assert told["MILLRACE_WORKER_PLUGIN_CACHE"] == ""
    told = environment(render(EVERYTHING))
    assert told["MILLRACE_WORKER_IMAGE"] == "millrace-worker@sha256:" + "cd" * 32
    assert told["MILLRACE_WORKER_PYTHON_IMAGE"] == "registry.example.com/python:1"
    assert told["MILLRACE_WORKER_PLUGIN_CACHE"] == "plugins"
    assert told["MILLRACE_WORKER_PULL_POLICY"] == "Always"
    assert told["MILLRACE_WORKER_PULL_SECRETS"] == "registry"
    assert told["MILLRACE_WORKER_LOG"] == "debug"
    assert told["MILLRACE_USER_NAMESPACES"] == "true"


def test_the_versions_are_those_of_the_program():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    manifest = (Path(__file__).parents[2] / "Cargo.toml").read_text()
    assert f'version = "{chart["appVersion"]}"' in manifest


def test_nothing_in_the_chart_asks_for_a_secret(render):
    assert not of_kind(render(EVERYTHING), "Secret")
    container = one(render(EVERYTHING), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert not [entry for entry in container["env"] if "secretKeyRef" in str(entry)] and "envFrom" not in container
