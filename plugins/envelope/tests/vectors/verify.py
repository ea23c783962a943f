"""An independent verifier of sealed messages: the standard library, and primitives of pyca/cryptography.

It is written from the specification (docs/envelope-spec.md) and imports nothing of the package. It does not stop at the
first thing that is wrong: it says everything that is, so that a vector that is meant to have one reason has one.

``python verify.py messages.json`` prints a line a vector and exits with 1 if one is other than the file says.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

DAY = 86_400
VERSION = "hauberk-message-v1"
MEMBERS = {
    "version": str,
    "from": str,
    "to": str | None,
    "sender_key": str,
    "recipient_key": str | None,
    "secret_id": str | None,
    "ephemeral": str | None,
    "nonce": str,
    "timestamp": str,
    "metadata": dict,
    "encrypted_content": str,
    "signature": str,
}
METADATA = {
    "message_id": str,
    "priority": int,
    "message_type": str,
    "ttl": int | None,
    "requires_ack": bool,
    "custom_fields": dict,
}
TYPES = {"TaskRequest", "TaskResponse", "StatusUpdate", "ErrorNotification", "Shutdown", "InterAgentMessage"}
UUID = re.compile("[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


class Wrong(Exception):
    """One thing that is wrong."""


def bound(label: str, *fields: bytes | str | int | None) -> bytes:
    """Return the byte form of a label and fields (section 2)."""
    out = label.encode() + b"\0" + len(fields).to_bytes(2, "big")
    for field in fields:
        if field is None:
            kind, data = b"n", b""
        elif isinstance(field, int):
            kind, data = b"i", field.to_bytes(8, "big", signed=True)
        elif isinstance(field, str):
            kind, data = b"s", field.encode()
        else:
            kind, data = b"b", field
        out += kind + len(data).to_bytes(4, "big") + data
    return out


def canonical(value: Any) -> bytes:
    """Return canonical JSON (RFC 8785) of values whose numbers are integers or plain fractions, as the vectors'."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return b"{" + b",".join(canonical(key) + b":" + canonical(value[key]) for key in keys) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False).encode()


def identifier(prefix: str, label: str, *fields: bytes) -> str:
    """Return a key id, or the id of a secret (section 3)."""
    return prefix + base64.b32encode(hashlib.sha256(bound(label, *fields)).digest()).decode().rstrip("=").lower()


def hkdf(material: bytes, salt: bytes | None, info: bytes, length: int) -> bytes:
    """Return derived bytes (RFC 5869)."""
    return HKDF(SHA256(), length, salt, info).derive(material)


def unpadded(text: str) -> bytes:
    """Return the bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def seconds(text: str) -> float:
    """Return the seconds since 1970 of a time with or without fractions."""
    return datetime.fromisoformat(text).timestamp()


class World:
    """What one recipient knows."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.now: float = told["now"]
        self.production: bool = told["production"]
        self.rules: dict[str, list[str]] = told["can_communicate_with"]
        self.known = [tomllib.loads(text) for text in told["trusted"]]
        self.revoked = {tomllib.loads(text)["key_id"] for text in told["revoked"]}
        self.own = tomllib.loads(told["own"])
        self.secrets = [unpadded(line.removeprefix("hauberk-key-v1:")) for line in told["secrets"]]
        for key in self.known:
            check_statement(key)

    def identity(self) -> tuple[str, str, X25519PrivateKey]:
        """Return the recipient's name, key id and agreement key."""
        secret = unpadded(self.own["agreement_secret"].removeprefix("hauberk-key-v1:"))
        return self.own["agent"], self.own["key_id"], X25519PrivateKey.from_private_bytes(secret)


def check_statement(key: dict[str, Any]) -> None:
    """Check a public file: its signature and its key id (section 3)."""
    signing, agreement = unpadded(key["signing"]), unpadded(key["agreement"])
    begin, end = int(seconds(key["not_before"])), int(seconds(key["not_after"]))
    data = bound("hauberk/envelope/identity/v1", key["agent"], signing, agreement, begin, end)
    Ed25519PublicKey.from_public_bytes(signing).verify(unpadded(key["signature"]), data)
    if key["key_id"] != identifier("hbk1_", "hauberk/envelope/key-id/v1", signing, agreement):
        raise ValueError("a key id is another")


def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a member that stands twice."""
    if len(dict(items)) != len(items):
        raise Wrong("form")
    return dict(items)


def parse(data: bytes) -> dict[str, Any]:
    """Return the members of a message in the one form (section 4)."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=pairs)
    except ValueError:
        raise Wrong("form") from None
    if not isinstance(found, dict) or not str(found.get("version")).startswith("hauberk-message-"):
        raise Wrong("plain")
    if found["version"] != VERSION:
        raise Wrong("version")
    check_members(found, MEMBERS)
    check_members(found["metadata"], METADATA)
    about = found["metadata"]
    if canonical(found) != data or not UUID.fullmatch(about["message_id"]) or about["message_type"] not in TYPES:
        raise Wrong("form")
    ttl = 1 if about["ttl"] is None else about["ttl"]
    if not 0 <= about["priority"] <= 255 or not 1 <= ttl <= 7 * DAY:
        raise Wrong("form")
    for name in ("nonce", "encrypted_content", "signature", "ephemeral"):
        if found[name] is not None:
            found[name] = raw(found[name])
    check_lengths(found)
    return found


def check_members(found: dict[str, Any], types: dict[str, Any]) -> None:
    """Check that the members are these, of these types."""
    if set(found) != set(types):
        raise Wrong("form")
    for name, kind in types.items():
        if not isinstance(found[name], kind) or (isinstance(found[name], bool) and kind is not bool):
            raise Wrong("form")


