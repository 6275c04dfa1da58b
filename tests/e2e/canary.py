"""Looking for a secret in all that Millrace says: logs, events, statuses, ConfigMaps, metrics, processes, audit log.

In: a namespace, for as long as something happens in it. Out: the places where a secret was seen, in whatever spelling.
What is there for a moment alone is kept as well: objects are watched, logs followed, processes looked at.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import install
import pyarrow as pa
from cluster import GROUP, Cluster, Namespace, Object, Unavailable, owned_by, started_here
from spellings import spellings

# What is kept of an object, and where it is said to be.
WATCHED = {
    "flows": (f"/apis/{GROUP}/namespaces/{{}}/flows", "status"),
    "sources": (f"/apis/{GROUP}/namespaces/{{}}/sources", "status"),
    "mrj": (f"/apis/{GROUP}/namespaces/{{}}/jobs", "status"),
    "configmaps": ("/api/v1/namespaces/{}/configmaps", "ConfigMap"),
    "events": ("/apis/events.k8s.io/v1/namespaces/{}/events", "event"),
    "pods": ("/api/v1/namespaces/{}/pods", "pod"),
    "jobs": ("/apis/batch/v1/namespaces/{}/jobs", "Job"),
    "statefulsets": ("/apis/apps/v1/namespaces/{}/statefulsets", "StatefulSet"),
}
MANIFESTS = ("flows", "sources", "mrj")
# Where kubectl keeps what a person applied: it is that person's.
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
ZSTD = b"\x28\xb5\x2f\xfd"


@cache
def forms(secret: str) -> set[bytes]:
    """A secret, and all ways to write it that somebody could read it from."""
    plain = {json.dumps(secret)[1:-1].encode(), json.dumps(secret, ensure_ascii=False)[1:-1].encode()}
    return spellings(secret) | plain | {json.dumps(one.decode())[1:-1].encode() for one in plain}


class Eyes:
    """`with Eyes(namespace, cluster) as eyes: ...; eyes.find(secrets)`."""

    def __init__(self, namespace: Namespace, cluster: Cluster) -> None:
        self.namespace, self.cluster = namespace, cluster
        self.seen: dict[str, set[bytes]] = defaultdict(set)
        # A request that was begun may be answered after the end, while somebody searches.
        self.lock = threading.Lock()
        self.ends = threading.Event()
        self.threads: list[threading.Thread] = []
        audit = os.environ.get("MILLRACE_TEST_AUDIT_LOG")
        self.audit = Path(audit) if audit and started_here() else None
        self.audit_from = self.audit.stat().st_size if self.audit else 0

    def __enter__(self) -> Eyes:
        for kind in WATCHED:
            self._start(self._watch, kind)
        self._start(self._follow_pods)
        self._start(self._repeat, self._metrics, 0.7)
        if started_here():
            self._start(self._repeat, self._processes, 0.05)
        return self

    def __exit__(self, *_: object) -> None:
        # What is on its way to be seen.
        time.sleep(2)
        self.ends.set()
        for thread in self.threads:
            # As long as a request may take, and a list is asked for.
            thread.join(100)

    def find(self, secrets: list[str]) -> list[tuple[str, str]]:
        """The places where one of them was seen, each with what stood around it."""
        found = []
        for place, texts in {**self.until_now(), **self._at_the_end()}.items():
            for text in texts:
                found += [(place, told) for secret in secrets if (told := hit(text, secret))]
        return found

    def until_now(self) -> dict[str, set[bytes]]:
        """All that was seen, which what comes later does not change."""
        with self.lock:
            return {place: set(texts) for place, texts in self.seen.items()}

    def note(self, place: str, text: bytes, start: bytes | None = None) -> None:
        """`start`: what was seen before, with which the text begins: kept once, or a long test would keep it a thousandfold."""
        with self.lock:
            if start is not None:
                self.seen[place].discard(start)
            self.seen[place].add(text)

    def _start(self, what: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=what, args=args, daemon=True)
        thread.start()
        self.threads.append(thread)

    def _repeat(self, what: Callable[[], None], every: float) -> None:
        while not self.ends.wait(every):
            with suppress(Unavailable, KeyError):
                what()

    def _watch(self, kind: str) -> None:
        path, place = WATCHED[kind]
        path = path.format(self.namespace.name)
        while not self.ends.is_set():
            try:
                # Each ends after a while, and is begun anew from all that there is.
                lines = self.cluster.raw(f"{path}?watch=1&timeoutSeconds=3").splitlines()
            except (Unavailable, KeyError):
                continue
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    # The watch broke off; what is missing comes with the next.
                    continue
                # A watch that the API server ends says why, in place of an object.
                if event["type"] == "ERROR":
                    continue
                for where, text in texts_of(kind, place, event["object"]):
                    self.note(where, text)

    def _follow_pods(self) -> None:
        followed = set()
        while not self.ends.wait(0.2):
            try:
                pods = self.namespace.list("pods")
            except (Unavailable, KeyError):
                continue
            for pod in pods:
                for one in pod.get("status", {}).get("containerStatuses", []):
                    life = (pod["metadata"]["uid"], one["name"], one.get("containerID", ""))
                    if life not in followed and ("running" in one["state"] or "terminated" in one["state"]):
                        followed.add(life)
                        self._start(self._log, pod["metadata"]["name"], one["name"])

    def _log(self, pod: str, container: str) -> None:
        """All that a container writes until it ends; and what the one before it wrote, in case that was missed."""
        place = f"/api/v1/namespaces/{self.namespace.name}/pods/{pod}/log?container={container}"
        self._raw("log of a former container", f"{place}&previous=true")
        before, failures = b"", 0
        while failures < 10:
            try:
                text = self.cluster.raw(place)
                self.note("log", text, before if text.startswith(before) else None)
                before = text
            except Unavailable:
                # A kubelet that is busy, or that has nothing to show yet.
                failures += 1
            except KeyError:
                return
            if self.ends.wait(1):
                return

    def _metrics(self) -> None:
        # Those of the workers that stay first: of others many have ended meanwhile, and each of these is waited for.
        for pod in sorted(self.namespace.list("pods"), key=lambda pod: owned_by(pod) != "StatefulSet"):
            if pod.get("status", {}).get("phase") == "Running" and not self.ends.is_set():
                name = pod["metadata"]["name"]
                path = f"/api/v1/namespaces/{self.namespace.name}/pods/{name}:8080/proxy/metrics"
                self._raw("metrics of a worker", path, 10)
        for pod in self.cluster.list("pods", install.SYSTEM):
            if pod.get("status", {}).get("phase") == "Running":
                place = f"/api/v1/namespaces/{install.SYSTEM}/pods/{pod['metadata']['name']}"
                self._raw("metrics of the operator", f"{place}:8080/proxy/metrics", 10)

    def _raw(self, place: str, path: str, timeout: float = 30) -> bool:
        try:
            self.note(place, self.cluster.raw(path, timeout))
        except (Unavailable, KeyError):
            return False
        return True

    def _processes(self) -> None:
        """Those of the cluster's pods, by the name of its cgroup."""
        own = f"/{Path(started_here()).name}/kubepods"
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if own in (process / "cgroup").read_text():
                    self.note("arguments", (process / "cmdline").read_bytes())
                    self.note("environment", (process / "environ").read_bytes())
            except OSError:
                continue

    def _at_the_end(self) -> dict[str, set[bytes]]:
        """What stays: the operator's log, the audit log, the logs of the node."""
        found: dict[str, set[bytes]] = defaultdict(set)
        for pod in self.cluster.list("pods", install.SYSTEM):
            name = pod["metadata"]["name"]
            for previous in ("--previous=false", "--previous=true"):
                text = self.cluster.kubectl("-n", install.SYSTEM, "logs", name, "--tail=-1", previous, check=False)
                found["log of the operator"].add(text.encode())
        if self.audit:
            with self.audit.open("rb") as log:
                log.seek(self.audit_from)
                found["audit log"].add(log.read())
            found["log of the node"] = {path.read_bytes() for path in (self.audit.parent / "log").glob("kubelet.log")}
        return found


