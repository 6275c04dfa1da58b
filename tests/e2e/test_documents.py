"""docs/kubernetes.md and docs/gitops.md, typed from top to bottom into a cluster of their own.

From an empty cluster to data and back to an empty one: so it shares no release and no definitions with other tests. The
images have the names that the page gives them; the database, the bucket and their passwords are those of the tests.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import install
import pytest
import walk
import yaml
from cluster import Object, started_here, until
from forward import Forward
from harness import ROOT, S3, Millrace, Postgres
from manifests import Bucket, Shop
from servers import ground

from test_examples import EXAMPLES, put_in

PAGE = ROOT / "docs" / "kubernetes.md"
TOKENS = {"full_load", "delta_load", "full_load_public.orders", "delta_load_public.orders"}
GIT = ROOT / "docs" / "gitops.md"
# The UID of the page, which stands for one that a condition names.
UID = "0f8f1c5e-5a5e-4b6e-9e0c-1f6a5b7c8d9e"
# Kinds of the Prometheus operator, which is not there: the server takes what the chart makes of them.
FOREIGN = {"ServiceMonitor": "servicemonitors", "PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"}


class Place:
    """A cluster that is this test's own."""

    def __init__(self) -> None:
        own = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        up = [str(ROOT / "tests" / "cluster"), "up", str(os.getpid())]
        told = subprocess.run(up, env=own, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        words = (shlex.split(line)[1].split("=", 1) for line in told.stdout.splitlines())
        self.environment = dict(words)

    def down(self) -> None:
        self.run(str(ROOT / "tests" / "cluster"), "down")

    def run(self, *command: str, stdin: str | None = None) -> str:
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def get(self, *what: str) -> Object:
        found: Object = json.loads(self.run("kubectl", "get", *what, "-o", "json"))
        return found

    def apply(self, *documents: Object) -> None:
        self.run("kubectl", "apply", "-f", "-", stdin=yaml.safe_dump_all(documents))


@pytest.fixture
def place() -> Iterator[Place]:
    if not started_here():
        pytest.skip("the documents are followed in a cluster of their own: tests/cluster up, without KUBECONFIG")
    made = Place()
    yield made
    made.down()


@pytest.fixture
def backends(place: Place, postgres: Postgres, s3: S3) -> Iterator[tuple[Shop, Bucket]]:
    """The database and the bucket, as that cluster's pods reach them."""
    host = place.environment["MILLRACE_TEST_HOST_ADDRESS"]
    addresses = [urlsplit(ground(name)) for name in ("MILLRACE_TEST_POSTGRES", "MILLRACE_TEST_S3_ENDPOINT")]
    pairs = [(one.hostname or "", one.port or 0) for one in addresses]
    with Forward(host, pairs[0]) as database, Forward(host, pairs[1]) as server:
        yield Shop(postgres, database), Bucket(s3, f"http://{server.host}:{server.port}")


def bring_images(place: Place, scratch: Path) -> None:
    """Those of the page, in place of a registry."""
    for kind in ("operator", "worker"):
        archive = scratch / f"{kind}.tar"
        name = f"registry.example.com/millrace-{kind}:{version()}"
        subprocess.run([sys.executable, str(install.IMAGE), kind, str(archive), "--name", name], check=True)
        place.run(str(ROOT / "tests" / "cluster"), "import", str(archive))
        archive.unlink()


def version() -> str:
    chart: Object = yaml.safe_load((install.CHART / "Chart.yaml").read_text())
    return str(chart["appVersion"])


@pytest.mark.own
def test_the_page_leads_from_an_empty_cluster_to_data_and_back(
    place: Place, backends: tuple[Shop, Bucket], millrace: Millrace, tmp_path: Path
) -> None:
    shop, bucket = backends
    bring_images(place, tmp_path)
    for table in ("customers", "orders"):
        shop.table(table, 100)
    # `millrace`, `kubectl` and `helm` are on the PATH, as for the people who read the page.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "millrace").symlink_to(millrace.binary)
    path = f"{tmp_path / 'bin'}:{place.environment.get('PATH', os.environ['PATH'])}"
    follows = walk.Walk(tmp_path / "home", {**place.environment, "PATH": path})
    steps = Steps(place, shop, bucket, follows.directory)
    follows.shown = steps.shown
    follows.instead = {"examples/kubernetes/shop": steps.shop_directory, UID: steps.uid}
    follows.before = {"Another owner": steps.make_anew, "Watch over it": steps.foreign_kinds}
    follows.after = {
        "The first Flow": steps.ten_rows,
        "From a database to S3": steps.delivered,
        "Triggers": steps.each_token_was_served,
        "State": steps.goes_on,
        "Backup": steps.restored,
        "Uninstall": steps.nothing_is_left,
    }
    follows.through(PAGE)
    typed = [command for command in walk.commands(PAGE) if walk.is_run(command)]
    assert follows.typed == typed and len(typed) > 40

    git = walk.Walk(tmp_path / "git", follows.environment)
    git.before = {"Health and actions": steps.argo_cd}
    git.after = {"Health and actions": steps.argo_cd_knows}
    git.through(GIT)


class Steps:
    """What is done beside the page, and what is looked at."""

    def __init__(self, place: Place, shop: Shop, bucket: Bucket, directory: Path) -> None:
        self.place = place
        self.shop = shop
        self.bucket = bucket
        self.directory = directory

    def shown(self, text: str) -> str:
        documents = list(yaml.safe_load_all(text))
        return yaml.safe_dump_all(self.adapted(documents))

    def adapted(self, documents: list[Object]) -> list[Object]:
        """With the addresses and passwords of the tests."""
        return [
            {**put_in(one, self.shop, self.bucket), "metadata": one["metadata"]}
            if one.get("kind") in ("Source", "Flow", "Secret")
            else one
            for one in documents
        ]

    def shop_directory(self) -> str:
        directory = self.directory / "shop"
        directory.mkdir(exist_ok=True)
        for file in (EXAMPLES / "shop").glob("*.yaml"):
            documents = list(yaml.safe_load_all(file.read_text()))
            (directory / file.name).write_text(yaml.safe_dump_all(self.adapted(documents)))
        return str(directory)

    def flow(self, name: str, namespace: str = "shop") -> Object:
        return self.place.get("flow", name, "--namespace", namespace)

    def wait(self, what: str, condition: str) -> None:
        self.place.run("kubectl", "wait", "--namespace", "shop", what, f"--for={condition}", "--timeout=240s")

    def ten_rows(self) -> None:
        which = ("--namespace=millrace", "--selector=millrace.dev/flow=first")
        # The kubelet may hear later than the operator that so short a load is over, and shows no log before.
        self.place.run("kubectl", "wait", "--for=condition=Complete", "job.batch", *which, "--timeout=120s")
        log = self.place.run("kubectl", "logs", *which, "--tail=-1")
        assert sum('"id":' in line for line in log.splitlines()) == 10, log

    def delivered(self) -> None:
        for table in ("customers", "orders"):
            keys = self.bucket.s3.keys(f"shop/public.{table}")
            assert any("/data/" in key and key.endswith(".parquet") for key in keys), keys
        assert self.bucket.s3.keys("_state"), "the state of orders is not on S3"

    def tokens(self) -> list[Object]:
        return [one for name in ("customers", "orders") for one in self.flow(name)["status"].get("triggers", [])]

    def each_token_was_served(self) -> None:
        """All forms of the page: by Flow and by Source, one table, several tables, by `millrace trigger`."""
        until(
            lambda: self.tokens() and all(one["state"] == "Succeeded" for one in self.tokens()),
            120,
            lambda: f"a token that did not succeed: {self.tokens()}",
        )
        names = {one["name"] for one in self.tokens()}
        assert names >= TOKENS, names

    def goes_on(self) -> None:
        until(
            lambda: all(one["state"] == "Succeeded" for one in self.tokens()), 120, lambda: f"tokens: {self.tokens()}"
        )
        token = "after-reset"
        for name in ("customers", "orders"):
            annotation = f"millrace.dev/full_load={token}"
            self.place.run("kubectl", "annotate", "--overwrite", "flow", name, "--namespace=shop", annotation)
        until(
            lambda: [one["state"] for one in self.tokens() if one["token"] == token] == ["Succeeded"] * 2,
            120,
            lambda: f"tokens: {self.tokens()}",
        )

    def make_anew(self) -> None:
        """What the page speaks of: a Flow is deleted and made again."""
        self.old = self.flow("customers")["metadata"]["uid"]
        self.place.run("kubectl", "delete", "flow", "customers", "--namespace=shop")
        self.place.run("kubectl", "apply", "-f", self.shop_directory())
        self.is_refused()

    def is_refused(self) -> None:
        """It is seen first, since a token that is there from the beginning is not run."""
        self.wait("flow/customers", "condition=Ready")
        self.annotate("full_load", "again")
        self.wait("flow/customers", "condition=Stalled")

    def annotate(self, name: str, value: str) -> None:
        annotation = f"millrace.dev/{name}={value}"
        self.place.run("kubectl", "annotate", "--overwrite", "flow", "customers", "--namespace=shop", annotation)

    def uid(self) -> str:
        """The one that the condition names."""
        conditions = self.flow("customers")["status"]["conditions"]
        (stalled,) = [one for one in conditions if one["type"] == "Stalled"]
        assert stalled["reason"] == "StateOwnedByOther" and self.old in stalled["message"], stalled
        return str(self.old)

    def restored(self) -> None:
        """Into a cluster that has neither the Flows nor their state: as good as another one."""
        state = list(yaml.safe_load((self.directory / "state.yaml").read_text())["items"])
        assert state and all(one.get("binaryData") for one in state), state
        self.old = self.flow("customers")["metadata"]["uid"]
        self.place.run("kubectl", "delete", "flows", "--all", "--namespace=shop")
        labels = "--selector=app.kubernetes.io/component=state"
        self.place.run("kubectl", "delete", "configmaps", "--namespace=shop", labels)
        for file in (str(self.directory / "state.yaml"), self.shop_directory()):
            self.place.run("kubectl", "apply", "-f", file)
        self.is_refused()
        self.annotate("adopt-state", self.uid())
        self.annotate("full_load", "restored")
        self.wait("flow/customers", "condition=LastRunSucceeded")

    def foreign_kinds(self) -> None:
        for kind, plural in FOREIGN.items():
            self.place.apply(definition(kind, plural))
        self.place.run("kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=180s")

    def argo_cd(self) -> None:
        """Its namespace and its ConfigMap, which is all of it that the page speaks to."""
        metadata = {"name": "argocd-cm", "namespace": "argocd"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}}
        self.place.apply(namespace, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})

    def argo_cd_knows(self) -> None:
        data = self.place.get("configmap", "argocd-cm", "--namespace", "argocd")["data"]
        assert {f"resource.customizations.health.millrace.dev_{kind}" for kind in ("Flow", "Source", "Job")} <= set(data)

    def nothing_is_left(self) -> None:
        kinds = self.place.run("kubectl", "api-resources", "--api-group=millrace.dev", "-o", "name")
        assert kinds == "", kinds
        # What belongs to what was deleted goes a little later.
        until(lambda: not self.left(), 120, lambda: str(self.left()))
        wide = self.place.get("clusterroles,clusterrolebindings")["items"]
        assert not [one for one in wide if ours(one)]

    def left(self) -> list[str]:
        everywhere = self.place.get("all,configmaps,roles,rolebindings", "--all-namespaces")["items"]
        return [f"{one['kind']}/{one['metadata']['name']}" for one in everywhere if ours(one)]


def ours(found: Object) -> bool:
    labels = found["metadata"].get("labels", {})
    return bool(labels.get("app.kubernetes.io/name") == "millrace")


def definition(kind: str, plural: str) -> Object:
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": anything}]
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced", "names": names, "versions": versions},
    }


def test_the_readme_shows_commands_of_the_page() -> None:
    """So that they are run with it."""
    shown = walk.commands(ROOT / "README.md", "In Kubernetes")
    assert shown and set(shown) <= set(walk.commands(PAGE)), set(shown) - set(walk.commands(PAGE))


def test_what_is_not_run_is_in_the_documents() -> None:
    everything = [command for page in (PAGE, GIT, ROOT / "README.md") for command in walk.commands(page)]
    for start in walk.NOT_RUN:
        assert any(command.startswith(start) for command in everything), f"{start}: take it out of the list"
