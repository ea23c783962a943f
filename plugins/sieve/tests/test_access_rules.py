"""Rules with conditions, on everything that a server offers."""

from __future__ import annotations

import hashlib
import random
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hauberk import canon
from hauberk_sieve._limits import LIMITS, Limits
from hauberk_sieve._options import Options
from hauberk_sieve.access._facts import WORST, Facts
from hauberk_sieve.access._patterns import Pattern
from hauberk_sieve.access._rule import Entry, Kind, Rule, read
from hauberk_sieve.access._rules import Default, Rules
from hauberk_sieve.access._whom import NOBODY, Asker

KINDS: tuple[Kind, ...] = ("tool", "prompt", "resource", "template")

names = st.sampled_from(["a", "ab", "b", "a/b", "file:///a", "file:///b/a"])
globs = st.sampled_from(["*", "a*", "*b", "a", "ab", "file:*", "b"])
people = st.sampled_from(["ada", "bob", "a*", "*"])
askers = st.builds(
    Asker,
    id=st.sampled_from(["ada", "bob"]),
    method=st.sampled_from(["", "mtls"]),
    groups=st.frozensets(st.sampled_from("gh"), max_size=2),
    roles=st.frozensets(st.sampled_from("rs"), max_size=2),
)
definitions = st.none() | st.builds(
    lambda hints, arguments: Facts(
        {"name": "a", "annotations": hints, "inputSchema": {"properties": {key: {} for key in arguments}}}
    ),
    st.dictionaries(st.sampled_from(list(WORST)), st.booleans() | st.none()),
    st.sets(st.sampled_from(["command", "path"])),
)
whom: dict[str, Any] = {
    "principals": st.none() | st.tuples(people),
    "groups": st.none() | st.tuples(st.sampled_from(["g", "*"])),
    "roles": st.none() | st.tuples(st.sampled_from(["r", "s"])),
    "methods": st.none() | st.just(("mtls",)),
}
allows = st.builds(Entry, server=globs, tool=globs, prompt=st.none() | globs, **whom)
hashed = st.builds(Entry, server=globs, tool=globs, content_hash=st.sampled_from(["0" * 64, "f" * 64]), **whom)
denies = st.builds(Entry, server=globs, tool=globs, **whom) | st.builds(
    Entry,
    server=globs,
    tool=globs,
    annotations=st.none() | st.sampled_from([{name: value} for name, value in WORST.items()]),
    arguments=st.none() | st.just(("comm*",)),
    **whom,
)
defaults = st.sampled_from(["allow", "deny"])
asked = st.tuples(st.sampled_from(["a", "ab", "b"]), st.sampled_from(KINDS), names)


def rules(default: Default, allow: list[Entry], deny: list[Entry]) -> Rules:
    return Rules(default, [read("allow", one) for one in allow], [read("deny", one) for one in deny])


def tool(**members: Any) -> Facts:
    return Facts({"name": "x", **members})


def allowed(found: Rules, name: str = "x", who: Asker = NOBODY, definition: Facts | None = None) -> bool:
    return found.decide("s", "tool", name, who, definition).allowed


# --- what holds of all rules ---


@given(defaults, st.lists(allows | hashed), st.lists(denies), asked, askers, definitions, st.randoms())
def test_order_of_rules_decides_nothing(
    default: Default,
    allow: list[Entry],
    deny: list[Entry],
    thing: tuple[str, Kind, str],
    who: Asker,
    facts: Facts | None,
    chance: random.Random,
) -> None:
    """Rules with conditions decide alike in every order (S3.35)."""
    before = rules(default, allow, deny).decide(*thing, who, facts).allowed
    chance.shuffle(allow)
    chance.shuffle(deny)
    assert rules(default, allow, deny).decide(*thing, who, facts).allowed is before


