"""The primitives, by the package's own entry points, against the vectors of the RFCs, of Wycheproof and of CCTV."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

from hauberk.keys import hkdf_sha256
from hauberk_envelope import _aead, _ed25519, _even, _x25519

# RFC 8032, section 7.1: seed, public key, message, signature; the long one is test 1024's, whose message is hashed.
RFC8032: Final = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
            "3dca179c138ac17ad9bef1177331a704"
        ),
    ),
]
# RFC 7748, section 6.1, and section 5.2: private, public, shared.
RFC7748: Final = [
    (
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    ),
    (
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    ),
    (
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ),
]
# RFC 5869, appendix A, tests 1 to 3: key, salt, info, length, output.
RFC5869: Final = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        "0b" * 22,
        "",
        "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Return the folder of the public suites; skip where there is none."""
    folder = os.environ.get("HAUBERK_VECTORS")
    if not folder:
        pytest.skip("HAUBERK_VECTORS is not set: no conformance suites")
    return Path(folder)


def suite(vectors: Path, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each group of a suite of Wycheproof with each of its tests."""
    found = json.loads((vectors / "wycheproof" / f"{name}.json").read_bytes())
    return [(group, test) for group in found["testGroups"] for test in group["tests"]]


def holds(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether a signature holds; nothing else than that it does not is ever raised."""
    try:
        _ed25519.verify(public, signature, data)
    except _ed25519.Unverified:
        return False
    return True


def agreed(private: bytes, public: bytes) -> bytes | None:
    try:
        return _x25519.agree(_x25519.load(private), public)
    except _x25519.Weak:
        return None


# --- the RFCs ---


@pytest.mark.parametrize(("seed", "public", "data", "signature"), RFC8032)
def test_ed25519_of_the_rfc(seed: str, public: str, data: str, signature: str) -> None:
    """Keys and signatures are those of RFC 8032, section 7.1."""
    found, key = _ed25519.public_of(bytes.fromhex(seed))
    assert found.hex() == public
    assert _ed25519.sign(key, bytes.fromhex(data)).hex() == signature
    assert holds(found, bytes.fromhex(signature), bytes.fromhex(data))
    assert not holds(found, bytes.fromhex(signature), bytes.fromhex(data) + b"\0")


@pytest.mark.parametrize(("private", "public", "shared"), RFC7748)
def test_x25519_of_the_rfc(private: str, public: str, shared: str) -> None:
    """Shared secrets are those of RFC 7748, sections 5.2 and 6.1."""
    assert agreed(bytes.fromhex(private), bytes.fromhex(public)) == bytes.fromhex(shared)


@pytest.mark.parametrize(("key", "salt", "info", "output"), RFC5869)
def test_hkdf_of_the_rfc(key: str, salt: str, info: str, output: str) -> None:
    """Derived keys are those of RFC 5869, appendix A."""
    made = hkdf_sha256(bytes.fromhex(key), info=bytes.fromhex(info), salt=bytes.fromhex(salt), length=len(output) // 2)
    assert made.hex() == output


def test_gcm_of_the_specification() -> None:
    """AES-256-GCM gives the answers of test cases 13 and 14 of its specification."""
    zero, nonce = bytes(32), bytes(12)
    assert _aead.seal(zero, nonce, b"", b"").hex() == "530f8afbc74536b9a963b4f1c4cb738b"
    assert _aead.seal(zero, nonce, bytes(16), b"").hex() == (
        "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    )


# --- Wycheproof ---


def test_ed25519_of_wycheproof(vectors: Path) -> None:
    """Each signature of the suite is judged as the suite does."""
    count = 0
    for group, test in suite(vectors, "ed25519"):
        found = holds(*(bytes.fromhex(text) for text in (group["publicKey"]["pk"], test["sig"], test["msg"])))
        assert found == (test["result"] == "valid"), test
        count += 1
    assert count == 151


def test_x25519_of_wycheproof(vectors: Path) -> None:
    """Each secret of the suite is the suite's; what would be zero is refused, and nothing else (RFC 7748, 6.1)."""
    count = 0
    for _, test in suite(vectors, "x25519"):
        found = agreed(bytes.fromhex(test["private"]), bytes.fromhex(test["public"]))
        assert found == (bytes.fromhex(test["shared"]) if "ZeroSharedSecret" not in test["flags"] else None), test
        count += 1
    assert count == 518


def test_weak_x25519_keys_of_wycheproof_are_not_trusted(vectors: Path) -> None:
    """A key of small order or in a second encoding is in no statement (A07)."""
    count = 0
    for _, test in suite(vectors, "x25519"):
        if {"LowOrderPublic", "NonCanonicalPublic"} & set(test["flags"]):
            with pytest.raises(_x25519.Weak):
                _x25519.check_public(bytes.fromhex(test["public"]))
            count += 1
        elif test["result"] == "valid":
            _x25519.check_public(bytes.fromhex(test["public"]))
    assert count > 40


def test_gcm_of_wycheproof(vectors: Path) -> None:
    """Keys of 32, nonces of 12 and tags of 16 bytes are judged as the suite does; no other is taken."""
    judged = refused = 0
    for group, test in suite(vectors, "aes_gcm"):
        key, nonce, bound, content, sealed = (
            bytes.fromhex(text)
            for text in (test["key"], test["iv"], test["aad"], test["msg"], test["ct"] + test["tag"])
        )
        if group["ivSize"] != 96 or group["keySize"] != 256:
            for use, data in ((_aead.seal, content), (_aead.open_, sealed)):
                with pytest.raises(ValueError, match="bytes and a nonce"):
                    use(key, nonce, data, bound)
            refused += 1
            continue
        judged += 1
        if test["result"] == "valid":
            assert _aead.seal(key, nonce, content, bound) == sealed, test
            assert _aead.open_(key, nonce, sealed, bound) == content, test
        else:
            with pytest.raises(_aead.Unopened):
                _aead.open_(key, nonce, sealed, bound)
    assert (judged, refused) == (66, 250)


def test_hkdf_of_wycheproof(vectors: Path) -> None:
    """Each derived key is the suite's; a length that is too large is refused."""
    count = 0
    for _, test in suite(vectors, "hkdf_sha256"):
        key, salt, info = (bytes.fromhex(test[name]) for name in ("ikm", "salt", "info"))
        if test["result"] == "valid":
            assert hkdf_sha256(key, info=info, salt=salt, length=test["size"]).hex() == test["okm"], test
        else:
            with pytest.raises(ValueError, match="length must be"):
                hkdf_sha256(key, info=info, salt=salt, length=test["size"])
        count += 1
    assert count == 86


# --- CCTV ---

HELD: Final = (
    *(7, 29, 50, 117, 139, 161, 182, 249, 305),
    *(411, 425, 438, 465, 473, 481, 489, 497, 511, 525, 538, 565, 573, 581, 589, 597),
    *(611, 625, 638, 665, 673, 681, 689, 697, 711, 725, 738, 765, 773, 781, 789, 797, 832, 899),
)
"""The numbers of the vectors whose signature holds: keys of mixed order among them, which nobody trusts."""


def test_ed25519_of_cctv_is_judged_alike_everywhere(vectors: Path) -> None:
    """The verdict on each edge case is the same on every platform and in every version (A07)."""
    found = json.loads((vectors / "ed25519-cctv" / "ed25519vectors.json").read_bytes())
    held = [
        test["number"]
        for test in found
        if holds(bytes.fromhex(test["key"]), bytes.fromhex(test["sig"]), test["msg"].encode())
    ]
    assert len(found) == 914
    assert tuple(held) == HELD


def test_weak_ed25519_keys_of_cctv_are_not_trusted(vectors: Path) -> None:
    """A key of small order, of mixed order or in a second encoding is in no statement (A07)."""
    found = json.loads((vectors / "ed25519-cctv" / "ed25519vectors.json").read_bytes())
    weak = {"low_order_A", "non_canonical_A", "low_order_component_A"}
    for test in found:
        key = bytes.fromhex(test["key"])
        if weak & set(test["flags"] or ()):
            with pytest.raises(_ed25519.Unverified):
                _ed25519.check_public(key)
        else:
            _ed25519.check_public(key)


# --- what settles a refusal ---


def test_known_answers_are_right() -> None:
    """The answers that a refusal goes through hold where they must and do not where they must not."""
    assert _even.holds(_even._PUBLIC, _even._GOOD, b"")
    assert not _even.holds(_even._PUBLIC, _even._BAD, b"")
    assert _even.opened(_even._KEY, _even._NONCE, _even._FITS, b"") == b""
    assert _even.opened(_even._KEY, _even._NONCE, _even._FITS_NOT, b"") is None


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("fitted", [True, False])
def test_refusal_goes_through_both_outcomes(monkeypatch: pytest.MonkeyPatch, held: bool, fitted: bool) -> None:
    """Whatever was wrong, a refusal has seen one good and one bad signature, and one good and one bad tag."""
    signatures, tags = [held], [fitted]
    verify, open_ = _even.holds, _even.opened
    monkeypatch.setattr(_even, "holds", lambda *given: signatures.append(verify(*given)))
    monkeypatch.setattr(_even, "opened", lambda *given: tags.append(open_(*given) is not None))
    _even.settle(held=held, fitted=fitted)
    assert sorted(signatures) == sorted(tags) == [False, True]
