"""What the documents and the notes tell people to type exists: charts, values, files, kinds, labels, metrics."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
from pathlib import Path

import yaml

from rendered import CHART, EVERYTHING, ROOT, one

PAGES = [ROOT / "README.md", ROOT / "docs" / "kubernetes.md", ROOT / "docs" / "gitops.md"]


def commands(program: str) -> list[list[str]]:
    """The commands of that program in the console blocks, in words."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                line = re.sub(r"\$\([^)]*\)", "TOKEN", line.removeprefix("$ "))
                words = shlex.split(line)
                if words and words[0] == program:
                    found.append(words)
    return found


def options(words: list[str], name: str) -> list[str]:
    joined = [word.removeprefix(f"{name}=") for word in words if word.startswith(f"{name}=")]
    return joined + [following for word, following in itertools.pairwise(words) if word == name]


def test_helm_takes_the_values_that_the_documents_set(helm):
    tried = 0
    for words in commands("helm"):
        if words[1] in ("install", "upgrade"):
            assert (ROOT / words[3] / "Chart.yaml").exists(), words
            sets = [part for value in options(words, "--set") for part in ("--set", value)]
            ended = helm("template", words[2], str(ROOT / words[3]), "--kube-version", "1.34.4", *sets)
            assert ended.returncode == 0, f"{words}: {ended.stderr}"
            tried += 1
    for value in re.findall(r"`(?:--set )([^`]*)`", (ROOT / "docs" / "kubernetes.md").read_text()):
        ended = helm("template", "second", str(CHART), "--kube-version", "1.34.4", *shlex.split(f"--set {value}"))
        assert ended.returncode == 0, f"{value}: {ended.stderr}"
        tried += 1
    assert tried >= 5


def test_the_values_that_the_documents_name_are_there():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    named = set(re.findall(r"`((?:watch|crds|rbac|serviceAccount|operator|worker|metrics|networkPolicy)\.[\w.]+)", text))
    assert named
    for name in named:
        inner = values
        for part in name.split("."):
            assert part in inner, name
            inner = inner[part]


def test_files_that_the_documents_apply_are_there():
    applied = [
        file
        for words in commands("kubectl")
        for flag in ("-f", "--filename", "--patch-file")
        for file in options(words, flag)
    ]
    assert applied
    text = "".join(page.read_text() for page in PAGES)
    # Shown on the page, or made by a command of it.
    shown = {*re.findall(r"^# file: (\S+)$", text, re.MULTILINE), *re.findall(r" > (\S+)$", text, re.MULTILINE)}
    for file in applied:
        assert (ROOT / file).exists() or file in shown, file


def test_kinds_that_the_documents_get_have_such_names(render):
    """`kubectl get jobs` would mean Kubernetes' own."""
    known = {"events", "configmaps", "customresourcedefinitions", "millrace"}
    for crd in yaml.load_all((CHART / "files" / "crds.yaml").read_text(), yaml.CSafeLoader):
        names = crd["spec"]["names"]
        known |= {names["plural"], names["singular"], *names["shortNames"]} - {"jobs", "job"}
    for words in commands("kubectl"):
        verbs = [number for number, word in enumerate(words) if word in ("get", "describe", "annotate", "delete")]
        if verbs:
            kinds = next(word for word in words[verbs[0] + 1 :] if not word.startswith("-"))
            for kind in kinds.split(","):
                assert kind.split("/")[0] in known, words


def test_every_metric_of_an_alert_is_in_the_documents(render):
    text = (ROOT / "docs" / "metrics.md").read_text()
    for group in one(render(EVERYTHING), "PrometheusRule")["spec"]["groups"]:
        for rule in group["rules"]:
            metrics = re.findall(r"\bmillrace_\w+", rule["expr"])
            assert metrics and all(f"`{metric}`" in text for metric in metrics), rule["expr"]


def test_the_notes_name_the_deployment_and_what_is_watched(helm, tmp_path):
    # Only `helm install` shows the notes, and that asks a cluster; so here they are made part of a manifest.
    copy = Path(shutil.copytree(CHART, tmp_path / "millrace"))
    notes = (copy / "templates" / "NOTES.txt").read_text()
    manifest = 'apiVersion: v1\nkind: Notes\nmetadata: { name: notes }\ntext: {{ include "notes" . | toJson }}\n'
    (copy / "templates" / "notes.yaml").write_text(f'{{{{ define "notes" }}}}{notes}{{{{ end }}}}\n{manifest}')
    ended = helm("template", "millrace", str(copy), "--kube-version", "1.34.4", "--namespace", "here")
    assert ended.returncode == 0, ended.stderr
    text = one([found for found in yaml.safe_load_all(ended.stdout) if found], "Notes")["text"]
    assert "deployment/millrace" in text and "It runs the Flows of: here." in text and "mrj" in text
