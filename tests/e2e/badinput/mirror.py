"""What is in the cluster, kept up to date by watches: nobody asks the API server how far the operator is.

In: watches of the kinds and of what the operator makes. Out: the objects of a namespace, and a wait for what they are
to be.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from cluster import GROUP, Object

from badinput.api import Api

T = TypeVar("T")

OURS = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dmillrace-operator"
WATCHED = {
    "connectors": f"/apis/{GROUP}/connectors?",
    "sources": f"/apis/{GROUP}/sources?",
    "flows": f"/apis/{GROUP}/flows?",
    "mrj": f"/apis/{GROUP}/jobs?",
    "configmaps": f"/api/v1/configmaps?{OURS}&",
    "serviceaccounts": f"/api/v1/serviceaccounts?{OURS}&",
    "jobs": f"/apis/batch/v1/jobs?{OURS}&",
    "statefulsets": f"/apis/apps/v1/statefulsets?{OURS}&",
    "roles": f"/apis/rbac.authorization.k8s.io/v1/roles?{OURS}&",
    "rolebindings": f"/apis/rbac.authorization.k8s.io/v1/rolebindings?{OURS}&",
}

Key = tuple[str, str]


class Mirror:
    """Objects by namespace, kind and name. A Connector is found in the namespace of its own name."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.ends = False
        self.objects: dict[str, dict[Key, Object]] = defaultdict(dict)
        self.changed: dict[str, threading.Condition] = defaultdict(threading.Condition)
        self.lock = threading.Lock()
        self.begun = threading.Semaphore(0)
        for kind in WATCHED:
            threading.Thread(target=self._follow, args=(kind,), daemon=True).start()
        for kind in WATCHED:
            assert self.begun.acquire(timeout=60), f"no list of {kind}"

    def close(self) -> None:
        self.ends = True

    def get(self, namespace: str, kind: str, name: str) -> Object | None:
        return self.objects[namespace].get((kind, name))

    def all(self, namespace: str) -> dict[Key, Object]:
        with self._of(namespace):
            return dict(self.objects[namespace])

    def until(self, namespace: str, probe: Callable[[], T | None], seconds: float) -> T | None:
        """The first answer that is not empty, asked again whenever the namespace changes; None: too late."""
        end = time.monotonic() + seconds
        condition = self._of(namespace)
        with condition:
            while not (found := probe()):
                left = end - time.monotonic()
                if left <= 0:
                    return None
                condition.wait(min(left, 1))
        return found

    def _of(self, namespace: str) -> threading.Condition:
        with self.lock:
            return self.changed[namespace]

    def _follow(self, kind: str) -> None:
        first = True
        while not self.ends:
            try:
                listed = self.api.ok("GET", WATCHED[kind])
                self._list(kind, listed["items"])
                if first:
                    self.begun.release()
                    first = False
                version = listed["metadata"]["resourceVersion"]
                self._watch(kind, f"{WATCHED[kind]}watch=1&timeoutSeconds=800&resourceVersion={version}")
            except (OSError, ValueError, AssertionError):
                time.sleep(0.2)

    def _list(self, kind: str, items: list[Object]) -> None:
        there = {(namespace_of(item), item["metadata"]["name"]) for item in items}
        for namespace in list(self.objects):
            for found, name in [key for key in self.objects[namespace] if key[0] == kind]:
                if (namespace, name) not in there:
                    self._set(namespace, (found, name), None)
        for item in items:
            self._set(namespace_of(item), (kind, item["metadata"]["name"]), item)

    def _watch(self, kind: str, path: str) -> None:
        answer = self.api.lines(path)
        while not self.ends and (line := answer.readline()):
            event = json.loads(line)
            if event["type"] == "ERROR":
                return
            item = event["object"]
            gone = event["type"] == "DELETED"
            self._set(namespace_of(item), (kind, item["metadata"]["name"]), None if gone else item)

    def _set(self, namespace: str, key: Key, item: Object | None) -> None:
        condition = self._of(namespace)
        with condition:
            if item is None:
                self.objects[namespace].pop(key, None)
            else:
                self.objects[namespace][key] = item
            condition.notify_all()


def namespace_of(item: Object) -> str:
    return str(item["metadata"].get("namespace") or item["metadata"]["name"])
