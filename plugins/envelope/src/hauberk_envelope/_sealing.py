"""Seal a message for an agent, and open it.

How a message is sealed:

1. The content key. With a recipient's key: an X25519 key is made for this message alone, and agrees with the
   recipient's (ephemeral-static, RFC 7748). With a provisioned secret: that. HKDF-SHA256 (RFC 5869) makes 44 bytes of
   it, with the message's 24 random bytes as salt and, as info, the version, both agents, both key ids, the direction
   and the ephemeral key: 32 are the key, 12 the nonce. Each is used once, so no counter can be set back and no fork or
   snapshot repeats one, short of a system that repeats its random bytes (S0.27, A05).
2. The content is sealed by AES-256-GCM, with the whole header as associated data.
3. The sender signs the header and the SHA-256 of the sealed content, under a label of its own.

How it is opened:

1. Who it is from, whether that is trusted and may talk to the recipient, and whether it is for the recipient: before
   any secret is used (S0.23).
2. Signature and tag are both looked at, always, and what comes of it is one refusal: how long it took does not tell
   which of the two was wrong.

What `open_message` returns carries a proof. Age, time to live and repetition are for who remembers (`Channel`).
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final, final

import msgspec

from hauberk import canon, edge, keys
from hauberk.bounds import Bounds
from hauberk.message import Proof
from hauberk.refusals import Refused
from hauberk_envelope import _aead, _canonical, _ed25519, _even, _x25519
from hauberk_envelope._identity import Identity, PublicIdentity
from hauberk_envelope._limits import LIMITS
from hauberk_envelope._message import (
    NONCE_BYTES,
    VERSION,
    Metadata,
    SecureAgentMessage,
    check_form,
    check_metadata,
    time_text,
)
from hauberk_envelope._refusals import refused
from hauberk_envelope._secret import ProvisionedSecret
from hauberk_envelope._trust import Trust

_SIGNATURE_LABEL: Final = _canonical.DOMAIN + "message/v1"
_KEY_LABEL: Final = _canonical.DOMAIN + "message-key/v1"
_DIRECTION: Final = "sender to recipient"
_UNSIGNED: Final = bytes(_ed25519.SIGNATURE_BYTES)
_UNSEALED: Final = bytes(_aead.TAG_BYTES)


@final
class Opened(msgspec.Struct, frozen=True):
    """A message whose seal held."""

    content: bytes
    sender: PublicIdentity
    message: SecureAgentMessage
    proof: Proof
    """For who remembers what was opened: nothing here says that it is the first time."""


def seal_message(
    content: bytes,
    *,
    sender: Identity,
    to: PublicIdentity | None,
    now: float,
    secret: ProvisionedSecret | None = None,
    metadata: Metadata | None = None,
    random: Callable[[int], bytes] = os.urandom,
) -> SecureAgentMessage:
    """Seal ``content`` for an agent.

    Args:
        content: Any bytes, at most 16 MiB.
        sender: Who we are.
        to: Who it is for; None is everybody who has ``secret``.
        now: Seconds since 1970.
        secret: What the content key is made from; None: it is agreed on with the key of ``to``.
        metadata: What it is; a new message id where there is none.
        random: The source of random bytes.

    Raises:
        Refused: ``envelope.too_large``; ``core.not_json`` of custom fields; ``envelope.forged``: the recipient's key is
            weak.
        ValueError: Neither a recipient nor a secret, or metadata that nobody would take.
    """
    if len(content) > LIMITS.message_bytes:
        raise refused("envelope.too_large", "a message", f"over {LIMITS.message_bytes} bytes")
    about = check_metadata(metadata or Metadata(message_id=uuid.UUID(bytes=random(16), version=4)))
    _check_custom(about.custom_fields)
    ephemeral, material = _agreed(to, secret, random)
    draft = SecureAgentMessage(
        sender=sender.agent,
        recipient=to.agent if to else None,
        sender_key=sender.key_id,
        recipient_key=to.key_id if to else None,
        secret_id=secret.secret_id if secret else None,
        ephemeral=ephemeral,
        nonce=random(NONCE_BYTES),
        timestamp=time_text(now),
        metadata=about,
        encrypted_content=_UNSEALED,
        signature=_UNSIGNED,
    )
    check_form(draft)
    header = draft.header()
    sealed = _aead.seal(*_content_key(draft, material), content, header)
    return msgspec.structs.replace(draft, encrypted_content=sealed, signature=sender.sign(_signed(header, sealed)))


def open_message(
    message: SecureAgentMessage | bytes,
    *,
    recipients: Iterable[Identity],
    trust: Trust,
    now: float,
    secrets: Iterable[ProvisionedSecret] = (),
) -> Opened:
    """Open a message.

    Args:
        message: It, or its wire form.
        recipients: Who we are: one identity, or several of one agent while it rotates.
        trust: Who is trusted.
        now: Seconds since 1970.
        secrets: The provisioned secrets that we have.

    Raises:
        Refused: A code of ``envelope``; nothing of the content was used.
    """
    found, recipients = _read(message), tuple(recipients)
    if found.sender_key in {identity.key_id for identity in recipients}:
        raise refused("envelope.wrong_sender", "a message", "it is our own, and came back")
    sender = trust.find(found.sender_key, now)
    if sender.agent != found.sender:
        raise refused("envelope.untrusted", "the sender's key", "under this name")
    own = _addressee(found, recipients)
    for identity in (own,) if own else ():
        trust.check(identity.public, now)
    if not trust.may(sender.agent, found.recipient):
        raise refused("envelope.not_allowed", sender.agent)
    return _opened(found, sender, own, secrets)


def open_archived(
    message: SecureAgentMessage | bytes,
    *,
    recipients: Iterable[Identity],
    trust: Trust,
    secrets: Iterable[ProvisionedSecret] = (),
) -> Opened:
    """Open a message from an archive: by keys that counted when it was sealed, whether they count today or not (S0.26).

    Raises:
        Refused: As `open_message`; ``envelope.key_expired`` and ``envelope.key_not_yet_valid``: the key did not count
            when the message was sealed, as it says itself.
    """
    found = _read(message)
    sender = trust.archived(found.sender_key)
    if sender.agent != found.sender:
        raise refused("envelope.untrusted", "the sender's key", "under this name")
    if not sender.not_before <= found.issued <= sender.not_after:
        code = "envelope.key_not_yet_valid" if found.issued < sender.not_before else "envelope.key_expired"
        raise refused(code, f"the key of {sender.agent}", "at the time of the message")
    return _opened(found, sender, _addressee(found, recipients), secrets)


def _read(message: SecureAgentMessage | bytes) -> SecureAgentMessage:
    """Return a message in its one form, which one that was made by hand has to have, too."""
    if isinstance(message, bytes):
        return SecureAgentMessage.decode(message)
    try:
        data = message.encode()
    except Refused:
        raise refused("envelope.malformed", "a message") from None
    return SecureAgentMessage.decode(data)


def _check_custom(value: dict[str, Any]) -> None:
    """Check that the recipient can read custom fields: their size, and their depth where they stand."""
    data = canon.dumps(value)
    if len(data) > LIMITS.custom_bytes:
        raise refused("envelope.too_large", "custom fields", f"over {LIMITS.custom_bytes} bytes")
    edge.read(b'{"metadata":{"custom_fields":%s}}' % data, bounds=Bounds())


def _addressee(message: SecureAgentMessage, recipients: Iterable[Identity]) -> Identity | None:
    """Return which of us a message is for, or None if it is for everybody."""
    if message.recipient is None:
        return None
    for identity in recipients:
        if identity.key_id == message.recipient_key and identity.agent == message.recipient:
            return identity
    raise refused("envelope.wrong_recipient", "a message")


def _agreed(
    to: PublicIdentity | None, secret: ProvisionedSecret | None, random: Callable[[int], bytes]
) -> tuple[bytes | None, bytes]:
    """Return the X25519 key for one message, and what its content key is made from."""
    if secret is not None:
        return None, secret.material()
    if to is None:
        raise ValueError("a message for everybody needs a provisioned secret")
    once = _x25519.load(random(_x25519.KEY_BYTES))  # forgotten when this returns: nobody can agree so again
    try:
        return _x25519.public_of(once), _x25519.agree(once, to.agreement)
    except _x25519.Weak:
        raise refused("envelope.forged", f"the key of {to.agent}", check="agreement") from None


def _content_key(message: SecureAgentMessage, material: bytes) -> tuple[bytes, bytes]:
    """Return the key and the nonce of one message."""
    info = _canonical.encode(
        _KEY_LABEL,
        VERSION,
        _DIRECTION,
        message.sender,
        message.sender_key,
        message.recipient,
        message.recipient_key,
        message.secret_id,
        message.ephemeral,
    )
    made = keys.hkdf_sha256(material, info=info, salt=message.nonce, length=_aead.KEY_BYTES + _aead.NONCE_BYTES)
    return made[: _aead.KEY_BYTES], made[_aead.KEY_BYTES :]


def _signed(header: bytes, sealed: bytes) -> bytes:
    return _canonical.encode(_SIGNATURE_LABEL, header, hashlib.sha256(sealed).digest())


def _opened(
    message: SecureAgentMessage, sender: PublicIdentity, own: Identity | None, secrets: Iterable[ProvisionedSecret]
) -> Opened:
    """Look at the signature and at the tag, both, whatever comes of the first."""
    provisioned = _provisioned(message, secrets)
    header = message.header()
    held = _even.holds(sender.signing, message.signature, _signed(header, message.encrypted_content))
    content = _content(message, own, provisioned, header)
    if content is None or not held:
        _even.settle(held=held, fitted=content is not None)
        raise refused("envelope.forged", f"a message from {sender.agent}", check="tag" if held else "signature")
    proof = Proof(key_id=sender.key_id, nonce=message.nonce, issued=message.issued, expires=message.expires)
    return Opened(content, sender, message, proof)


def _provisioned(message: SecureAgentMessage, secrets: Iterable[ProvisionedSecret]) -> ProvisionedSecret | None:
    if message.secret_id is None:
        return None
    for secret in secrets:
        if secret.secret_id == message.secret_id:
            return secret
    raise refused("envelope.wrong_recipient", "a message", "of a secret that is not here")


def _content(
    message: SecureAgentMessage, own: Identity | None, secret: ProvisionedSecret | None, header: bytes
) -> bytes | None:
    try:
        if secret is not None:
            material = secret.material()
        elif own is not None and message.ephemeral is not None:
            material = own.agree(message.ephemeral)
        else:  # a form that was refused before
            return None
    except Refused:  # a weak key, which its sender signed
        return None
    return _even.opened(*_content_key(message, material), message.encrypted_content, header)
