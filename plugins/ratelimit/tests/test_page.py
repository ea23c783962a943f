"""The page of the plugin, and its README: what they show is loaded, and is as it is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.prose import blocks, rows, section

from hauberk.config import Config
from hauberk_ratelimit import RateLimit
from hauberk_ratelimit._commands import limits
from hauberk_ratelimit._options import Options
from hauberk_ratelimit._presets import PRESETS
from hauberk_ratelimit._rates import Credit, Limit, Quota, Rate, parse

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "ratelimit.md"
README = ROOT / "plugins" / "ratelimit" / "README.md"


@pytest.mark.parametrize("text", [*blocks(PAGE, "toml"), *blocks(README, "toml")])
def test_each_table_is_one_without_a_fault(text: str) -> None:
    """What the page and the README show is loaded."""
    config = Config.from_toml(text)
    config.check({"ratelimit": RateLimit.Options})
    assert config.has_table("ratelimit")


def test_each_way_to_write_a_limit_is_one() -> None:
    """The table of limits is what they mean, and the sentence below it tells what is none."""
    written = [row[0].strip('`"') for row in rows(section(PAGE, "Limit a host and its servers"))]
    assert [parse(text) for text in written] == [
        Limit((Rate(600, 60, 50),)),
        Limit((Rate(10, 1, 10),)),
        Limit((Quota(1000),)),
        Limit((Credit(500),)),
        Limit((Rate(30, 60, 30), Quota(100))),
        Limit((Rate(300, 60, 30),), each=True),
        Limit((Rate(0, 60, 0),)),
        Limit(()),
    ]
    for text in ("-1/minute", "1.5/second", "nan/minute", "1/week", "100001/second", "1/day burst 400"):
        with pytest.raises(ValueError, match=r"limit|unit|second|year"):
            parse(text)


def test_each_preset_is_as_it_is_told() -> None:
    """The table of presets names each one, and the limits in it."""
    told = {row[0].strip('`"'): row[1] for row in rows(section(PAGE, "Limit callers")) if row[0].strip('`"') in PRESETS}
    found: dict[str, str] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if (word := cells[0].strip('`"')) in PRESETS and len(cells) == 2:
            found[word] = cells[1]
    assert found.keys() == PRESETS.keys()
    assert told.items() <= found.items()
    for word, table in PRESETS.items():
        for key, value in table.items():
            if isinstance(value, str):
                assert f'{key} = "{value}"' in found[word]
        assert Options(preset=word).preset == word  # type: ignore[arg-type]


def test_the_commands_print_what_is_shown(tmp_path: Path) -> None:
    """The first configuration of the page is listed, and reset, as the page shows."""
    (console,) = blocks(PAGE, "console")
    (tmp_path / "hauberk.toml").write_text(f'core.state_dir = "{tmp_path}/state"\n{blocks(PAGE, "toml")[0]}')
    for line, shown in re.findall(r"(?ms)^\$ hauberk limits (.*?)\n(.*?)(?=^\$|\Z)", console):
        word, *rest = line.split()
        done: Any = CliRunner().invoke(limits, [word, "--config", str(tmp_path / "hauberk.toml"), *rest])
        assert (done.exit_code, done.output) == (0, shown)
