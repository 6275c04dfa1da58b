"""What the API server's audit log tells: who asked for what, and when."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

WRITES = {"create", "update", "patch", "delete", "deletecollection"}


@dataclass(frozen=True)
class Request:
    """One request that was answered."""

    user: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    agent: str
    code: int
    # For want of a right, and for no other reason.
    denied: bool
    received: datetime
    answered: datetime

    @property
    def writes(self) -> bool:
        return self.verb in WRITES

    def __str__(self) -> str:
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{self.received:%H:%M:%S.%f} {self.user} {self.verb} {what} {self.namespace}/{self.name} -> {self.code}"


class Audit:
    """The log from the moment on at which this was made."""

    def __init__(self) -> None:
        path = os.environ.get("MILLRACE_TEST_AUDIT_LOG")
        if not path:
            pytest.skip("this cluster's audit log is out of reach: tests/cluster up, without KUBECONFIG")
        self.path = Path(path)
        self.offset = self.path.stat().st_size

    def requests(self) -> Iterator[Request]:
        """All requests that have been answered since."""
        with self.path.open("rb") as log:
            log.seek(self.offset)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                found = parsed(json.loads(line))
                if found is not None:
                    yield found


    def written(self, namespace: str = "") -> list[Request]:
        """What the operator and the workers wrote, everywhere or in one namespace; the Lease excepted."""
        return [
            request
            for request in self.requests()
            if request.writes
            and request.user.startswith("system:serviceaccount:")
            and not request.resource.startswith("leases")
            and namespace in ("", request.namespace)
        ]

    def calm(self, seconds: float, namespace: str = "") -> bool:
        """Whether nothing is written for so long."""
        before = len(self.written(namespace))
        time.sleep(seconds)
        return len(self.written(namespace)) == before


def told(requests: list[Request]) -> str:
    """Requests, one a line."""
    return "\n".join(map(str, requests))


def parsed(event: dict) -> Request | None:  # type: ignore[type-arg]
    # A watch is told at its start and at its end; the start is enough.
    target = event.get("objectRef")
    if target is None or event["stage"] not in ("ResponseComplete", "ResponseStarted"):
        return None
    if event["stage"] == "ResponseComplete" and event["verb"] == "watch":
        return None
    group = target.get("apiGroup", "")
    return Request(
        user=event["user"].get("username", ""),
        verb=event["verb"],
        resource=f"{target.get('resource', '')}.{group}" if group else target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        agent=event.get("userAgent", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        denied=event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid",
        received=moment(event["requestReceivedTimestamp"]),
        answered=moment(event["stageTimestamp"]),
    )


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
