"""What each small connector promises, and what holds across the streams of a Flow."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from faultproxy import HttpProxy
from harness import S3, Lake, Millrace, Result, csv_source, duck, resource
from kit import FileSink, adds_up, customers, expect, same_rows, write_table

Run = Callable[..., Result]
Manifest = Callable[..., Path]


def generator(**connection: Any) -> dict[str, Any]:
    stream = {"name": "rows", "primaryKey": ["id"]}
    return {"connector": "generator", "connection": {"seed": 5, "rows": 1000, **connection}, "streams": [stream]}


def test_the_generator_makes_the_same_rows_and_known_changes(
    run: Run, manifest: Manifest, millrace: Millrace, workdir: Path
) -> None:
    parts = {"updateFraction": 0.01, "deleteFraction": 0.02, "insertFraction": 0.03}
    sinks = [FileSink(Lake(millrace), str(workdir / name)) for name in ("one", "two")]
    flows = [
        manifest(name, source=generator(**parts), destination=sink.spec())
        for name, sink in zip(("one", "two"), sinks, strict=True)
    ]
    for flow in flows:
        expect(run(flow).stream("rows"), read=1000, inserted=1000)
    same_rows(sinks[0].table(flows[0], "rows"), sinks[1].table(flows[1], "rows"))
    manifest("one", source=generator(**parts, version=1), destination=sinks[0].spec())

    expect(
        run(flows[0]).stream("rows"), read=1010, inserted=30, updated=10, unchanged=970, deleted=20, absent=20
    )


def test_stdout_prints_one_object_a_line_and_nothing_else(millrace: Millrace, manifest: Manifest, workdir: Path) -> None:
    source = workdir / "in.csv"
    source.write_text('id,v,n\n1,"a ""quoted"" ü\nline",1.5\n2,,\n')
    flow = manifest(
        source=csv_source(source),
        destination={"connector": "stdout", "connection": {"streamField": "of"}, "writeMode": "append"},
    )

    lines = millrace("run", flow).stdout.splitlines()

    rows = [{name: v for name, v in json.loads(line).items() if not name.startswith("_millrace_")} for line in lines]
    assert rows == [{"of": "in", "id": 1, "v": 'a "quoted" ü\nline', "n": 1.5}, {"of": "in", "id": 2, "v": None, "n": None}]


def test_null_reads_everything_and_keeps_nothing(run: Run, manifest: Manifest) -> None:
    flow = manifest(source=generator(), destination={"connector": "null", "writeMode": "append"})
    counts = run(flow).stream("rows")
    assert counts["read"] == 1000 and counts["outcome"] == "loaded"
    adds_up(counts)


def test_memory_is_gone_with_the_process(run: Run, manifest: Manifest) -> None:
    flow = manifest(source=generator(), destination={"connector": "memory", "writeMode": "upsert"})
    expect(run(flow).stream("rows"), read=1000, inserted=1000)
    # The next process finds state and no table: it must not be taken for "all is delivered".
    again = run(flow, check=False)
    assert again.returncode == 3 or again.stream("rows")["inserted"] == 1000, str(again)


def test_a_rate_limit_holds_across_the_streams_of_a_flow(
    run: Run, manifest: Manifest, s3: S3, files: FileSink, workdir: Path
) -> None:
    for name in ("a", "b", "c"):
        s3.put(f"in/{name}.csv", b"id\n1\n")
    limit = {"requestsPerSecond": 4, "burst": 1}
    recipe = resource("Connector", "slow", {"type": "file", "roles": ["source"], "rateLimit": limit})
    with HttpProxy(s3.endpoint) as proxy:
        near = replace(s3, endpoint=proxy.url)
        source = {
            "connector": "slow",
            "connection": {"url": f"{s3.url}/in/{{stream}}.csv", "format": "csv", **near.spec},
            "streams": [{"name": name, "primaryKey": ["id"]} for name in ("a", "b", "c")],
            "concurrency": 3,
        }
        flow = manifest(source=source, destination=files.spec(), documents=[recipe])
        started = time.monotonic()
        report = run(flow, env=near.env)
        took = time.monotonic() - started
    for name in ("a", "b", "c"):
        expect(report.stream(name), read=1, inserted=1)
    sent = len(proxy.requests)
    assert sent >= 3 and took > (sent - 1) / 4 * 0.9, f"{sent} requests in {took:.1f} s"


def test_a_job_loads_what_it_asks_for(run: Run, manifest: Manifest, workdir: Path, files: FileSink) -> None:
    source = csv_source(workdir / "in" / "{stream}.csv")
    source["streams"] = [{"name": name, "primaryKey": ["id"]} for name in ("one", "two")]
    for name in ("one", "two"):
        write_table(customers(20), workdir / "in" / f"{name}.csv")
    flow = manifest(source=source, destination=files.spec())
    text = flow.read_text()
    job = resource("Job", "again", {"flow": {"name": "lake"}, "load": "Full", "streams": ["two"]})
    flow.write_text(text + "---\n" + json.dumps(job))

    report = run(flow).json

    streams = sorted((entry["name"], stream["name"]) for entry in report["flows"] for stream in entry["streams"])
    # A Flow of a manifest runs as it is, and the Job loads its one stream.
    assert ("again", "two") in streams or ("lake", "two") in streams, streams
    assert not [pair for pair in streams if pair == ("again", "one")]
    assert duck("select count(*) from t", t=files.table(flow, "two")) == [(20,)]
    text = run(flow, "--dry-run").json
    assert text


def test_a_dry_run_counts_and_writes_nothing(run: Run, manifest: Manifest, workdir: Path, files: FileSink) -> None:
    rows = customers(50)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=files.spec())
    expect(run(flow, "--dry-run").stream("customers"), read=50, inserted=50)
    assert not list(Path(files.root).rglob("*.parquet"))
    run(flow)
    before = files.fingerprint(flow, "customers")
    write_table(rows.slice(0, 40), source)

    counts = run(flow, "--dry-run").stream("customers")

    expect(counts, read=40, unchanged=40, deleted=10, absent=10)
    assert files.fingerprint(flow, "customers") == before
    same_rows(files.table(flow, "customers"), rows)
