"""Connectors as containers beside the worker's: a destination, a tap, and a source that is given another token at each use."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from cluster import Namespace, Object
from guests import Look, connector, listening, mine, pods_are_restricted
from manifests import Bucket, Shop, flow, from_secret, secret, source

# What the programs of these tests begin with.
SPEAKS = """
import json, sys, urllib.request
def say(**message): print(json.dumps(message), flush=True)
verb = sys.argv[1]
config = json.load(open(sys.argv[sys.argv.index("--config") + 1])) if "--config" in sys.argv else {}
def ask(text): return urllib.request.urlopen(config["url"], text.encode(), timeout=30).read().decode()
if verb == "check": say(type="CONNECTION_STATUS", connectionStatus={"status": "SUCCEEDED"})
"""
# Sends rows on before it says that they are safe.
TAKES = (
    SPEAKS
    + """
if verb == "spec":
    say(type="SPEC", spec={"connectionSpecification": {}, "supported_destination_sync_modes": ["append", "overwrite"]})
if verb == "write":
    rows = []
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "RECORD": rows.append(message["record"]["data"])
        if message["type"] == "STATE":
            ask(json.dumps(rows))
            rows = []
            print(line, end="", flush=True)
"""
)
# Gives its token for another, at each use, and tells the world of it.
ROTATES = (
    SPEAKS
    + """
if verb in ("discover", "read"):
    number, config["token"] = ask(config["token"]).split()
    say(type="CONTROL", control={"type": "CONNECTOR_CONFIG", "emitted_at": 1.5, "connectorConfig": {"config": config}})
    say(type="LOG", log={"level": "INFO", "message": "from now on it is " + config["token"]})
schema = {"type": "object", "properties": {name: {"type": "integer"} for name in ("id", "turn")}}
if verb == "discover":
    items = {"name": "items", "json_schema": schema, "supported_sync_modes": ["full_refresh"]}
    say(type="CATALOG", catalog={"streams": [items]})
if verb == "read": say(type="RECORD", record={"stream": "items", "data": {"id": 1, "turn": int(number)}, "emitted_at": 1})
"""
)


def answering(answer: Callable[[str], str | None]) -> type[BaseHTTPRequestHandler]:
    """A server that answers what it is sent by what this makes of it; `None` refuses it."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found = answer(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(401 if found is None else 200)
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    return Answers


def test_an_airbyte_destination_is_a_container_of_its_own(
    namespace: Namespace, operator: None, faker_image: str, host: str
) -> None:
    rows: list[Object] = []

    def take(text: str) -> str:
        rows.extend(json.loads(text))
        return "taken"

    program = {"image": faker_image, "entrypoint": ["python3", "-c", TAKES]}
    made_up = source("made-up", "generator", {"rows": 500}, ["rows"])
    with listening(host, answering(take)) as url:
        goes = flow(
            "away", "made-up", {"connector": {"name": namespace.name}, "connection": {"url": url}, "writeMode": "append"}
        )
        mine(namespace, connector(namespace.name, "airbyte", program, ("destination",)), made_up, goes)
        namespace.wait_for("LastRunSucceeded", "flow/away", 180)
    pods_are_restricted(namespace, "away")
    assert len(rows) == len({row["id"] for row in rows}) == 500
    pods = namespace.pods("away")
    assert pods
    for pod in pods:
        assert [one["name"] for one in pod["spec"]["initContainers"]] == ["shim", "connector-destination"]


def test_a_singer_tap_is_a_container_of_its_own(
    namespace: Namespace, operator: None, tap_image: str, shop: Shop, bucket: Bucket, look: Look
) -> None:
    shop.table("users", 300)
    program = {
        "image": tap_image,
        "entrypoint": ["python3", "-c", "from tap_postgres.tap import TapPostgres; TapPostgres.cli()"],
    }
    recipe = connector(namespace.name, "singer", program, credentials=[{"name": "password", "required": True}])
    connection = {name: shop.connection[name] for name in ("host", "port", "user", "database")}
    streams = [{"name": "public-users", "primaryKey": ["id"], "cursorField": "updated_at"}]
    settings = {**connection, "filter_schemas": ["public"]}
    tap = source("users", namespace.name, settings, streams, credentials=from_secret("shop-db", "password"))
    made = [bucket.secret, shop.secret, recipe, tap, flow("lake", "users", bucket.destination())]
    mine(namespace, *made)
    namespace.wait_for("LastRunSucceeded", "flow/lake", 240)
    pods_are_restricted(namespace, "lake")
    assert look(made, "select count(*), count(distinct id), min(name) from rows") == [(300, 300, "row 1")]

    shop.insert("users", 301, 350)
    namespace.await_token("lake", namespace.trigger("flow/lake", "delta_load", "more"), seconds=180)
    assert look(made, "select count(*), count(distinct id), max(id) from rows") == [(350, 350, 350)]


def test_a_token_that_is_replaced_is_kept_for_all_pods_and_seen_by_nobody(
    namespace: Namespace, operator: None, faker_image: str, bucket: Bucket, look: Look, host: str
) -> None:
    tokens, refused = [secrets.token_hex(20)], set[str]()

    def exchange(token: str) -> str | None:
        """Only the newest is worth anything."""
        if token != tokens[-1]:
            refused.add(token)
            return None
        tokens.append(secrets.token_hex(20))
        namespace.secrets.add(tokens[-1])
        return f"{len(tokens)} {tokens[-1]}"

    program = {"image": faker_image, "entrypoint": ["python3", "-c", ROTATES]}
    recipe = connector(namespace.name, "airbyte", program, credentials=[{"name": "token", "required": True}])
    with listening(host, answering(exchange)) as url:
        keyed = [{"name": "items", "primaryKey": ["id"]}]
        read = source("items", namespace.name, {"url": url}, keyed, credentials=from_secret("api", "token"))
        mine(namespace, bucket.secret, secret("api", token=tokens[0]), recipe, read)
        namespace.wait_for("Ready", "source/items", 180)
        assert len(tokens) > 1, "it was not asked for its streams"
        goes = flow("lake", "items", bucket.destination("append"))
        namespace.apply(goes)
        namespace.wait_for("LastRunSucceeded", "flow/lake", 180)
        namespace.kubectl("delete", "pods", "--all", "--wait")
        first = len(tokens)

        namespace.await_token("lake", namespace.trigger("flow/lake", "full_load", "more"), seconds=180)
        assert len(tokens) > first and not refused
        assert look([bucket.secret, read, goes], "select count(*) from rows") == [(2,)]

        # Who edits the Secret means what they write.
        tokens.append(secrets.token_hex(20))
        namespace.apply(secret("api", token=tokens[-1]))
        edited = len(tokens)
        namespace.await_token("lake", namespace.trigger("flow/lake", "full_load", "edited"), seconds=180)
        assert len(tokens) > edited and not refused
