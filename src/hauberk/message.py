"""What travels: a frame of bytes near the wire, a message above it, and a tool call that is being judged.

Messages and frames are frozen; a hook that rewrites returns a new one. ``original`` is always the message as it entered
the guard, so that whoever judges a definition and whoever hides it compose in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec
import orjson
from msgspec.structs import replace

from hauberk import canon
from hauberk.contents import Content, digest_of
from hauberk.event import Event
from hauberk.exchange import Exchange, RequestId
from hauberk.principal import ANONYMOUS, Principal
from hauberk.refusals import POLICY, Refused
from hauberk.verdict import Approved, Ask

Kind = Literal["request", "notification", "result", "error"]
Toward = Literal["server", "client"]

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_STRICT: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME
_LABEL: Final = b"hauberk/call/v1\n"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What an opened seal proved about one message; set in SEAL, read in REPLAY. Times are seconds since 1970."""

    key_id: str
    nonce: bytes | int
    issued: float
    expires: float | None = None
    sender: str = ""
    """The key of whoever sent it, where `key_id` is that of one session."""


class SecretRef(msgspec.Struct, frozen=True):
    """Stands in a call's arguments for a secret that only the writing step puts in."""

    name: str
    version: int | None = None


class Frame(msgspec.Struct, frozen=True, eq=False):
    """One JSON-RPC message as bytes, without a line feed; what WIRE, GATE and SEAL get and return."""

    data: bytes
    toward: Toward
    peer: str = ""
    kind: Kind | None = None
    """Known on the way out; on the way in nothing has been parsed yet, and a seal returns what was shown outside."""
    method: str = ""
    id: RequestId | None = None
    proof: Proof | None = None
    notes: list[Event] = msgspec.field(default_factory=list)
    meta: Mapping[str, Any] | None = None
    """What must be visible of a request's ``_meta`` (`hauberk.outside`). A seal returns what was shown outside."""

    @property
    def size(self) -> int:
        """Return the length (bytes)."""
        return len(self.data)

    def with_data(self, data: bytes, *, proof: Proof | None = None) -> Frame:
        """Return this frame with other bytes, and the proof that opening them gave."""
        return replace(self, data=data, proof=proof or self.proof)

    def note(self, event: Event) -> None:
        """Leave an event for the record."""
        self.notes.append(event)


class Message(msgspec.Struct, frozen=True, eq=False):
    """One JSON-RPC message, parsed.

    ``data`` is the whole object, unknown members included. It is read, never changed in place: `with_params`,
    `with_result` and `with_error` return a new message.
    """

    kind: Kind
    toward: Toward
    method: str
    """Of a result or an error: the method of the request that it answers."""
    data: dict[str, Any]
    id: RequestId | None = None
    size: int = 0
    """Bytes, as it was received or as the core serialises it."""
    principal: Principal = ANONYMOUS
    exchange: Exchange | None = None
    headers: Mapping[str, str] = NO_HEADERS
    proof: Proof | None = None
    embedded: str | None = None
    """The key under which this request or result stood inside another message (``inputRequests``)."""
    first: Message | None = None
    ticket: Any = None
    """The carrier's own; plugins leave it alone."""
    notes: list[Event] = msgspec.field(default_factory=list)
    content: Content | None = None
    """The core's own, of the results of lists; `result_digest` reads it."""

    @property
    def original(self) -> Message:
        """Return the message as it entered the guard."""
        return self.first or self

    @property
    def params(self) -> dict[str, Any]:
        """Return the parameters of a request or notification; empty where it has none."""
        return self.data.get("params") or {}

    @property
    def result(self) -> dict[str, Any] | None:
        """Return the result, or None of another kind of message."""
        return self.data.get("result")

    @property
    def result_digest(self) -> bytes:
        """Return the SHA-256 of the result as it entered the guard (32 bytes; `hauberk.contents`).

        Equal digests are equal results, of which one may be known already.
        """
        original = self.original
        return digest_of(original.result) if original.content is None else original.content.digest

    @property
    def error(self) -> dict[str, Any] | None:
        """Return the error, or None of another kind of message."""
        return self.data.get("error")

    def with_params(self, params: dict[str, Any]) -> Message:
        """Return this message with other parameters."""
        return replace(self, data={**self.data, "params": params}, first=self.original)

    def with_result(self, result: dict[str, Any]) -> Message:
        """Return this message with another result."""
        return replace(self, data={**self.data, "result": result}, first=self.original)

    def with_error(self, error: dict[str, Any]) -> Message:
        """Return this message with another error."""
        return replace(self, data={**self.data, "error": error}, first=self.original)

    def with_principal(self, principal: Principal) -> Message:
        """Return this message with a narrower principal; one that widens is refused by the core."""
        return replace(self, principal=principal, first=self.original)

    def note(self, event: Event) -> None:
        """Leave an event for the record; it is written when the chain ends."""
        self.notes.append(event)


