"""Verify the vectors of sessions without the package: by the page of the format, the standard library, cryptography
and libsodium alone. usage: python verify_sessions.py [FILE]
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl import bindings

EXTENSION = "io.github.hauberk/seal"
VISIBLE = ("io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities")


def form(label: str, *fields: Any) -> bytes:
    """Section 2 of the format of messages: a label and fields as bytes."""
    out = label.encode() + b"\0" + struct.pack(">H", len(fields))
    for field in fields:
        if isinstance(field, int):
            out += b"i" + struct.pack(">Iq", 8, field)
        else:
            data = field if isinstance(field, bytes) else field.encode()
            out += (b"b" if isinstance(field, bytes) else b"s") + struct.pack(">I", len(data)) + data
    return out


def hkdf(key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """The HKDF of Noise."""
    secret = hmac.new(key, material, "sha256").digest()
    one = hmac.new(secret, b"\1", "sha256").digest()
    return one, hmac.new(secret, one + b"\2", "sha256").digest()


def dh(secret: bytes, public: bytes) -> bytes:
    """X25519."""
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))


def public(secret: bytes) -> bytes:
    """The public half of an X25519 key."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def handshake(vectors: dict[str, Any], session: dict[str, Any]) -> tuple[dict[str, bytes], bytes]:
    """Section 2: open both messages of the handshake as who was asked, and return the keys and the hash."""
    params = session["params"]
    prologue = form(
        "hauberk/envelope/session/v1",
        *(EXTENSION, params["version"], params["from"], params["to"], params["server"], params["sign"]),
    )
    a, b = (bytes.fromhex(vectors[one]["agreement_secret"]) for one in ("initiator", "responder"))
    ours = bytes.fromhex(vectors["responder"]["ephemeral_secret"])
    h = chain = b"Noise_KK_25519_AESGCM_SHA256".ljust(32, b"\0")
    for known in (prologue, public(a), public(b)):
        h = hashlib.sha256(h + known).digest()
    first, second = (base64.b64decode(one["message"]) for one in (params, session["result"]))
    theirs = first[:32]
    payloads = []
    for message, agreements in (
        (first, (dh(b, theirs), dh(b, public(a)))),
        (second, (dh(ours, theirs), dh(ours, public(a)))),
    ):
        h = hashlib.sha256(h + message[:32]).digest()
        for agreement in agreements:
            chain, key = hkdf(chain, agreement)
        payloads.append(AESGCM(key).decrypt(bytes(12), message[32:], h))
        h = hashlib.sha256(h + message[32:]).digest()
    assert second[:32] == public(ours)
    signed = session["sign"] == "message"
    assert [struct.unpack(">QQB", payload)[2] for payload in payloads] == [signed, signed]
    one, other = hkdf(chain, b"")
    return {"initiator": one, "responder": other}, h


def dump(value: Any) -> str:
    """The one way to write a value."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def header(data: dict[str, Any]) -> bytes:
    """Section 3: what is visible, up to the seal."""
    head = '{"jsonrpc":"2.0"' + (f',"id":{dump(data["id"])}' if "id" in data else "")
    if "method" in data:
        meta = data["params"]["_meta"] if "id" in data else {}
        shown = "".join(f"{dump(name)}:{dump(meta[name])}," for name in VISIBLE if name in meta)
        head += f',"method":{dump(data["method"])},"params":{{"_meta":{{{shown}'
    elif "result" in data:
        head += ',"result":{"_meta":{'
    else:
        head += ',"error":{"code":-32004,"message":"sealed","data":{'
    return f'{head}"{EXTENSION}":"'.encode()


class End:
    """What one end receives."""

    def __init__(self, key: bytes, h: bytes, sender: str, signer: bytes | None) -> None:
        self.key, self.signer = key, signer
        self.bound = form("hauberk/envelope/frame/v1", h, sender)
        self.count = self.epoch = 0

    def open(self, frame: bytes) -> bytes:
        """Sections 3 and 4: return the message, or raise."""
        data = json.loads(frame, object_pairs_hook=_once)
        member = "params" if "method" in data else "result" if "result" in data else "error"
        place = data[member]["data" if member == "error" else "_meta"]
        text = place[EXTENSION]
        if frame != header(data) + text.encode() + b'"}}}':
            raise ValueError("it says more than it may, or in another way")
        seal = base64.b64decode(text, validate=True)
        if base64.b64encode(seal).decode() != text:
            raise ValueError("another text for the same bytes")
        sealed, signature = (seal[21:-64], seal[-64:]) if self.signer else (seal[21:], b"")
        version, epoch, count, _ = struct.unpack(">BIQQ", seal[:21])
        if version != 1 or count != self.count or epoch not in (self.epoch, self.epoch + 1):
            raise ValueError("not the next one")
        associated = self.bound + seal[:21] + header(data)
        if self.signer:
            digest = hashlib.sha256(associated + sealed).digest()
            bindings.crypto_sign_open(signature + form("hauberk/envelope/frame-signature/v1", digest), self.signer)
        key = self.key
        if epoch > self.epoch:
            key = AESGCM(key).encrypt(bytes(4) + b"\xff" * 8, bytes(32), b"")[:32]
        message = AESGCM(key).decrypt(struct.pack(">IQ", 0, count), sealed, associated)
        self.key, self.epoch, self.count = key, epoch, count + 1
        return message


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a member twice")
    return dict(pairs)


def ends(vectors: dict[str, Any], session: dict[str, Any]) -> dict[str, End]:
    """Return what each end receives, by who sends it."""
    keys, h = handshake(vectors, session)
    name = base64.b32encode(hashlib.sha256(form("hauberk/envelope/session-id/v1", h)).digest()).decode()
    assert session["id"] == "hbn1_" + name.rstrip("=").lower()
    made = {}
    for who in ("initiator", "responder"):
        signer, _ = bindings.crypto_sign_seed_keypair(bytes.fromhex(vectors[who]["signing_secret"]))
        made[who] = End(keys[who], h, who, signer if session["sign"] == "message" else None)
    return made


def verify(vectors: dict[str, Any]) -> int:
    """Check each vector, and return how many there are.

    Raises:
        AssertionError: One is not as it says.
    """
    for session in vectors["sessions"]:
        made = ends(vectors, session)
        for one in session["frames"]:
            assert made[one["by"]].open(one["frame"].encode()) == one["message"].encode()
    for one in vectors["refused"]:
        try:
            ends(vectors, vectors["sessions"][0])["initiator"].open(one["frame"].encode())
        except Exception:  # noqa: BLE001, S112 - whatever it is, it did not open
            continue
        raise AssertionError(one["why"])
    return sum(len(session["frames"]) for session in vectors["sessions"]) + len(vectors["refused"])


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("sessions.json")
    print(f"{verify(json.loads(path.read_text(encoding='utf-8')))} vectors hold")  # noqa: T201 - a program
