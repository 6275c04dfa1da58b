"""Plugins and connectors of others in pods that the restricted standard lets in: what they read arrives, and state resumes."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import adbc_driver_sqlite
import install
import roots
import walk
from audit import moment
from cluster import Namespace, Object, until
from guests import Look, connector, mine, of_plugin, pods_are_restricted, put
from harness import ROOT
from manifests import Bucket, Shop, flow, from_secret, resource, source

READER = """
from millrace import BaseReader

class Numbers(BaseReader):
    def extract(self, state_manager=None):
        assert "pluginAccessKeyId" not in self.credentials
        first = state_manager.get("next", 0)
        for number in range(first, self.connection["to"]):
            state_manager.set("next", number + 1)
            yield [{"id": number, "name": f"row {number}"}]
"""
WITH_PACKAGE = READER.replace("from millrace", "import isodate\nfrom millrace").replace(
    'f"row {number}"', 'isodate.duration_isoformat(isodate.parse_duration(f"PT{number + 1}H"))'
)
DIES = """
import os
from millrace import BaseReader

class Numbers(BaseReader):
    def extract(self, state_manager=None):
        yield [{"id": 1, "name": "one"}]
        os.kill(os.getpid(), 11)
"""


def numbers(name: str, to: int, reader: str = "", **spec: Any) -> Object:
    """A Source of the stream `numbers`, by a Connector of this name or by a reader of its own."""
    streams = [{"name": "numbers", "primaryKey": ["id"]}]
    own = {"connector": {"name": name}} if not reader else {"reader": reader}
    return resource("Source", "numbers", {**own, "connection": {"to": to}, "streams": streams, **spec})


def test_a_python_reader_comes_from_a_bucket_and_goes_on_where_it_was(
    namespace: Namespace, operator: None, python_image: None, bucket: Bucket, look: Look
) -> None:
    url = put(bucket, "plugins/reader.py", READER.encode())
    digest = hashlib.sha256(READER.encode()).hexdigest()
    recipe = connector(namespace.name, "python", {"reader": f"{url}:Numbers", "sha256": digest, **bucket.place})
    made = [
        bucket.secret,
        recipe,
        numbers(namespace.name, 100, credentials=of_plugin(bucket)),
        flow("lake", "numbers", bucket.destination()),
    ]
    mine(namespace, *made)
    namespace.wait_for("LastRunSucceeded", "flow/lake", 180)
    pods_are_restricted(namespace, "lake")
    assert look(made, "select count(*), count(distinct id), max(id) from rows") == [(100, 100, 99)]

    namespace.apply(numbers(namespace.name, 150, credentials=of_plugin(bucket)))
    namespace.wait_for("Ready", "source/numbers", 180)
    token = namespace.trigger("flow/lake", "delta_load", "more")
    assert namespace.await_token("lake", token)["rows"] == 50
    assert look(made, "select count(*), count(distinct id), max(id) from rows") == [(150, 150, 149)]


def test_a_library_comes_from_a_bucket(namespace: Namespace, operator: None, bucket: Bucket, look: Look) -> None:
    built = Path(install.program("worker")).with_name("libexample_counter.so")
    url = put(bucket, "plugins/libcounter.so", built.read_bytes())
    recipe = connector(namespace.name, "library", {"reader": f"{url}:create_reader", **bucket.place})
    streams = [{"name": "numbers", "primaryKey": ["number"], "cursorField": "number"}]

    def counts(to: int) -> Object:
        return source("numbers", namespace.name, {"to": to}, streams, credentials=of_plugin(bucket))

    made = [bucket.secret, recipe, counts(2500), flow("lake", "numbers", bucket.destination())]
    mine(namespace, *made)
    namespace.wait_for("LastRunSucceeded", "flow/lake", 180)
    pods_are_restricted(namespace, "lake")
    assert look(made, "select count(*), sum(number) from rows") == [(2500, 2500 * 2501 // 2)]

    namespace.apply(counts(3000))
    namespace.wait_for("Ready", "source/numbers", 180)
    token = namespace.trigger("flow/lake", "delta_load", "more")
    assert namespace.await_token("lake", token)["rows"] == 500
    assert look(made, "select count(*), sum(number) from rows") == [(3000, 3000 * 3001 // 2)]


def test_a_plugin_of_another_content_is_refused(
    namespace: Namespace, operator: None, python_image: None, bucket: Bucket
) -> None:
    url = put(bucket, "plugins/reader.py", READER.encode())
    recipe = connector(namespace.name, "python", {"reader": f"{url}:Numbers", "sha256": "0" * 64, **bucket.place})
    mine(namespace, bucket.secret, recipe, numbers(namespace.name, 10, credentials=of_plugin(bucket)))
    namespace.apply(flow("lake", "numbers", bucket.destination()))
    found = namespace.await_condition("sources", "numbers", "Ready", "False", "PluginChanged", 120)
    assert f"{url}:Numbers" in found["message"] and hashlib.sha256(READER.encode()).hexdigest() in found["message"], found


def test_a_reader_lies_in_a_config_map(
    namespace: Namespace, operator: None, python_image: None, bucket: Bucket, look: Look
) -> None:
    namespace.kubectl("create", "configmap", "readers", f"--from-literal=reader.py={READER}")
    made = [
        bucket.secret,
        numbers("", 20, "configmap:readers/reader.py:Numbers"),
        flow("lake", "numbers", bucket.destination()),
    ]
    mine(namespace, *made)
    namespace.wait_for("LastRunSucceeded", "flow/lake", 180)
    pods_are_restricted(namespace, "lake")
    assert look(made, "select count(*), count(distinct id) from rows") == [(20, 20)]


def test_a_config_map_that_is_missing_is_named(namespace: Namespace, operator: None, python_image: None) -> None:
    mine(namespace, numbers("", 20, "configmap:nowhere/reader.py:Numbers"))
    found = namespace.await_condition("sources", "numbers", "Ready", "False", "PluginMissing", 120)
    assert "configmap:nowhere/reader.py" in found["message"], found


def test_packages_are_installed_into_the_pod(
    namespace: Namespace, operator: None, python_image: None, bucket: Bucket, look: Look, index: list[str]
) -> None:
    namespace.kubectl("create", "configmap", "readers", f"--from-literal=reader.py={WITH_PACKAGE}")
    settings = {"reader": "configmap:readers/reader.py:Numbers", "requirements": [*index, roots.SMALL]}
    recipe = connector(namespace.name, "python", settings)
    made = [bucket.secret, recipe, numbers(namespace.name, 3), flow("lake", "numbers", bucket.destination())]
    mine(namespace, *made)
    namespace.wait_for("LastRunSucceeded", "flow/lake", 180)
    assert look(made, "select id, name from rows order by id") == [(0, "PT1H"), (1, "PT2H"), (2, "PT3H")]


def test_a_plugin_that_dies_is_named_and_takes_no_other_flow_with_it(
    namespace: Namespace, operator: None, python_image: None, bucket: Bucket, look: Look
) -> None:
    namespace.kubectl("create", "configmap", "readers", f"--from-literal=dies.py={DIES}", f"--from-literal=reader.py={READER}")
    dies = numbers("", 20, "configmap:readers/dies.py:Numbers")
    dies["metadata"]["name"] = "dies"
    made = [
        bucket.secret,
        numbers("", 20, "configmap:readers/reader.py:Numbers"),
        flow("lake", "numbers", bucket.destination()),
    ]
    broken = flow("broken", "dies", bucket.destination())
    broken["spec"]["destination"]["connection"]["url"] = f"s3://{bucket.s3.bucket}/broken/{{stream}}"
    mine(namespace, *made, dies, broken)
    failed = namespace.await_condition("flows", "broken", "LastRunSucceeded", "False", seconds=180)
    assert "configmap:readers/dies.py:Numbers" in failed["message"] and "signal 11" in failed["message"], failed
    namespace.wait_for("LastRunSucceeded", "flow/lake", 180)
    assert look(made, "select count(*), count(distinct id) from rows") == [(20, 20)]


def faker(name: str, count: int, streams: list[Object], **config: Any) -> Object:
    config = {"count": count, "seed": 7, "parallelism": 1, "records_per_slice": 50, "always_updated": False, **config}
    return source("users", name, config, streams)


def test_an_airbyte_source_is_a_container_of_its_own(
    namespace: Namespace, operator: None, faker_image: str, bucket: Bucket, look: Look
) -> None:
    settings = {"image": faker_image, "runAsUser": 1000, "resources": {"limits": {"memory": "700Mi"}}}
    recipe = connector(namespace.name, "airbyte", settings)
    keyed = [{"name": "users", "primaryKey": ["id"]}]
    made = [bucket.secret, recipe, faker(namespace.name, 200, keyed), flow("lake", "users", bucket.destination())]
    mine(namespace, *made)
    namespace.wait_for("Ready", "source/users", 180)
    namespace.wait_for("LastRunSucceeded", "flow/lake", 180)
    pods_are_restricted(namespace, "lake")
    counts = "select count(*), count(distinct id), count(email) from rows"
    assert look(made, counts) == [(200, 200, 200)]

    # The sidecar hears that it is to end: it does not take the grace of the pod, a minute.
    def states(pod: Object) -> list[Object]:
        return [*pod["status"].get("containerStatuses", []), *pod["status"].get("initContainerStatuses", [])]

    def ended() -> list[Object]:
        pods = [pod for pod in namespace.pods("lake") if pod["status"]["phase"] == "Succeeded"]
        return [pod for pod in pods if all("terminated" in one["state"] for one in states(pod))]

    pod = until(ended, 180, lambda: f"the pod ends: {namespace.pods('lake')}")[0]
    ends = {one["name"]: moment(one["state"]["terminated"]["finishedAt"]) for one in states(pod)}
    assert (max(ends.values()) - ends["worker"]).total_seconds() < 45, ends
    _shim, sidecar = pod["spec"]["initContainers"]
    assert sidecar["image"] == faker_image and sidecar["restartPolicy"] == "Always"
    assert sidecar["securityContext"]["runAsUser"] == 1000 and sidecar["resources"]["limits"]["memory"] == "700Mi"

    namespace.apply(faker(namespace.name, 300, keyed, always_updated=True))
    namespace.wait_for("Ready", "source/users", 180)
    token = namespace.trigger("flow/lake", "delta_load", "more")
    namespace.await_token("lake", token, seconds=180)
    (stream,) = namespace.must("flows", "lake")["status"]["streams"]
    assert look(made, counts) == [(300, 300, 300)], stream


def test_a_connector_that_fails_in_its_container_is_named(
    namespace: Namespace, operator: None, faker_image: str
) -> None:
    mine(namespace, connector(namespace.name, "airbyte", {"image": faker_image, "entrypoint": ["/no/such/program"]}))
    namespace.apply(faker(namespace.name, 10, []))
    found = namespace.await_condition("sources", "users", "Ready", "False", seconds=180)
    assert "source-faker" in found["message"] and "/no/such/program" in found["message"], found


def test_a_connector_that_is_killed_is_told_and_the_next_load_resumes(
    namespace: Namespace, operator: None, faker_image: str, bucket: Bucket, look: Look
) -> None:
    slow = ["python3", "-c", SLOW]
    recipe = connector(namespace.name, "airbyte", {"image": faker_image, "entrypoint": slow})
    keyed = [{"name": "items", "primaryKey": ["id"], "schema": [{"name": "id", "logicalType": "integer", "required": True}]}]
    made = [
        bucket.secret,
        recipe,
        source("items", namespace.name, {"rows": 100}, keyed),
        flow("lake", "items", bucket.destination()),
    ]
    mine(namespace, *made)

    def at_work() -> Object | None:
        running = [pod for pod in namespace.pods("lake") if b"record 3" in log(namespace, pod)]
        return running[0] if running else None

    pod = until(at_work, 120, "the connector is at work")
    namespace.kill(pod)
    namespace.wait_for("LastRunSucceeded", "flow/lake", 240)
    assert look(made, "select count(*), count(distinct id) from rows") == [(100, 100)]


# Gives a row each tenth of a second, and logs the first ones.
SLOW = """
import json, sys, time
def say(**message): print(json.dumps(message), flush=True)
schema = {"type": "object", "properties": {"id": {"type": "integer"}}}
key = [["id"]]
stream = {"name": "items", "json_schema": schema, "supported_sync_modes": ["full_refresh"], "source_defined_primary_key": key}
verb = sys.argv[1]
config = json.load(open(sys.argv[sys.argv.index("--config") + 1]))
if verb == "discover": say(type="CATALOG", catalog={"streams": [stream]})
if verb == "check": say(type="CONNECTION_STATUS", connectionStatus={"status": "SUCCEEDED"})
if verb == "read":
    for n in range(config["rows"]):
        if n < 5: say(type="LOG", log={"level": "INFO", "message": f"record {n}"})
        say(type="RECORD", record={"stream": "items", "data": {"id": n}, "emitted_at": 1})
        time.sleep(0.1)
