"""Connectors as published that read an API: pages, a cursor, and the state between the runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from api import Api
from harness import Millrace, Result, Row, Spec, duck
from kit import FileSink, expect, same_answers
from plugins import engine_manifest, failure, keyed
from published import DECLARATIVE, REST, REST_MSDK, RSS, Package

Run = Callable[..., Result]
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = 100
# What the connectors are told of the rows.
COLUMNS: dict[str, Spec] = {
    "id": {"type": "integer"},
    "name": {"type": ["string", "null"]},
    "price": {"type": ["number", "null"], "multipleOf": 0.01},
    "sold": {"type": ["boolean", "null"]},
    "tags": {"type": ["array", "null"], "items": {"type": "string"}},
    "updated_at": {"type": "string", "format": "date-time"},
}
TYPES = "bigint, varchar, decimal(38,2), boolean, varchar, timestamp with time zone"


def items(count: int, first: int = 1) -> list[Row]:
    """Rows, one changed every minute."""
    return [
        {
            "id": n,
            "name": None if n % 7 == 0 else f"item, “{n}”",
            "price": n / 100,
            "sold": n % 2 == 0,
            "tags": [f"tag {n % 3}"],
            "updated_at": moment(n),
        }
        for n in range(first, first + count)
    ]


def moment(minute: int) -> str:
    return (BEGIN + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def shop() -> Iterator[Api]:
    """An API with 250 items."""
    with Api(items=items(250)) as api:
        yield api


def same_as_the_api(manifest: Path, files: FileSink, shop: Api, workdir: Path) -> None:
    """Compares each value with what the API holds, as DuckDB reads its JSON."""
    source = workdir / "items.ndjson"
    source.write_text("".join(json.dumps(row) + "\n" for row in shop.streams["items"]))
    columns = ", ".join(COLUMNS)
    ours = f"select {columns} from read_parquet({files.lake.files(manifest)})"
    declared = ", ".join(f"{name}: '{type_.strip()}'" for name, type_ in zip(COLUMNS, TYPES.split(", "), strict=True))
    theirs = f"select {columns} from read_json('{source}', columns = {{{declared}}})"
    types = duck(f"select {', '.join(f'lower(typeof({name}))' for name in COLUMNS)} from ({ours}) limit 1")
    assert types == [tuple(type_.strip() for type_ in TYPES.split(", "))]
    ours = ours.replace("tags", "tags::json::varchar as tags")
    theirs = theirs.replace("tags", "tags::json::varchar as tags", 1)
    same_answers(ours, theirs)


def declarative(api: Api) -> Spec:
    """The configuration of a low-code source: its manifest is a part of it."""
    cursor = {
        "type": "DatetimeBasedCursor",
        "cursor_field": "updated_at",
        "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "cursor_datetime_formats": ["%Y-%m-%dT%H:%M:%SZ"],
        "start_datetime": {"type": "MinMaxDatetime", "datetime": "{{ config['start'] }}"},
        "end_datetime": {"type": "MinMaxDatetime", "datetime": "{{ config['end'] }}"},
        "start_time_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "since"},
    }
    size = {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "size"}
    pages = {"type": "PageIncrement", "page_size": PAGE, "start_from_page": 1, "inject_on_first_request": True}
    paginator = {
        "type": "DefaultPaginator",
        "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "page"},
        "page_size_option": size,
        "pagination_strategy": pages,
    }
    stream = {
        "type": "DeclarativeStream",
        "name": "items",
        "primary_key": ["id"],
        "incremental_sync": cursor,
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {"type": "HttpRequester", "url_base": api.url, "path": "/items", "http_method": "GET"},
            "record_selector": {
                "type": "RecordSelector",
                "extractor": {"type": "DpathExtractor", "field_path": ["items"]},
            },
            "paginator": paginator,
        },
        "schema_loader": {
            "type": "InlineSchemaLoader",
            "schema": {"type": "object", "properties": COLUMNS, "additionalProperties": True},
        },
    }
    manifest = {
        "version": "6.5.2",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["items"]},
        "streams": [stream],
        "spec": {"type": "Spec", "connection_specification": {"type": "object", "properties": {}}},
    }
    return {"__injected_declarative_manifest": manifest, "start": moment(0), "end": moment(100_000)}


def rest(api: Api, workdir: Path) -> Spec:
    """The configuration of a tap that takes the columns from a directory."""
    (workdir / "schemas").mkdir(exist_ok=True)
    schema = {"type": "object", "properties": COLUMNS}
    (workdir / "schemas" / "items.json").write_text(json.dumps(schema))
    return {
        "streams": "items",
        "url": f"{api.url}/items?since={{start_datetime}}&page={{current_page_one_base}}&size={{items_per_page}}",
        "schema_dir": str(workdir / "schemas"),
        "auth_method": "no_auth",
        "record_list_level": "items[*]",
        "items_per_page": PAGE,
        "datetime_key": "updated_at",
        "start_datetime": moment(0),
    }


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow(DECLARATIVE, config)`: a Flow of the items."""

    def write(package: Package, config: Spec, **stream: Any) -> Path:
        command = {"command": [str(package.install())]}
        streams = keyed("items", **stream)
        return engine_manifest(workdir, package.engine, command, files.spec(), connection=config, streams=streams)

    return write


