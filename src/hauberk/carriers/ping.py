"""The first word of a connection that is dialled: an MCP ``ping``, whose answer says that the peer accepts it.

Under TLS 1.3 a client has finished its handshake before the server has looked at its certificate, so a connection is
made only when something came back over it. `hauberk serve` answers this ping itself once it has admitted the
connection, with an empty result, or with an error that says why not; any other server answers as the protocol says.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import orjson

from hauberk.refusals import Refused

_ID: Final = r"hauberk:[0-9a-f]{32}"
_CODE: Final = r"[a-z_]{1,32}\.[a-z_]{1,64}"
_LONGEST: Final = 256
"""A ping of a guard is shorter (bytes)."""


def request() -> tuple[str, bytes]:
    """Return a new ping: its id, and its frame."""
    id = f"hauberk:{secrets.token_hex(16)}"
    return id, orjson.dumps({"jsonrpc": "2.0", "id": id, "method": "ping"})


def id_of(frame: bytes) -> str | None:
    """Return the id of a ping that a guard made; None of any other frame."""
    if len(frame) > _LONGEST:
        return None
    try:
        data = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(data, dict) or not isinstance(id := data.pop("id", None), str) or not re.fullmatch(_ID, id):
        return None
    return id if data == {"jsonrpc": "2.0", "method": "ping"} else None


def accepted(id: str) -> bytes:
    """Return the answer of a server that takes the connection."""
    return orjson.dumps({"jsonrpc": "2.0", "id": id, "result": {}})


def denied(id: str | int | None, refused: Refused) -> bytes:
    """Return the answer of a server that does not; a stranger learns the code of load and admission only."""
    return orjson.dumps({"jsonrpc": "2.0", "id": id, "error": refused.error_object(trusted=False)})


def denial(frame: bytes, id: str) -> str | None:
    """Return why a peer does not take the connection, or None where it does.

    Args:
        frame: What came first.
        id: The id of the ping.

    Raises:
        ValueError: It is no answer to the ping.
    """
    data: Any = orjson.loads(frame)
    if not isinstance(data, dict) or "method" in data or (data.get("id", "") != id and data.get("id", "") is not None):
        raise ValueError("no answer to the ping")
    if data.get("id") == id and "result" in data:
        return None
    error = data.get("error")
    if not isinstance(error, dict):
        raise ValueError("no answer to the ping")  # noqa: TRY004 - of what came, not of a caller
    details = error.get("data")
    code = details.get("code") if isinstance(details, dict) else None
    if isinstance(code, str) and re.fullmatch(_CODE, code):
        return code
    if data.get("id") == id:
        return None  # a server that has no ping; it has answered
    return "core.refused"
