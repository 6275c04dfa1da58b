"""`examples/kubernetes`: as they stand, or with the addresses, buckets and passwords of the tests put in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import Namespace, Object
from harness import ROOT, Millrace
from manifests import Bucket, Shop, lake

EXAMPLES = ROOT / "examples" / "kubernetes"


def test_the_first_flow_of_the_documents(namespace: Namespace, operator: None) -> None:
    namespace.kubectl("apply", "-f", str(EXAMPLES / "first"))
    namespace.wait_for("Ready", "source/made-up")
    namespace.wait_for("Ready", "flow/first")
    namespace.wait_for("LastRunSucceeded", "flow/first")
    # The kubelet may hear later than the operator that so short a load is over, and shows no log before.
    namespace.kubectl(
        "wait", "--for=condition=Complete", "job", "--selector=millrace.dev/flow=first", "--timeout=180s", timeout=210
    )
    printed = namespace.kubectl("logs", "--selector=millrace.dev/flow=first", "--tail=-1")
    ids = [row["id"] for row in rows(printed) if "id" in row]
    assert sorted(set(ids)) == list(range(min(ids), min(ids) + 10)), printed


def rows(log: str) -> list[Object]:
    """The lines that are JSON objects."""
    found = []
    for line in log.splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


@pytest.mark.parametrize("name", ["customers", "orders"])
def test_a_database_into_a_bucket(
    namespace: Namespace,
    operator: None,
    shop: Shop,
    bucket: Bucket,
    millrace: Millrace,
    tmp_path: Path,
    name: str,
) -> None:
    for table in ("customers", "orders"):
        shop.table(table, 500)
    documents = [
        put_in(document, shop, bucket)
        for file in sorted((EXAMPLES / "shop").glob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text())
        if document["kind"] != "Flow" or document["metadata"]["name"] == name
    ]
    namespace.apply(*documents)
    namespace.wait_for("Ready", "source/shop")
    namespace.wait_for("Ready", f"flow/{name}")
    namespace.trigger(f"flow/{name}", "full_load", "now")
    namespace.await_token(name, "now")
    delivered = lake(namespace, bucket, millrace, tmp_path, documents, name)
    wanted = [id for (id,) in shop.postgres.rows(f'select id from "{name}" order by id')]
    assert sorted(delivered["id"].to_pylist()) == wanted


def put_in(document: Object, shop: Shop, bucket: Bucket) -> Object:
    """The example with what is the tests' own."""
    metadata = {key: value for key, value in document["metadata"].items() if key != "namespace"}
    document = {**document, "metadata": metadata}
    match document["kind"], metadata["name"]:
        case "Secret", "shop-db":
            return {**document, "stringData": shop.secret["stringData"]}
        case "Secret", "lake":
            return {**document, "stringData": bucket.secret["stringData"]}
        case "Source", _:
            document["spec"]["connection"] |= shop.connection
        case "Flow", _:
            place(document["spec"]["destination"]["connection"], bucket)
            document["spec"]["destination"]["connection"]["url"] = f"s3://{bucket.s3.bucket}/{{namespace}}/{{stream}}"
            if state := document["spec"]["state"].get("s3"):
                place(state, bucket)
                state["bucket"] = bucket.s3.bucket
    return document


def place(spec: dict[str, Any], bucket: Bucket) -> None:
    spec |= bucket.place
