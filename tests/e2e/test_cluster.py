"""The cluster itself: what the other tests take for granted."""

from __future__ import annotations

from typing import Any

from cluster import Namespace, until
from forward import Forward
from harness import Millrace

SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(name: str, image: str, *args: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": image, "imagePullPolicy": "Never", "args": list(args), "securityContext": SAFE}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], **spec},
    }


def said(namespace: Namespace, name: str) -> str:
    namespace.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=180s", timeout=210)
    return namespace.kubectl("logs", name)


def test_the_workers_image_runs_in_a_restricted_pod(namespace: Namespace, worker_image: str, millrace: Millrace) -> None:
    namespace.apply(pod("version", worker_image, "--version"))
    assert said(namespace, "version") == millrace("--version").stdout


def test_a_pod_reaches_the_api_server_and_the_servers_of_the_tests(
    namespace: Namespace, shell_image: str, postgres_server: Forward, s3_server: Forward
) -> None:
    places = ["$KUBERNETES_SERVICE_HOST/443", *(f"{s.host}/{s.port}" for s in (postgres_server, s3_server))]
    script = " && ".join(f"(exec 3<>/dev/tcp/{place}) && echo reached" for place in places)
    namespace.apply(pod("reach", shell_image, "-c", script))
    assert said(namespace, "reach").split() == ["reached"] * 3
    # The thread that accepts may come later than the pod's word.
    until(lambda: postgres_server.accepted and s3_server.accepted, 60, "both have accepted")
    assert postgres_server.accepted == s3_server.accepted == 1


def test_a_pod_that_is_not_restricted_is_refused(namespace: Namespace, shell_image: str) -> None:
    refused = pod("root", shell_image, "-c", "true")
    del refused["spec"]["containers"][0]["securityContext"]
    assert "violates PodSecurity" in namespace.apply(refused, check=False)
    assert namespace.list("pods") == []
