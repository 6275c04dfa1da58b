"""How the end-to-end tests talk to the cluster: `kubectl` for what people type, its proxy for what is looked at often."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml
from harness import ROOT

Object = dict[str, Any]
# Within a class that has a method `list` there is no other way to say it.
Objects = list[Object]
T = TypeVar("T")

GROUP = "millrace.dev/v1alpha1"
# How long people wait before something is wrong, in seconds, on a machine where one pod alone may take half a minute.
PATIENCE = 180.0
TOOL = (str(ROOT / "tests" / "cluster"),)
# Each container of a pod has a control group below that of the pod, which is named by its UID.
KILL = 'for cgroup in $(grep -ls "pod$1" /proc/[0-9]*/cgroup); do p=${cgroup#/proc/}; kill -KILL "${p%/cgroup}" || true; done'
# Each namespace of a test refuses pods that are not restricted.
RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")
}
PLACES = {
    "flows": f"/apis/{GROUP}/namespaces/{{namespace}}/flows",
    "sources": f"/apis/{GROUP}/namespaces/{{namespace}}/sources",
    "mrj": f"/apis/{GROUP}/namespaces/{{namespace}}/jobs",
    "connectors": f"/apis/{GROUP}/connectors",
    "jobs": "/apis/batch/v1/namespaces/{namespace}/jobs",
    "statefulsets": "/apis/apps/v1/namespaces/{namespace}/statefulsets",
    "deployments": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "pods": "/api/v1/namespaces/{namespace}/pods",
    "configmaps": "/api/v1/namespaces/{namespace}/configmaps",
    "secrets": "/api/v1/namespaces/{namespace}/secrets",
    "events": "/apis/events.k8s.io/v1/namespaces/{namespace}/events",
    "leases": "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
    "namespaces": "/api/v1/namespaces",
    "every pod": "/api/v1/pods",
    "nodes": "/api/v1/nodes",
}


class Unavailable(Exception):
    """The API server gave no answer."""


class Cluster:
    """The cluster of KUBECONFIG."""

    def __init__(self) -> None:
        self.proxy = subprocess.Popen(
            ["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.proxy.stdout is not None
        line = self.proxy.stdout.readline()
        found = re.search(r"127\.0\.0\.1:\d+", line)
        assert found, f"kubectl proxy: {line}{self.proxy.stdout.read()}"
        self.url = f"http://{found[0]}"

    def close(self) -> None:
        self.proxy.terminate()
        self.proxy.wait()

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """What `kubectl` prints; its errors too, where it may fail."""
        done = subprocess.run(
            ["kubectl", *args], input=stdin, capture_output=True, text=True, timeout=timeout
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(args)}\n{done.stdout}{done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def raw(self, path: str, timeout: float = 30) -> bytes:
        """The body of a GET."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=timeout) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                raise KeyError(path) from None
            said = b""
            with suppress(OSError, http.client.HTTPException):
                said = error.read()[:300]
            raise Unavailable(f"{path}: {error.code} {said!r}") from None
        # The second: an answer that broke off.
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{path}: {error!r}") from None

    def ask(self, path: str, seconds: float = 60) -> bytes:
        """The same, asked again for a while: of a busy API server one answer that does not come is no news."""
        end = time.monotonic() + seconds
        while True:
            try:
                return self.raw(path)
            except Unavailable:
                if time.monotonic() > end:
                    raise
            time.sleep(0.5)

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        try:
            found: Object = json.loads(self.ask(f"{PLACES[kind].format(namespace=namespace)}/{name}"))
            return found
        except KeyError:
            return None

    def list(self, kind: str, namespace: str = "", selector: str = "") -> Objects:
        query = f"?labelSelector={selector.replace('=', '%3D')}" if selector else ""
        items: Objects = json.loads(self.ask(PLACES[kind].format(namespace=namespace) + query))["items"]
        return items

    def kill(self, pod: Object) -> None:
        """Kills all processes of a pod in an instant, as a machine does that stops, and takes the pod away."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if started_here():
            enter("sh", "-c", KILL, "sh", pod["metadata"]["uid"])
        self.kubectl("--namespace", namespace, "delete", "pod", name, "--force", "--grace-period=0", "--ignore-not-found")

    def apply(self, documents: Iterable[Object], *options: str, check: bool = True) -> str:
        """Server-side apply would be a second manager of the same fields: people use the plain one."""
        return self.kubectl("apply", *options, "-f", "-", stdin=yaml.safe_dump_all(documents), check=check)


@dataclass
class Namespace:
    """A namespace that one test has to itself."""

    cluster: Cluster
    name: str
    # What lies outside of the namespace and is to be deleted with it: `connector/name`.
    outside: list[str] = field(default_factory=list)
    # The values of its Secrets.
    secrets: set[str] = field(default_factory=set)

    @classmethod
    def make(cls, cluster: Cluster, test: str) -> Namespace:
        """A new one, named for the test."""
        word = re.sub(r"[^a-z0-9]+", "-", test.lower().removeprefix("test_"))[:40].strip("-")
        name = f"e2e-{word}-{uuid.uuid4().hex[:6]}"
        metadata = {"name": name, "labels": RESTRICTED}
        cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        made = cls(cluster, name)
        # A pod cannot start before its namespace has this.
        until(lambda: made.get("configmaps", "kube-root-ca.crt"), PATIENCE, "kube-root-ca.crt")
        return made

    def remove(self) -> None:
        self.cluster.kubectl("delete", "namespace", self.name, "--wait=false")
        for one in self.outside:
            self.cluster.kubectl("delete", one, "--ignore-not-found", "--wait=false")

    def kubectl(self, *args: str, **how: Any) -> str:
        return self.cluster.kubectl("--namespace", self.name, *args, **how)

    def apply(self, *documents: Object, check: bool = True) -> str:
        for document in documents:
            self.secrets |= set(document.get("stringData", {}).values()) if document["kind"] == "Secret" else set()
        return self.cluster.apply(documents, "--namespace", self.name, check=check)

    def get(self, kind: str, name: str) -> Object | None:
        return self.cluster.get(kind, name, self.name)

    def must(self, kind: str, name: str) -> Object:
        found = self.get(kind, name)
        assert found is not None, f"there is no {kind} {name}"
        return found

    def list(self, kind: str, selector: str = "") -> Objects:
        return self.cluster.list(kind, self.name, selector)

    def pods(self, flow: str) -> Objects:
        """The pods of a Flow that are not on their way out."""
        found = self.list("pods", f"millrace.dev/flow={flow}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def workers(self, flow: str) -> Objects:
        """Those of its pods that stay: not its runs, and not the trials of a changed plan."""
        return [pod for pod in self.pods(flow) if owned_by(pod) == "StatefulSet"]

    def kill(self, pod: Object) -> None:
        self.cluster.kill(pod)

    def wait_for(self, condition: str, resource: str, seconds: float = PATIENCE) -> None:
        """`wait_for("Ready", "flow/lake")`, as people wait."""
        self.kubectl("wait", f"--for=condition={condition}", resource, f"--timeout={seconds:.0f}s", timeout=seconds + 30)

    def condition(self, kind: str, name: str, type: str) -> Object:
        """One condition, for the generation that there is now; empty where there is none."""
        return condition(self.get(kind, name) or {}, type)

    def await_condition(
        self, kind: str, name: str, type: str, status: str, reason: str = "", seconds: float = PATIENCE
    ) -> Object:
        """Waits for a condition of the present generation with this status, and reason if one is named."""

        def there() -> Object | None:
            found = self.condition(kind, name, type)
            fits = found.get("status") == status and (not reason or found.get("reason") == reason)
            return found if fits else None

        what = f"{kind}/{name} {type}={status} {reason}"
        return until(there, seconds, lambda: f"{what}; it has {(self.get(kind, name) or {}).get('status')}")

    def trigger(self, resource: str, name: str, value: str) -> str:
        """Annotates, as people do; gives the token."""
        self.kubectl("annotate", "--overwrite", resource, f"millrace.dev/{name}={value}")
        return value.split(";")[0]

    def token(self, flow: str, token: str) -> Object | None:
        """What became of a token."""
        found = self.get("flows", flow) or {}
        triggers: Objects = found.get("status", {}).get("triggers", [])
        return next((one for one in triggers if one["token"] == token), None)

    def await_token(self, flow: str, token: str, state: str = "Succeeded", seconds: float = PATIENCE) -> Object:
        def there() -> Object | None:
            found = self.token(flow, token)
            return found if found and found["state"] == state else None

        what = f"token {token} of {flow} {state}"
        return until(there, seconds, lambda: f"{what}; {(self.get('flows', flow) or {}).get('status')}")

    def events(self, reason: str = "") -> Objects:
        return [event for event in self.list("events") if not reason or event.get("reason") == reason]

    def dump(self, reason: str = "") -> str:
        """All that tells why a test failed: no Secret. Before each part and at the end stands the failure itself, for
        whoever sees but a piece of it."""
        parts = [self._show("get", "flows,sources,mrj,connectors,jobs.batch,statefulsets,pods,configmaps", "-o", "wide")]
        parts.append(self._show("get", "events", "--sort-by=.lastTimestamp"))
        parts.append(self._show("get", "flows,sources,mrj", "-o", "yaml"))
        for pod in self.list("pods"):
            name = pod["metadata"]["name"]
            parts.append(f"{name}: {json.dumps(pod.get('status', {}).get('containerStatuses'))}")
            parts.append(self._show("logs", name, "--all-containers", "--tail=60"))
            restarts = [c.get("restartCount", 0) for c in pod.get("status", {}).get("containerStatuses", [])]
            if any(restarts):
                parts.append(self._show("logs", name, "--all-containers", "--previous", "--tail=60"))
        return "\n".join([line for part in parts for line in (reason, part)] + [reason])

    def _show(self, *args: str) -> str:
        return f"$ kubectl {' '.join(args)}\n{self.kubectl(*args, check=False)}"


def owned_by(found: Object) -> str:
    """The kind of the object's owner."""
    owners: list[Object] = found["metadata"].get("ownerReferences", [])
    return str(owners[0]["kind"]) if owners else ""


def condition(found: Object, type: str) -> Object:
    """A condition of an object, if it speaks of the generation that there is; else empty."""
    conditions: list[Object] = found.get("status", {}).get("conditions", [])
    generation = found.get("metadata", {}).get("generation")
    fits = [c for c in conditions if c["type"] == type and c.get("observedGeneration") == generation]
    return fits[0] if fits else {}


def until(probe: Callable[[], T | None], seconds: float, what: str | Callable[[], str] = "") -> T:
    """The first answer that is not empty; an API server that gives none is asked again."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = probe()
            if found:
                return found
        except Unavailable:
            pass
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.1)


def started_here() -> str:
    """The directory of the cluster, where `tests/cluster` has started it; else empty."""
    return os.environ.get("MILLRACE_TEST_CLUSTER", "")


def enter(*command: str) -> str:
    """Runs a command among the processes of the cluster that was started here."""
    return subprocess.run(
        [*TOOL, "enter", *command], check=True, timeout=60, stdout=subprocess.PIPE, text=True, errors="replace"
    ).stdout


def server(action: str, *names: str) -> None:
    """Stops or starts servers of the cluster: `server("stop", "apiserver")`."""
    for name in names:
        subprocess.run([*TOOL, action, name], check=True, timeout=60)
