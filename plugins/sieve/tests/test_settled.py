"""What the meshes settle by one call of a tool, and what unsettles it."""

from __future__ import annotations

import copy
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hauberk import plugins
from hauberk.config import Config
from hauberk.connection import Connection
from hauberk.exchange import Exchange
from hauberk.guard import Guard
from hauberk.listings import LISTS
from hauberk.message import Message, SecretRef, ToolCall
from hauberk.principal import ANONYMOUS, Principal
from hauberk.refusals import Refused
from hauberk.verdict import Allow, Deny
from hauberk_sieve import Sieve, _seen
from hauberk_sieve._limits import LIMITS, Limits

if TYPE_CHECKING:
    from plugins.sieve.tests.conftest import Connect

Json = dict[str, Any]

STAFF = Principal(id="ada", kind="user", method="jwt", groups=frozenset({"staff"}))
GUEST = Principal(id="ada", kind="user", method="jwt", groups=frozenset({"guests"}))
PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
COUNT = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
POISON = "Reads\u200b a file."
OPEN = '[sieve]\nallow = ["files/*"]\n'


def made(text: str) -> Sieve:
    """Return a sieve with this configuration."""
    source = plugins.Source("sieve", "hauberk-sieve", "0", lambda: Sieve)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "installed", lambda: {"sieve": source})
        sieve = Guard.load(Config.from_toml(text)).loaded["sieve"].plugin
    assert isinstance(sieve, Sieve)
    return sieve


def connected(server: str = "files") -> Connection:
    return Connection(id="c", host="h", server=server, role="client")


def tool(name: str, schema: Json | None = PATH, **more: Any) -> Json:
    return {"name": name, "description": "d"} | ({"inputSchema": schema} if schema is not None else {}) | more


def show(sieve: Sieve, connection: Connection, *tools: Json, method: str = "tools/list", **more: Any) -> Message:
    """Let a list pass."""
    result = {method.partition("/")[0]: copy.deepcopy(list(tools)), **more}
    data = {"jsonrpc": "2.0", "id": 1, "result": result}
    message = Message(kind="result", toward="client", method=method, data=data, id=1, size=len(orjson.dumps(data)))
    return sieve.on_receive(message, connection) or message


def asked(name: str, arguments: Json, principal: Principal = ANONYMOUS, narrowed: Principal | None = None) -> ToolCall:
    """Return a call; ``narrowed`` is who asks once a plugin has taken something from them."""
    params = {"name": name, "arguments": arguments}
    data = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    raw = orjson.dumps(data)
    message = Message("request", "server", "tools/call", data, 1, len(raw), principal)
    if narrowed is not None:
        message = message.with_principal(narrowed)
    exchange = Exchange(1, 1, "tools/call", principal, 0.0, 1)
    return ToolCall(message, exchange, "files", checked=raw if narrowed is None else None)


def call(
    sieve: Sieve, connection: Connection, name: str = "read", who: Principal = ANONYMOUS, **arguments: Any
) -> str | None:
    """Call a tool; return the code of the refusal, or None where it is allowed."""
    verdict = sieve.on_tool_call(asked(name, arguments, who), connection)
    assert type(verdict) in {Allow, Deny}
    return verdict.code if isinstance(verdict, Deny) else None


def settled(sieve: Sieve, connection: Connection, name: str = "read") -> list[str] | None:
    """Return the meshes that a call of a tool is still asked about; None where nothing is settled."""
    found = sieve._seen.of(connection).settled.get(name)
    if found is None:
        return None
    words = {id(mesh.judge.__self__): word for word, mesh in sieve.meshes.items()}
    return [words.get(id(judge.__self__), "arguments") for judge in found.judges]  # type: ignore[attr-defined]


# --- what is settled ---


