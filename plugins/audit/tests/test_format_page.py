"""The page of the format: its example is what the code writes, and its words are enough for another program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from plugins.audit.tests.logs import KEY, chain, event

from hauberk import keys
from hauberk_audit._entry import render
from hauberk_audit.writing._chain import GENESIS
from hauberk_audit.writing._ratchet import first_root

PAGE: Final = Path(__file__).parents[3] / "docs" / "audit-format.md"


def test_example_of_the_page_is_what_is_written() -> None:
    """Key file, plain log and log of a key that goes forward are those that the code makes."""
    example = PAGE.read_text("utf-8").partition("## An example")[2]
    key, plain, forward = re.findall(r"```text\n(.*?)```", example, re.DOTALL)
    assert key == f"{keys.key_line(KEY)}\n"
    assert plain.encode().split(b"\n")[:-1] == chain(2, text="")
    rung = first_root(KEY).first()
    first, digest = rung.signer().seal(render(event(1)), 1, GENESIS)
    second, _ = rung.next().signer().seal(render(event(2)), 2, digest)
    assert forward.encode() == first + second
