"""A sealed message between agents: its members, its one wire form, and the bytes of its header.

The rules:

1. A message is one JSON object in canonical form (RFC 8785), UTF-8. Bytes are base64 with padding (RFC 4648 section 4).
   Every member is there, none besides. What is not exactly the form of what was read is refused: no second text, and no
   changed bit, is the same message (A06).
2. The header is every member but ``encrypted_content`` and ``signature``, in one byte form (`_canonical`).
3. A timestamp has six digits of fractions and ends in Z: ``2026-01-31T00:00:00.000000Z``.
4. Sizes are looked at before anything is parsed (A10). Nothing is ever decompressed.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, final

import msgspec

from hauberk import canon, edge
from hauberk.bounds import Bounds
from hauberk.refusals import Refused
from hauberk_envelope import _aead, _canonical
from hauberk_envelope._limits import LIMITS
from hauberk_envelope._refusals import refused

VERSION: Final = "hauberk-message-v1"
"""The form and all the algorithms. There is no other, and nothing is negotiated (A08)."""
NONCE_BYTES: Final = 24
_HEADER_LABEL: Final = _canonical.DOMAIN + "message-header/v1"
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_OTHER_BYTES: Final = 8192
"""More than all members but the content and the custom fields."""
_MOST: Final = -(-(LIMITS.message_bytes + _aead.TAG_BYTES) // 3) * 4 + LIMITS.custom_bytes + _OTHER_BYTES
_BOUNDS: Final = Bounds(line_bytes=_MOST)
_WHO: Final = "a message"

MessageType = Literal[
    "TaskRequest", "TaskResponse", "StatusUpdate", "ErrorNotification", "Shutdown", "InterAgentMessage"
]
Name = Annotated[str, msgspec.Meta(max_length=LIMITS.agent_chars)]


@final
class Metadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a message is, beside what it says. All of it can be read on the way, and none of it changed."""

    message_id: uuid.UUID
    priority: Annotated[int, msgspec.Meta(ge=0, le=255)] = 128
    message_type: MessageType = "InterAgentMessage"
    ttl: Annotated[int, msgspec.Meta(ge=1, le=LIMITS.ttl_seconds)] | None = None
    """How long after its timestamp it counts (seconds); None: as long as the recipient's window is."""
    requires_ack: bool = False
    custom_fields: dict[str, Any] = {}
    """Whatever the agents agree on; JSON."""


@final
class SecureAgentMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sealed message between agents (S0.20)."""

    version: Literal["hauberk-message-v1"] = VERSION
    sender: Name = msgspec.field(name="from")
    """The name of the agent that sent it."""
    recipient: Name | None = msgspec.field(name="to")
    """The name of the agent that it is for; None is everybody who has the secret."""
    sender_key: Name
    """The sender's key id."""
    recipient_key: Name | None
    """The recipient's key id; None where there is no recipient."""
    secret_id: Name | None
    """Which provisioned secret the content key is made from; None: it is agreed on with ``ephemeral``."""
    ephemeral: bytes | None
    """The sender's X25519 key for this message alone (32 bytes); None with a provisioned secret."""
    nonce: bytes
    """Random (24 bytes): the salt of the content key, and what replay protection remembers."""
    timestamp: str
    """When it was sealed (RFC 3339)."""
    metadata: Metadata
    encrypted_content: bytes
    """AES-256-GCM, the tag (16 bytes) last."""
    signature: bytes
    """Ed25519 by the sender's key (64 bytes)."""

    def encode(self) -> bytes:
        """Return the wire form.

        Raises:
            Refused: ``core.not_json``: custom fields hold what JSON does not carry.
        """
        return canon.dumps(msgspec.to_builtins(self))

    @staticmethod
    def decode(data: bytes) -> SecureAgentMessage:
        """Return the message of a wire form; nothing of it is proved yet.

        Raises:
            Refused: ``envelope.plain``: no sealed message. ``envelope.malformed``: one of another form.
                ``envelope.unsupported``: of another version. ``envelope.too_large``.
        """
        if len(data) > _MOST:
            raise refused("envelope.too_large", _WHO, f"over {_MOST} bytes")
        try:
            found, _ = edge.read(data, bounds=_BOUNDS)
        except Refused as exc:
            raise refused("envelope.plain", _WHO, f"it is no canonical JSON object ({exc.code})") from None
        return _converted(found, data)

    @property
    def issued(self) -> float:
        """Return the timestamp (seconds since 1970).

        Raises:
            Refused: ``envelope.malformed``.
        """
        return parse_time(self.timestamp)

    @property
    def expires(self) -> float | None:
        """Return until when it counts (seconds since 1970), or None."""
        return None if self.metadata.ttl is None else self.issued + self.metadata.ttl

    def header(self) -> bytes:
        """Return the one byte form of everything but the content and the signature.

        Raises:
            Refused: ``core.not_json``: custom fields hold what JSON does not carry.
            ValueError: A text holds a lone surrogate.
        """
        about = self.metadata
        return _canonical.encode(
            _HEADER_LABEL,
            self.version,
            self.sender,
            self.recipient,
            self.sender_key,
            self.recipient_key,
            self.secret_id,
            self.ephemeral,
            self.nonce,
            self.timestamp,
            about.message_id.bytes,
            about.priority,
            about.message_type,
            about.ttl,
            int(about.requires_ack),
            canon.dumps(about.custom_fields),
        )


