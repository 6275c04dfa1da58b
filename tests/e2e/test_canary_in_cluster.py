"""No byte of a secret leaves the place it belongs to, whatever goes wrong in a cluster, with every log line on."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import install
import pyarrow as pa
import pytest
import roles
from canary import Eyes
from cluster import Cluster, Namespace, Object, condition, until
from harness import S3
from manifests import KEYS, Bucket, Shop, flow, from_secret, resource, secret, source
from parrot import Parrot
from spellings import CANARY

ROTATED = f"{CANARY}-rotated"
# Stands in a manifest itself, where none may stand: told of, and not repeated.
LITERAL = "Literal+/=%40 canary-0d4e"
NULL = {"connector": {"name": "null"}}
PLACES = {
    "status",
    "ConfigMap",
    "binary data of a ConfigMap",
    "event",
    "pod",
    "Job",
    "StatefulSet",
    "termination message",
    "arguments of a pod",
    "log",
    "log of a former container",
    "metrics of a worker",
    "metrics of the operator",
    "arguments",
    "environment",
    "log of the operator",
    "audit log",
    "log of the node",
}
# What is searched once all is over.
AT_THE_END = {"log of the operator", "audit log", "log of the node"}


@pytest.fixture
def loud(operator: None, cluster: Cluster) -> Iterator[None]:
    """The chart with every log line switched on."""
    values: dict[str, Any] = {**install.VALUES, "operator": {**install.VALUES["operator"], "log": "trace"}}
    install.chart({**values, "worker": {**install.VALUES["worker"], "log": "trace"}})
    yield
    install.chart()


@pytest.fixture
def role(shop: Shop) -> Iterator[str]:
    """A role whose password is the canary, and which may read and write."""
    database = shop.postgres.spec["database"]
    name = f"canary_{database}"
    execute = shop.postgres.execute
    execute(f"create role {name} login password '{quoted(CANARY)}'; create role {name}_x login password 'another'")
    shop.table("users", 50)
    execute(f"grant create on database {database} to {name}; grant select on users to {name}, {name}_x")
    yield name
    for one in (name, f"{name}_x"):
        roles.drop(shop.postgres, one)


def quoted(text: str) -> str:
    return text.replace("'", "''")


@pytest.fixture
def parrot(host: str) -> Iterator[Parrot]:
    with Parrot(host) as server:
        yield server


def secrets() -> list[Object]:
    keys = {"accessKeyId": "AKIDCANARY", "secretAccessKey": CANARY}
    return [secret("canary", password=CANARY, **keys), secret("elsewhere", other=CANARY), secret("empty", password="")]


def wrong(shop: Shop, bucket: Bucket, role: str, parrot: Parrot) -> dict[str, tuple[Object, Object]]:
    """Each error path: a Source and a Flow that meets it."""
    users = {"name": "public.users", "primaryKey": ["id"], "cursorField": "updated_at"}

    def read(name: str, credentials: str = "canary", **connection: Any) -> Object:
        place = {**shop.connection, "user": role, "connectTimeout": "2s", **connection}
        return source(name, "postgres", place, [users], credentials=from_secret(credentials, "password"))

    def write(**connection: Any) -> Object:
        place = shop.destination("upsert", **{"user": role, "connectTimeout": "2s", **connection})
        return {**place, "credentials": from_secret("canary", "password")}

    in_bucket = {**bucket.destination(), "credentials": from_secret("canary", *KEYS)}
    in_state = bucket.state()
    in_state["s3"]["credentials"] = from_secret("canary", *KEYS)
    cases: dict[str, tuple[Object, Object, Object]] = {
        "wrong-password": (read("wrong-password", user=f"{role}_x"), NULL, {}),
        "unreachable": (read("unreachable", port=1), NULL, {}),
        "no-encryption": (read("no-encryption", sslMode="verify-full"), NULL, {}),
        "no-database": (read("no-database", database="nothing"), NULL, {}),
        "no-key": (read("no-key", "elsewhere"), NULL, {}),
        "no-secret": (read("no-secret", "nowhere"), NULL, {}),
        "empty-secret": (read("empty-secret", "empty"), NULL, {}),
        "parrot": (read("parrot", port=parrot.port), NULL, {}),
        "unknown-option": (read("unknown-option", unheardOf=1), NULL, {}),
        "literal": (read("literal", password=LITERAL), NULL, {}),
        "literal-in-url": (read("literal-in-url", host=f"postgres://u:{quote(LITERAL, safe='')}@h/d"), NULL, {}),
        "cannot-write": (read("cannot-write"), write(user=f"{role}_x", schema="other"), {}),
        "no-bucket-right": (read("no-bucket-right"), in_bucket, {}),
        "no-state-right": (read("no-state-right"), NULL, {"state": in_state}),
    }
    return {name: (one, flow(name, name, to, **more)) for name, (one, to, more) in cases.items()}


def told(namespace: Namespace, name: str) -> str:
    """What a Flow says against itself, or its Source."""
    found = namespace.get("flows", name) or {}
    for type in ("Stalled", "LastRunSucceeded", "Ready"):
        one = condition(found, type) if type != "LastRunSucceeded" else last_run(found)
        if one and one["status"] == ("True" if type == "Stalled" else "False"):
            return str(one["message"])
    return ""


def last_run(found: Object) -> Object:
    return next((one for one in found.get("status", {}).get("conditions", []) if one["type"] == "LastRunSucceeded"), {})


@pytest.mark.alone
def test_i12_no_secret_is_told_on_any_error_path(
    namespace: Namespace, cluster: Cluster, loud: None, shop: Shop, bucket: Bucket, s3: S3, role: str, parrot: Parrot
) -> None:
    cases = wrong(shop, bucket, role, parrot)
    with Eyes(namespace, cluster) as eyes:
        namespace.apply(*secrets(), *(one for pair in cases.values() for one in pair))
        namespace.apply(*at_work(shop, role), job_alone(shop, role))
        for name in cases:
            until(
                lambda name=name: told(namespace, name),
                240,
                lambda name=name: f"{name}: {namespace.get('flows', name)}",
            )  # type: ignore[misc]
        namespace.await_condition("mrj", "alone", "Succeeded", "False", seconds=240)
        changes(namespace, shop, role)
        until(lambda: "metrics of a worker" in eyes.seen, 180, "the metrics of the worker that is at work")
        # A Flow may say that it is not ready before anybody has connected.
        until(lambda: parrot.heard, 180, "the server that repeats what it hears was never told the password")
    said = {name: told(namespace, name) for name in cases}
    found = eyes.find([CANARY, ROTATED, LITERAL])
    assert not found, f"{found}\n{said}"
    assert not [key for key in s3.keys() if any(one.encode() in s3.get(key) for one in (CANARY, ROTATED))]
    unseen = PLACES - eyes.seen.keys() - {"log of a former container"} - AT_THE_END
    assert not unseen, f"nothing was there to be searched: {unseen}"


def at_work(shop: Shop, role: str) -> list[Object]:
    """A Continuous Flow that works by the canary."""
    users = {"name": "public.users", "primaryKey": ["id"], "cursorField": "updated_at"}
    place = {**shop.connection, "user": role}
    to = {**shop.destination("upsert", user=role), "credentials": from_secret("canary", "password")}
    reads = source("works", "postgres", place, [users], credentials=from_secret("canary", "password"))
    return [reads, flow("works", "works", to, mode="Continuous")]


def job_alone(shop: Shop, role: str) -> Object:
    to = {**shop.destination("upsert", user=f"{role}_x"), "credentials": from_secret("canary", "password")}
    spec = flow("alone", "works", to)["spec"]
    return resource("Job", "alone", {"flowTemplate": {"spec": spec}, "load": "Full", "retries": 0})


def changes(namespace: Namespace, shop: Shop, role: str) -> None:
    """What goes wrong with a Flow that works: a plan that does not, a password that changes, a worker that dies."""
    namespace.wait_for("Ready", "flow/works", 300)
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
    patch(namespace, "source/works", '{"spec":{"connection":{"port":1}}}')
    namespace.await_condition("flows", "works", "Ready", "False", "PreflightFailed", 300)
    patch(namespace, "source/works", f'{{"spec":{{"connection":{{"port":{shop.server.port}}}}}}}')
    namespace.wait_for("Ready", "flow/works", 300)
    shop.postgres.execute(f"alter role {role} password '{quoted(ROTATED)}'")
    shop.server.cut()
    namespace.trigger("flow/works", "full_load", "before")
    namespace.apply(secret("canary", password=ROTATED, accessKeyId="AKIDCANARY", secretAccessKey=ROTATED))
    # A pod of the preflight may still be there: what follows is of the worker alone.
    old = until(lambda: namespace.workers("works"), 180, "the worker")[0]["metadata"]
    namespace.kubectl("delete", "pod", old["name"], "--grace-period=0", "--force", "--wait=false", "--ignore-not-found")
    until(
        lambda: [one for one in namespace.workers("works") if one["metadata"]["uid"] != old["uid"]],
        180,
        lambda: f"another worker than {old['uid']}: {namespace.list('pods', 'millrace.dev/flow=works')}",
    )
    shop.insert("users", 1000, 1010)
    loads_again(namespace, "works")
    assert shop.same("users"), shop.difference("users")


def loads_again(namespace: Namespace, flow: str) -> None:
    """A run that meets the old password has failed, as it must: by a worker that is just ending, or to which the kubelet
    has brought the new one late. The next one is a person's to ask for."""
    for number in range(20):
        token = namespace.trigger(f"flow/{flow}", "full_load", f"after-{number}")
        ended = until(lambda: is_over(namespace.token(flow, token)), 180, lambda: f"{token}: {namespace.get('flows', flow)}")
        if ended["state"] == "Succeeded":
            return
        time.sleep(5)
    raise AssertionError(f"no run has succeeded with the new password: {namespace.get('flows', flow)}")


