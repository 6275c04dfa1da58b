"""From manifests to data: what a person applies arrives, and what `kubectl get` says of it is true."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import yaml
from cluster import Namespace, Object, condition, until
from harness import Millrace, duck
from manifests import Bucket, Shop, flow, lake, resource, source

ROWS = 20_000


def test_one_apply_brings_tables_into_tables(namespace: Namespace, operator: None, shop: Shop) -> None:
    for table in ("users", "orders"):
        shop.table(table, ROWS)
    namespace.apply(shop.secret, shop.source("users", "orders"), flow("copy", "shop", shop.destination()))
    namespace.wait_for("Ready", "source/shop")
    namespace.wait_for("Ready", "flow/copy")
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    assert shop.same("users"), shop.difference("users")
    assert shop.same("orders"), shop.difference("orders")

    status = namespace.must("flows", "copy")["status"]
    assert {s["name"] for s in status["streams"]} == {"public.users", "public.orders"}
    assert all(s["lastFullLoad"] for s in status["streams"])
    assert status["deliveryGuarantee"] == "ExactlyOnce", status


def test_tables_come_into_a_bucket_with_their_state_there(
    namespace: Namespace, operator: None, shop: Shop, bucket: Bucket, millrace: Millrace, tmp_path: Path
) -> None:
    shop.table("users", ROWS)
    made = [
        shop.secret,
        bucket.secret,
        shop.source("users"),
        flow("lake", "shop", bucket.destination(), state=bucket.state()),
    ]
    namespace.apply(*made)
    namespace.wait_for("LastRunSucceeded", "flow/lake")
    rows = lake(namespace, bucket, millrace, tmp_path, made)
    wanted = pa.table(
        {
            name: pa.array(values)
            for name, values in zip(
                ("id", "name"), zip(*shop.postgres.rows('select id, name from "users"'), strict=True), strict=True
            )
        }
    )
    (differ,) = duck(
        "select (select count(*) from (select id, name from rows except all select id, name from wanted)),"
        " (select count(*) from (select id, name from wanted except all select id, name from rows))",
        rows=rows,
        wanted=wanted,
    )
    assert differ == (0, 0) and rows.num_rows == ROWS
    assert bucket.s3.keys("state"), "the state is not in the bucket"
    assert not [c for c in namespace.list("configmaps") if c["metadata"]["name"].endswith("-state")]


def test_only_what_has_changed_follows(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", ROWS)
    namespace.apply(shop.secret, shop.source("users"), flow("copy", "shop", shop.destination()))
    namespace.wait_for("LastRunSucceeded", "flow/copy")

    shop.insert("users", ROWS + 1, ROWS + 10)
    shop.postgres.execute('update "users" set name = \'other\', updated_at = clock_timestamp() where id <= 5')
    namespace.trigger("flow/copy", "delta_load", "changes")
    assert namespace.await_token("copy", "changes")["rows"] == 15
    assert shop.same("users"), shop.difference("users")

    shop.postgres.execute('delete from "users" where id between 6 and 9')
    namespace.trigger("flow/copy", "full_load", "deletes")
    assert namespace.await_token("copy", "deletes")["rows"] == 4
    assert shop.same("users"), shop.difference("users")


def test_a_job_is_one_run(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", ROWS)
    namespace.apply(shop.secret, shop.source("users"), flow("copy", "shop", shop.destination(), schedule="0 3 1 1 *"))
    namespace.wait_for("Ready", "flow/copy")
    job = resource("Job", "", {"flow": {"name": "copy"}, "load": "Full"})
    del job["metadata"]["name"]
    job["metadata"]["generateName"] = "reload-"
    name = namespace.kubectl("create", "-f", "-", "-o", "name", stdin=yaml.safe_dump(job)).strip().split("/")[1]
    namespace.wait_for("Succeeded", f"mrj/{name}")
    assert shop.same("users"), shop.difference("users")

    status = namespace.must("mrj", name)["status"]
    assert status["startTime"] <= status["completionTime"]
    (stream,) = status["streams"]
    assert (stream["name"], stream["read"], stream["inserted"]) == ("public.users", ROWS, ROWS)


def test_a_backfill_leaves_the_watermark(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 100)
    namespace.apply(shop.secret, shop.source("users"), flow("copy", "shop", shop.destination()))
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    before = watermark(namespace)

    shop.postgres.execute("insert into users values (1000, 'late', 1, '2020-02-01T00:00:00Z')")
    backfill = {"from": "2020-01-01", "to": "2021-01-01"}
    spec = {"flow": {"name": "copy"}, "load": "Backfill", "streams": ["public.users"], "backfill": backfill}
    namespace.apply(resource("Job", "year-2020", spec))
    namespace.wait_for("Succeeded", "mrj/year-2020")
    assert shop.same("users"), shop.difference("users")
    assert watermark(namespace) == before


def watermark(namespace: Namespace) -> Object:
    (stream,) = namespace.must("flows", "copy")["status"]["streams"]
    found: Object = json.loads(stream["watermark"])
    return found


def test_a_continuous_flow_follows_its_source(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 1000)
    namespace.apply(
        shop.secret,
        shop.source("users", deltaLoadInterval="1s"),
        flow("follow", "shop", shop.destination(), mode="Continuous"),
    )
    namespace.wait_for("Ready", "flow/follow")
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
    worker = until(lambda: namespace.workers("follow"), 120, "the worker")[0]

    for turn in range(3):
        shop.insert("users", 2000 + turn * 10, 2009 + turn * 10)
        until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
    (same,) = namespace.workers("follow")
    assert same["metadata"]["uid"] == worker["metadata"]["uid"]
    assert same["status"]["containerStatuses"][0]["restartCount"] == 0


def test_several_workers_share_the_streams_whatever_their_number(namespace: Namespace, operator: None, shop: Shop) -> None:
    tables = [f"t{number}" for number in range(6)]
    for table in tables:
        shop.table(table, 500)
    rule = {"match": r"public\..*", "primaryKey": ["id"], "cursorField": "updated_at"}
    made = shop.source(fullLoadInterval="2s", deltaLoadInterval="1s")
    made["spec"]["streams"] = [rule]

    def share(workers: int) -> None:
        follow = flow("follow", "shop", shop.destination(), mode="Continuous", pod={"replicas": workers})
        namespace.apply(shop.secret, made, follow)

    share(3)
    namespace.wait_for("Ready", "flow/follow")
    for table in tables:
        until(lambda table=table: shop.same(table), 120, lambda table=table: shop.difference(table))
    until(lambda: len(namespace.workers("follow")) == 3, 120, lambda: f"three workers: {namespace.workers('follow')}")

    # Each tells of its own: together every stream once.
    def told() -> bool:
        status = namespace.must("flows", "follow")["status"]
        return (status.get("streamCount"), len(status.get("streams", []))) == (6, 6)

    until(told, 120, lambda: str(namespace.must("flows", "follow")["status"]))

    # Tables that are made later are dealt, too, and a trigger is done by all of them.
    for number in range(6, 9):
        shop.table(f"t{number}", 500)
        until(lambda number=number: shop.same(f"t{number}"), 120, lambda number=number: shop.difference(f"t{number}"))
    for table in tables:
        shop.postgres.execute(f'delete from "{table}" where id <= 5')
    namespace.trigger("flow/follow", "full_load", "all")
    namespace.await_token("follow", "all")
    for table in tables:
        assert shop.same(table), shop.difference(table)

    # A load of ours whose worker is one of several.
    namespace.apply(resource("Job", "once", {"flow": {"name": "follow"}, "load": "Full"}))
    namespace.wait_for("Succeeded", "mrj/once")
    job = namespace.must("mrj", "once")["status"]
    assert job["streamCount"] == 9 and len(job["streams"]) == 9, job

    # Fewer workers, in the middle of a run: it is done whole.
    for table in tables:
        shop.insert(table, 1000, 1500)
    namespace.trigger("flow/follow", "full_load", "fewer")
    share(1)
    namespace.await_token("follow", "fewer", seconds=180)
    for table in tables:
        assert shop.same(table), shop.difference(table)


def test_short_names_and_the_category_are_there(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 10)
    namespace.apply(shop.secret, shop.source("users"), flow("copy", "shop", shop.destination()))
    for kinds, name in (("mrs", "source.millrace.dev/shop"), ("mrf", "flow.millrace.dev/copy")):
        assert namespace.kubectl("get", kinds, "-o", "name").split() == [name]
    # The category names all kinds at once.
    everything = set(namespace.kubectl("get", "millrace", "-o", "name").split())
    assert {"source.millrace.dev/shop", "flow.millrace.dev/copy"} <= everything


def test_a_source_without_streams_lists_what_it_finds(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 1)
    shop.table("orders", 1)
    namespace.apply(shop.secret, shop.source())
    namespace.wait_for("Ready", "source/shop")
    streams = {one["name"]: one for one in namespace.must("sources", "shop")["status"]["streams"]}
    assert {"public.users", "public.orders"} <= set(streams)
    users = streams["public.users"]
    assert users["primaryKey"] == ["id"]
    columns = {column["name"]: column["type"] for column in users["columns"]}
    assert columns == {"id": "integer", "name": "string", "amount": "decimal(12,2)", "updated_at": "timestamptz(us)"}, columns
    declared = [{"name": "public.users", "schema": [{"name": "id", "logicalType": "integer"}]}]
    change = json.dumps({"spec": {"streams": declared}})
    namespace.kubectl("patch", "source", "shop", "--type=merge", "-p", change)
    of_source = (
        "get",
        "jobs.batch,configmaps,serviceaccounts,roles,rolebindings",
        "--selector=millrace.dev/source=shop",
        "-o",
        "name",
    )
    until(lambda: not namespace.kubectl(*of_source), 120, "what a discovery needs is gone with it")


def test_a_manifest_that_cannot_work_says_why_and_is_well_when_it_is_mended(
    namespace: Namespace, operator: None, shop: Shop
) -> None:
    shop.table("users", 10)
    namespace.apply(flow("copy", "shop", shop.destination()))
    namespace.await_condition("flows", "copy", "Ready", "False")
    assert "shop" in condition(namespace.must("flows", "copy"), "Ready")["message"]

    namespace.apply(shop.source("users"))
    namespace.apply(shop.secret)
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    assert shop.same("users"), shop.difference("users")


def test_an_environment_variable_is_for_local_runs(namespace: Namespace, operator: None) -> None:
    here = source("local", "file", {"url": "${HOME}/orders.csv", "format": "csv"}, ["orders"])
    namespace.apply(here)
    namespace.await_condition("sources", "local", "Ready", "False", "LocalOnly")