def _converted(found: dict[str, Any], data: bytes) -> SecureAgentMessage:
    version = found.get("version")
    if not isinstance(version, str) or not version.startswith("hauberk-message-"):
        raise refused("envelope.plain", _WHO)
    if version != VERSION:
        raise refused("envelope.unsupported", _WHO, f"only {VERSION} is")
    try:
        message = msgspec.convert(found, SecureAgentMessage)
    except msgspec.ValidationError as exc:
        where = str(exc).rpartition(" - at ")[2] if " - at " in str(exc) else ""  # the rest may quote the message
        raise refused("envelope.malformed", _WHO, where) from None
    if message.encode() != data:
        raise refused("envelope.malformed", _WHO, "it is not in the one form")
    return check_form(message)


def check_form(message: SecureAgentMessage) -> SecureAgentMessage:
    """Return a message whose members have the lengths and combinations that they must.

    Raises:
        Refused: ``envelope.malformed``.
    """
    about = message.metadata
    faults = (
        ("nonce", len(message.nonce) != NONCE_BYTES),
        ("signature", len(message.signature) != 64),  # noqa: PLR2004 - RFC 8032
        ("encrypted_content", len(message.encrypted_content) < _aead.TAG_BYTES),
        ("ephemeral", (message.ephemeral is None) == (message.secret_id is None)),
        ("ephemeral", message.ephemeral is not None and len(message.ephemeral) != 32),  # noqa: PLR2004 - RFC 7748
        ("recipient_key", (message.recipient is None) != (message.recipient_key is None)),
        ("secret_id", message.recipient is None and message.secret_id is None),
        ("custom_fields", len(canon.dumps(about.custom_fields)) > LIMITS.custom_bytes),
        ("encrypted_content", len(message.encrypted_content) > LIMITS.message_bytes + _aead.TAG_BYTES),
    )
    for name, wrong in faults:
        if wrong:
            raise refused("envelope.malformed", _WHO, f"{name} is none")
    parse_time(message.timestamp)
    return message


def check_metadata(about: Metadata) -> Metadata:
    """Return metadata that was made by hand as a recipient would read it.

    Raises:
        ValueError: No recipient would: a number out of its range, or something of another kind.
    """
    try:
        return msgspec.convert({name: getattr(about, name) for name in about.__struct_fields__}, Metadata)
    except msgspec.ValidationError as exc:
        raise ValueError(f"no metadata of a message: {exc}") from None


def time_text(seconds: float) -> str:
    """Return a time as messages have it, to the microsecond.

    Raises:
        ValueError: It is beyond the year 9999, or no number.
    """
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME)


def parse_time(text: str) -> float:
    """Return the seconds since 1970 of a timestamp.

    Raises:
        Refused: ``envelope.malformed``: it is written in another way.
    """
    try:
        found = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        found = None
    if found is None or found.strftime(_TIME) != text:
        raise refused("envelope.malformed", _WHO, "timestamp is none")
    return found.timestamp()
