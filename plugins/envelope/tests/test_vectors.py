"""The vectors of messages: the package and an independent verifier agree on each, and each has one reason."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from plugins.envelope.tests.parties import code
from plugins.envelope.tests.vectors import generate, verify

from hauberk import keys
from hauberk_envelope import _keyfiles
from hauberk_envelope._identity import Identity
from hauberk_envelope._sealing import Opened, open_message
from hauberk_envelope._secret import ProvisionedSecret
from hauberk_envelope._trust import Rules, Trust

FOLDER: Final = Path(__file__).parent / "vectors"
FILE: Final = FOLDER / "messages.json"
TOLD: Final[dict[str, Any]] = json.loads(FILE.read_bytes())
CODES: Final = {
    "form": "envelope.malformed",
    "plain": "envelope.plain",
    "version": "envelope.unsupported",
    "sender": "envelope.untrusted",
    "own": "envelope.wrong_sender",
    "name": "envelope.untrusted",
    "revoked": "envelope.key_revoked",
    "rotation": "envelope.key_too_old",
    "recipient": "envelope.wrong_recipient",
    "rule": "envelope.not_allowed",
    "signature": "envelope.forged",
    "tag": "envelope.forged",
    "weak": "envelope.forged",
}
"""What the package says of each fault; of validity it says which end it is past."""
NO_JSON: Final = {"plain text", "line feed at the end", "member twice"}
"""What is no message before it is one of another form."""


def own(text: str) -> Identity:
    found = tomllib.loads(text)
    return Identity(
        agent=found["agent"],
        signing=keys.parse_key(found["signing_secret"].encode(), "it"),
        agreement=keys.parse_key(found["agreement_secret"].encode(), "it"),
        not_before=_keyfiles.parse_time(found["not_before"]),
        not_after=_keyfiles.parse_time(found["not_after"]),
    )


def opened(vector: dict[str, Any]) -> Opened:
    """Open a vector by the package."""
    world = {**TOLD["world"], **vector.get("world", {})}
    rules = Rules(
        can_communicate_with={name: frozenset(names) for name, names in world["can_communicate_with"].items()},
        production=world["production"],
    )
    known = [_keyfiles.parse_public(text.encode(), "it") for text in world["trusted"]]
    revoked = [_keyfiles.parse_revocation(text.encode(), "it") for text in world["revoked"]]
    return open_message(
        vector["message"].encode("latin-1"),
        recipients=[own(world["own"])],
        trust=Trust({one.key_id: one for one in known}, {one.key_id: one for one in revoked}, rules=rules),
        now=world["now"],
        secrets=[ProvisionedSecret(keys.parse_key(line.encode(), "it")) for line in world["secrets"]],
    )


@pytest.mark.parametrize("vector", TOLD["vectors"], ids=lambda vector: vector["name"])
def test_package_and_verifier_agree(vector: dict[str, Any]) -> None:
    """Each vector opens, or has one reason not to, and that is the reason it is refused for (S0.21, S0.22)."""
    faults, content = verify.judge(vector["message"].encode("latin-1"), {**TOLD["world"], **vector.get("world", {})})
    assert faults == vector["faults"]
    assert len(faults) <= 1
    if not faults:
        assert content is not None
        assert content.hex() == vector["content"] == opened(vector).content.hex()
        return
    found = code(opened, vector)
    if vector["name"] in NO_JSON:
        assert found in ("envelope.plain", "envelope.malformed")
    elif faults == ["validity"]:
        assert found in ("envelope.key_expired", "envelope.key_not_yet_valid")
    else:
        assert found == CODES[faults[0]]


def test_vectors_are_those_that_are_made() -> None:
    """The file is what the generator makes today: neither the form nor a vector changed unseen."""
    assert FILE.read_text(encoding="ascii") == generate.text()


def test_every_reason_has_a_vector() -> None:
    """Each way to fail that there is has a vector, and some messages open."""
    seen = {fault for vector in TOLD["vectors"] for fault in vector["faults"]}
    assert seen == {*CODES, "validity"}
    assert sum(not vector["faults"] for vector in TOLD["vectors"]) >= 8
    names = [vector["name"] for vector in TOLD["vectors"]]
    assert len(set(names)) == len(names) > 50


def test_verifier_knows_nothing_of_the_package() -> None:
    """The verifier runs where the package is not, and judges every vector as the file says."""
    without = "import runpy, sys; sys.modules.update(dict.fromkeys(['hauberk', 'hauberk_envelope', 'nacl', 'orjson']))"
    run = f"{without}; runpy.run_path(sys.argv[0], run_name='__main__')"
    start = f"import sys; sys.argv = [{str(FOLDER / 'verify.py')!r}, {str(FILE)!r}]; {run}"
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 wrong" in done.stdout
