"""What a worker would send to configure a plugin, made of the settings of a test."""

from __future__ import annotations

from typing import Any


def configured(
    stream: str,
    connection: dict[str, Any] | None,
    credentials: dict[str, Any] | None,
    options: dict[str, Any] | None,
    schema: list[dict[str, Any]] | None = None,
    primary_key: list[str] | None = None,
) -> dict[str, Any]:
    """The `config` of a `start`; `stream`: the only one, or none."""
    return {
        "name": "test",
        "connection": connection or {},
        "credentials": credentials or {},
        "objects": [stream] if stream else [],
        "engine": {"type": "python", "options": options or {}},
        "schema": {stream: schema} if schema else {},
        "primaryKey": {stream: primary_key} if primary_key else {},
    }
