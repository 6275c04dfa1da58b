"""Each manifest of ours, in examples and documents, holds what the cluster's definitions of the kinds know, and no more.

`millrace validate` looks at the same files; here they are looked at as the API server does.
"""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rendered import CHART, ROOT

EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


@functools.cache
def schemas() -> dict[str, dict[str, Any]]:
    found = {}
    for crd in yaml.load_all((CHART / "files" / "crds.yaml").read_text(), yaml.CSafeLoader):
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for side in ("spec", "status"):
            close(schema["properties"][side])
        found[crd["spec"]["names"]["kind"]] = schema
    return found


def close(schema: Any) -> None:
    """What the API server would prune, `kubectl apply` refuses."""
    if isinstance(schema, list):
        for inner in schema:
            close(inner)
    if not isinstance(schema, dict):
        return
    for inner in schema.values():
        close(inner)
    if schema.get("type") == "object" and "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    if schema.pop("nullable", False) and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if schema.pop("x-kubernetes-int-or-string", False):
        schema["type"] = ["integer", "string"]


def problems(resource: dict[str, Any]) -> list[str]:
    found = jsonschema.Draft7Validator(schemas()[resource["kind"]]).iter_errors(resource)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found]


def ours(text: str) -> list[dict[str, Any]]:
    documents = [document for document in yaml.safe_load_all(text) if isinstance(document, dict)]
    return [document for document in documents if document.get("apiVersion") == "millrace.dev/v1alpha1"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_fit_the_definitions(path: Path):
    for resource in ours(path.read_text()):
        assert problems(resource) == [], resource["metadata"]


def test_documents_fit_the_definitions():
    seen = 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            for resource in ours(block):
                assert problems(resource) == [], f"{page.name}: {resource['metadata']}"
                seen += 1
    assert seen > 10


def test_a_mistake_is_seen():
    flow = next(one for path in EXAMPLES for one in ours(path.read_text()) if one["kind"] == "Flow")
    for path, value in [(["source", "sources"], []), (["mode"], "batch"), (["maxDeleteFraction"], 2), (["suspend"], "no")]:
        wrong = copy.deepcopy(flow)
        inner = wrong["spec"]
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = value
        assert problems(wrong), path


def test_examples_for_the_cluster_show_secrets_and_both_stores():
    flows = [one for path in (ROOT / "examples" / "kubernetes").rglob("*.yaml") for one in ours(path.read_text())]
    stores = {key for one in flows if one["kind"] == "Flow" for key in one["spec"].get("state", {})}
    assert {"configMap", "s3"} <= stores
    credentials = [one for flow in flows for one in flow["spec"].get("credentials", [])]
    assert credentials and all("secret" in one for one in credentials)


def test_statuses_of_the_argo_tests_fit_the_definitions():
    """What Argo CD's rule is tried on is what the kinds can say."""
    for path in sorted((Path(__file__).parent / "statuses").glob("*.yaml")):
        resource = yaml.safe_load(path.read_text())
        schema = {"properties": {"status": schemas()[resource["kind"]]["properties"]["status"]}}
        errors = [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(resource)]
        assert errors == [], path.name
