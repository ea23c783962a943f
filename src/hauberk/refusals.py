"""The errors of hauberk, by whose fault they are, and the JSON-RPC codes that refusals become on the wire.

Two audiences, two texts. The operator, and the host that the guard works for, get the code, the plugin, the rule and a
hint. A remote peer on the far side of a trust boundary gets one generic message that does not tell which check fired.
"""

from __future__ import annotations

from typing import Any, Final, final

POLICY: Final = -32003
IDENTITY: Final = -32004
LIMITS: Final = -32005
MEDIATION: Final = -32006
FAILED_HOOK: Final = -32007
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
"""Codes of the band that MCP leaves to implementations (-32000…-32019); -32001 is the SDK's time-out."""


class HauberkError(Exception):
    """The root of what hauberk raises. ``hint`` is the one thing to do about it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


@final
class ConfigError(HauberkError):
    """The operator must change something."""


@final
class PluginError(HauberkError):
    """A plugin is missing, duplicated, or broke its contract at load."""


@final
class Refused(HauberkError):
    """A policy said no.

    ``code`` is stable, ``<word>.<reason>``. ``jsonrpc`` is the number on the wire. ``public`` tells whether a remote
    peer may learn the code (load and admission only); everything else is ``core.refused`` to it. ``data`` are further
    members of the error's ``data``, for whoever may learn the code; ``details``, of a plugin, are for the event alone.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        plugin: str | None = None,
        rule: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
        jsonrpc: int = POLICY,
        public: bool = False,
        details: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.plugin = plugin
        self.rule = rule
        self.retry_after = retry_after
        self.jsonrpc = jsonrpc
        self.public = public
        self.details = details or {}
        self.data = data or {}

    def error_object(self, *, trusted: bool) -> dict[str, Any]:
        """Return the JSON-RPC ``error`` member for the host (``trusted``) or for a remote peer."""
        if not trusted and not self.public:
            return {"code": self.jsonrpc, "message": "refused", "data": {"code": "core.refused"}}
        data: dict[str, Any] = {**self.data, "code": self.code}
        if trusted:
            data |= {k: v for k in ("plugin", "rule", "hint") if (v := getattr(self, k)) is not None}
        if self.retry_after is not None:
            data["retryAfter"] = self.retry_after
        if self.jsonrpc == LIMITS:
            data["httpStatus"] = 429
        return {"code": self.jsonrpc, "message": f"{self.code}: {self.message}" if trusted else "refused", "data": data}


@final
class HookError(HauberkError):
    """A plugin could not tell: it raised, took too long, or answered something that is no answer."""

    def __init__(self, message: str, *, plugin: str, hook: str, code: str = "core.hook_failed") -> None:
        super().__init__(message, hint=f"see the log for why {plugin!r} failed; in development it can be turned off")
        self.plugin = plugin
        self.hook = hook
        self.code = code

    def refusal(self) -> Refused:
        """Return the refusal that stops the message."""
        return Refused(self.code, self.message, plugin=self.plugin, hint=self.hint, jsonrpc=FAILED_HOOK)