def hit(text: bytes, secret: str) -> str:
    """What stands around a secret in a text; empty where it is not there."""
    for form in forms(secret):
        at = text.find(form)
        if at >= 0:
            return repr(text[max(0, at - 100) : at + 100])
    return ""


def texts_of(kind: str, place: str, item: Object) -> list[tuple[str, bytes]]:
    """What an object says, but for what a person wrote into it."""
    item.get("metadata", {}).get("annotations", {}).pop(APPLIED, None)
    if kind in MANIFESTS:
        item.pop("spec", None)
    found = [(place, json.dumps(item, ensure_ascii=False).encode())]
    for key, value in (item.get("binaryData") or {}).items():
        found.append(("binary data of a ConfigMap", f"{key}: ".encode() + opened(base64.b64decode(value))))
    for one in item.get("status", {}).get("containerStatuses", []):
        for state in (one.get("state", {}), one.get("lastState", {})):
            message = state.get("terminated", {}).get("message")
            if message:
                found.append(("termination message", message.encode()))
    if kind == "pods" and "spec" in item:
        found.append(
            (
                "arguments of a pod",
                json.dumps([c.get("args") for c in item["spec"]["containers"]], ensure_ascii=False).encode(),
            )
        )
    return found


def opened(data: bytes) -> bytes:
    """Bytes as they were before they were compressed."""
    if not data.startswith(ZSTD):
        return data
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        return bytes(stream.read())
