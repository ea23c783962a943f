"""A signature by itself: what is signed, and that nothing of it can be changed, swapped or read in another way."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk import keys
from hauberk.refusals import ConfigError
from hauberk_audit.policies import _signing
from hauberk_audit.policies._signing import Signature

KEY = bytes(range(100, 132))
PUBLIC = _signing.public_key(KEY)
UNSIGNED = Signature(
    version=1,
    algorithm="ed25519",
    key_id="",
    signer="ops",
    signed_at="2026-11-21T08:00:00Z",
    serial=7,
    policy_version=f"sha256:{hashlib.sha256(b'policy').hexdigest()}",
)
SIGNED = _signing.sign(KEY, UNSIGNED)


def test_signature_is_what_it_says() -> None:
    """What is signed is a label and canonical JSON, so that another program can check it (S3.20, RFC 8032)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    members = {
        "algorithm": "ed25519",
        "audience": "",
        "key_id": hashlib.sha256(PUBLIC).hexdigest(),
        "policy_file": "",
        "policy_version": UNSIGNED.policy_version,
        "serial": 7,
        "signed_at": "2026-11-21T08:00:00Z",
        "signer": "ops",
        "version": 1,
    }
    signed = b"hauberk/policy-signature/v1\n" + json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(bytes.fromhex(SIGNED.signature), signed)
    assert _signing.message(SIGNED) == signed


def test_key_is_for_this_alone() -> None:
    """The key that signs is derived: it is neither the key of the file nor one for another purpose (X.10)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    for other in (KEY, keys.derive(KEY, "pins"), keys.derive(KEY, "audit-chain")):
        assert Ed25519PrivateKey.from_private_bytes(other).public_key().public_bytes_raw() != PUBLIC


def test_file_is_read_as_it_was_written() -> None:
    """A signature file is JSON with the members of the requirement, and comes back as it went (S3.20)."""
    data = _signing.render(SIGNED)
    assert _signing.parse(data, "x") == SIGNED
    wanted = {"version", "algorithm", "key_id", "signer", "signed_at", "serial", "policy_version", "signature"}
    assert set(json.loads(data)) == wanted
    assert data.endswith(b"}\n")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("signer", "somebody"),
        ("signed_at", "2027-11-21T08:00:00Z"),
        ("serial", 8),
        ("policy_version", "sha256:" + "0" * 64),
        ("policy_file", "sha256:" + "0" * 64),
        ("audience", "desktop"),
        ("key_id", "0" * 64),
    ],
)
def test_no_member_can_be_changed(member: str, value: Any) -> None:
    """Each member is signed (S3.20)."""
    assert _signing.holds(PUBLIC, SIGNED)
    assert not _signing.holds(PUBLIC, msgspec.structs.replace(SIGNED, **{member: value}))


@given(st.integers(0, 511))
def test_no_bit_of_the_signature_can_be_changed(bit: int) -> None:
    """One bit is enough."""
    value = int(SIGNED.signature, 16) ^ (1 << bit)
    assert not _signing.holds(PUBLIC, msgspec.structs.replace(SIGNED, signature=f"{value:0128x}"))


def test_key_of_another_does_not_hold() -> None:
    """A signature holds under the key that made it, and no other; nor under bytes that are no key."""
    other = _signing.public_key(bytes(range(50, 82)))
    assert not _signing.holds(other, SIGNED)
    assert not _signing.holds(b"\0" * 32, SIGNED)
    assert not _signing.holds(b"\xff" * 31, SIGNED)


def test_signature_of_something_else_is_none() -> None:
    """What the same key signed without the label is no signature of a policy."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(keys.derive(KEY, "policy-signature"))
    bare = private.sign(_signing.message(SIGNED).partition(b"\n")[2]).hex()
    assert not _signing.holds(PUBLIC, msgspec.structs.replace(SIGNED, signature=bare))


GOOD: dict[str, Any] = json.loads(_signing.render(SIGNED))


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"version": True},
        {"version": 1.5},
        {"algorithm": "none"},
        {"algorithm": "ED25519"},
        {"key_id": GOOD["key_id"].upper()},
        {"key_id": GOOD["key_id"] + "\n"},
        {"key_id": "../../" + "0" * 58},
        {"signer": ""},
        {"signer": "x" * 129},
        {"signer": None},
        {"signed_at": "yesterday"},
        {"serial": 0},
        {"serial": -1},
        {"serial": 2**53},
        {"serial": "7"},
        {"serial": 7.5},
        {"policy_version": "sha256:abc"},
        {"policy_version": GOOD["policy_version"] + "\n"},
        {"policy_version": "md5:" + "0" * 32},
        {"policy_file": "x"},
        {"signature": ""},
        {"signature": GOOD["signature"] + "00"},
        {"signature": GOOD["signature"][:-1] + "g"},
        {"extra": 1},
        {"cert_chain": []},
    ],
)
def test_what_is_no_signature_is_refused(changed: dict[str, Any]) -> None:
    """Each member has one form."""
    with pytest.raises(ConfigError, match="this is no signature of a policy"):
        _signing.parse(json.dumps(GOOD | changed).encode(), "x")


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_member_that_is_missing_is_refused(missing: str) -> None:
    """No member may be left out."""
    with pytest.raises(ConfigError, match="this is no signature of a policy"):
        _signing.parse(json.dumps({key: value for key, value in GOOD.items() if key != missing}).encode(), "x")


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_anything_else_is_refused(data: bytes) -> None:
    """Whatever is read, it is a signature or an error of ours."""
    with pytest.raises(ConfigError):
        _signing.parse(data, "x")


def test_nothing_is_imported_before_it_is_needed() -> None:
    """A host without a trust store imports neither cryptography nor SQLite for this, until it keeps a policy."""
    code = (
        "import sys; from hauberk_audit.policies import _check, _keeper, _store; "
        "sys.exit('cryptography' in sys.modules or 'sqlite3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
