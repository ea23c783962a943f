"""The signature of a policy: a file beside it, made with an Ed25519 key (RFC 8032), one signature a policy (S3.20).

The rules:

1. ``FILE.sig`` is one JSON object with exactly the members of `Signature`.
2. What is signed is a label of its own, a line feed, and the canonical JSON (RFC 8785) of all members but
   ``signature``. ``policy_version`` among them is SHA-256 of the exact bytes of the policy, and ``policy_file`` that of
   its ``policy.py``, which is code: so a signature holds for one policy, and for nothing that is no policy.
3. The key is derived from the 32 bytes of a key file (`hauberk.keys`) for this purpose alone. Its id is SHA-256 of the
   32 bytes of the public key.
4. ``serial`` only goes up (`hauberk_audit.policies._check`); ``signed_at`` is what the signer says, and
   decides nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from hauberk import canon, keys
from hauberk.refusals import ConfigError
from hauberk_audit.policies._limits import LIMITS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SUFFIX: Final = ".sig"
_LABEL: Final = b"hauberk/policy-signature/v1\n"
_PURPOSE: Final = "policy-signature"
_SHA256: Final = r"\A[0-9a-f]{64}\Z"

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LIMITS.name)]
Hex32 = Annotated[str, msgspec.Meta(pattern=_SHA256)]
Version = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What ``FILE.sig`` holds."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    algorithm: Literal["ed25519"]
    key_id: Hex32
    signer: Name
    """The name that trust stores have for the key."""
    signed_at: Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]
    serial: Annotated[int, msgspec.Meta(ge=1, le=LIMITS.serial)]
    policy_version: Version
    policy_file: Version | Literal[""] = ""
    """The version of ``policy.py``, where the policy names one."""
    audience: Annotated[str, msgspec.Meta(max_length=LIMITS.name)] = ""
    """Whose trust stores it is for: it must be what they say."""
    signature: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")] = ""


def message(signature: Signature) -> bytes:
    """Return the bytes that are signed."""
    held = {name: getattr(signature, name) for name in Signature.__struct_fields__ if name != "signature"}
    return _LABEL + canon.dumps(held)


def parse(data: bytes, name: str) -> Signature:
    """Read a signature.

    Args:
        data: What the file holds.
        name: What the file is called.

    Raises:
        ConfigError: It is none.
    """
    try:
        found = msgspec.json.decode(data, type=Signature)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{name}: this is no signature of a policy ({error})", hint="hauberk policy sign makes one"
        ) from None
    if not found.signature:
        raise ConfigError(f"{name}: this is no signature of a policy (nothing is signed)")
    return found


def render(signature: Signature) -> bytes:
    """Return the content of the file."""
    return msgspec.json.format(msgspec.json.encode(signature), indent=2) + b"\n"


def sign(key: bytes, unsigned: Signature) -> Signature:
    """Return a signature with its key id, signed.

    Args:
        key: The 32 bytes of a key file.
        unsigned: What is to be signed; its ``key_id`` and ``signature`` are left out of account.
    """
    named = msgspec.structs.replace(unsigned, key_id=key_id(public_key(key)), signature="")
    return msgspec.structs.replace(named, signature=_private(key).sign(message(named)).hex())


def holds(public: bytes, signature: Signature) -> bool:
    """Whether a signature was made with the private half of a public key (32 bytes)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(signature.signature), message(signature))
    except (InvalidSignature, ValueError):
        return False
    return True


def public_key(key: bytes) -> bytes:
    """Return the public key (32 bytes) of a key file."""
    return _private(key).public_key().public_bytes_raw()


def key_id(public: bytes) -> str:
    """Return the id of a public key: its SHA-256 in hexadecimal."""
    return hashlib.sha256(public).hexdigest()


def _private(key: bytes) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(keys.derive(key, _PURPOSE))