"""


def log(namespace: Namespace, pod: Object) -> bytes:
    return namespace.kubectl("logs", pod["metadata"]["name"], "--container=worker", check=False).encode()


def test_a_singer_tap_is_installed_in_the_pod(
    namespace: Namespace, operator: None, python_image: None, shop: Shop, bucket: Bucket, look: Look, index: list[str]
) -> None:
    shop.table("users", 300)
    settings = {"command": ["tap-postgres"], "requirements": [*index, roots.TAP]}
    recipe = connector(namespace.name, "singer", settings, credentials=[{"name": "password", "required": True}])
    place = shop.connection
    connection = {name: place[name] for name in ("host", "port", "user", "database")}
    streams = [{"name": "public-users", "primaryKey": ["id"], "cursorField": "updated_at"}]
    tap = source(
        "users",
        namespace.name,
        {**connection, "filter_schemas": ["public"]},
        streams,
        credentials=from_secret("shop-db", "password"),
    )
    made = [bucket.secret, shop.secret, recipe, tap, flow("lake", "users", bucket.destination())]
    mine(namespace, *made)
    namespace.wait_for("LastRunSucceeded", "flow/lake", 300)
    pods_are_restricted(namespace, "lake")
    assert look(made, "select count(*), count(distinct id), min(name) from rows") == [(300, 300, "row 1")]

    shop.insert("users", 301, 350)
    token = namespace.trigger("flow/lake", "delta_load", "more")
    namespace.await_token("lake", token, seconds=240)
    assert look(made, "select count(*), count(distinct id), max(id) from rows") == [(350, 350, 350)]


def test_a_reader_lies_on_a_volume_and_imports_what_lies_beside_it(
    namespace: Namespace, operator: None, python_image: None, bucket: Bucket, look: Look, claim: Path
) -> None:
    (claim / "readers").mkdir(mode=0o755)
    (claim / "readers" / "names.py").write_text("NAME = 'beside'\n")
    reader = "from names import NAME\n" + READER.lstrip().replace('f"row {number}"', "NAME")
    (claim / "readers" / "reader.py").write_text(reader)
    made = [
        bucket.secret,
        numbers("", 5, "volume:plugins/readers/reader.py:Numbers"),
        flow("lake", "numbers", bucket.destination()),
    ]
    mine(namespace, *made)
    namespace.wait_for("LastRunSucceeded", "flow/lake", 180)
    assert look(made, "select count(*), min(name), max(name) from rows") == [(5, "beside", "beside")]


def test_an_adbc_driver_lies_on_a_volume(
    namespace: Namespace, operator: None, bucket: Bucket, look: Look, claim: Path
) -> None:
    driver = Path(adbc_driver_sqlite.__file__).with_name("libadbc_driver_sqlite.so")
    shutil.copy(driver, claim)
    with closing(sqlite3.connect(claim / "shop.db")) as database:
        database.execute("create table users (id integer primary key, name text)")
        database.executemany("insert into users values (?, ?)", [(id, f"user {id}") for id in range(100)])
        database.commit()
    recipe = connector(namespace.name, "adbc", {"driver": f"volume:plugins/{driver.name}"})
    # As a pod has it: to be read.
    uri = "file:/var/run/millrace/plugins/volume/plugins/shop.db?immutable=1"
    read = source("users", namespace.name, {"uri": uri}, ["users"])
    made = [bucket.secret, recipe, read, flow("lake", "users", bucket.destination())]
    mine(namespace, *made)
    namespace.wait_for("LastRunSucceeded", "flow/lake", 180)
    pods_are_restricted(namespace, "lake")
    assert look(made, "select count(*), count(distinct id), max(name) from rows") == [(100, 100, "user 99")]


def test_the_page_is_typed_as_it_stands(
    namespace: Namespace, operator: None, python_image: None, tmp_path: Path
) -> None:
    follows = walk.Walk(tmp_path / "home", {}, {"--namespace millrace": lambda: f"--namespace {namespace.name}"})
    follows.through(ROOT / "docs" / "plugins" / "in-a-cluster.md")
    # The kubelet may hear later than the operator that so short a load is over, and shows no log before.
    namespace.kubectl(
        "wait", "--for=condition=Complete", "job", "--selector=millrace.dev/flow=planets", "--timeout=180s", timeout=210
    )
    printed = namespace.kubectl("logs", "--selector=millrace.dev/flow=planets", "--tail=-1")
    assert "Mercury" in printed and "Mars" in printed