def test_what_arguments_cannot_change_is_asked_once() -> None:
    """A call that was allowed leaves to the next one its arguments alone, as its schema has them (G14)."""
    sieve, connection = made(OPEN), connected()
    show(sieve, connection, tool("read"), tool("any", None))
    assert call(sieve, connection, path="/a") is None
    assert settled(sieve, connection) == ["arguments"]
    assert call(sieve, connection, path=1) == "sieve.arguments"
    assert call(sieve, connection, path="/b") is None
    assert call(sieve, connection, "any", x=1) is None
    assert settled(sieve, connection, "any") == []
    assert call(sieve, connection, "any") is None


def test_arguments_that_are_much_work_or_hold_secrets_go_the_long_way() -> None:
    """What is settled of a schema is for arguments that are surely little work to check, and all there (A47)."""
    deep = {"items": {"$ref": "#/$defs/deep"}, "uniqueItems": True}
    hard = {"type": "object", "properties": {"deep": {"$ref": "#/$defs/deep"}}, "$defs": {"deep": deep}}
    sieve, connection = made(OPEN), connected()
    show(sieve, connection, tool("read"), tool("hard", hard))
    assert call(sieve, connection, path="/a") is None
    plain = asked("read", {})
    for arguments, verdict in (({"path": SecretRef("key")}, Allow), ({"path": [SecretRef("key")]}, Deny)):
        plain.message.data["params"]["arguments"] = arguments
        secret = ToolCall(plain.message, plain.exchange, "files")
        assert secret.holds_secrets
        assert type(sieve.on_tool_call(secret, connection)) is verdict
    assert call(sieve, connection, "hard", deep=[]) is None
    assert settled(sieve, connection, "hard") == ["arguments"]
    assert call(sieve, connection, "hard", deep=[[n] for n in range(100_000)]) == "sieve.schema_unusable"


def test_what_is_refused_is_not_settled() -> None:
    """A refusal is made anew each time, and counted as one (S1.5)."""
    sieve, connection = made('[sieve]\nallow = ["files/read"]\n[sieve.probing]\nrefusals = 3\n'), connected()
    show(sieve, connection, tool("read"))
    noted = []
    for _ in range(3):
        denied = asked("write", {})
        assert isinstance(sieve.on_tool_call(denied, connection), Deny)
        noted += denied.message.notes
    assert [event.code for event in noted] == ["sieve.probing"]
    assert settled(sieve, connection, "write") is None
    assert call(sieve, connection, path=2) == "sieve.arguments"
    assert settled(sieve, connection) is None


def test_what_is_told_is_told_each_time() -> None:
    """A name or an argument that is only told of leaves its event at each call (S1.4)."""
    text = OPEN + '[sieve.names]\nspelling = "alert"\n[sieve.schemas]\narguments = "alert"\n'
    sieve, connection = made(text), connected()
    name = "re\u0430d"  # a Cyrillic letter
    show(sieve, connection, tool(name), tool("write"), tool("broken", {"$ref": "#/none"}))
    for _ in range(3):
        one = asked(name, {"path": 1})
        assert isinstance(sieve.on_tool_call(one, connection), Allow)
        assert {event.code for event in one.message.notes} >= {"sieve.schema_fault"}
        assert len(one.message.notes) == 2
        other = asked("write", {"path": 1})
        assert isinstance(sieve.on_tool_call(other, connection), Allow)
        assert [event.code for event in other.message.notes] == ["sieve.schema_fault"]
        broken = asked("broken", {})
        assert isinstance(sieve.on_tool_call(broken, connection), Allow)
        assert [event.code for event in broken.message.notes] == ["sieve.schema_fault"]


def test_meta_tools_are_looked_into_each_time() -> None:
    """Arguments that call a tool are read at each call, whatever an earlier one called (S1.6)."""
    sieve, connection = made(OPEN + 'deny = ["*/write"]\n[sieve.inner]\n"files/run" = "tool"\n'), connected()
    show(sieve, connection, tool("run", None), tool("read"))
    assert call(sieve, connection, "run", tool="read") is None
    assert call(sieve, connection, "run", tool="write") == "sieve.inner_denied"
    assert settled(sieve, connection, "run") == ["inner"]
    assert call(sieve, connection, path="/a") is None
    assert settled(sieve, connection) == ["arguments"]