@given(defaults, st.lists(allows), st.lists(denies), asked, askers, definitions)
def test_deny_that_holds_wins(
    default: Default, allow: list[Entry], deny: list[Entry], thing: tuple[str, Kind, str], who: Asker, facts: Any
) -> None:
    """What one deny rule alone denies is denied whatever else is there: no allow list ignores the deny list (S3.35)."""
    for one in deny:
        if not rules("allow", [], [one]).decide(*thing, who, facts).allowed:
            assert not rules(default, allow, deny).decide(*thing, who, facts).allowed


@given(defaults, st.lists(allows | hashed), st.lists(denies), denies, asked, askers, definitions)
def test_another_deny_never_widens(
    default: Default,
    allow: list[Entry],
    deny: list[Entry],
    more: Entry,
    thing: tuple[str, Kind, str],
    who: Asker,
    facts: Facts | None,
) -> None:
    """What is allowed with one deny rule more was allowed without it."""
    if rules(default, allow, [*deny, more]).decide(*thing, who, facts).allowed:
        assert rules(default, allow, deny).decide(*thing, who, facts).allowed


@given(st.lists(allows | hashed, min_size=1), st.lists(denies), st.fixed_dictionaries(whom), asked, askers, definitions)
def test_another_condition_on_an_allow_never_widens(
    allow: list[Entry], deny: list[Entry], more: dict[str, Any], thing: tuple[str, Kind, str], who: Asker, facts: Any
) -> None:
    """What is allowed with one condition more on an allow rule was allowed without it."""
    bare = allow[0]
    given_ = {key: getattr(bare, key) for key in bare.__struct_fields__}
    narrower = Entry(**(given_ | {key: value for key, value in more.items() if given_[key] is None}))
    if rules("deny", [narrower, *allow[1:]], deny).decide(*thing, who, facts).allowed:
        assert rules("deny", allow, deny).decide(*thing, who, facts).allowed


@given(st.lists(allows | hashed), st.lists(denies), asked, askers, definitions)
def test_nothing_that_a_definition_says_widens(
    allow: list[Entry], deny: list[Entry], thing: tuple[str, Kind, str], who: Asker, facts: Facts | None
) -> None:
    """Rules that go by no definition allow all that is allowed with one: what a server says of itself only narrows."""
    plain = [one for one in deny if one.annotations is None and one.arguments is None]
    bare = [Entry(**{k: getattr(one, k) for k in one.__struct_fields__ if k != "content_hash"}) for one in allow]
    if rules("deny", allow, deny).decide(*thing, who, facts).allowed:
        assert rules("deny", bare, plain).decide(*thing, who).allowed


@given(st.lists(allows | hashed), st.lists(denies), st.lists(st.tuples(asked, askers, definitions), max_size=20))
def test_memory_tells_who_asks_and_definitions_apart(
    allow: list[Entry], deny: list[Entry], questions: list[tuple[tuple[str, Kind, str], Asker, Facts | None]]
) -> None:
    """What is remembered of one asker, kind or definition is never the answer for another."""
    made = [read("allow", one) for one in allow], [read("deny", one) for one in deny]
    found = Rules("deny", *made, limits=Limits(memo=4))
    for thing, who, facts in questions:
        assert found.decide(*thing, who, facts) == Rules("deny", *made).decide(*thing, who, facts)
    assert found.remembered() <= 4


# --- kinds ---


@pytest.mark.parametrize("default", ["allow", "deny"])
@pytest.mark.parametrize("kind", KINDS)
def test_default_is_one_for_all_kinds(default: Default, kind: Kind) -> None:
    """What no rule names is what the default says, a prompt or a resource as much as a tool."""
    found = Rules(default, [Rule.of(Pattern.parse("other/*"))])
    decision = found.decide("s", kind, "file:///x" if kind in {"resource", "template"} else "x")
    assert (decision.allowed, decision.rule) == (default == "allow", f"default = {default}")


def test_pattern_of_tools_is_about_tools_alone() -> None:
    """``"*"`` and ``"s/*"`` allow every tool, and no prompt or resource."""
    for text in ("*", "s/*"):
        found = Rules("deny", [Rule.of(Pattern.parse(text))])
        assert [found.decide("s", kind, "file:///x").allowed for kind in KINDS] == [True, False, False, False]


