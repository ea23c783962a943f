"""Sealed messages between agents: what a program imports.

`Channel` seals what goes through any pair of functions that send and receive bytes. `seal` and `open` are the two
halves, for who remembers nonces in another way: what `open` returns was sealed by who it names, for us, and may be a
repetition.
"""

from __future__ import annotations

from hauberk_envelope._channel import Channel, Record, Replay
from hauberk_envelope._identity import Identity, PublicIdentity
from hauberk_envelope._keyfiles import read_own, read_public, read_secret
from hauberk_envelope._message import MessageType, Metadata, SecureAgentMessage
from hauberk_envelope._plain import Plain, PlainChannel, channel
from hauberk_envelope._sealing import Opened, open_archived
from hauberk_envelope._sealing import open_message as open  # noqa: A004 - the word of the field
from hauberk_envelope._sealing import seal_message as seal
from hauberk_envelope._secret import ProvisionedSecret
from hauberk_envelope._trust import Rules, Trust

__all__ = [
    "Channel",
    "Identity",
    "MessageType",
    "Metadata",
    "Opened",
    "Plain",
    "PlainChannel",
    "ProvisionedSecret",
    "PublicIdentity",
    "Record",
    "Replay",
    "Rules",
    "SecureAgentMessage",
    "Trust",
    "channel",
    "open",
    "open_archived",
    "read_own",
    "read_public",
    "read_secret",
    "seal",
]
