"""Patterns and decisions."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_sieve._limits import LIMITS, Limits
from hauberk_sieve._spelling import fold, is_plain
from hauberk_sieve.access._patterns import Pattern, Patterns
from hauberk_sieve.access._rule import Rule
from hauberk_sieve.access._rules import Default, Rules

E_ACUTE, E_AND_ACUTE = "\u00e9", "e\u0301"
HIDDEN = (
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u202e\u2066\u061c\u180e\ufe0f\u034f\u3164\U000e0041"
    "\x00\x1b\x7f\x85\u2028"
)

parts = st.text("ab*/", min_size=1, max_size=5)
servers = st.text("ab*", min_size=1, max_size=4)
names = st.text("ab/", min_size=1, max_size=6)
pairs = st.builds(Pattern.pair, servers, parts)


def rules(default: Default = "deny", allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> Rules:
    return of(default, map(Pattern.parse, allow), map(Pattern.parse, deny))


def of(default: Default, allow: Iterable[Pattern] = (), deny: Iterable[Pattern] = (), limits: Limits = LIMITS) -> Rules:
    return Rules(default, map(Rule.of, allow), map(Rule.of, deny), limits=limits)


def allowed(found: Rules, server: str, tool: str) -> bool:
    return found.decide(server, "tool", tool).allowed


def by_hand(pattern: str, name: str) -> bool:
    """Match one part as the rules say it, by a regular expression."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None


def matches(pattern: Pattern, server: str, tool: str) -> bool:
    return by_hand(pattern.server, server) and by_hand(pattern.tool, tool)


@given(st.lists(parts), names)
def test_patterns_match_what_they_say(patterns: list[str], name: str) -> None:
    """``*`` is any characters, ``/`` included; any other is itself; no pattern hides another (S3.36)."""
    found = Patterns((pattern, place) for place, pattern in enumerate(patterns))
    expected = [place for place, pattern in enumerate(patterns) if by_hand(pattern, name)]
    assert sorted(found.matching(name)) == expected


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("ab*ba", "aba", False),
        ("ab*ba", "abba", True),
        ("*aba", "ba", False),
        ("a*a*a", "aa", False),
        ("*a*a*", "a", False),
        ("*a*a*", "aa", True),
        ("*ab*ba*", "aba", False),
        ("*ab*ba*", "abxba", True),
        ("a*", "a", True),
        ("*", "", True),
        ("a*b*c", "a/b/b/c", True),
    ],
)
def test_no_character_is_matched_twice(pattern: str, name: str, expected: bool) -> None:
    """Each character of a name stands for one of the pattern: pieces do not overlap, nor do the ends."""
    assert list(Patterns([(pattern, True)]).matching(name)) == [True] * expected


@given(st.lists(pairs), st.lists(pairs), names, names, st.sampled_from(["allow", "deny"]))
def test_deny_wins(allow: list[Pattern], deny: list[Pattern], server: str, tool: str, default: Default) -> None:
    """A deny rule that matches refuses, whatever is allowed; then an allow rule; then the default (S3.35)."""
    decision = of(default, allow, deny).decide(server, "tool", tool)
    if any(matches(pattern, server, tool) for pattern in deny):
        assert (decision.allowed, decision.by) == (False, "deny")
    elif any(matches(pattern, server, tool) for pattern in allow):
        assert (decision.allowed, decision.by) == (True, "allow")
    else:
        assert (decision.allowed, decision.by) == (default == "allow", "default")


@given(st.lists(pairs), st.lists(pairs), names, names, st.randoms(use_true_random=False))
def test_order_of_rules_says_nothing(
    allow: list[Pattern], deny: list[Pattern], server: str, tool: str, chance: random.Random
) -> None:
    """Rules in another order decide alike."""
    before = of("deny", allow, deny).decide(server, "tool", tool)
    chance.shuffle(allow)
    chance.shuffle(deny)
    after = of("deny", allow, deny).decide(server, "tool", tool)
    assert (before.allowed, before.by) == (after.allowed, after.by)


def test_deny_of_every_server_beats_allow_of_one() -> None:
    """``github/*`` allowed and ``*/execute_shell`` denied refuses ``github/execute_shell`` (S3.35)."""
    found = rules("deny", ("github/*",), ("*/execute_shell",))
    assert not allowed(found, "github", "execute_shell")
    assert allowed(found, "github", "list_issues")


@pytest.mark.parametrize(("server", "tool"), [("org/server", "execute_shell"), ("a/b/c", "execute_shell"), ("", "x/y")])
def test_star_crosses_a_slash(server: str, tool: str) -> None:
    """A star for the server or the tool holds for names with ``/`` too (S3.36)."""
    assert not allowed(rules("allow", deny=("*/execute_shell", "*/x*y")), server, tool)


def test_star_alone_is_everything() -> None:
    """``*`` is every tool of every server, as ``*/*`` is."""
    for pattern in ("*", "*/*"):
        assert not allowed(rules("allow", deny=(pattern,)), "org/server", "any/tool")