def test_table_is_about_each_kind_that_it_names() -> None:
    """One table may name a tool, a prompt and a resource; templates are resources to it."""
    found = rules("deny", [Entry(server="s", tool="t", prompt="p*", resource="file:///n/*")], [])
    ask = found.decide
    assert [ask("s", "tool", "t").allowed, ask("s", "prompt", "t").allowed] == [True, False]
    assert [ask("s", "prompt", "p1").allowed, ask("s", "tool", "p1").allowed] == [True, False]
    assert [ask("s", kind, "file:///n/{x}").allowed for kind in KINDS] == [False, False, True, True]
    assert not ask("other", "tool", "t").allowed


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("prompt", "sum", 'add { server = "s", prompt = "sum" } to [sieve] allow'),
        ("resource", "file:///n/a", 'add { server = "s", resource = "file:///n/a" } to [sieve] allow'),
        (
            "template",
            "file:///n/{a}",
            "allow it by a pattern with '*' in [sieve] allow: no exact pattern can be offered",
        ),
        ("resource", "file:///n/../a", "rename it: no allow rule matches a name that is not what it looks like"),
        ("prompt", 'x", prompt = "*', "allow it by a pattern with '*'"),
    ],
)
def test_hint_says_what_allows_a_prompt_or_resource(kind: Kind, name: str, hint: str) -> None:
    """Who wrote rules on tools alone is told what to add for the rest, and never more than what was refused."""
    assert rules("deny", [], []).decide("s", kind, name).hint("s", name).startswith(hint)


# --- conditions on who asks ---


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"principals": ("ada",)}, True),
        ({"principals": ("bob", "a*")}, True),
        ({"principals": ("Ada",)}, False),
        ({"groups": ("staff",)}, True),
        ({"groups": ("sta*",), "roles": ("ops",)}, False),
        ({"roles": ("ops",)}, False),
        ({"methods": ("mtls", "jwt")}, True),
        ({"methods": ("jwt",)}, False),
    ],
)
def test_every_condition_must_hold(conditions: dict[str, Any], expected: bool) -> None:
    """A rule with conditions is about those for whom each holds, whichever of its patterns matches."""
    who = Asker(
        id="ada", method="mtls", groups=frozenset({"staff"}), all_groups=frozenset({"staff"}), roles=frozenset({"dev"})
    )
    assert allowed(rules("deny", [Entry(server="s", tool="x", **conditions)], []), who=who) is expected
    both = Asker(id="ada", method="mtls", all_groups=frozenset({"staff"}), all_roles=frozenset({"dev"}))
    assert allowed(rules("allow", [], [Entry(server="s", tool="x", **conditions)]), who=both) is not expected


def test_who_was_narrowed_loses_what_it_may_and_keeps_what_it_may_not() -> None:
    """An allow rule goes by the groups that are left, a deny rule also by those that were taken away."""
    narrowed = Asker(id="ada", all_groups=frozenset({"staff", "blocked"}), all_roles=frozenset({"guest"}))
    assert not allowed(rules("deny", [Entry(server="s", tool="x", groups=("staff",))], []), who=narrowed)
    assert not allowed(rules("allow", [], [Entry(server="s", tool="x", groups=("blocked",))]), who=narrowed)
    assert not allowed(rules("allow", [], [Entry(server="s", tool="x", roles=("guest",))]), who=narrowed)


def test_nobody_who_proved_nothing_has_a_method() -> None:
    """``methods = ["*"]`` is everybody who proved an identity, and nobody else."""
    found = rules("deny", [Entry(server="s", tool="x", methods=("*",))], [])
    assert allowed(found, who=Asker(id="ada", method="mtls"))
    assert not allowed(found, who=Asker(id="ada"))
    assert not allowed(found)


