"""The documents about a desk, typed from top to bottom: README, the command line, operations, manifests.

What those pages say of Kubernetes is typed by tests/e2e/test_documents.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import test_plugin_documents
import walk
import yaml
from harness import ROOT, S3, Millrace

FLIGHTS = "examples/quickstart/data/flights.csv"


@pytest.fixture
def desk(millrace: Millrace, tmp_path: Path) -> walk.Walk:
    made = walk.desk(millrace, tmp_path)
    made.instead = {
        "cargo run -p millrace --": lambda: "millrace",
        f"git checkout {FLIGHTS}": lambda: f"cp {ROOT / FLIGHTS} {FLIGHTS}",
    }
    return made


def test_the_readme_and_operations(desk: walk.Walk) -> None:
    desk.through(ROOT / "README.md", "Two commands", "Read what was written")
    for told in ('"inserted":109119', '"updated":1,"deleted":1,"unchanged":109117', '"inserted":1,"updated":1'):
        assert told in desk.printed, f"the README promises {told}"
    quickstart = desk.directory / "examples" / "quickstart"

    def no_state() -> None:
        """What `--from-destination` is for."""
        for record in (desk.directory / ".millrace" / "state").rglob("*"):
            if record.is_file():
                record.unlink()

    def renamed() -> None:
        """A Flow of another name over the same state and the same files."""
        (desk.directory / "renamed").mkdir()
        documents = list(yaml.safe_load_all((quickstart / "flights.yaml").read_text()))
        for one in documents:
            if one["kind"] == "Flow":
                one["metadata"]["name"] = "renamed"
                one["spec"]["state"] = {"id": "default/quickstart"}
                one["spec"]["destination"]["connection"]["url"] = f"{quickstart}/out/{{stream}}"
            else:
                one["spec"]["connection"]["url"] = f"{quickstart}/data/flights.csv"
        (desk.directory / "renamed" / "flow.yaml").write_text(yaml.safe_dump_all(documents))

    def back() -> None:
        """The pages after it speak of the first Flow again."""
        desk.instead["millrace run --allow-deletes"] = lambda: (
            "millrace run --allow-deletes --adopt-state local:default/renamed"
        )

    desk.before = {"When the state needs you": no_state, "Another owner": renamed}
    desk.after = {"Another owner": back}
    desk.through(ROOT / "docs" / "operations.md")


def test_the_command_line_and_manifests(desk: walk.Walk, s3: S3) -> None:
    server = {"AWS_ENDPOINT_URL_S3": s3.endpoint, "AWS_REGION": s3.region}
    keys = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
    desk.environment = {**desk.environment, **server, **keys}
    desk.instead["s3://lake/"] = lambda: f"s3://{s3.bucket}/"
    desk.through(ROOT / "docs" / "cli.md")
    desk.through(ROOT / "docs" / "manifests.md")
    assert "ExactlyOnce" in desk.printed


def test_nothing_is_left_out_in_silence() -> None:
    """Pages with commands are those that a test walks through; CONTRIBUTING's are those of whoever works on Millrace."""
    walked = {"README.md", "docs/cli.md", "docs/operations.md", "docs/manifests.md"}
    in_a_cluster = {"docs/kubernetes.md", "docs/gitops.md", "docs/plugins/in-a-cluster.md"}
    plugins = {str(page.relative_to(ROOT)) for page in test_plugin_documents.PAGES}
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "charts").rglob("*.md")]
    found = {str(page.relative_to(ROOT)) for page in pages if walk.commands(page)}
    assert found - {"CONTRIBUTING.md"} == walked | in_a_cluster | plugins
