"""No byte of a Secret leaves it: looked for in all else that there is of a namespace, whatever a test has done there."""

from __future__ import annotations

import install
from cluster import Cluster, Namespace, Object, Unavailable, enter, started_here
from spellings import spellings

# A value that is short may be anywhere by chance; a name of a user is no secret.
LEAST = 8
KINDS = (
    "sources,flows,jobs.millrace.dev,connectors,configmaps,events,pods,jobs.batch,statefulsets,serviceaccounts,roles,"
    "rolebindings"
)
# The arguments of all processes of the cluster, and the environment of those whose pod's id matches the first argument.
PROCESSES = """
for process in /proc/[0-9]*; do
  cat "$process/cmdline" 2>/dev/null
  if grep -Eqs "$1" "$process/cgroup"; then cat "$process/environ" 2>/dev/null; fi
done
true
"""


def found(namespace: Namespace) -> str:
    """The first place where a value of one of the namespace's Secrets was found, if there is one."""
    secrets = {secret for secret in namespace.secrets if len(secret) >= LEAST}
    if not secrets:
        return ""
    forms = {form for secret in secrets for form in spellings(secret)}
    for place, content in places(namespace).items():
        for form in forms:
            at = content.find(form)
            if at >= 0:
                return f"a secret in {place}: {content[max(0, at - 200) : at]!r}"
    return ""


def places(namespace: Namespace) -> dict[str, bytes]:
    """All that can be read without a right on Secrets."""
    cluster = namespace.cluster
    seen = {"objects": namespace.kubectl("get", KINDS, "-o", "yaml").encode()}
    operators = cluster.list("pods", install.SYSTEM, "app.kubernetes.io/name=millrace")
    pods = [*namespace.list("pods"), *operators]
    for pod in pods:
        seen |= of_pod(cluster, pod)
    if started_here():
        # Groups are named after pods, with one sign or the other between the parts.
        ids = "|".join(pod["metadata"]["uid"].replace("-", "[-_]") for pod in pods)
        seen["arguments of processes"] = enter("sh", "-c", PROCESSES, "sh", ids or "none").encode()
    return seen


def of_pod(cluster: Cluster, pod: Object) -> dict[str, bytes]:
    """The log of each of its containers, that of the container before, and its metrics, as far as there are any."""
    name = pod["metadata"]["name"]
    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{name}"
    parts = {}
    for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
        one = container["name"]
        parts[f"log of {one}"] = f"{path}/log?container={one}"
        parts[f"last log of {one}"] = f"{path}/log?container={one}&previous=true"
    # Whoever asks a pod that has ended waits for an answer of nobody.
    if pod["status"].get("phase") == "Running":
        parts["metrics"] = f"{path}:8080/proxy/metrics"
    seen = {}
    for part, place in parts.items():
        try:
            seen[f"the {part} in {name}"] = cluster.raw(place)
        except (KeyError, Unavailable):
            # It has not begun, has never begun anew, or is at work no more.
            continue
    return seen