def test_grant_allows_its_owner_where_no_deny_rule_says_no() -> None:
    """What somebody was granted is allowed to that person, and no grant passes a deny rule (S1.9)."""
    found = rules("deny", [], [Entry(server="s", tool="rm")])
    granted = Asker(id="ada", grants=(Pattern.parse("s/rm"), Pattern.parse("s/x*")))
    assert [allowed(found, name, granted) for name in ("x1", "rm", "y", "x\u200d")] == [True, False, False, False]
    assert not allowed(found, "x1")
    assert not found.decide("s", "prompt", "x1", granted).allowed


def test_memory_of_who_asks_is_bounded() -> None:
    """After many principals the rules remember no more than their bound."""
    found = rules("deny", [Entry(server="s", tool="x", principals=("u1*",))], [])
    for number in range(3 * LIMITS.memo):
        assert allowed(found, who=Asker(id=f"u{number}")) is str(number).startswith("1")
    assert found.remembered() <= LIMITS.memo
    assert len(found._askers) <= LIMITS.memo


# --- conditions on definitions ---


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"readOnlyHint": True}, True),
        ({"readOnlyHint": False}, False),
        ({}, False),
        (None, False),
        ("readOnlyHint", False),
        ({"readOnlyHint": 1}, False),
        ({"readOnlyHint": "true"}, False),
        ({"readonlyhint": True}, False),
    ],
)
def test_annotation_that_is_missing_is_the_worse(annotations: Any, expected: bool) -> None:
    """A tool that says nothing, or no boolean, is taken to write."""
    found = rules("allow", [], [Entry(server="*", tool="*", annotations={"readOnlyHint": False})])
    assert allowed(found, definition=tool(annotations=annotations)) is expected


@pytest.mark.parametrize("name", WORST)
def test_each_annotation_has_its_worse(name: str) -> None:
    """The defaults of the protocol are the worse ones: a deny rule on each catches a tool without annotations."""
    found = rules("allow", [], [Entry(server="*", tool="*", annotations={name: WORST[name]})])
    assert not allowed(found, definition=tool())
    assert allowed(found, definition=tool(annotations={name: not WORST[name]}))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"properties": {"path": {}}}, True),
        ({"properties": {"command": {}}}, False),
        ({"properties": {"Command": {}}}, False),
        ({"properties": {"com\u200dmand": {}}}, False),
        ({"properties": {"options": {"type": "object", "properties": {"command": {}}}}}, False),
        ({"allOf": [{"anyOf": [{"properties": {"command": {}}}]}]}, False),
        ({"$defs": {"x": {"properties": {"command": {}}}}, "$ref": "#/$defs/x"}, False),
        ({"required": ["command"]}, False),
        ({"dependentSchemas": {"command": {}}}, False),
        ({"properties": {"x": {"items": {"properties": {"command_line": {}}}}}}, False),
        ({"description": "command", "enum": ["command"]}, True),
        (None, True),
        ([{"properties": 7, "required": 3}], True),
    ],
)
def test_schema_that_names_an_argument_is_found(schema: Any, expected: bool) -> None:
    """A deny rule on an argument finds the name wherever the schema names it, and by what it looks like."""
    found = rules("allow", [], [Entry(server="*", tool="*", arguments=("exec", "command*"))])
    assert allowed(found, definition=tool(inputSchema=schema)) is expected


DEFINITION = {"name": "x", "description": "d", "inputSchema": {"type": "object"}, "x-unknown": [1.0, 2**63]}
HASH = hashlib.sha256(canon.dumps(DEFINITION)).hexdigest()


@pytest.mark.parametrize("text", [HASH, f"sha256:{HASH}", HASH.upper(), f"SHA256:{HASH.upper()}"])
def test_content_hash_is_of_the_whole_definition(text: str) -> None:
    """A hash allows exactly the definition that has it, with or without its prefix, in either case (S3.37)."""
    found = rules("deny", [Entry(server="s", tool="*", content_hash=text)], [])
    assert allowed(found, definition=Facts(DEFINITION))
    changes: list[dict[str, Any]] = [{"description": "e"}, {"x-unknown": [1.5]}, {"title": ""}, {"annotations": {}}]
    for change in changes:
        decision = found.decide("s", "tool", "x", definition=Facts(DEFINITION | change))
        assert (decision.allowed, decision.by) == (False, "content")


