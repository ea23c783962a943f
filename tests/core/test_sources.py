"""A reload sees what plugins read by themselves, though no byte of the configuration has changed (A72)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.core.harness import Recorder
from tests.core.house import House, empty_house

from hauberk.guard import Guard
from hauberk.refusals import ConfigError, PluginError
from hauberk.sources import Sources

READER = '''
from __future__ import annotations
from pathlib import Path
import hauberk

HELD = []
"""What each plugin object read."""

class Plugin:
    name = "reader"

    class Options(hauberk.Options):
        file: Path = Path()

    def __init__(self, options, guard):
        self.file = options.file

    def sources(self):
        return [self.file]

    def open(self):
        HELD.append(self.file.read_text())
        if HELD[-1] == "bad":
            raise hauberk.ConfigError("the file is bad")

    @hauberk.hookimpl
    def on_tool_call(self, call):
        return None
'''


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return empty_house(tmp_path, monkeypatch)


async def test_file_of_a_plugin_is_read_again(house: House, tmp_path: Path) -> None:
    """A reload whose configuration is untouched reads a plugin's file that changed, says so, and else does nothing."""
    held = importlib.import_module(house.install("reader", READER)).HELD
    path, file = tmp_path / "hauberk.toml", tmp_path / "file"
    file.write_text("one")
    path.write_text(f"[reader]\nfile = '{file}'\n")
    recorder = Recorder()
    async with Guard.load(path, objects=(recorder,)) as guard:
        assert (await guard.reload()).diff is None
        file.write_text("two")
        done = await guard.reload()
        assert done.old_version == done.new_version
        assert done.diff is not None
        assert done.diff.lines == (f"~ reader: {file}",)
        assert (await guard.reload()).diff is None
        file.write_text("bad")
        before = guard.policy
        for _ in range(2):  # it is as bad the second time
            with pytest.raises(ConfigError, match="the file is bad"):
                await guard.reload()
        assert guard.policy is before
        file.write_text("two")
        assert (await guard.reload()).diff is None
    assert held == ["one", "two", "bad", "bad"]
    (changed,) = recorder.of("policy.changed")
    assert changed.details["diff"] == [f"~ reader: {file}"]


async def test_files_that_cannot_be_named(house: House, tmp_path: Path) -> None:
    """A plugin that cannot say what it reads stops the start."""
    house.install("reader", READER.replace("return [self.file]", "raise ValueError"))
    path = tmp_path / "hauberk.toml"
    path.write_text("[reader]\n")
    with pytest.raises(PluginError, match="cannot name its files"):
        async with Guard.load(path):
            pass


def _emptied(folder: Path) -> None:
    for one in folder.iterdir():
        one.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda folder: (folder / "a").write_text("2"), True),
        (lambda folder: (folder / "a").chmod(0o666), True),
        (lambda folder: (folder / "a").unlink(), True),
        (lambda folder: (folder / "a").rename(folder / "b"), True),
        (lambda folder: (folder / "b").write_text("1"), True),
        (lambda folder: (folder / "b").symlink_to("a"), True),
        (lambda folder: folder.chmod(0o777), True),
        (_emptied, True),
        (lambda folder: (folder / "a").touch(), False),
        (lambda folder: (folder / "inner" / "c").write_text("1"), False),
    ],
)
@pytest.mark.parametrize("links", [False, True])
def test_what_counts(tmp_path: Path, change: Callable[[Path], Any], counts: bool, links: bool) -> None:
    """Content, mode and owner of a file count, and of each file of a directory, with its name; times do not."""
    folder = named = tmp_path / "keys"
    folder.mkdir()
    (folder / "a").write_text("1")
    if not counts:
        (folder / "inner").mkdir()
    if links:
        named = tmp_path / "link"
        named.symlink_to(folder)
    sources = Sources()
    sources.add("reader", [named])
    assert not sources.changed()
    change(folder)
    assert sources.changed() is counts


def test_a_file_that_appears(tmp_path: Path) -> None:
    """A file that was not there counts once it is; what never ends, such as a FIFO, is not read."""
    sources = Sources()
    sources.add("reader", [tmp_path / "none", tmp_path / "fifo"])
    assert not sources.changed()
    os.mkfifo(tmp_path / "fifo")
    assert sources.changed()
    assert sources.rules(Sources()) == {}
