"""What nobody can read as it is written is found by the name alone."""

# ruff: noqa: RUF001 - characters that are confused on purpose

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_sieve.names._faults import RESERVED, Spelling

SPELLING = Spelling(128)
HIDDEN = "a name has no control, zero-width or bidirectional character"
ENDS = "a name has no white space at its ends, and none but spaces in it"
FORMS = "a name is in the normalization forms C and KC"


@pytest.mark.parametrize(
    "name", ["read_file", "a", "notion.pages-create/v2", "My Tool", "поиск_с_базой", "文件を読む", "öffnen", "read文件"]
)
def test_readable_names_have_no_fault(name: str) -> None:
    """Names in any language are names."""
    assert SPELLING.fault(name) is None


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "a name has a character"),
        ("x" * 129, "a name has at most 128 characters"),
        ("a" + "\u0301" * 31, "a name has at most 30 combining marks in a row"),
        ("read\u200bfile", HIDDEN),
        ("read\u202efile", HIDDEN),
        ("read\nfile", HIDDEN),
        ("\x1b[31mread", HIDDEN),
        ("read\U000e0041", HIDDEN),
        ("read ", ENDS),
        (" read", ENDS),
        ("read\u00a0file", ENDS),
        ("read\ue000", "a name has no private code point"),
        ("read\U0003fffd", "a name has no unassigned code point"),
        ("o\u0308ffnen", FORMS),
        ("ｒｅａｄ", FORMS),
        ("𝐫ead", FORMS),
        ("rеad", "a word is written in one script, not in CYRILLIC and LATIN"),
        ("сору", "a name in another script is not read as ASCII"),
        ("mcp__github__merge", "no name of a server starts with 'mcp__'"),
        ("MCP__github__merge", "no name of a server starts with 'mcp__'"),
        ("rncp__github__merge", "no name of a server starts with 'mcp__'"),
        ("functions.read", "no name of a server starts with 'functions.'"),
    ],
)
def test_fault_of_a_name(name: str, rule: str) -> None:
    """Each rule is broken by a name that breaks no other, and the rule is named (S3.36, A43)."""
    fault = SPELLING.fault(name)
    assert fault is not None
    assert fault.rule == rule
    assert SPELLING.faults(["read", name, "list"]) == {name: fault}


def test_options_narrow_what_is_read() -> None:
    """Length and reserved starts are the configuration's."""
    spelling = Spelling(8, ["admin_"])
    assert spelling.fault("read_file") is not None
    assert spelling.fault("Admin_x") == ("no name of a server starts with 'admin_'", True)
    assert spelling.fault("read") is None


@pytest.mark.parametrize("name", ["mcp_tool", "mcp", "function_list", "system_info", "hauberk"])
def test_reserved_starts_are_whole(name: str) -> None:
    """What only begins as a reserved start does is free."""
    assert SPELLING.fault(name) is None


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(RESERVED), max_size=6))
def test_list_has_the_faults_of_its_names(names: list[str]) -> None:
    """The quick way for whole lists finds what one name after the other shows."""
    assert SPELLING.faults(names) == {name: fault for name in names if (fault := SPELLING.fault(name)) is not None}


@given(st.lists(st.text(st.characters(max_codepoint=127), max_size=12), max_size=6))
def test_ascii_list_has_the_faults_of_its_names(names: list[str]) -> None:
    """Line feeds and spaces in names do not lead the quick way astray."""
    assert SPELLING.faults(names) == {name: fault for name in names if (fault := SPELLING.fault(name)) is not None}


@pytest.mark.parametrize("name", ["a\u0301" * 60, "e" + "\u0327\u0301" * 2000, "а" * 4096, "\U0001d400" * 128])
def test_hostile_names_end(name: str) -> None:
    """Long combining sequences and thousands of characters are a fault, found without bringing them into a form."""
    assert SPELLING.fault(name) is not None