def test_pattern_is_split_at_the_first_slash() -> None:
    """``a/b/c`` is the tool ``b/c`` of server ``a``; a table tells of a server ``a/b`` (S1.11)."""
    text, table = of("deny", [Pattern.parse("a/b/c")]), of("deny", [Pattern.pair("a/b", "c")])
    assert (allowed(text, "a", "b/c"), allowed(text, "a/b", "c")) == (True, False)
    assert (allowed(table, "a", "b/c"), allowed(table, "a/b", "c")) == (False, True)


@pytest.mark.parametrize(("name", "expected"), [("read", True), ("Read", False), ("READ", False), ("reads", False)])
def test_names_are_compared_exactly(name: str, expected: bool) -> None:
    """Case counts, and a pattern matches whole names only (S1.11)."""
    assert allowed(rules("deny", ("files/read",)), "files", name) is expected
    assert allowed(rules("allow", deny=("files/read",)), "files", name) is not expected


def test_special_characters_of_regular_expressions_are_literal() -> None:
    """Only ``*`` is special: a dot is a dot."""
    found = rules("deny", ("files/a.b", "files/c+*"))
    assert allowed(found, "files", "a.b")
    assert not allowed(found, "files", "axb")
    assert allowed(found, "files", "c+x")
    assert not allowed(found, "files", "cc")


@pytest.mark.parametrize("pattern", [f"caf{E_ACUTE}/{E_ACUTE}*", f"caf{E_AND_ACUTE}/{E_AND_ACUTE}*"])
def test_patterns_and_servers_are_compared_in_form_c(pattern: str) -> None:
    """A pattern, and a server's name, mean the same in any normalization form (S1.11)."""
    for server in (f"caf{E_ACUTE}", f"caf{E_AND_ACUTE}"):
        assert allowed(rules("deny", (pattern,)), server, f"{E_ACUTE}t")
        assert not allowed(rules("allow", deny=(pattern,)), server, f"{E_ACUTE}t")


def test_tool_that_is_not_in_form_c_is_denied_and_never_allowed() -> None:
    """A deny rule matches a tool's name in any normalization form; an allow rule only the form C (S1.11)."""
    assert not allowed(rules("allow", deny=(f"*/caf{E_ACUTE}",)), "files", f"caf{E_AND_ACUTE}")
    assert not allowed(rules("allow", deny=(f"*/{E_ACUTE} *",)), "files", f"{E_AND_ACUTE} ")
    assert not allowed(rules("deny", (f"*/caf{E_ACUTE}", "*")), "files", f"caf{E_AND_ACUTE}")


def test_glob_denies_a_name_as_it_came() -> None:
    """A deny rule also matches what only the name as it came begins with: normalization does not take it away."""
    assert not allowed(rules("allow", deny=("files/e*",)), "files", E_AND_ACUTE)


@given(st.sampled_from(HIDDEN), st.integers(0, 13), st.booleans())
def test_hidden_character_slips_past_no_deny(hidden: str, place: int, upper: bool) -> None:
    """A name that only looks like a denied one, or folds to it, is denied too (S3.36)."""
    name = "execute_shell"[:place] + hidden + "execute_shell"[place:]
    name = name.upper() if upper else name
    for pattern in ("*/execute_shell", "files/exec*", "*/Execute_Shell"):
        decision = rules("allow", deny=(pattern,)).decide("files", "tool", name)
        assert (decision.allowed, decision.rule) == (False, pattern)


@given(st.sampled_from(HIDDEN), st.integers(0, 4))
def test_hidden_character_is_never_allowed_by_a_rule(hidden: str, place: int) -> None:
    """No allow rule matches a name with a hidden character, not even ``*`` (S3.36)."""
    name = "read"[:place] + hidden + "read"[place:]
    assert not allowed(rules("deny", ("*", "files/*", "files/read")), "files", name)
    assert not allowed(rules("deny", ("*",)), name, "read")


@pytest.mark.parametrize("name", [" execute_shell", "execute_shell ", "\u00a0execute_shell", "execute_shell\n"])
def test_white_space_at_the_ends_slips_past_no_deny(name: str) -> None:
    """A name with white space at its ends is denied as the name without, and is never allowed by a rule."""
    assert not allowed(rules("allow", deny=("files/execute_shell",)), "files", name)
    assert not allowed(rules("deny", ("*",)), "files", name)


def test_compatibility_form_is_folded_with_a_hidden_character() -> None:
    """Full-width letters with a zero-width one among them look like plain ones."""
    wide = "".join(chr(ord(char) + 0xFEE0) for char in "Shell") + "\u200b"
    assert not allowed(rules("allow", deny=("*/shell",)), "files", wide)