def test_names_of_others_are_compared_each_time() -> None:
    """Where a name that another server has is refused, what others show is looked at for each call (A44)."""
    sieve, connection = made(OPEN + '[sieve.names]\nshadows = "deny"\n'), connected()
    show(sieve, connection, tool("read"))
    assert call(sieve, connection, path="/a") is None
    assert settled(sieve, connection) == ["arguments", "names"]


# --- what unsettles it ---


def test_list_that_passes_counts_at_once() -> None:
    """The next call is judged by the schema, the annotations and the text that a list showed a moment ago (A47)."""
    text = OPEN + 'deny = [{ server = "*", tool = "*", annotations = { destructiveHint = true } }]\n'
    sieve, connection = made(text), connected()
    safe = {"annotations": {"destructiveHint": False}}
    show(sieve, connection, tool("read", **safe))
    assert call(sieve, connection, path="/a") is None
    show(sieve, connection, tool("read", COUNT, **safe))
    assert call(sieve, connection, path="/a") == "sieve.arguments"
    assert call(sieve, connection, count=1) is None
    show(sieve, connection, tool("read", COUNT))
    assert call(sieve, connection, count=1) == "sieve.denied"
    show(sieve, connection, tool("read", COUNT, **safe))
    assert call(sieve, connection, count=1) is None
    show(sieve, connection, tool("read", COUNT, **safe, title=POISON))
    assert call(sieve, connection, count=1) == "sieve.text"


def test_page_of_a_list_counts_at_once() -> None:
    """So is it where a list is not at its end, and where a tool of it is not to be told from another (A43)."""
    sieve, connection = made(OPEN), connected()
    show(sieve, connection, tool("read"))
    assert call(sieve, connection, path="/a") is None
    show(sieve, connection, tool("read", COUNT), nextCursor="2")
    assert call(sieve, connection, path="/a") == "sieve.arguments"
    assert call(sieve, connection, count=1) is None
    show(sieve, connection, tool("read"))
    assert call(sieve, connection, path="/a") == "sieve.name"


@pytest.mark.parametrize("method", ["prompts/list", "resources/list", "resources/templates/list"])
def test_list_of_any_kind_unsettles(method: str) -> None:
    """A list of another kind may change what the meshes say, so nothing is taken for granted after it."""
    sieve, connection, other = made(OPEN), connected(), connected()
    for one in (connection, other):
        show(sieve, one, tool("read"))
        assert call(sieve, one, path="/a") is None
    show(sieve, connection, method=method, **{LISTS[method].member: []})
    assert settled(sieve, connection) is None
    assert settled(sieve, other) == ["arguments"]


def test_who_asks_is_asked_each_time() -> None:
    """What is settled for one principal says nothing of another, nor of the same one with other groups (S1.8)."""
    text = '[sieve]\nallow = [{ server = "files", tool = "*", groups = ["staff"] }]\n'
    sieve, connection = made(text), connected()
    show(sieve, connection, tool("read"))
    assert call(sieve, connection, who=STAFF, path="/a") is None
    assert call(sieve, connection, who=GUEST, path="/a") == "sieve.denied"
    assert call(sieve, connection, path="/a") == "sieve.denied"
    twin = Principal(id="ada", kind="user", method="jwt", groups=frozenset({"staff"}))
    assert call(sieve, connection, who=twin, path="/a") is None


def test_message_that_a_plugin_rewrote_is_judged_in_full() -> None:
    """Who was narrowed to what was settled for another is judged by what the channel proved too (S1.7)."""
    text = OPEN + 'deny = [{ server = "files", tool = "*", groups = ["guests"] }]\n'
    sieve, connection = made(text), connected()
    none = Principal(id="ada", kind="user", method="jwt")
    show(sieve, connection, tool("read"))
    assert call(sieve, connection, who=none, path="/a") is None
    verdict = sieve.on_tool_call(asked("read", {"path": "/a"}, GUEST, narrowed=none), connection)
    assert isinstance(verdict, Deny)
    show(sieve, connection, tool("read"))
    verdict = sieve.on_tool_call(asked("read", {"path": "/a"}, STAFF, narrowed=none), connection)
    assert isinstance(verdict, Allow)
    assert settled(sieve, connection) is None


