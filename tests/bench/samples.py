"""Messages to measure with: dense JSON, one long string, spaced output, and frames that real peers wrote."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

SIZES: Final = {"200 B": 200, "1 KiB": 1024, "16 KiB": 16 * 1024, "256 KiB": 256 * 1024}


def call(arguments: dict[str, Any], id: int = 1) -> dict[str, Any]:
    """Return a tools/call."""
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}}


def dense(size: int) -> dict[str, Any]:
    """Return a call of about ``size`` bytes, rich in objects, numbers and short strings."""
    row = {"id": 17, "name": "Ada Lovelace", "score": 0.25, "tags": ["a", "b"], "ok": True, "none": None}
    rows: list[dict[str, Any]] = []
    while len(orjson.dumps(call({"rows": [*rows, row]}))) <= size:
        rows.append({**row, "id": len(rows)})
    return call({"rows": rows} if rows else {"id": 17, "name": "Ada Lovelace", "ok": True})


def text(size: int) -> str:
    """Return a text of ``size`` characters."""
    return ("The quick brown fox jumps over the lazy dog. " * (size // 45 + 1))[:size]


def long_string(size: int) -> dict[str, Any]:
    """Return a call of about ``size`` bytes that is one long string."""
    return call({"text": text(size)})


def compact(message: dict[str, Any]) -> bytes:
    """Return the frame as most SDKs write it."""
    return orjson.dumps(message)


def spaced(message: dict[str, Any]) -> bytes:
    """Return the frame as `json.dumps` writes it."""
    return json.dumps(message).encode()
