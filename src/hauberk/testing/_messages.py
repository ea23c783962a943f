"""JSON-RPC messages as plain objects."""

from __future__ import annotations

from typing import Any


def request(method: str, params: Any = None, *, id: Any = 1) -> dict[str, Any]:
    """Return a JSON-RPC request.

    >>> request("tools/list", id=7)
    {'jsonrpc': '2.0', 'id': 7, 'method': 'tools/list'}
    """
    return {"jsonrpc": "2.0", "id": id, "method": method} | ({} if params is None else {"params": params})


def notification(method: str, params: Any = None) -> dict[str, Any]:
    """Return a JSON-RPC notification.

    >>> notification("notifications/initialized")
    {'jsonrpc': '2.0', 'method': 'notifications/initialized'}
    """
    return {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})


def answer(result: Any, *, id: Any = 1) -> dict[str, Any]:
    """Return the JSON-RPC response with a result.

    >>> answer({}, id="a")
    {'jsonrpc': '2.0', 'id': 'a', 'result': {}}
    """
    return {"jsonrpc": "2.0", "id": id, "result": result}


def call_params(name: str, arguments: Any = None, **more: Any) -> dict[str, Any]:
    """Return the params of a ``tools/call``.

    >>> call_params("read", {"path": "/"})
    {'name': 'read', 'arguments': {'path': '/'}}
    """
    return {"name": name} | ({} if arguments is None else {"arguments": arguments}) | more
