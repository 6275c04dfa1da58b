"""The chart before two linters that ask for more than a schema does, each with all of its checks.

kube-score runs always. kube-linter runs where it is on the PATH, and is skipped elsewhere: no registry of packages
holds it. What either leaves out has its reason: here, and in charts/millrace/.kube-linter.yaml.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from rendered import CHART, EVERYTHING, KUBERNETES

KUBE_LINTER = shutil.which("kube-linter")
KUBE_SCORE = os.environ.get("MILLRACE_TEST_KUBE_SCORE") or shutil.which("kube-score")
# The grade of kube-score where there is nothing to say.
ALL_OK = 10
CLUSTER_WIDE = EVERYTHING | {"watch": {"allNamespaces": True, "namespaces": ["shop"]}}

# The operator idles most of the time: it asks for what it needs then, and its limits are for a restart among a thousand
# Flows. Equal to those, its requests would keep a node's room from others.
IDLES = "requests below limits are meant"
LEFT_OUT = {
    "container-resource-requests-equal-limits": IDLES,
    "container-cpu-requests-equal-limits": IDLES,
    "container-memory-requests-equal-limits": IDLES,
    "container-ephemeral-storage-request-equals-limit": IDLES,
    "container-image-pull-policy": "an image is named by version or digest, and a node may start it without its registry",
    "deployment-strategy": "one operator ends before the next one begins, so that two versions never take turns",
    "networkpolicy-targets-pod": "the pods of the workers' policies are made by the operator",
}
# What the default values leave to whoever installs the chart.
BY_CHOICE = {
    "pod-networkpolicy": "networkPolicy.enabled",
    "deployment-replicas": "operator.replicas",
}


def findings(manifests: list[dict], directory: Path) -> dict[str, list[str]]:
    """The names of the checks that are not content, each with what it says."""
    if not KUBE_SCORE:
        pytest.fail("kube-score is not on the PATH; tests/run builds it")
    file = directory / "chart.yaml"
    # Definitions hold no pods, and take it half a minute.
    file.write_text(yaml.safe_dump_all(one for one in manifests if one["kind"] != "CustomResourceDefinition"))
    command = [KUBE_SCORE, "score", "--kubernetes-version", f"v{KUBERNETES.rsplit('.', 1)[0]}", "--output-format", "json"]
    options = ["--all-default-optional", "--disable-ignore-checks-annotations", str(file)]
    ended = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    # 1: it has found something.
    assert ended.returncode in (0, 1), ended.stderr
    checked = [(one["object_name"], check) for one in json.loads(ended.stdout) for check in one["checks"]]
    assert len(checked) > 20, "kube-score has checked next to nothing"
    found: dict[str, list[str]] = {}
    for name, check in checked:
        if not check["skipped"] and check["grade"] < ALL_OK:
            found.setdefault(check["check"]["id"], []).append(f"{name}: {check['comments']}")
    return found


@pytest.mark.parametrize("values", [EVERYTHING, CLUSTER_WIDE], ids=["namespaces", "cluster"])
def test_kube_score_finds_what_is_meant_and_nothing_else(render, tmp_path, values):
    found = findings(render(values), tmp_path)
    assert set(found) == set(LEFT_OUT), found


def test_kube_score_finds_in_the_defaults_what_is_left_to_choose(render, tmp_path):
    found = findings(render(), tmp_path)
    assert set(found) - set(LEFT_OUT) == set(BY_CHOICE), found


def test_a_mistake_is_seen(render, tmp_path):
    manifests = render(EVERYTHING)
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            manifest["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
    assert "container-security-context-readonlyrootfilesystem" in findings(manifests, tmp_path)


@pytest.mark.skipif(not KUBE_LINTER, reason="kube-linter is not on the PATH; kube-score was run")
@pytest.mark.parametrize("values", [EVERYTHING, CLUSTER_WIDE], ids=["namespaces", "cluster"])
def test_kube_linter_finds_nothing(render, tmp_path, values):
    (tmp_path / "chart.yaml").write_text(yaml.safe_dump_all(render(values)))
    command = [str(KUBE_LINTER), "lint", "--config", str(CHART / ".kube-linter.yaml"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
