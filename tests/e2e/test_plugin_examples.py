"""`examples/plugins` in a cluster: the manifests as they stand, but for where a plugin lies and what is the tests' own."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import fastavro
import install
import pytest
import roots
import yaml
from cluster import Namespace, Object
from guests import Look, listening, mine, pods_are_restricted, served, volume
from harness import ROOT, duck
from manifests import KEYS, Bucket, from_secret, secret
from orders import TOKEN, Orders
from pyarrow.dataset import dataset
from pyarrow.fs import FileSelector

EXAMPLES = ROOT / "examples" / "plugins"
# Where a pod has the volumes in which plugins lie.
VOLUMES = "/var/run/millrace/plugins"
CACHE = "millrace-plugins"


@pytest.fixture(scope="session")
def packages(host: str) -> Iterator[list[str]]:
    with served(host, roots.wheels(*roots.EXAMPLES)) as options:
        yield options


def example(namespace: Namespace, name: str, volume: str, packages: list[str]) -> dict[str, Object]:
    """Its objects by kind, with the plugin from a volume, and its packages from here."""
    found = {one["kind"]: one for one in yaml.safe_load_all((EXAMPLES / name / "flow.yaml").read_text())}
    holders = [found["Source"]["spec"], found["Flow"]["spec"]["destination"]]
    if recipe := found.get("Connector"):
        own = recipe["spec"]["engines"]["python"]
        holders.append(own)
        for holder in holders[:2]:
            if holder["connector"]["name"] == recipe["metadata"]["name"]:
                holder["connector"]["name"] = namespace.name
        recipe["metadata"]["name"] = namespace.name
        if "requirements" in own:
            own["requirements"] = [*packages, *own["requirements"]]
    for holder in holders:
        for part in {"reader", "writer"} & holder.keys():
            holder[part] = f"{volume}/{holder[part].rsplit('/', 1)[1]}"
    return found


def config_map(namespace: Namespace, *files: Path) -> None:
    """A ConfigMap `plugin` with these files, made or made anew."""
    literal = namespace.kubectl(
        "create", "configmap", "plugin", "--dry-run=client", "-o", "yaml", *(f"--from-file={file}" for file in files)
    )
    namespace.apply(yaml.safe_load(literal))


def runs(namespace: Namespace, made: dict[str, Object], *others: Object) -> str:
    """Applies an example, and waits for its first load; gives the Flow's name."""
    mine(namespace, *others, *made.values())
    name = str(made["Flow"]["metadata"]["name"])
    namespace.wait_for("LastRunSucceeded", f"flow/{name}", 240)
    pods_are_restricted(namespace, name)
    return name


def loads_more(namespace: Namespace, flow: str, load: str = "delta_load") -> Object:
    return namespace.await_token(flow, namespace.trigger(f"flow/{flow}", load, "more"), seconds=180)


def test_json_api(
    namespace: Namespace, operator: None, python_image: None, bucket: Bucket, look: Look, host: str, packages: list[str]
) -> None:
    config_map(namespace, EXAMPLES / "python" / "json-api" / "reader.py")
    made = example(namespace, "python/json-api", "configmap:plugin", packages)
    made["Source"]["spec"]["credentials"] = from_secret("api", "token")
    made["Flow"]["spec"]["destination"] = bucket.destination()
    with listening(host, Orders) as url:
        made["Source"]["spec"]["connection"]["baseUrl"] = url
        runs(namespace, made, bucket.secret, secret("api", token=TOKEN))
    wanted = [(250, 250, sum(range(250)) / 4)]
    assert look([bucket.secret, *made.values()], "select count(*), count(distinct id), sum(price) from rows") == wanted


def test_delta_lake(namespace: Namespace, operator: None, python_image: None, bucket: Bucket, packages: list[str]) -> None:
    config_map(namespace, EXAMPLES / "python" / "delta-lake" / "writer.py")
    made = example(namespace, "python/delta-lake", "configmap:plugin", packages)
    options = {"AWS_ENDPOINT_URL": bucket.url, "AWS_REGION": bucket.s3.region, "AWS_ALLOW_HTTP": "true"}
    destination = made["Flow"]["spec"]["destination"]
    destination["connection"] = {"url": f"s3://{bucket.s3.bucket}/delta/{{stream}}", "storageOptions": options}
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    destination["credentials"] = [
        {"name": name, "secret": {"name": "lake", "key": key}} for name, key in zip(names, KEYS, strict=True)
    ]
    runs(namespace, made, bucket.secret)
    assert of_table(bucket, "delta/rows", "select count(*), count(distinct id) from rows") == [(1000, 1000)]


def of_table(bucket: Bucket, table: str, sql: str) -> list[tuple[object, ...]]:
    """What a Delta Lake table holds whose log says nothing of files that were removed."""
    files, place = bucket.s3.files, f"{bucket.s3.bucket}/{table}"
    log = [info.path for info in files.get_file_info(FileSelector(f"{place}/_delta_log")) if info.path.endswith(".json")]
    actions = [json.loads(line) for path in log for line in files.open_input_stream(path).read().splitlines()]
    assert not any("remove" in action for action in actions)
    added = [f"{place}/{action['add']['path']}" for action in actions if "add" in action]
    return duck(sql, rows=dataset(added, filesystem=files, format="parquet").to_table())