@given(st.text())
def test_fold_of_any_name_is_stable(name: str) -> None:
    """Folding twice is folding once where it matters: what is plain ASCII afterwards stays."""
    once = fold(name)
    assert fold(once) == once or not once.isascii()
    assert is_plain(name) is False or unicodedata.normalize("NFC", name) == name


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "no '/'"),
        ("read", "no '/'"),
        ("**", "no '/'"),
        ("/", "empty server"),
        ("/read", "empty server"),
        ("files/", "empty tool"),
        ("files/read?", "only '*' is special"),
        ("files/[ab]", "only '*' is special"),
        ("files/ab]", "only '*' is special"),
        ("files/{a,b}", "only '*' is special"),
        ("files/a}", "only '*' is special"),
        ("files/a\\*", "only '*' is special"),
        ("fi?es/read", "only '*' is special"),
        (" files/read", "white space"),
        ("files /read", "white space"),
        ("files/ read", "white space"),
        ("files/read\t", "white space"),
        ("files/re\x00ad", "control, zero-width"),
        ("files/re\nad", "control, zero-width"),
        ("files/re\u200dad", "control, zero-width"),
        ("files/re\u202ead", "control, zero-width"),
        ("fi\u2066les/read", "control, zero-width"),
        ("files/read\ufeff", "control, zero-width"),
    ],
)
def test_malformed_pattern_is_an_error(pattern: str, why: str) -> None:
    """A pattern that cannot mean what it seems to is an error that says why; it is not skipped (S3.36)."""
    with pytest.raises(ValueError, match=re.escape(why)) as error:
        Pattern.parse(pattern)
    assert str(error.value).isprintable()


def test_decision_names_the_rule_as_it_is_written() -> None:
    """A decision says which pattern decided, or that it was the default."""
    found = of("deny", [Pattern.parse("files/read_*"), Pattern.pair("org/x", "y")], [Pattern.parse("*/rm*")])
    assert found.decide("files", "tool", "read_a").rule == "files/read_*"
    assert found.decide("org/x", "tool", "y").rule == '{ server = "org/x", tool = "y" }'
    assert found.decide("files", "tool", "rmdir").rule == "*/rm*"
    assert found.decide("files", "tool", "other").rule == "default = deny"


def test_memory_is_bounded_under_many_names() -> None:
    """After 100,000 names of tools the rules remember no more than their bound, and none that is long."""
    found = rules("deny", ("files/read_*",), ("*/rm",))
    for number in range(100_000):
        found.decide("files", "tool", f"read_{number}")
    assert 0 < found.remembered() <= LIMITS.memo
    before = rules()
    before.decide("files", "tool", "x" * LIMITS.memo_chars)
    assert before.remembered() == 0


@given(st.lists(st.tuples(names, names), max_size=30))
def test_memory_changes_no_decision(asked: list[tuple[str, str]]) -> None:
    """What is remembered, or was forgotten, is what would be decided anew."""
    patterns = [Pattern.parse("a/*b")], [Pattern.parse("*/b*")]
    small = of("deny", *patterns, limits=Limits(memo=2, memo_chars=8))
    for server, tool in asked:
        assert small.decide(server, "tool", tool) == of("deny", *patterns).decide(server, "tool", tool)
    assert small.remembered() <= 2


def test_hostile_name_takes_no_more_than_its_length() -> None:
    """A name made for patterns of many stars is decided in one pass: a backtracking matcher would never end."""
    found = rules("allow", deny=("files/" + "*a" * 40 + "*b",))
    assert allowed(found, "files", "a" * LIMITS.name_chars)


@pytest.mark.parametrize("name", ["a" * (LIMITS.name_chars + 1), "a" + "\u0301\u0316" * 16])
def test_a_name_that_cannot_be_compared_in_time_is_denied(name: str) -> None:
    """A name over the bound, or with more combining marks in a row than any language has, matches no rule (A47)."""
    for found in (rules("allow"), rules("deny", allow=("*",))):
        decision = found.decide("files", "tool", name)
        assert (decision.allowed, decision.by) == (False, "name")
        assert decision.hint("files", name).startswith("rename it")


def test_hint_offers_the_pattern_of_the_tool() -> None:
    """The hint of a tool that no rule names is the pattern that would allow exactly it, ready to copy."""
    hint = rules().decide("files", "tool", "write_file").hint("files", "write_file")
    assert hint == 'add "files/write_file" to [sieve] allow'
    assert '{ server = "org/x", tool = "y" }' in rules().decide("org/x", "tool", "y").hint("org/x", "y")
    denied = rules(deny=("*/rm",)).decide("files", "tool", "rm")
    assert denied.hint("files", "rm") == "take */rm out of [sieve] deny"


@given(names | st.text('ab*"\\?[]{}/\n\u200d, ', min_size=1, max_size=12), st.sampled_from(["files", "org/x", 'q"']))
def test_hint_never_allows_more_than_what_was_refused(tool: str, server: str) -> None:
    """What the hint offers to copy matches this pair alone: a server may name its tool ``*`` or ``x", "*``."""
    hint = rules().decide(server, "tool", tool).hint(server, tool)
    assert "\n" not in hint
    if hint.startswith("add "):
        text = hint.removeprefix("add ").removesuffix(" to [sieve] allow")
        assert "*" not in text
        assert text in (f'"{server}/{tool}"', f'{{ server = "{server}", tool = "{tool}" }}')
        assert '"' not in server + tool