def test_another_rule_allows_what_has_another_hash() -> None:
    """A hash takes nothing from what a rule without one allows; a deny rule still wins."""
    by_hash, plain = Entry(server="s", tool="x", content_hash=HASH), Entry(server="s", tool="x")
    assert allowed(rules("deny", [by_hash, plain], []), definition=tool())
    assert not allowed(rules("deny", [by_hash], [plain]), definition=Facts(DEFINITION))


@pytest.mark.parametrize(
    "found",
    [
        rules("deny", [Entry(server="s", tool="*", content_hash=HASH)], []),
        rules("allow", [], [Entry(server="s", tool="*", annotations={"readOnlyHint": False})]),
        rules("deny", [Entry(server="s", tool="*")], [Entry(server="*", tool="*", arguments=("command",))]),
    ],
)
def test_what_was_not_listed_is_denied_where_a_rule_goes_by_it(found: Rules) -> None:
    """Without a definition a rule that needs one cannot let a call pass, and the hint says to list first (S3.38)."""
    decision = found.decide("s", "tool", "x")
    assert (decision.allowed, decision.by) == (False, "unlisted")
    assert "tools/list" in decision.hint("s", "x")


# --- load errors ---


@pytest.mark.parametrize(
    ("which", "entry", "why"),
    [
        ("allow", {"server": "s"}, "names a tool, a prompt or a resource"),
        ("deny", {"server": "s", "groups": ("g",)}, "names a tool, a prompt or a resource"),
        ("deny", {"server": "s", "tool": "*", "content_hash": HASH}, "content_hash on a deny rule"),
        ("allow", {"server": "s", "tool": "*", "content_hash": HASH[1:]}, "64 hexadecimal digits"),
        ("allow", {"server": "s", "tool": "*", "content_hash": f"md5:{HASH}"}, "64 hexadecimal digits"),
        ("allow", {"server": "s", "tool": "*", "content_hash": ""}, "64 hexadecimal digits"),
        ("allow", {"server": "s", "prompt": "*", "content_hash": HASH}, "content_hash is about tools"),
        ("allow", {"server": "s", "tool": "*", "annotations": {"readOnlyHint": False}}, "annotations on an allow rule"),
        ("allow", {"server": "s", "tool": "*", "arguments": ("x",)}, "arguments on an allow rule"),
        (
            "allow",
            {"server": "s", "tool": "*", "content_hash": HASH, "arguments": ("x",)},
            "arguments on an allow rule",
        ),
        ("deny", {"server": "s", "tool": "*", "annotations": {"readOnlyHint": True}}, "can be false only"),
        ("deny", {"server": "s", "tool": "*", "annotations": {"destructiveHint": False}}, "can be true only"),
        ("deny", {"server": "s", "tool": "*", "annotations": {"readonly": False}}, "is unknown"),
        ("deny", {"server": "s", "tool": "*", "annotations": {}}, "annotations is empty"),
        ("deny", {"server": "s", "tool": "*", "prompt": "*", "arguments": ("x",)}, "arguments is about tools"),
        ("deny", {"server": "s", "tool": "*", "arguments": ()}, "arguments is empty"),
        ("allow", {"server": "s", "tool": "*", "groups": ()}, "groups is empty"),
        ("allow", {"server": "s", "tool": "*", "roles": ("",)}, "empty roles"),
        ("allow", {"server": "s", "tool": "*", "principals": ("a?",)}, "only '*' is special"),
        ("allow", {"server": "s", "tool": "*", "methods": (" mtls",)}, "white space"),
        ("deny", {"server": "s", "resource": "file:///a/../b"}, "not in normal form"),
        ("deny", {"server": "s", "resource": "FILE:///a"}, "write 'file:///a'"),
        ("deny", {"server": "s", "resource": "file:///%61"}, "write 'file:///a'"),
        ("deny", {"server": "s", "resource": "file:///%zz"}, "two hexadecimal digits"),
        ("deny", {"server": "s", "resource": "file:///{a,b}"}, "only '*' is special"),
        ("deny", {"server": "", "resource": "*"}, "empty server"),
    ],
)
def test_rule_that_cannot_mean_what_it_says_is_an_error(which: Any, entry: dict[str, Any], why: str) -> None:
    """A rule with an impossible condition is an error that says why; none is skipped (S3.36, S3.37)."""
    with pytest.raises(ValueError, match=re.escape(why)):
        read(which, Entry(**entry))


