"""Secrets, where something goes wrong with them: no byte of one leaves it. The fixture of each namespace looks for that."""

from __future__ import annotations

from collections.abc import Iterator

import leaks
import pytest
import roles
from cluster import Namespace, until
from harness import Postgres
from manifests import KEYS, Bucket, Shop, flow, from_secret, secret
from spellings import CANARY


@pytest.fixture
def role(postgres: Postgres) -> Iterator[str]:
    """A role whose password is the canary, which may read everything and write nothing."""
    name = f"canary_{postgres.spec['database']}"
    escaped = CANARY.replace("'", "''")
    postgres.execute(f"create role {name} login password '{escaped}'; grant pg_read_all_data to {name}")
    yield name
    roles.drop(postgres, name)


def test_i12_no_secret_gets_out_whatever_goes_wrong(
    namespace: Namespace, operator: None, shop: Shop, bucket: Bucket, role: str
) -> None:
    shop.table("users", 10)
    canary = from_secret("canary", "password")
    of_role = {**shop.source("users", name="well")["spec"], "credentials": canary}
    of_role["connection"] |= {"user": role}
    wrong = {**of_role, "connection": {**of_role["connection"], "user": shop.connection["user"]}}
    nowhere = {**of_role, "connection": {**of_role["connection"], "port": 1}}
    sealed = {**of_role, "connection": {**of_role["connection"], "sslMode": "verify-full"}}
    sources = {"well": of_role, "wrong": wrong, "nowhere": nowhere, "sealed": sealed}
    base = shop.source("users")
    stranger = bucket.destination()
    stranger["credentials"] = from_secret("canary", *KEYS)
    state = bucket.state()
    state["s3"]["credentials"] = from_secret("canary", *KEYS)
    refused = shop.destination()
    refused["connection"] |= {"user": role}
    refused["credentials"] = canary
    flows = {
        **{name: flow(name, name, shop.destination(schema=name)) for name in sources},
        "follows": flow("follows", "wrong", shop.destination(schema="follows"), mode="Continuous"),
        "stranger": flow("stranger", "well", stranger),
        "forgets": flow("forgets", "well", shop.destination(schema="forgets"), state=state),
        "refused": flow("refused", "well", refused),
    }
    namespace.apply(
        shop.secret,
        secret("canary", password=CANARY, accessKeyId=bucket.s3.access_key, secretAccessKey=CANARY),
        *({**base, "metadata": {"name": name}, "spec": spec} for name, spec in sources.items()),
        *flows.values(),
    )

    namespace.wait_for("LastRunSucceeded", "flow/well", 180)
    for name in flows.keys() - {"well"}:
        until(lambda: said(namespace, name), 120, lambda: f"{name}: {namespace.pods(name)}")
    seen = leaks.places(namespace)
    assert any("metrics" in place for place in seen) and any("log" in place for place in seen), list(seen)
    # The search would have found it.
    assert not leaks.found(namespace)
    namespace.kubectl("create", "configmap", "told", f"--from-literal=text={CANARY}")
    assert "a secret in objects" in leaks.found(namespace)
    namespace.kubectl("delete", "configmap", "told")


def said(namespace: Namespace, flow: str) -> bool:
    """Whether a worker has met what is wrong and has told it: by how its pod ended, or, where it stays, to the operator."""
    ended = [pod for pod in namespace.pods(flow) if pod["status"].get("phase") == "Failed"]
    return bool(ended) or namespace.condition("flows", flow, "Stalled") != {} or bool(problem(namespace, flow))


def problem(namespace: Namespace, flow: str) -> str:
    """What the worker that stays has reported."""
    for one in namespace.list("configmaps", f"millrace.dev/flow={flow}"):
        for key, text in one.get("data", {}).items():
            if key.startswith("report-") and '"problem"' in text:
                return str(text)
    return ""
