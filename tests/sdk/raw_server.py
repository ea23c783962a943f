"""As a program: a server of the handshake's era made of the standard library, which misbehaves as it is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

_TOOLS: list[dict[str, Any]] = [{"name": "t", "inputSchema": {"type": "object"}}]
_BROKEN = {
    "duplicate": '{"jsonrpc":"2.0","id":@,"result":{"content":[],"structuredContent":{"a":1,"\\u0061":2}}}',
    "duplicate id": '{"jsonrpc":"2.0","id":@,"result":{"content":[]},"id":@}',
    "nan": '{"jsonrpc":"2.0","id":@,"result":{"content":[],"structuredContent":{"a":NaN}}}',
    "infinity": '{"jsonrpc":"2.0","id":@,"result":{"content":[],"structuredContent":{"a":1e999}}}',
    "2**64": '{"jsonrpc":"2.0","id":@,"result":{"content":[],"structuredContent":{"a":18446744073709551616}}}',
    "surrogate": '{"jsonrpc":"2.0","id":@,"result":{"content":[],"structuredContent":{"a":"\\ud800"}}}',
    "deep": '{"jsonrpc":"2.0","id":@,"result":{"content":[],"structuredContent":' + '{"a":' * 200 + "1" + "}" * 202,
    "trailing": '{"jsonrpc":"2.0","id":@,"result":{"content":[]}}{"jsonrpc":"2.0","id":@,"result":{}}',
    "two kinds": '{"jsonrpc":"2.0","id":@,"result":{"content":[]},"error":{"code":1,"message":"m"}}',
    "result": '{"jsonrpc":"2.0","id":@,"result":[]}',
    "long": '{"jsonrpc":"2.0","id":@,"result":{"content":[],"structuredContent":{"a":"' + "x" * 3_000_000 + '"}}}',
    "long, id last": '{"jsonrpc":"2.0","result":{"content":[],"_meta":{"a":"' + "x" * 3_000_000 + '"}},"id":@}',
    "latin-1": '{"jsonrpc":"2.0","id":@,"result":{"content":[],"structuredContent":{"a":"\xe9"}}}',
    "bom": '\ufeff{"jsonrpc":"2.0","id":@,"result":{"content":[]}}',
}
"""Answers that are none; ``@`` stands for the id."""


def _write(text: str, encoding: str = "utf-8") -> None:
    data = text.encode(encoding) + b"\n"
    while data:
        data = data[os.write(1, data) :]


def _answer(id: Any, structured: Any) -> None:
    result = {"content": [], "structuredContent": structured}
    _write(json.dumps({"jsonrpc": "2.0", "id": id, "result": result}, ensure_ascii=False))


def _noise(id: Any) -> None:
    for line in ("Server ready!", "", "\r", "{", '"text"', "7", "warning: {'a': 1}", "x" * 3_000_000):
        _write(line)
    _answer(id, {"how": "noise"})


def _flood(id: Any) -> None:
    os.write(2, b"x" * 1_000_000)
    _answer(id, {"how": "flood"})


def _who(id: Any) -> None:
    _answer(id, {"pid": os.getpid(), "env": dict(os.environ), "cwd": os.getcwd()})  # noqa: PTH109


def _spawn(id: Any) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    _answer(id, {"pid": sleeper.pid})


def _deaf(id: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _answer(id, {"pid": os.getpid()})
    while True:
        signal.pause()


def _shut_later(id: Any) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: os.close(0))
    _answer(id, {"pid": os.getpid()})
    while True:
        signal.pause()


def _last_words(id: Any) -> None:
    _answer(id, {"how": "last words"})
    os._exit(0)


def _chatter(id: Any) -> None:
    for n in range(20_000):
        _write(
            json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": n}})
        )
    _answer(id, {"how": "chatter"})


def _no_input(id: Any) -> None:
    os.close(0)
    _answer(id, {"how": "no input"})
    signal.pause()


def _no_output(_id: Any) -> None:
    os.close(1)
    signal.pause()


def _leave_a_child(_id: Any) -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.DEVNULL)
    os._exit(3)


_HOW: dict[str, Callable[[Any], None]] = {
    "noise": _noise,
    "lines": lambda id: _answer(id, {"a": "1\u2028 2\u2029 3\x85 4\x0b 5\x0c 6"}),
    "flood": _flood,
    "who": _who,
    "spawn": _spawn,
    "deaf": _deaf,
    "shut later": _shut_later,
    "last words": _last_words,
    "chatter": _chatter,
    "no input": _no_input,
    "no output": _no_output,
    "leave a child": _leave_a_child,
    "exit": lambda _: os._exit(3),
    "silent": lambda _: None,
}


def _call(id: Any, how: str) -> None:
    if how in _BROKEN:
        _write(_BROKEN[how].replace("@", json.dumps(id)), "latin-1" if how == "latin-1" else "utf-8")
    elif how in _HOW:
        _HOW[how](id)
    else:
        _answer(id, {"how": how})


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin.buffer:
        message = json.loads(line)
        method, id = message["method"], message.get("id")
        if method == "initialize":
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "r", "version": "1"}}
            _write(json.dumps({"jsonrpc": "2.0", "id": id, "result": hello}))
        elif method == "tools/list":
            _write(json.dumps({"jsonrpc": "2.0", "id": id, "result": {"tools": _TOOLS}}))
        elif method == "tools/call":
            _call(id, message["params"]["arguments"]["how"])
        elif id is not None:
            error = {"code": -32601, "message": "no"}
            _write(json.dumps({"jsonrpc": "2.0", "id": id, "error": error}))


if __name__ == "__main__":
    main()