@pytest.mark.usefixtures("whole")
def test_airbyte_declarative_manifest(
    run: Run, millrace: Millrace, flow: Callable[..., Path], shop: Api, files: FileSink, workdir: Path
) -> None:
    manifest = flow(DECLARATIVE, declarative(shop))
    assert "items" in millrace("discover", manifest).stdout
    expect(run(manifest).stream("items"), read=250, inserted=250)
    assert [asked["page"] for asked in shop.take()][-3:] == ["1", "2", "3"]
    same_as_the_api(manifest, files, shop, workdir)

    again = run(manifest).stream("items")

    assert again["load"] == "delta"
    expect(again, read=1, unchanged=1)
    assert {asked["since"] for asked in shop.take()} == {moment(250)}
    shop.streams["items"][3] |= {"price": 99.99, "updated_at": moment(251)}
    shop.streams["items"] += items(20, 252)
    more = run(manifest).stream("items")
    expect(more, read=22, inserted=20, updated=1, unchanged=1)
    same_as_the_api(manifest, files, shop, workdir)


def test_airbyte_declarative_manifest_is_told_of_a_wrong_setting(
    run: Run, flow: Callable[..., Path], shop: Api
) -> None:
    config = declarative(shop)
    config["__injected_declarative_manifest"]["streams"][0]["retriever"]["requester"]["path"] = "/wares"
    error = failure(run(flow(DECLARATIVE, config), check=False), "items")
    assert "Not found" in error["message"] and "404" in error["advice"] and "/wares" in error["advice"], error


@pytest.mark.usefixtures("whole")
def test_singer_rest_api(
    run: Run, millrace: Millrace, flow: Callable[..., Path], shop: Api, files: FileSink, workdir: Path
) -> None:
    manifest = flow(REST, rest(shop, workdir), cursorField="updated_at")
    assert "items" in millrace("discover", manifest).stdout
    expect(run(manifest).stream("items"), read=250, inserted=250)
    assert [asked["page"] for asked in shop.take()] == ["1", "2", "3"]
    same_as_the_api(manifest, files, shop, workdir)

    again = run(manifest).stream("items")

    # The tap itself knows the last row again.
    assert again["load"] == "delta"
    expect(again, read=0)
    assert [asked["since"][:16] for asked in shop.take()] == [moment(250)[:16]]
    shop.streams["items"][3] |= {"price": 99.99, "updated_at": moment(251)}
    shop.streams["items"] += items(20, 252)
    more = run(manifest).stream("items")
    expect(more, read=21, inserted=20, updated=1)
    same_as_the_api(manifest, files, shop, workdir)


