"""The server behind each proxy: one tool, ``echo``, which gives back ``text``. Used with ``python -S``.

It counts what it is asked; the text ``counts`` is answered with the counts.
"""

from __future__ import annotations

import json
import os

TOOL = {
    "name": "echo",
    "description": "Give back the text.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}
COUNTS: dict[str, int] = {}


def main() -> None:
    """Answer until input ends."""
    rest = b""
    while chunk := os.read(0, 1 << 20):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            request = json.loads(line)
            method = request.get("method", "")
            COUNTS[method] = COUNTS.get(method, 0) + 1
            if "id" in request and method:
                write({"jsonrpc": "2.0", "id": request["id"]} | answer(method, request.get("params") or {}))


def answer(method: str, params: dict) -> dict:  # type: ignore[type-arg]
    """Return the result of a request, or an error."""
    if method == "tools/call":
        text = params["arguments"]["text"]
        said = json.dumps(COUNTS) if text == "counts" else text
        return {"result": {"content": [{"type": "text", "text": said}], "isError": False}}
    if method == "tools/list":
        return {"result": {"tools": [TOOL]}}
    if method == "initialize":
        about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "echo", "version": "1"}}
        return {"result": {"protocolVersion": params["protocolVersion"]} | about}
    if method == "ping":
        return {"result": {}}
    return {"error": {"code": -32601, "message": "method not found"}}


def write(message: dict) -> None:  # type: ignore[type-arg]
    """Write one line."""
    data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