def is_over(token: Object | None) -> Object | None:
    return token if token and token["state"] in ("Succeeded", "Failed") else None


def patch(namespace: Namespace, what: str, text: str) -> None:
    namespace.kubectl("patch", what, "--type=merge", "-p", text)


@pytest.mark.alone
@pytest.mark.own
def test_i12_the_search_finds_a_secret_in_each_place(
    namespace: Namespace, cluster: Cluster, loud: None, shell_image: str
) -> None:
    """A secret that is no secret: a Flow is called so, and the rest is planted."""
    name = f"canary-{uuid.uuid4().hex[:20]}"
    packed = base64.b64encode(pa.compress(f"{{{name}}}".encode(), "zstd", asbytes=True)).decode()
    with Eyes(namespace, cluster) as eyes:
        namespace.apply(
            source("rows", "generator", {"rows": 10}),
            flow(name, "rows", NULL, mode="Continuous"),
            resource("Job", f"{name}-job", {"flowTemplate": {"spec": flow("x", "rows", NULL)["spec"]}, "load": "Full"}),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "planted"}, "binaryData": {"state": packed}},
            shouting(name, shell_image),
        )
        namespace.wait_for("Ready", f"flow/{name}", 180)
        namespace.await_condition("mrj", f"{name}-job", "Succeeded", "True")
        # Started at least twice.
        until(lambda: restarts(namespace) > 1, 180, lambda: f"{namespace.list('pods')}")

        def met() -> set[str]:
            return {place for place, texts in eyes.until_now().items() if any(name.encode() in text for text in texts)}

        # Each place has its own pace.
        until(lambda: met() >= PLACES - AT_THE_END, 180, lambda: f"not found in {PLACES - AT_THE_END - met()}")
    found = {place for place, _ in eyes.find([name])}
    assert found >= PLACES, f"not found in {PLACES - found}"


def shouting(name: str, image: str) -> Object:
    """A pod that has the secret in its environment and arguments, prints it, ends with it, and is started again."""
    script = f"echo {name}; echo -n {name} >/dev/termination-log; sleep 3; exit 1"
    own = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "shouting",
        "image": image,
        "args": ["-c", script],
        "env": [{"name": "CANARY", "value": name}],
        "securityContext": own,
    }
    spec = {"containers": [container], "restartPolicy": "Always", "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shouting"}, "spec": spec}


def restarts(namespace: Namespace) -> int:
    found = namespace.get("pods", "shouting") or {}
    return sum(int(one["restartCount"]) for one in found.get("status", {}).get("containerStatuses", []))
