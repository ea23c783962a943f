"""The page of the plugin, and its README: what they show is loaded, and works as they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from plugins.bulkhead.tests.conftest import Opened, plugin_of

from hauberk_bulkhead._commands import bulkhead

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "bulkhead.md").read_text(encoding="utf-8")
README = (ROOT / "plugins" / "bulkhead" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [PAGE, README], ids=["page", "README"])
async def test_tables_are_loaded(guarded: Opened, text: str) -> None:
    """Each table that is shown lets a host start, and says what it seems to say."""
    for toml in re.findall(r"(?s)```toml\n(.*?)```", text):
        async with guarded(toml) as rig:
            gate = plugin_of(rig).gate
            assert gate.rules("any").caps.queue == 1000
            if text is PAGE:
                assert gate.rules("documents").caps.of_tool("convert") == 2
                assert gate.rules("search").caps.queue == 0


def test_commands_do_what_is_shown(tmp_path: Path) -> None:
    """Each command of the page says what the page shows, one after the other."""
    (block,) = re.findall(r"(?s)```console\n(.*?)```", PAGE)
    config = tmp_path / "hauberk.toml"
    config.write_text(f'core.state_dir = "{tmp_path}/state"\n')
    steps = re.findall(r"(?m)^\$ hauberk bulkhead (.*)\n(.*)$", block)
    assert len(steps) == 4
    for line, shown in steps:
        done = CliRunner().invoke(bulkhead, [*shlex.split(line), "--config", str(config)])
        assert done.exit_code == 0, done.output
        assert re.fullmatch(re.escape(shown).replace("…", ".*"), done.output.strip()), done.output
