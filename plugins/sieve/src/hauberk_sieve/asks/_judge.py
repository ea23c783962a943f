"""What a question may be: the rules on one sampling request, one elicitation, one look at the roots.

The rules:

1. A question is at most ``size`` bytes, of whatever kind.
2. Sampling: at most ``messages`` messages and ``maxTokens`` of ``tokens``; ``includeContext`` no wider than
   ``context``; tools, and what tools said, only with ``tools``.
3. Elicitation: a form asks for no secret; a URL is https and leads to an origin of ``origins``, compared exactly (RFC
   6454 §5). What is both is judged as both, and what is of another mode is refused.
4. A form is judged by ``elicitation``, a URL by its origin: to a listed one it may lead though forms are denied.
"""

from __future__ import annotations

from typing import Any, Final

from hauberk_sieve.addresses._options import origins
from hauberk_sieve.addresses._url import Unreadable, read
from hauberk_sieve.asks._forms import secret_in_message, secret_in_schema
from hauberk_sieve.asks._options import Asks, Stance

SAMPLING: Final = "sampling/createMessage"
ELICITATION: Final = "elicitation/create"
ROOTS: Final = "roots/list"
QUESTIONS: Final = (SAMPLING, ELICITATION, ROOTS)
_WIDTH: Final = ("none", "thisServer", "allServers")
_TOOLED: Final = ("tool_use", "tool_result")


class Judge:
    """The rules of one table."""

    def __init__(self, asks: Asks) -> None:
        self.asks: Final = asks
        self._origins: Final = frozenset(origins("origins", asks.origins))
        self._stances: Final[dict[str, Stance]] = {
            SAMPLING: asks.sampling,
            ELICITATION: asks.elicitation,
            ROOTS: asks.roots,
        }

    def stance(self, method: str, params: dict[str, Any]) -> Stance:
        """Return what becomes of a question that keeps to the rules."""
        stance = self._stances[method]
        if stance == "deny" and method == ELICITATION and not _is_form(params) and self._origins:
            return "allow"  # if it leads to one of them
        return stance

    def broken(self, method: str, params: dict[str, Any], size: int) -> str | None:
        """Return the rule that a question breaks, or None.

        Args:
            method: One of `QUESTIONS`.
            params: Its parameters.
            size: Of the question (bytes).
        """
        if size > self.asks.size:
            return f"size = {self.asks.size}"
        if method == SAMPLING:
            return self._sampling(params)
        return self._elicitation(params) if method == ELICITATION else None

    def _sampling(self, params: dict[str, Any]) -> str | None:
        asks, messages = self.asks, params.get("messages")
        tokens, context = params.get("maxTokens"), params.get("includeContext")
        if type(messages) is list and len(messages) > asks.messages:
            return f"messages = {asks.messages}"
        if tokens is not None and not (isinstance(tokens, (int, float)) and tokens <= asks.tokens):
            return f"tokens = {asks.tokens}"
        if context is not None and (context not in _WIDTH or _WIDTH.index(context) > _WIDTH.index(asks.context)):
            return f'context = "{asks.context}"'
        if not asks.tools and (params.get("tools") or params.get("toolChoice") or _has_tools(messages)):
            return "tools = false"
        return None

    def _elicitation(self, params: dict[str, Any]) -> str | None:
        mode = params.get("mode", "form")
        if mode not in ("form", "url"):
            return "mode is form or url"
        if (mode == "url" or "url" in params) and not self._may_lead(params.get("url")):
            return "origins"
        if self.asks.secrets:
            return None
        word = secret_in_schema(params.get("requestedSchema"))
        if word is None and _is_form(params) and type(message := params.get("message")) is str:
            word = secret_in_message(message)
        return None if word is None else f"secrets = false: {word!r}"

    def _may_lead(self, url: Any) -> bool:
        try:
            return type(url) is str and read(url).origin in self._origins
        except Unreadable:
            return False


def _is_form(params: dict[str, Any]) -> bool:
    return params.get("mode", "form") != "url" or "requestedSchema" in params


def _has_tools(messages: Any) -> bool:
    for message in messages if type(messages) is list else ():
        content = message.get("content") if type(message) is dict else None
        for block in content if type(content) is list else (content,):
            if type(block) is dict and block.get("type") in _TOOLED:
                return True
    return False
