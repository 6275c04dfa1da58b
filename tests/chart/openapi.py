"""Kubernetes' own description of its API, as JSON Schemas that are as strict as the server is for `kubectl apply`.

In: the file that Kubernetes publishes of itself (`swagger.json`, of the Go module or of a server at
`/openapi/v2`). Out: what is wrong with a manifest.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, cast

import jsonschema

from rendered import KUBERNETES


@functools.cache
def swagger() -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(source().read_text()))


def source() -> Path:
    """The file of MILLRACE_TEST_OPENAPI, or that of the Go module of Kubernetes."""
    if given := os.environ.get("MILLRACE_TEST_OPENAPI"):
        return Path(given)
    go = os.environ.get("MILLRACE_TEST_GO", "go")
    download = [go, "mod", "download", "-json", f"k8s.io/kubernetes@v{KUBERNETES}"]
    # The proxy of the modules may not answer each time.
    for last in (False, False, True):
        fetched = subprocess.run(download, capture_output=True, text=True, check=last, cwd="/")
        if fetched.returncode == 0:
            break
        time.sleep(5)
    return Path(json.loads(fetched.stdout)["Dir"]) / "api" / "openapi-spec" / "swagger.json"


@functools.cache
def definitions() -> dict[str, Any]:
    strict = json.loads(json.dumps(swagger()["definitions"]))
    for definition in strict.values():
        if "properties" in definition:
            definition.setdefault("additionalProperties", False)
    strict["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {"type": ["string", "integer"]}
    strict["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["string", "number"]}
    return cast(dict[str, Any], strict)


@functools.cache
def kinds() -> dict[tuple[str, str], str]:
    """The definition of each kind, by apiVersion and kind."""
    named = {}
    for name, definition in definitions().items():
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
            named[version, kind["kind"]] = name
    return named


def problems(manifest: dict[str, Any]) -> list[str]:
    name = kinds().get((manifest["apiVersion"], manifest["kind"]))
    if name is None:
        return [f"Kubernetes {KUBERNETES} has no {manifest['kind']} of {manifest['apiVersion']}"]
    schema = {"$ref": f"#/definitions/{name}", "definitions": definitions()}
    found = jsonschema.Draft4Validator(schema).iter_errors(manifest)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in found]