@pytest.mark.parametrize("condition", [{"groups": ("g",)}, {"content_hash": HASH}])
def test_condition_on_an_allow_rule_says_nothing_where_all_is_allowed(condition: dict[str, Any]) -> None:
    """With ``default = "allow"`` a condition on an allow rule would hold nobody back, so it is an error."""
    with pytest.raises(ValueError, match=r"allow\[1\]: its conditions say nothing"):
        Options(default="allow", allow=("s/x", Entry(server="s", tool="*", **condition)))


# --- presets ---


@pytest.mark.parametrize(
    ("default", "policy", "expected"),
    [
        (None, None, "deny"),
        ("allow", None, "allow"),
        ("deny", None, "deny"),
        (None, "denylist", "allow"),
        (None, "allowlist", "deny"),
        (None, "read-only", "deny"),
        ("allow", "denylist", "allow"),
        ("deny", "denylist", "deny"),
        ("allow", "allowlist", "deny"),
        ("allow", "read-only", "deny"),
    ],
)
def test_stricter_of_default_and_preset_holds(default: Any, policy: Any, expected: str) -> None:
    """A preset is a default in one word, and where both are written the stricter holds (S3.35)."""
    assert Options(default=default, tool_policy=policy).otherwise == expected


def test_deny_rules_win_under_every_preset() -> None:
    """An allow list never ignores the deny list: the seed's example is refused under each preset (S3.35)."""
    policies: list[Any] = ["read-only", "allowlist", "denylist"]
    for policy in policies:
        made = Options(tool_policy=policy, allow=("github/*",), deny=("*/execute_shell",)).rules()
        reads = tool(annotations={"readOnlyHint": True})
        assert not made.decide("github", "tool", "execute_shell", definition=reads).allowed
        assert made.decide("github", "tool", "list_issues", definition=reads).allowed


def test_read_only_narrows_an_allow_list() -> None:
    """Under ``read-only`` a tool needs an allow rule, and its own word that it only reads."""
    made = Options(tool_policy="read-only", allow=("s/*",)).rules()
    reads, writes = tool(annotations={"readOnlyHint": True}), tool(annotations={"readOnlyHint": False})
    assert allowed(made, definition=reads)
    for one in (writes, tool(), None):
        assert not allowed(made, definition=one)
    assert not made.decide("other", "tool", "x", definition=reads).allowed
    assert made.decide("s", "tool", "x", definition=writes).rule == "tool_policy = read-only"
    assert "readOnlyHint" in made.decide("s", "tool", "x", definition=writes).hint("s", "x")


@given(
    st.text("ab*", min_size=1, max_size=6), st.lists(st.text("ab*", min_size=1, max_size=5), min_size=20, max_size=60)
)
def test_many_globs_match_as_few_do(name: str, patterns: list[str]) -> None:
    """However many globs have the same ends, each matches what it matches alone."""
    assume("*" not in name)
    together = {one for one in patterns if not allowed(rules("allow", [], [Entry(server="s", tool=one)]), name)}
    found = rules("allow", [], [Entry(server="s", tool=f"*{one}*") for one in patterns])
    alone = [rules("allow", [], [Entry(server="s", tool=f"*{one}*")]) for one in patterns]
    assert allowed(found, name) is all(allowed(one, name) for one in alone)
    assert allowed(rules("allow", [], [Entry(server="s", tool=one) for one in patterns]), name) is not bool(together)
