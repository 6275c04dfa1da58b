"""A Flow of the cluster, from a desk: `millrace status` and `millrace state` by the kubeconfig; state kept, lost, restored."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import yaml
from cluster import Namespace, Object, until
from harness import Millrace
from manifests import Bucket, Shop, flow


class Desk:
    """The program on this machine, asked about the Flow `copy`."""

    def __init__(self, millrace: Millrace, namespace: Namespace) -> None:
        self.millrace = millrace
        self.where = ("--flow", f"{namespace.name}/copy")
        self.env = {"KUBECONFIG": os.environ["KUBECONFIG"]}

    def say(self, *args: str, check: bool = True) -> str:
        done = self.millrace(*args, *self.where, env=self.env, check=check)
        return done.stdout + done.stderr

    def json(self, *args: str) -> Any:
        return self.millrace(*args, *self.where, "--output", "json", env=self.env).json


@pytest.mark.parametrize("state", ["configMap", "s3"])
def test_status_and_state_are_seen_and_changed_from_a_desk(
    namespace: Namespace, operator: None, shop: Shop, bucket: Bucket, millrace: Millrace, state: str
) -> None:
    shop.table("users", 100)
    place = {"configMap": {}} if state == "configMap" else bucket.state()
    namespace.apply(
        shop.secret, bucket.secret, shop.source("users"), flow("copy", "shop", shop.destination(), state=place)
    )
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    namespace.trigger("flow/copy", "full_load", "again")
    again = namespace.await_token("copy", "again")
    desk = Desk(millrace, namespace)

    def agree() -> bool:
        """Two looks, between which it may change."""
        (status,) = desk.json("status")["flows"]
        return bool(status["conditions"] == namespace.must("flows", "copy")["status"]["conditions"])

    until(agree, 60, lambda: f"{desk.json('status')} {namespace.must('flows', 'copy')['status']}")
    (status,) = desk.json("status")["flows"]
    in_cluster = namespace.must("flows", "copy")["status"]
    assert status["deliveryGuarantee"] == in_cluster["deliveryGuarantee"] == "ExactlyOnce"
    assert [one["name"] for one in status["streams"]] == ["public.users"]
    assert {"again": "Succeeded"}.items() <= {one["token"]: one["state"] for one in status["triggers"]}.items()
    said = desk.say("status")
    assert "public.users" in said and "again" in said and "Ready: True" in said

    assert [one["stream"] for one in desk.json("state", "list")] == ["public.users"]
    (shown,) = desk.json("state", "show")
    assert shown["record"]["flowUid"] == namespace.must("flows", "copy")["metadata"]["uid"]
    (history,) = desk.json("state", "history")
    assert again["job"] in {revision["run"]["id"] for revision in history["history"]}, history

    # A delta from there on reads all rows again; of those that are delivered already, none is delivered twice.
    watermark = json.dumps({"columns": ["updated_at"], "after": ["2000-01-01"]})
    desk.say("state", "set", "--stream", "public.users", "--watermark", watermark)
    shop.postgres.execute("update users set name = 'changed' where id = 1")
    namespace.trigger("flow/copy", "delta_load", "from-there")
    done = namespace.await_token("copy", "from-there")
    assert shop.same("users"), shop.difference("users")
    assert done["rows"] >= 1, done

    desk.say("state", "reset", "--stream", "public.users")
    assert "anew" in desk.say("state", "show") or "edited" in desk.say("state", "show")
    namespace.trigger("flow/copy", "full_load", "anew")
    assert namespace.await_token("copy", "anew")["rows"] == 0
    assert shop.same("users"), shop.difference("users")


def test_a_flow_that_is_not_there_is_told(namespace: Namespace, operator: None, millrace: Millrace) -> None:
    said = Desk(millrace, namespace).say("status", check=False)
    assert f"{namespace.name}/copy" in said and "kubectl get flows" in said


def test_f37_state_that_is_lost_stops_the_flow_until_it_is_restored(
    namespace: Namespace, operator: None, shop: Shop
) -> None:
    shop.table("users", 100)
    namespace.apply(shop.secret, shop.source("users"), flow("copy", "shop", shop.destination()))
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    (state,) = [m for m in namespace.list("configmaps") if m["metadata"]["name"].endswith("-state")]
    name = state["metadata"]["name"]
    backup = yaml.safe_load(namespace.kubectl("get", "configmap", name, "-o", "yaml"))
    shop.insert("users", 1000, 1009)
    namespace.kubectl("delete", "configmap", name)

    namespace.await_condition("flows", "copy", "Stalled", "True", "StateLost")
    namespace.trigger("flow/copy", "full_load", "lost")
    stands_still = [namespace.get("configmaps", name), shop.same("users")]
    assert stands_still == [None, False]

    for key in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
        backup["metadata"].pop(key, None)
    namespace.apply(backup)
    assert namespace.await_token("copy", "lost")["rows"] == 10
    namespace.wait_for("Ready", "flow/copy")
    assert shop.same("users"), shop.difference("users")
    assert not stalled(namespace)


def stalled(namespace: Namespace) -> list[Object]:
    conditions = namespace.must("flows", "copy")["status"]["conditions"]
    return [one for one in conditions if one["type"] == "Stalled"]


def test_deletion_policy_takes_the_state_with_the_flow(
    namespace: Namespace, operator: None, shop: Shop, bucket: Bucket
) -> None:
    shop.table("users", 10)
    namespace.apply(
        shop.secret,
        bucket.secret,
        shop.source("users"),
        flow("here", "shop", shop.destination(schema="here"), deletionPolicy="Delete"),
        flow("there", "shop", shop.destination(schema="there"), deletionPolicy="Delete", state=bucket.state()),
    )
    for name in ("here", "there"):
        namespace.wait_for("LastRunSucceeded", f"flow/{name}")
    assert bucket.s3.keys("state")
    namespace.kubectl("delete", "flows", "--all", timeout=300)
    until(lambda: not bucket.s3.keys("state"), 120, lambda: str(bucket.s3.keys("state")))
    until(
        lambda: not [m for m in namespace.list("configmaps") if m["metadata"]["name"].endswith("-state")],
        120,
        lambda: namespace.kubectl("get", "configmaps"),
    )
