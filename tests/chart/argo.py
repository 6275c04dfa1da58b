"""Argo CD's scripts of Millrace, run as Argo CD runs them: Lua 5.1 over the resource as `obj`."""

from __future__ import annotations

from typing import Any

import lupa.lua51
import yaml

from rendered import CHART

FOLDER = CHART / "argocd"


def run(script: str, obj: dict[str, Any]) -> Any:
    """Only what Argo CD gives a script: the base library and tables, and for actions the time."""
    lua = lupa.lua51.LuaRuntime(register_eval=False, unpack_returned_tuples=True)
    lua.execute("io, string, math, debug, loadfile, dofile = nil; os = { date = os.date, time = os.time }")
    lua.execute("package.loaded.os = os; package.loaded.io, package.loaded.string = nil")
    lua.globals().obj = table(lua, obj)
    return plain(lua.execute(script))


def table(lua: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({key: table(lua, inner) for key, inner in value.items() if inner is not None})
    if isinstance(value, list):
        return lua.table_from([table(lua, inner) for inner in value])
    return value


def plain(value: Any) -> Any:
    if lupa.lua51.lua_type(value) != "table":
        return value
    return {key: plain(inner) for key, inner in value.items()}


def customizations() -> dict[str, str]:
    patch = yaml.safe_load((FOLDER / "argocd-cm.yaml").read_text())
    return {key.removeprefix("resource.customizations."): value for key, value in patch["data"].items()}


def health(resource: dict[str, Any]) -> dict[str, str]:
    """The health that Argo CD would show."""
    told: dict[str, str] = run(customizations()[f"health.millrace.dev_{resource['kind']}"], resource)
    return told