def test_singer_rest_api_is_told_of_a_wrong_setting(
    run: Run, flow: Callable[..., Path], shop: Api, workdir: Path
) -> None:
    config = {**rest(shop, workdir), "schema_dir": str(workdir / "no-such-directory")}
    error = failure(run(flow(REST, config), check=False), "items")
    assert "no-such-directory" in f"{error['message']} {error.get('advice')}", error


def msdk(api: Api) -> Spec:
    """The configuration of the other tap for any API: what it reads is in the settings, and it asks for the types."""
    stream = {
        "name": "items",
        "path": "/items",
        "primary_keys": ["id"],
        "records_path": "$.items[*]",
        "replication_key": "updated_at",
        "source_search_field": "since",
        "source_search_query": "$last_run_date",
        "params": {"size": PAGE},
    }
    pages = {"pagination_request_style": "simple_header_paginator", "next_page_token_path": "$.next"}
    return {"api_url": api.url, "start_date": moment(0), "streams": [stream], **pages}


@pytest.mark.usefixtures("whole")
def test_singer_rest_api_msdk(run: Run, millrace: Millrace, flow: Callable[..., Path], shop: Api, files: FileSink) -> None:
    def same() -> None:
        names = ["id", "name", "price", "sold", "updated_at"]
        found = files.table(manifest, "items").select(names).sort_by("id").to_pylist()
        assert found == [{name: row[name] for name in names} for row in sorted(shop.streams["items"], key=by_id)]

    def by_id(row: Row) -> int:
        return int(row["id"])

    manifest = flow(REST_MSDK, msdk(shop), cursorField="updated_at")
    assert "items" in millrace("discover", manifest).stdout
    expect(run(manifest).stream("items"), read=250, inserted=250)
    same()
    again = run(manifest).stream("items")
    assert again["load"] == "delta"
    expect(again, read=1, unchanged=1)
    shop.streams["items"][3] |= {"price": 99.99, "updated_at": moment(251)}
    shop.streams["items"] += items(20, 252)
    expect(run(manifest).stream("items"), read=22, inserted=20, updated=1, unchanged=1)
    same()
    del shop.streams["items"][:10]
    expect(run(manifest, "--full").stream("items"), read=260, unchanged=260, deleted=10, absent=10)
    same()


class Feeds(SimpleHTTPRequestHandler):
    """Files of a directory."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.usefixtures("whole")
def test_airbyte_rss(run: Run, workdir: Path, files: FileSink) -> None:
    if not RSS.interpreter():
        pytest.skip(f"{RSS.requirement} runs on Python {RSS.python} at most, which is not installed here")
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=10)
    (workdir / "feed").mkdir()

    def publish(count: int) -> None:
        every = "".join(
            f"<item><title>news {n} &amp; more</title><guid>{n}</guid>"
            f"<pubDate>{begin + timedelta(minutes=n):%a, %d %b %Y %H:%M:%S GMT}</pubDate></item>"
            for n in range(1, count + 1)
        )
        feed = f'<?xml version="1.0"?><rss version="2.0"><channel><title>all</title>{every}</channel></rss>'
        (workdir / "feed" / "index.html").write_text(feed)

    publish(120)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Feeds, directory=str(workdir))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        manifest = engine_manifest(
            workdir,
            RSS.engine,
            {"command": [str(RSS.install())]},
            files.spec(),
            connection={"url": f"http://127.0.0.1:{server.server_port}/feed"},
            streams=[{"name": "items", "primaryKey": ["guid"]}],
        )
        expect(run(manifest).stream("items"), read=120, inserted=120)
        again = run(manifest).stream("items")
        assert again["load"] == "delta"
        expect(again, read=1, unchanged=1)
        publish(140)
        expect(run(manifest).stream("items"), read=21, inserted=20, unchanged=1)
        server.shutdown()
    found = files.table(manifest, "items").select(["guid", "title", "published"]).to_pylist()
    wanted = {n: (f"news {n} & more", begin + timedelta(minutes=n)) for n in range(1, 141)}
    assert {int(row["guid"]): (row["title"], row["published"]) for row in found} == wanted
