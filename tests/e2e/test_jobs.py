"""Jobs that several pods share: whoever of them dies, each row arrives once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from cluster import Namespace, Object, until
from harness import Millrace, duck
from manifests import Bucket, Shop, flow, lake, resource

ROWS = 60_000
PODS = 3
PARTS = 12
# So a part takes some seconds, and the whole load some more.
PACE = 100_000.0


def leader(stream: str) -> int:
    """The pod that a stream is dealt to."""
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "big") % PODS


def share(namespace: Namespace, shop: Shop, bucket: Bucket) -> list[Object]:
    """Asks for a full load by several pods, of two tables, one of them in parts; gives the manifests of the Flow."""
    shop.table("users", ROWS)
    shop.table("orders", 1000)
    tables = shop.source("users", "orders", concurrency=1)
    tables["spec"]["streams"][0]["partitions"] = PARTS
    made = [
        shop.secret,
        bucket.secret,
        tables,
        # It waits for its Job.
        flow("lake", "shop", bucket.destination(), state=bucket.state(), schedule="0 3 1 1 *"),
    ]
    namespace.apply(*made)
    namespace.wait_for("Ready", "flow/lake")
    # What the first pod could do alone, before the last one is there, is not to be much.
    shop.server.bytes_per_second = PACE / 10
    spec = {"flow": {"name": "lake"}, "load": "Full", "streams": ["public.users", "public.orders"], "parallelism": PODS}
    namespace.apply(resource("Job", "all", spec))
    until(lambda: len(working(namespace, begun=True)) == PODS, 300, lambda: f"{PODS} pods: {namespace.pods('lake')}")
    shop.server.bytes_per_second = PACE
    return made


def arrived(shop: Shop, table: str, rows: pa.Table) -> None:
    """By DuckDB: what lies there is the table, each row once."""
    asked = zip(*shop.postgres.rows(f'select id, name, amount::text from "{table}"'), strict=True)
    wanted = pa.table(dict(zip(("id", "name", "amount"), (pa.array(values) for values in asked), strict=True)))
    columns = "id, name, amount::decimal(12, 2)"
    one, other = f"select {columns} from rows", f"select {columns} from wanted"
    (found,) = duck(
        f"select (select count(*) from ({one} except all {other})), (select count(*) from ({other} except all {one})),"
        " (select count(*) from rows), (select count(distinct id) from rows)",
        rows=rows,
        wanted=wanted,
    )
    assert found == (0, 0, wanted.num_rows, wanted.num_rows), table


def all_arrived(
    namespace: Namespace, shop: Shop, bucket: Bucket, millrace: Millrace, directory: Path, made: list[Object]
) -> None:
    """Both tables lie in the bucket, and nothing is left of what the pods said to each other."""
    for table in ("users", "orders"):
        arrived(shop, table, lake(namespace, bucket, millrace, directory, made, "lake", "--stream", f"public.{table}"))
    until(lambda: not parts(bucket), 120, lambda: f"left behind: {parts(bucket)}")


def parts(bucket: Bucket) -> list[str]:
    return bucket.s3.keys("state/_loads")


def working(namespace: Namespace, begun: bool = False) -> dict[int, str]:
    """The pods at work, by their index; `begun`: those that have ended as well."""
    phases = ("Running", "Succeeded", "Failed") if begun else ("Running",)
    index = "batch.kubernetes.io/job-completion-index"
    return {
        int(pod["metadata"]["labels"][index]): pod["metadata"]["name"]
        for pod in namespace.pods("lake")
        if pod["status"].get("phase") in phases and index in pod["metadata"]["labels"]
    }


def test_pods_that_share_a_job_read_parts_of_one_table(
    namespace: Namespace, operator: None, shop: Shop, bucket: Bucket, millrace: Millrace, tmp_path: Path
) -> None:
    made = share(namespace, shop, bucket)
    namespace.wait_for("Succeeded", "mrj/all", 300)
    all_arrived(namespace, shop, bucket, millrace, tmp_path, made)

    status = namespace.must("mrj", "all")["status"]
    assert status["totals"]["inserted"] == ROWS + 1000, status
    assert {stream["name"] for stream in status["streams"]} == {"public.users", "public.orders"}
    (job,) = [one for one in namespace.list("jobs") if one["spec"]["completions"] == PODS]
    assert job["spec"]["completionMode"] == "Indexed"
    pods = [pod["metadata"]["name"] for pod in namespace.pods("lake")]
    logs = [namespace.kubectl("logs", pod) for pod in pods]
    helped = [log for log in logs if "helped with a load" in log]
    assert len(pods) == PODS and len(helped) == PODS - 1, logs


@pytest.mark.parametrize("who", ["helper", "leader"])
def test_f13_a_pod_that_shares_a_job_is_killed_and_costs_no_row(
    namespace: Namespace, operator: None, shop: Shop, bucket: Bucket, millrace: Millrace, tmp_path: Path, who: str
) -> None:
    made = share(namespace, shop, bucket)
    first = leader("public.users")
    index = first if who == "leader" else (first + 1) % PODS
    announced = lambda: [key for key in parts(bucket) if "/part-" in key]  # noqa: E731

    def reads() -> str | None:
        return working(namespace).get(index) if announced() else None

    name = until(reads, 180, "the first part of another pod")
    namespace.kubectl("delete", "pod", name, "--grace-period=0", "--force")
    namespace.wait_for("Succeeded", "mrj/all", 300)
    all_arrived(namespace, shop, bucket, millrace, tmp_path, made)
    # What a pod has committed and not told before it is killed is delivered, and counted by nobody.
    totals = namespace.must("mrj", "all")["status"]["totals"]
    assert totals["inserted"] in (ROWS, ROWS + 1000), totals
