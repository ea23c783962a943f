"""What the log says of a refusal: who, what, when and how bad, from the channel and never from the message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.attacks.kit import sieved
from tests.core.harness import ring

from hauberk.verdict import Deny

SECURITY = [
    "tls.handshake_failed",
    "tls.client_unverified",
    "envelope.signature",
    "envelope.undecryptable",
    "replay.seen",
    "ratelimit.exceeded",
    "vault.unlock_failed",
    "auth.expired",
]
CANARY = "canary-7f3a"


async def refused(folder: Path, code: str, arguments: Any = None, **params: Any) -> list[dict[str, Any]]:
    """Let a plugin refuse a call with this code; return the entries of the log."""
    toml = f'[plugins]\ndisable = ["sieve", "pins"]\n[core]\nstate_dir = "{folder / "state"}"\n'
    async with sieved(ring(code.partition(".")[0], on_tool_call=Deny(code, "no")), toml=toml) as r:
        await r.call("ls", arguments or {}, **params)
        await r.settle()
    return [orjson.loads(line) for line in log_of(folder).read_bytes().splitlines()]


def log_of(folder: Path) -> Path:
    return folder / "state" / "audit" / "audit.jsonl"


@pytest.mark.parametrize("code", SECURITY)
async def test_each_failure_is_one_whole_entry(tmp_path: Path, code: str) -> None:
    """A failed handshake, signature, unlock or sign-in, a replay, a rate: one line each, with all that S0.36 asks for.

    (S0.36, S2.29, S4.22)
    """
    found = [entry for entry in await refused(tmp_path, code) if entry["code"] == code]
    assert len(found) == 1
    entry = found[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["time"])
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", entry["id"])
    assert (entry["category"], entry["action"], entry["severity"]) == ("refusal", "blocked", "warning")
    assert entry["exchange"]
    assert (entry["method"], entry["tool"], entry["server"]) == ("tools/call", "ls", "files")
    assert (entry["principal"], entry["source"]) == ("host:default", "local")


async def test_source_is_that_of_the_channel(tmp_path: Path) -> None:
    """Who a message claims to be from is nobody's word: principal and source are the channel's (S2.6)."""
    claims = {"source": "ui", "principal": "root", "client_id": "root"}
    entries = await refused(tmp_path, "auth.expired", claims, _meta=claims)
    assert not {"ui", "root"} & {entry.get(name) for entry in entries for name in ("source", "principal")}
    assert {entry["source"] for entry in entries if entry["code"] == "auth.expired"} == {"local"}


async def test_arguments_are_not_in_the_log(tmp_path: Path) -> None:
    """Of arguments, results and reasons that hold a secret only digest and sizes are recorded (X.14, A26)."""
    entries = await refused(tmp_path, "auth.expired", {CANARY: CANARY, "deep": [{"a": CANARY}]}, _meta={"t": CANARY})
    assert any(entry.get("digest", "").startswith("sha256:") for entry in entries)
    assert CANARY not in log_of(tmp_path).read_text()
