"""Arguments that a policy names are in the log in clear, and no others (X.14, A26)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.attacks.kit import sieved
from tests.core.harness import ring

from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import SecretRef
from hauberk.verdict import Deny
from hauberk_audit import Audit
from hauberk_audit._naming import names_of

CANARY = "canary-7f3a"


async def recorded(folder: Path, table: str, *objects: Any, **arguments: Any) -> tuple[list[Any], str]:
    """Call a tool; return the entries that name arguments, and the log."""
    toml = f'[plugins]\ndisable = ["sieve", "pins"]\n[core]\nstate_dir = "{folder / "state"}"\n{table}'
    async with sieved(*objects, toml=toml) as r:
        await r.call("ls", arguments)
        await r.settle()
    text = (folder / "state" / "audit" / "audit.jsonl").read_text()
    entries = [orjson.loads(line) for line in text.splitlines()]
    return [entry for entry in entries if entry["code"] == "audit.arguments"], text


async def test_what_is_named_is_recorded(tmp_path: Path) -> None:
    """A named argument is there, with the call that it is of; its neighbours are not."""
    found, text = await recorded(tmp_path, '[audit.arguments]\n"files/l*" = ["path", "none"]', path="/a", token=CANARY)
    assert [entry["details"] for entry in found] == [{"path": "/a"}]
    decision = next(orjson.loads(line) for line in text.splitlines() if '"decision"' in line and "digest" in line)
    assert found[0]["exchange"] == decision["exchange"]
    assert (found[0]["tool"], found[0]["server"]) == ("ls", "files")
    assert CANARY not in text


@pytest.mark.parametrize("table", ["", '"mail/*" = ["path"]', '"files/LS" = ["path"]'])
async def test_nothing_is_recorded_of_others(tmp_path: Path, table: str) -> None:
    """Without a table, or of another server or tool, no argument is in the log."""
    found, text = await recorded(tmp_path, f"[audit.arguments]\n{table}" if table else "", path=CANARY)
    assert found == []
    assert CANARY not in text


async def test_a_secret_is_not_recorded(tmp_path: Path) -> None:
    """What stands for a secret is left out by name, and inside a value its name alone is no value."""

    class Vault:
        name = "vault"
        layer = Layer.CONTENT

        @hookimpl
        def on_send(self, message: Any) -> Any:
            if message.method != "tools/call":
                return None
            deep = {"a": SecretRef("pin", 1)}
            return message.with_params({**message.params, "arguments": {"path": SecretRef("pin", 1), "deep": deep}})

        def resolve(self, ref: Any, call: Any) -> str:
            return CANARY

    found, text = await recorded(tmp_path, '[audit.arguments]\n"*" = ["path", "deep"]', Vault(), path="/a")
    assert [entry["details"] for entry in found] == [{"deep": {"a": "<SecretRef>"}}]
    assert CANARY not in text


async def test_a_refused_call_is_recorded_too(tmp_path: Path) -> None:
    """What a call was refused for can be seen: the log has its turn before others judge, by its name."""
    no = ring("no", on_tool_call=Deny("no.way", "no"))
    found, _ = await recorded(tmp_path, '[audit.arguments]\n"*" = ["path"]', no, path="/a")
    assert [entry["details"] for entry in found] == [{"path": "/a"}]


@pytest.mark.parametrize(("name", "layer"), [("zzz", "CONTENT")])
async def test_refused_call_is_named_whoever_refuses(tmp_path: Path, name: str, layer: str) -> None:
    """Whoever refuses a call, and wherever, what is named of it was recorded before."""

    class No:
        def __init__(self) -> None:
            self.name, self.layer = name, Layer[layer]

        @hookimpl
        def on_tool_call(self, call: Any, connection: Any) -> Any:
            return Deny(f"{name}.way", "no")

    found, _ = await recorded(tmp_path, '[audit.arguments]\n"*" = ["path"]', No(), path="/a")
    assert [entry["details"] for entry in found] == [{"path": "/a"}]


def test_no_hook_without_names() -> None:
    """A log that names nothing sees no call: it costs them nothing."""
    assert not hasattr(Audit, "on_tool_call")


def test_names_of_several_patterns_are_united() -> None:
    """Each pattern that fits adds its names, once."""
    patterns = {"a/*": ("x", "y"), "a/b": ("y", "z"), "c/b": ("q",)}
    assert names_of(patterns, "a/b") == ("x", "y", "z")