def raw(text: str) -> bytes:
    """Return the bytes of base64 in its one text."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Wrong("form") from None
    if base64.b64encode(data).decode() != text:
        raise Wrong("form")
    return data


def check_lengths(found: dict[str, Any]) -> None:
    """Check lengths and combinations (section 4)."""
    right = (
        len(found["nonce"]) == 24
        and len(found["signature"]) == 64
        and len(found["encrypted_content"]) >= 16
        and (found["ephemeral"] is None) != (found["secret_id"] is None)
        and len(found["ephemeral"] or bytes(32)) == 32
        and (found["to"] is None) == (found["recipient_key"] is None)
        and (found["to"] is not None or found["secret_id"] is not None)
        and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found["timestamp"])
    )
    try:
        seconds(found["timestamp"])
    except ValueError:
        right = False
    if not right:
        raise Wrong("form")


def header_of(found: dict[str, Any]) -> bytes:
    """Return the bytes of the header (section 5)."""
    about = found["metadata"]
    return bound(
        "hauberk/envelope/message-header/v1",
        VERSION,
        found["from"],
        found["to"],
        found["sender_key"],
        found["recipient_key"],
        found["secret_id"],
        found["ephemeral"],
        found["nonce"],
        found["timestamp"],
        bytes.fromhex(about["message_id"].replace("-", "")),
        about["priority"],
        about["message_type"],
        about["ttl"],
        int(about["requires_ack"]),
        canonical(about["custom_fields"]),
    )


def faults_of_sender(found: dict[str, Any], world: World) -> list[str]:
    """Return what is wrong with who a message is from (section 7)."""
    sender = next((key for key in world.known if key["key_id"] == found["sender_key"]), None)
    if sender is None:
        return ["sender"]
    begin, end = seconds(sender["not_before"]), seconds(sender["not_after"])
    wrong = {
        "own": sender["key_id"] == world.own["key_id"],
        "name": sender["agent"] != found["from"],
        "revoked": sender["key_id"] in world.revoked,
        "validity": not begin <= world.now <= end,
        "rotation": world.production and world.now - begin > 120 * DAY,
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]


def faults_of_signature(found: dict[str, Any], world: World) -> list[str]:
    """Return whether the signature is wrong (section 6)."""
    sender = next((key for key in world.known if key["key_id"] == found["sender_key"]), None)
    if sender is None:
        return []
    data = bound("hauberk/envelope/message/v1", header_of(found), hashlib.sha256(found["encrypted_content"]).digest())
    try:
        Ed25519PublicKey.from_public_bytes(unpadded(sender["signing"])).verify(found["signature"], data)
    except InvalidSignature:
        return ["signature"]
    return []


def material_of(found: dict[str, Any], world: World) -> bytes:
    """Return what the content key is made from (section 5)."""
    agent, key_id, agreement = world.identity()
    if found["to"] is not None and (found["to"], found["recipient_key"]) != (agent, key_id):
        raise Wrong("recipient")
    if found["secret_id"] is None:
        try:
            return agreement.exchange(X25519PublicKey.from_public_bytes(found["ephemeral"]))
        except ValueError:
            raise Wrong("weak") from None
    for secret in world.secrets:
        purpose = hkdf(secret, None, b"hauberk/envelope-provisioned-id/v1", 32)
        if identifier("hbs1_", "hauberk/envelope/secret-id/v1", purpose) == found["secret_id"]:
            return hkdf(secret, None, b"hauberk/envelope-provisioned/v1", 32)
    raise Wrong("recipient")


def opened(found: dict[str, Any], world: World) -> bytes:
    """Return the content (section 6)."""
    info = bound(
        "hauberk/envelope/message-key/v1",
        VERSION,
        "sender to recipient",
        found["from"],
        found["sender_key"],
        found["to"],
        found["recipient_key"],
        found["secret_id"],
        found["ephemeral"],
    )
    made = hkdf(material_of(found, world), found["nonce"], info, 44)
    try:
        return AESGCM(made[:32]).decrypt(made[32:], found["encrypted_content"], header_of(found))
    except InvalidTag:
        raise Wrong("tag") from None


def judge(data: bytes, told: dict[str, Any]) -> tuple[list[str], bytes | None]:
    """Return everything that is wrong with a message, and its content where nothing is."""
    world = World(told)
    try:
        found = parse(data)
    except Wrong as exc:
        return [str(exc)], None
    faults = faults_of_sender(found, world) + faults_of_signature(found, world)
    allowed = world.rules.get(found["from"], [])
    if "sender" not in faults and "*" not in allowed and found["to"] not in allowed:
        faults.append("rule")
    content = None
    try:
        content = opened(found, world)
    except Wrong as exc:
        faults.append(str(exc))
    return sorted(faults), None if faults else content


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


def main(path: Path) -> int:
    """Judge every vector of a file."""
    told = json.loads(path.read_bytes())
    bad = 0
    for vector in told["vectors"]:
        faults, content = judge(vector["message"].encode("latin-1"), {**told["world"], **vector.get("world", {})})
        right = faults == vector["faults"] and (content is None or content.hex() == vector["content"])
        bad += not right
        say(f"{'ok' if right else 'WRONG'}  {vector['name']}: {', '.join(faults) or 'opens'}")
    say(f"{len(told['vectors'])} vectors at {datetime.now(UTC):%Y-%m-%d}, {bad} wrong")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