class ToolCall:
    """One ``tools/call`` whose arguments are final. A judge reads it and changes nothing."""

    __slots__ = (
        "_arguments",
        "_checked",
        "_digest",
        "_frozen",
        "approved",
        "asks",
        "dry",
        "exchange",
        "holds_secrets",
        "lacking",
        "message",
        "name",
        "read",
        "round",
        "server",
    )

    def __init__(
        self, message: Message, exchange: Exchange, server: str, *, dry: bool = False, checked: bytes | None = None
    ) -> None:
        """Freeze a call.

        Args:
            message: The request.
            exchange: Its exchange.
            server: The server's name.
            dry: Whether it is judged for an explanation only.
            checked: The whole message as it was checked, where no hook has made another one of it: then the arguments
                are serialised only where somebody asks for that.
        """
        self.message = message
        self.exchange = exchange
        self.name: str = message.data["params"]["name"]
        self.server = server
        self.dry = dry
        """Whether this call is judged for an explanation only, and is never sent."""
        self.round = 0
        """How many ``input_required`` answers this call has had."""
        self.asks: list[tuple[str, Ask]] = []
        self.approved: Approved | None = None
        """Set once an approver said yes; charges then run again, for slots only."""
        self.read = 0
        """How often somebody took the arguments, or went by them."""
        self.lacking = ""
        """What a judge missed; set by `lacks`."""
        given = message.data["params"].get("arguments")
        self._arguments: dict[str, Any] = {} if given is None else given
        self._checked: Final = checked
        self._digest = ""
        self._frozen = b""
        self.holds_secrets = False
        """Whether a reference stands somewhere in the arguments."""
        if checked is None:
            self._frozen = freeze(self._arguments)
            self.holds_secrets = b"\n" in self._frozen
        if message.first is not None:
            _only_json(self._arguments, self._frozen)

    @property
    def frozen(self) -> bytes:
        """Return the serialised arguments, made before anybody read them; what leaves is built round them.

        Where the whole message is kept as it was checked, that is what leaves, and these are made at first use.
        """
        if not self._frozen:
            self._frozen = freeze(self._arguments)
        return self._frozen

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the final arguments; `SecretRef` stands where a secret will."""
        self.read += 1
        return self._arguments

    @property
    def digest(self) -> str:
        """Return ``sha256:<hex>`` over the name and the arguments in canonical form (RFC 8785); made once."""
        if not self._digest:
            self.read += 1  # who goes by the digest goes by the arguments
            shown = masked(self._arguments) if self.holds_secrets else self._arguments
            # Parsed JSON holds no NaN, and what a plugin made was looked at when it was frozen.
            data = canon.dumps([self.name, shown], finite=True)
            self._digest = "sha256:" + sha256(_LABEL + data).hexdigest()  # `canon.digest`, in a frame less
        return self._digest

    @property
    def principal(self) -> Principal:
        """Return who calls."""
        return self.message.principal

    def note(self, event: Event) -> None:
        """Leave an event for the record."""
        self.message.notes.append(event)

    def lacks(self, what: str) -> None:
        """Say what a verdict misses that a call on a real connection would have, such as the list of tools.

        The verdict holds all the same. Of a call that is judged for an explanation only (``dry``), nobody then takes it
        for what would become of a real one.
        """
        self.lacking = self.lacking or what

    def changed(self) -> bool:
        """Whether the arguments, or the whole message, are no longer what was checked."""
        if self._checked is not None:
            absent = self.message.params.get("arguments") is None
            return encode(self.message.data) != self._checked or (absent and bool(self._arguments))
        return freeze(self._arguments) != self.frozen


def freeze(arguments: Any) -> bytes:
    """Serialise arguments once; a secret reference is ``null``, with ``[path, name, version]`` appended.

    Raises:
        Refused: ``core.not_json`` for what JSON does not carry.
    """
    try:
        return orjson.dumps(arguments, option=_STRICT)
    except (TypeError, ValueError, RecursionError):  # there may be a reference in it
        return _freeze_references(arguments)


def _freeze_references(arguments: Any) -> bytes:
    try:
        data = orjson.dumps(arguments, default=_stand_in, option=_STRICT)
    except (TypeError, ValueError, RecursionError):
        raise not_json() from None
    return data + b"\n" + orjson.dumps([[path, ref.name, ref.version] for path, ref in references(arguments)])


def _stand_in(value: object) -> None:
    if type(value) is not SecretRef:
        raise TypeError


def _only_json(arguments: Any, frozen: bytes) -> None:
    """Refuse rewritten arguments that would leave as something else than judges see: NaN, tuples and the like."""
    data, _, found = frozen.partition(b"\n")
    if orjson.loads(data) != (filled(arguments, _NULLS) if found else arguments):
        raise not_json()


class _Nulls(dict[SecretRef, Any]):
    def __missing__(self, ref: SecretRef) -> None:
        return None


_NULLS: Final = _Nulls()


def encode(data: dict[str, Any]) -> bytes:
    """Serialise a whole message.

    Raises:
        Refused: ``core.not_json`` for what JSON does not carry.
    """
    try:
        return orjson.dumps(data, option=_STRICT)
    except (TypeError, ValueError, RecursionError):
        raise not_json() from None


def not_json() -> Refused:
    """Return the refusal of a message that a plugin or the host made and that JSON cannot carry."""
    return Refused(
        "core.not_json",
        "the message holds what JSON does not carry",
        jsonrpc=POLICY,
        hint="arguments and results are objects, arrays, strings, numbers within 64 bits, booleans and null",
    )


def references(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], SecretRef]]:
    """Return each secret reference in ``value`` with the keys and indices that lead to it."""
    if type(value) is SecretRef:
        return [(path, value)]
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in references(item, (*path, key))]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in references(item, (*path, index))]
    return []


def masked(value: Any) -> Any:
    """Return ``value`` with each secret reference as ``{"$secret": [name, version]}``."""
    if type(value) is SecretRef:
        return {"$secret": [value.name, value.version]}
    if isinstance(value, dict):
        return {key: masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item) for item in value]
    return value


def filled(value: Any, values: Mapping[SecretRef, str]) -> Any:
    """Return ``value`` with each secret reference replaced by its value."""
    if type(value) is SecretRef:
        return values[value]
    if isinstance(value, dict):
        return {key: filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, values) for item in value]
    return value