async def test_reload_counts_at_once(link: Connect) -> None:
    """After a reload the next call is judged by the new table (S1.8)."""
    between = await link(OPEN)
    between.listed({"tools": [tool("read")]})
    for id in (2, 3):
        assert "error" not in (between.ask("tools/call", {"name": "read", "arguments": {"path": "/a"}}, id) or {})
    await between.guard.reload(Config.from_toml(OPEN + 'deny = ["*/read"]\n'))
    assert "error" in (between.ask("tools/call", {"name": "read", "arguments": {"path": "/a"}}, 4) or {})


def test_sieve_of_before_a_reload_sees_what_the_new_one_lets_pass() -> None:
    """A call that waits over a reload is judged once more by its own table, and by the list that came since (S4.12)."""
    connection, old = connected(), made(OPEN)
    show(old, connection, tool("read"))
    assert call(old, connection, path="/a") is None
    new = made('[sieve]\ndefault = "deny"\n')
    new.adopt(old)
    assert settled(new, connection) is None, "or the old sieve would be kept for it"
    assert call(new, connection, path="/a") == "sieve.denied"
    assert call(old, connection, path="/a") is None
    assert call(new, connection, path="/a") == "sieve.denied", "the word of another sieve is none"
    show(new, connection, tool("read", COUNT))
    assert call(old, connection, path="/a") == "sieve.arguments"


async def test_people_are_looked_up_each_time(tmp_path: Path) -> None:
    """Where there is a register, what it says of who asks is never settled (S1.7)."""
    people = tmp_path / "people.toml"
    people.write_text('[person.ada]\ngroups = ["staff"]\n')
    people.chmod(0o600)
    sieve = made(f'{OPEN}[sieve.people]\nfile = "{people}"\n')
    sieve.open()
    connection = connected()
    show(sieve, connection, tool("read"))
    assert call(sieve, connection, who=STAFF, path="/a") is None
    assert settled(sieve, connection) == ["who", "access", "arguments"]
    found = sieve._seen.of(connection).settled["read"]
    assert found.verdict is None, "what allows is said anew"


# --- bounds ---


