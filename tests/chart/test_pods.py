"""The operator's pod satisfies the `restricted` Pod Security Standard, and more."""

from __future__ import annotations

import pytest

from rendered import EVERYTHING, one


@pytest.fixture(params=[{}, EVERYTHING], ids=["defaults", "everything"])
def pod(render, request):
    return one(render(request.param), "Deployment")["spec"]["template"]["spec"]


def test_it_is_restricted(pod):
    inner = pod["containers"][0]["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner["allowPrivilegeEscalation"] is False and inner["privileged"] is False
    assert inner["capabilities"] == {"drop": ["ALL"]} and inner["runAsNonRoot"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    kinds = {next(key for key in volume if key != "name") for volume in pod["volumes"]}
    assert kinds <= {"emptyDir", "projected"}


def test_its_root_cannot_be_written(pod):
    container = pod["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")} == {"/tmp"}
    assert next(volume for volume in pod["volumes"] if volume["name"] == "tmp")["emptyDir"]["sizeLimit"]


def test_its_token_is_short_lived_and_its_own(pod):
    assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
    sources = next(volume for volume in pod["volumes"] if volume["name"] == "token")["projected"]["sources"]
    assert sources[0] == {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}


def test_it_is_bounded_and_probed(pod):
    container = pod["containers"][0]
    for kind in ("requests", "limits"):
        assert set(container["resources"][kind]) == {"cpu", "memory", "ephemeral-storage"}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "http"


def test_two_versions_of_the_operator_never_run_side_by_side(render):
    assert one(render(), "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_user_namespaces_are_asked_for_by_choice(render):
    assert "hostUsers" not in one(render(), "Deployment")["spec"]["template"]["spec"]
    assert one(render(EVERYTHING), "Deployment")["spec"]["template"]["spec"]["hostUsers"] is False


def test_a_node_with_the_only_operator_can_be_drained(render):
    budget = one(render({"podDisruptionBudget": {"enabled": True}}), "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1 and "minAvailable" not in budget


def test_selectors_meet_the_pods(render):
    manifests = render(EVERYTHING)
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    for kind, path in {
        "Deployment": ("selector", "matchLabels"),
        "PodDisruptionBudget": ("selector", "matchLabels"),
        "Service": ("selector",),
    }.items():
        selector = one(manifests, kind)["spec"]
        for part in path:
            selector = selector[part]
        assert selector.items() <= labels.items(), kind
    monitor = one(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= one(manifests, "Service")["metadata"]["labels"].items()