def test_users_table(
    namespace: Namespace, operator: None, python_image: None, bucket: Bucket, look: Look, tmp_path: Path
) -> None:
    folder = EXAMPLES / "python" / "users-table"
    database = sqlite3.connect(tmp_path / "users.db")
    database.executescript((folder / "users.sql").read_text())
    config_map(namespace, folder / "source.py", tmp_path / "users.db")
    made = example(namespace, "python/users-table", "configmap:plugin", [])
    made["Source"]["spec"]["connection"]["path"] = f"{VOLUMES}/configmap/plugin/users.db"
    made["Flow"]["spec"]["destination"] = bucket.destination()
    name = runs(namespace, made, bucket.secret)
    everything = [bucket.secret, *made.values()]
    names = "select list(name order by id) from rows"
    assert look(everything, names) == [(["Ada", "Bo", "Cy"],)]

    database.execute("update users set deleted = 1, changed = 4 where id = 2")
    database.execute("update users set name = 'Ida', changed = 5 where id = 1")
    database.commit()
    config_map(namespace, folder / "source.py", tmp_path / "users.db")
    loads_more(namespace, name)
    assert look(everything, names) == [(["Ida", "Cy"],)]


def test_number_range(namespace: Namespace, operator: None, python_image: None, bucket: Bucket, look: Look) -> None:
    config_map(namespace, EXAMPLES / "python" / "number-range" / "source.py")
    made = example(namespace, "python/number-range", "configmap:plugin", [])
    made["Flow"]["spec"]["destination"] = bucket.destination("append")
    name = runs(namespace, made, bucket.secret)
    everything = [bucket.secret, *made.values()]
    assert look(everything, "select count(*) from rows") == [(100,)]

    made["Source"]["spec"]["connection"]["to"] = 130
    namespace.apply(made["Source"])
    namespace.wait_for("Ready", f"source/{made['Source']['metadata']['name']}", 180)
    assert loads_more(namespace, name)["rows"] == 30
    assert look(everything, "select count(*) from rows") == [(130,)]


def test_csv_reader(namespace: Namespace, operator: None, bucket: Bucket, look: Look, claim: Path) -> None:
    for file in (library("csv_reader"), EXAMPLES / "rust" / "csv-reader" / "planets.csv"):
        shutil.copy(file, claim)
    made = example(namespace, "rust/csv-reader", "volume:plugins", [])
    made["Source"]["spec"]["connection"]["directory"] = f"{VOLUMES}/volume/plugins"
    made["Source"]["spec"]["streams"] = [{"name": "planets"}]
    made["Flow"]["spec"]["destination"] = bucket.destination("append")
    runs(namespace, made, bucket.secret)
    found = look([bucket.secret, *made.values()], "select count(*), sum(moons), max(discovered)::varchar from rows")
    assert found == [(8, 419, "1846-09-23")]


def library(name: str) -> Path:
    """An example in Rust, as it lies beside the program that is tested."""
    return Path(install.program("worker")).with_name(f"libexample_{name}.so")


@pytest.fixture
def kept(namespace: Namespace, operator: None, tmp_path: Path) -> Iterator[Path]:
    """The operator with a claim of this machine as the cache of plugins; what is in it."""
    volume(namespace, CACHE, tmp_path / "cache", "ReadWriteMany")
    install.chart({**install.LOUD, "worker": {**install.LOUD["worker"], "pluginCache": CACHE}})
    yield tmp_path / "cache"
    install.chart()


@pytest.mark.alone
def test_avro_and_the_cache_that_keeps_its_packages(namespace: Namespace, kept: Path, python_image: None, host: str) -> None:
    config_map(namespace, EXAMPLES / "python" / "avro" / "writer.py")
    with served(host, roots.wheels(*roots.EXAMPLES)) as packages:
        made = example(namespace, "python/avro", "configmap:plugin", packages)
        made["Flow"]["spec"]["destination"]["connection"]["path"] = "/var/cache/millrace/out/{stream}"
        name = runs(namespace, made)
    # There are no packages to be had any more, and another pod finds those of the first.
    made["Source"]["spec"]["connection"]["rows"] = 1200
    namespace.apply(made["Source"])
    loads_more(namespace, name, "full_load")
    assert len({pod["metadata"]["uid"] for pod in namespace.pods(name)}) == 2
    rows = [row for file in (kept / "out").rglob("part-*.avro") for row in fastavro.reader(file.open("rb"))]
    assert len({row["id"] for row in rows}) == 1200


@pytest.mark.alone
def test_parquet_writer(namespace: Namespace, kept: Path) -> None:
    shutil.copy(library("parquet_writer"), kept)
    made = example(namespace, "rust/parquet-writer", f"volume:{CACHE}", [])
    made["Flow"]["spec"]["destination"]["connection"]["directory"] = "/var/cache/millrace/out"
    runs(namespace, made)
    (ledger,) = (kept / "out").rglob("committed.json")
    files = [str(ledger.parent / name) for name in json.loads(ledger.read_text())["files"]]
    assert duck(f"select count(*), count(distinct id) from read_parquet({files})") == [(1000, 1000)]
