"""What tests of plugins and connectors of others share: their manifests, images, packages and volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import install
import pytest
import roots
from cluster import Namespace, Object, started_here
from harness import Millrace, duck
from install import once
from manifests import KEYS, Bucket, lake, resource, source

Look = Callable[..., list[tuple[Any, ...]]]


def connector(name: str, engine: str, settings: Object, roles: tuple[str, ...] = ("source",), **spec: Any) -> Object:
    described = {"type": name, "roles": list(roles), "defaultEngine": engine, "engines": {engine: settings}}
    return resource("Connector", name, {**described, **spec})


def mine(namespace: Namespace, *documents: Object) -> None:
    """Applies them; Connectors belong to the cluster, and are deleted with the test."""
    namespace.outside += [f"connector/{one['metadata']['name']}" for one in documents if one["kind"] == "Connector"]
    namespace.apply(*documents)


def of_plugin(bucket: Bucket) -> list[Object]:
    """The credentials by which a plugin is fetched."""
    names = ("pluginAccessKeyId", "pluginSecretAccessKey")
    return [{"name": name, "secret": {"name": "lake", "key": key}} for name, key in zip(names, KEYS, strict=True)]


def put(bucket: Bucket, name: str, content: bytes) -> str:
    """Puts a file into the bucket; gives its address."""
    with bucket.s3.files.open_output_stream(f"{bucket.s3.bucket}/{name}") as file:
        file.write(content)
    return f"s3://{bucket.s3.bucket}/{name}"


def pods_are_restricted(namespace: Namespace, flow: str) -> None:
    """What the namespace enforces and what is promised beyond it, of every container."""
    for pod in namespace.pods(flow):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, container
            assert container["resources"]["limits"]["memory"]
            if container["name"].startswith(("connector", "shim")):
                places = {mount["mountPath"].rsplit("/", 1)[0] for mount in container["volumeMounts"]}
                assert places <= {"", "/var/run/millrace/connectors"}, places


@pytest.fixture(scope="session")
def python_image(tmp_path_factory: pytest.TempPathFactory) -> None:
    once(tmp_path_factory, "python-worker", install.python_worker)


@pytest.fixture(scope="session")
def faker_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    once(tmp_path_factory, "faker", install.faker)
    return install.FAKER


@pytest.fixture(scope="session")
def tap_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    once(tmp_path_factory, "tap", install.tap)
    return install.TAP


@contextmanager
def served(host: str, directory: Path) -> Iterator[list[str]]:
    """Options of pip for an index of packages on this machine, which pods reach: nothing else is there for them."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(directory))
    with listening(host, handler) as url:
        yield ["--no-index", f"--find-links={url}/", f"--trusted-host={host}"]


@contextmanager
def listening(host: str, handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server that pods reach."""
    with ThreadingHTTPServer((host, 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def index(host: str) -> Iterator[list[str]]:
    with served(host, roots.wheels(roots.TAP, roots.SMALL)) as options:
        yield options


@pytest.fixture
def look(namespace: Namespace, bucket: Bucket, millrace: Millrace, tmp_path: Path) -> Look:
    """`look(documents, "select count(*) from rows")`: what lies in the bucket, by DuckDB."""

    def ask(documents: list[Object], sql: str) -> list[tuple[Any, ...]]:
        # This machine has neither the volumes nor the images: any source with the same streams does, for who looks.
        rest = [one for one in documents if one["kind"] not in ("Connector", "Source")]
        (read,) = (one for one in documents if one["kind"] == "Source")
        (goes,) = (one for one in documents if one["kind"] == "Flow")
        names = [stream["name"] for stream in read["spec"]["streams"]]
        stand_in = source(read["metadata"]["name"], "generator", {"streams": names}, names)
        return duck(sql, rows=lake(namespace, bucket, millrace, tmp_path, [*rest, stand_in], goes["metadata"]["name"]))

    return ask


def volume(namespace: Namespace, name: str, place: Path, mode: str) -> None:
    """A claim of this name, which is a directory of this machine: skipped where no node sees that."""
    if not started_here():
        pytest.skip("this cluster's nodes do not see this machine's directories: tests/cluster up, without KUBECONFIG")
    place.mkdir(exist_ok=True)
    for directory in list(place.parents)[:3]:
        directory.chmod(0o755)
    place.chmod(0o755 if mode == "ReadOnlyMany" else 0o777)
    common = {"accessModes": [mode], "storageClassName": ""}
    described = {"hostPath": {"path": str(place)}, "capacity": {"storage": "1Mi"}, **common}
    wanted = {"volumeName": f"{namespace.name}-{name}", "resources": {"requests": {"storage": "1Mi"}}, **common}
    meta = {"name": f"{namespace.name}-{name}"}
    namespace.outside.append(f"persistentvolume/{meta['name']}")
    namespace.cluster.apply([{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": described}])
    namespace.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": wanted})


@pytest.fixture
def claim(namespace: Namespace, tmp_path: Path) -> Path:
    """A claim `plugins`, to be read."""
    volume(namespace, "plugins", tmp_path / "claim", "ReadOnlyMany")
    return tmp_path / "claim"
