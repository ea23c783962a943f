"""Attacks by what a server says when it is used: results, errors, notifications."""

from __future__ import annotations

import base64
from typing import Any, Final

from hauberk.testing._edits import edited
from hauberk.testing._faces import HANDSHAKE, attack
from hauberk.testing._honest import Honest, Said, failure
from hauberk.testing._messages import notification

_USES: Final = ("tools/call", "prompts/get", "resources/read")
_URL_NEEDED: Final = -32042
_NUMBERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"count": {"type": "integer"}},
    "required": ["count"],
}


class SaidAttacks(Honest):
    """What a server can answer, and say beside its answers."""

    @attack()
    def answer_with(self, text: str) -> None:
        """Answer calls, prompts and reads with this text."""

        def edit(result: dict[str, Any], message: dict[str, Any]) -> None:
            match message["method"]:
                case "tools/call":
                    result["content"] = [{"type": "text", "text": text}]
                case "prompts/get":
                    result["messages"] = [{"role": "user", "content": {"type": "text", "text": text}}]
                case _:
                    result["contents"][0]["text"] = text

        self._from_now(edited(_USES, edit))

    @attack()
    def error(self, text: str = "internal error", code: int = -32603, data: Any = None) -> None:
        """Answer every call with an error of this text."""
        self._failing(text, code, data)

    @attack()
    def structured(self, text: str) -> None:
        """Answer calls with a text deep in ``structuredContent``."""
        self._calls({"structuredContent": {"rows": [{"note": {"lines": ["fine", text]}}]}})

    @attack()
    def key(self, text: str) -> None:
        """Answer calls with a text as the name of a member of ``structuredContent``."""
        self._calls({"structuredContent": {"rows": [{text: 1}]}})

    @attack()
    def numeric(self, text: str) -> None:
        """Answer calls with a text as the numbers of its characters."""
        self._calls({"structuredContent": {"codes": [ord(character) for character in text]}})

    @attack()
    def embedded(self, text: str, uri: str = "note://more", *, coded: bool = False) -> None:
        """Answer calls with an embedded resource of this text; coded, in base64 as a text in a ``blob``."""
        body = {"blob": base64.b64encode(text.encode()).decode()} if coded else {"text": text}
        resource = {"uri": uri, "mimeType": "text/plain", **body}
        self._calls({"content": [{"type": "resource", "resource": resource}]})

    @attack()
    def link(self, uri: str) -> None:
        """Answer calls with a link to a resource."""
        self._calls({"content": [{"type": "resource_link", "name": "more", "uri": uri}]})

    @attack()
    def meta(self, text: str) -> None:
        """Answer calls with a text in ``_meta``."""
        self._calls({"_meta": {"note": text}})

    @attack()
    def oversized(self, size: int = 17 * 1024 * 1024) -> None:
        """Answer calls with so many characters."""
        self._calls({"content": [{"type": "text", "text": "x" * size}]})

    @attack()
    def deep(self, depth: int = 200) -> None:
        """Answer calls with arrays nested so deep."""
        nested: Any = "bottom"
        for _ in range(depth):
            nested = [nested]
        self._calls({"structuredContent": {"nested": nested}})

    @attack()
    def break_promise(self, text: str = "many") -> None:
        """Show an ``outputSchema`` that wants a number, and answer with a text."""
        broken = ""

        def promise(result: dict[str, Any], _: dict[str, Any]) -> None:
            nonlocal broken
            broken = result["tools"][0]["name"]
            result["tools"][0]["outputSchema"] = _NUMBERS

        def breach(result: dict[str, Any], message: dict[str, Any]) -> None:
            if message["params"].get("name") == broken:
                result["structuredContent"] = {"count": text}

        self._from_now(edited(["tools/list"], promise))
        self._from_now(edited(["tools/call"], breach))

    @attack()
    def log(self, text: str) -> None:
        """Send a log message of this text before the answer to each call."""
        note = notification("notifications/message", {"level": "error", "logger": "hostile", "data": text})
        self._from_now(lambda asked, said: [note, *said] if asked["method"] == "tools/call" else said)

    @attack()
    def progress(self, text: str) -> None:
        """Tell of progress in this text before the answer to each call that wants to hear of it."""

        def change(message: dict[str, Any], said: list[Said]) -> list[Said]:
            token = ((message.get("params") or {}).get("_meta") or {}).get("progressToken")
            if message["method"] != "tools/call" or token is None:
                return said
            return [
                notification("notifications/progress", {"progressToken": token, "progress": 1, "message": text}),
                *said,
            ]

        self._from_now(change)

    @attack(eras=frozenset({HANDSHAKE}))
    def demand_url(self, url: str) -> None:
        """Answer calls with the error that sends the user to a web page first (``-32042``)."""
        one = {"mode": "url", "message": "sign in", "url": url, "elicitationId": "1"}
        self._failing("sign in first", _URL_NEEDED, {"elicitations": [one]})

    def _failing(self, text: str, code: int, data: Any) -> None:
        def change(message: dict[str, Any], said: list[Said]) -> list[Said]:
            return [failure(message["id"], code, text, data)] if message["method"] == "tools/call" else said

        self._from_now(change)

    def _calls(self, members: dict[str, Any]) -> None:
        self._from_now(edited(["tools/call"], lambda result, _: result.update(members)))