def test_what_is_settled_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client fills the memory with tools that it calls, on one connection or on many."""
    monkeypatch.setattr(_seen, "LIMITS", Limits(settled=10))
    sieve, some = made('[sieve]\ndefault = "allow"\n'), [connected() for _ in range(3)]
    for number in range(100):
        assert call(sieve, some[number % 3], f"tool_{number}") is None
        assert sum(len(shown.settled) for shown in sieve._seen.shown.values()) <= 10
    long = "x" * (LIMITS.memo_chars + 1)
    sieve = made('[sieve]\ndefault = "allow"\n[sieve.names]\nmax_chars = 1024\n')
    assert call(sieve, some[0], long) is None
    assert settled(sieve, some[0], long) is None


def test_connection_that_is_gone_leaves_nothing() -> None:
    """What is known of a connection goes with it, after a reload too."""
    connection, old = connected(), made(OPEN)
    show(old, connection, tool("read"))
    assert call(old, connection, path="/a") is None
    new = made(OPEN)
    new.adopt(old)
    assert len(new._seen.shown) == len(old._seen.shown) == 1
    del connection
    gc.collect()
    assert (len(new._seen.shown), len(old._seen.shown)) == (0, 0)


# --- beside a sieve that settles nothing ---

TABLES = (
    '[sieve]\ndefault = "allow"\n[sieve.names]\nspelling = "alert"\ntwins = "alert"\n',
    OPEN,
    OPEN + 'deny = [{ server = "*", tool = "*", annotations = { destructiveHint = true } }, "*/write"]\n',
    (
        '[sieve]\nallow = [{ server = "files", tool = "r*", groups = ["staff"] }, "files/write"]\n'
        '[sieve.schemas]\narguments = "alert"\n'
    ),
    OPEN + 'deny = [{ server = "files", tool = "*", groups = ["guests"] }]\n[sieve.schemas]\nrequire = true\n',
    '[sieve]\ntool_policy = "read-only"\nallow = ["*/*"]\n[sieve.names]\nspelling = "alert"\n',
    OPEN + '[sieve.inner]\n"files/run" = "tool"\n[server.files.sieve]\ndeny = ["*/write"]\n',
    '[sieve]\ndefault = "allow"\n[sieve.names]\nlookalikes = "deny"\n[sieve.schemas]\narguments = "off"\n',
)
FEW = '[sieve.text]\npacks = ["invisible"]\n'
"""Nothing here is about which rules there are, and few are ready sooner."""
NAMES = ("read", "reed", "r\u0435ad", "write", "run")
tools = st.builds(
    tool,
    st.sampled_from(NAMES),
    st.sampled_from([None, PATH, COUNT, {"type": "object"}, {"$ref": "#/none"}]),
    annotations=st.sampled_from([{}, {"destructiveHint": False, "readOnlyHint": True}, {"destructiveHint": True}]),
    title=st.sampled_from(["t", POISON]),
)
lists = st.tuples(
    st.just("show"),
    st.sampled_from(["tools/list", "tools/list", "prompts/list"]),
    st.lists(tools, max_size=4),
    st.sampled_from([{}, {}, {"nextCursor": "2"}]),
)
calls = st.tuples(
    st.just("call"),
    st.sampled_from(NAMES),
    st.sampled_from([{}, {"path": "/a"}, {"path": 1}, {"count": 1}, {"tool": "read"}, {"tool": "write"}]),
    st.sampled_from([ANONYMOUS, STAFF, GUEST]),
    st.booleans(),
)
reloads = st.tuples(st.just("reload"), st.integers(0, len(TABLES) - 1))
steps = st.lists(st.tuples(st.integers(0, 1), calls | calls | calls | lists | reloads), max_size=25)


def does(sieve: Sieve, connection: Connection, step: tuple[Any, ...]) -> tuple[object, list[Json]]:
    """Let something pass; return what becomes of it, and the events that it leaves."""
    message: Message | None = None
    try:
        if step[0] == "show":
            _, method, shown, more = step
            message = show(sieve, connection, *shown, method=method, **more)
            return message.data, [noted(event) for event in message.notes]
        _, name, arguments, who, narrowed = step
        one = asked(name, arguments, who, narrowed=who.narrow(groups=frozenset()) if narrowed else None)
        message = one.message
        return sieve.on_tool_call(one, connection), [noted(event) for event in message.notes]
    except Refused as refused:
        return (refused.code, refused.rule), []


def noted(event: Any) -> Json:
    return {name: getattr(event, name) for name in ("code", "rule", "action", "count", "tool", "details")}


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(TABLES) - 1), steps)
def test_what_is_settled_changes_no_verdict(table: int, taken: list[tuple[int, tuple[Any, ...]]]) -> None:
    """Whatever is listed, called and reloaded, by whom and how often, is judged as if nothing was settled (S1.3)."""
    kept, fresh = made(TABLES[table] + FEW), made(TABLES[table] + FEW)
    some = connected(), connected()
    for place, step in taken:
        if step[0] == "reload":
            kept, fresh = after(kept, TABLES[step[1]] + FEW), after(fresh, TABLES[step[1]] + FEW)
            continue
        for shown in fresh._seen.shown.values():
            shown.settled = {}
        assert does(kept, some[place], step) == does(fresh, some[place], step)


def after(old: Sieve, text: str) -> Sieve:
    """Return the sieve of a reload."""
    new = made(text)
    new.adopt(old)
    return new
