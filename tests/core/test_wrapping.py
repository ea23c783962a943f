"""A client's configuration rewritten as text: what changes, what does not, and the way back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hauberk import _spans, wrapping
from hauberk._document import is_name
from hauberk._entries import server_name
from hauberk.cli import _run
from hauberk.refusals import ConfigError, HauberkError
from hauberk.wrapping import Via

VIA = Via("/opt/bin/hauberk", "/opt/bin/python3")
JSONC = """\
{
  // servers of mine
  "mcpServers": {
    "files": { /* the notes */
      "command": "np\\u0078",
      "args": [
        "-y", // yes
        "pkg",
      ],
    },
    "bare": {
      "command": "serve" // no arguments
    },
    "empty": {"command":"e","args":[ /* none */ ]},
  },
}
"""


def servers(**entries: Any) -> str:
    return json.dumps({"mcpServers": entries}, indent=2)


def wrapped(text: str, via: Via = VIA, **arguments: Any) -> dict[str, Any]:
    """Return the entries of a text after it is wrapped, by key."""
    done: dict[str, Any] = json.loads(wrapping.wrap(text, via, name="f", **arguments).text)["mcpServers"]
    return done


def refusal(call: Callable[[], object]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        call()
    return caught.value


def states(done: wrapping.Rewritten) -> dict[str, str]:
    return {one.key: one.state for one in done.servers}


# --- what is written ---


def test_command_goes_through_hauberk() -> None:
    """The program takes the command's place, and the command with its arguments follows ``--``."""
    entry = wrapped(servers(files={"command": "npx", "args": ["-y", "pkg"]}))["files"]
    assert entry == {
        "command": "/opt/bin/hauberk",
        "args": ["run", "--server", "files", "--", "npx", "-y", "pkg"],
    }


def test_run_reads_what_is_written() -> None:
    """``hauberk run`` reads from the arguments exactly what was meant, whatever the names are."""
    env = {"TOKEN": "a", "--": "b", "-x": "c", "": "d", "A=B": "e", "A\ud800": "f"}
    via = Via("hauberk", config="/etc/h.toml", host="--", env=("MORE", "TOKEN"))
    args = wrapped(servers(**{"--": {"command": "--", "args": ["--", "--server"], "env": env}}), via)["--"]["args"]
    request = _run.plain(args[1:])
    assert request is not None
    assert (request.server, str(request.config), request.host) == ("server", "/etc/h.toml", "--")
    assert request.env == ("TOKEN", "--", "-x", "MORE")
    assert request.started == ("--", "--", "--server")
    assert request.words == ()


def test_no_value_is_copied() -> None:
    """Of ``env`` the names go into the arguments; no value of it is anywhere but where it was (X.14)."""
    secret = "hunter2-0123456789"
    text = servers(a={"command": "a", "env": {"TOKEN": secret}, "headers": {"h": secret}})
    done = wrapping.wrap(text, VIA, name="f")
    assert done.text.count(secret) == text.count(secret) == 2
    assert secret not in repr(done.servers)
    assert wrapped(text)["a"]["env"] == {"TOKEN": secret}
    assert wrapped(text)["a"]["args"][-4:] == ["--env", "TOKEN", "--", "a"]


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE"])
def test_imports_of_the_server_are_not_hauberks(name: str) -> None:
    """A variable that changes what Python imports reaches the server, and not the interpreter of hauberk."""
    text = servers(a={"command": "a", "env": {name: "/srv/app"}})
    entry = wrapped(text)["a"]
    assert entry["command"] == "/opt/bin/python3"
    assert entry["args"][:5] == ["-E", "-P", "-m", "hauberk", "run"]
    assert entry["args"][-4:] == ["--env", name, "--", "a"]
    (bare,) = wrapping.wrap(text, Via("hauberk"), name="f").servers
    assert "--bare-command" in bare.notes[0]


@pytest.mark.parametrize("name", ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"])
def test_directories_of_the_server_are_not_hauberks(name: str) -> None:
    """A variable that moves the user's directories does not move the configuration: it is named."""
    text = servers(a={"command": "a", "env": {name: "/srv"}}, b={"command": "b"})
    via = VIA._replace(own="/home/u/.config/hauberk/hauberk.toml")
    entries = wrapped(text, via)
    assert entries["a"]["args"][2:4] == ["--config", "/home/u/.config/hauberk/hauberk.toml"]
    assert "--config" not in entries["b"]["args"]
    assert wrapped(text, via._replace(config="/given.toml"))["a"]["args"][2:4] == ["--config", "/given.toml"]
    assert name in wrapping.wrap(text, via, name="f").servers[0].notes[0]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"envFile": "${workspaceFolder}/.env"}, "envFile"),
        ({"env": {"LD_PRELOAD": "x.so"}}, "LD_PRELOAD"),
        ({"env": {"A=B": "x"}}, "'A=B'"),
        ({"url": "https://example.org"}, "URL"),
    ],
)
def test_what_may_surprise_is_told(entry: dict[str, Any], said: str) -> None:
    """What reaches hauberk too, or does not reach the server, is said of the entry."""
    (one,) = wrapping.wrap(servers(a={"command": "a", **entry}), VIA, name="f").servers
    assert one.state == "wrapped"
    assert said in " ".join(one.notes)


def test_names_of_an_env_file_are_passed_on() -> None:
    """Names that are given are passed on to each server, each once, and nothing is left to say of an ``envFile``."""
    text = servers(a={"command": "a", "envFile": ".env", "env": {"B": "x"}})
    via = VIA._replace(env=("A", "B"))
    assert wrapped(text, via)["a"]["args"][-6:] == ["--env", "B", "--env", "A", "--", "a"]
    assert wrapping.wrap(text, via, name="f").servers[0].notes == ()


# --- what is left ---


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        ({"url": "https://example.org/mcp"}, "url"),
        ({"serverUrl": "https://example.org/mcp"}, "url"),
        ({"httpUrl": "https://example.org/mcp"}, "url"),
        ({"type": "http", "url": "https://example.org"}, "url"),
        ({"type": "SSE", "command": "x"}, "url"),
        ({"command": ["npx", "-y"]}, "unknown"),
        ({"command": {"path": "x"}}, "unknown"),
        ({"command": ""}, "unknown"),
        ({"settings": {}}, "unknown"),
        ({"command": "x", "args": "y"}, "unknown"),
        ({"command": "x", "args": ["y", 1]}, "unknown"),
        ({"command": "x", "args": None}, "unknown"),
        ({"command": "x", "env": ["A=B"]}, "unknown"),
        ({"command": "x", "env": True}, "unknown"),
        ("npx", "unknown"),
        (None, "unknown"),
    ],
)
def test_what_starts_no_command_is_left_and_told(entry: Any, state: str) -> None:
    """An entry with a URL, and one that is not understood, stay as they are, and each is told as not guarded."""
    text = servers(a=entry)
    done = wrapping.wrap(text, VIA, name="f")
    assert done.text == text
    assert (done.servers[0].state, done.servers[0].notes[0][:12]) == (state, "not guarded:")


@pytest.mark.parametrize("extra", [{"disabled": True}, {"cwd": "./x"}, {"type": "stdio"}, {"env": None}, {"x": [1.50]}])
def test_other_keys_stay(extra: dict[str, Any]) -> None:
    """A disabled entry is wrapped for the day on which it is enabled; other keys stay."""
    entry = wrapped(servers(a={"command": "${workspaceFolder}/a", "args": ["${input:token}"], **extra}))["a"]
    assert entry["args"][-2:] == ["${workspaceFolder}/a", "${input:token}"]
    assert {key: entry[key] for key in extra} == extra


@pytest.mark.parametrize(
    "words",
    [
        ["hauberk", "run", "--", "x"],
        ["/elsewhere/bin/hauberk", "run", "files"],
        ["C:\\bin\\hauberk.exe", "run", "--", "x"],
        ["/usr/bin/python3.12", "-m", "hauberk", "run", "--", "x"],
        ["python", "-E", "-P", "-m", "hauberk", "run", "--", "x"],
        ["uvx", "hauberk", "run", "--", "x"],
        ["uvx", "--from", "hauberk[all]==0.1", "hauberk", "run", "--", "x"],
    ],
)
def test_what_goes_through_hauberk_is_left(words: list[str]) -> None:
    """An entry that goes through hauberk, from whatever path, is left alone."""
    text = servers(a={"command": words[0], "args": words[1:]})
    done = wrapping.wrap(text, VIA, name="f")
    assert (done.text, states(done)) == (text, {"a": "guarded"})


def test_option_that_a_guarded_entry_goes_without_is_named() -> None:
    """Whoever asks for a configuration, a host or a variable is told of entries that stay without it."""
    asked = VIA._replace(config="/etc/h.toml", host="desk", env=("A", "B"))
    text = servers(
        new={"command": "x"},
        old={"command": "hauberk", "args": ["run", "--config", "/old/h.toml", "--env", "A", "--", "x", "--env", "B"]},
        same={
            "command": "hauberk",
            "args": ["run", "--config=/etc/h.toml", "--host", "desk", "--env", "A", "--env=B", "--", "x"],
        },
    )
    notes = {server.key: server.notes for server in wrapping.wrap(text, asked, name="f").servers}
    through = "goes through 'hauberk'"
    assert notes == {
        "new": (),
        "old": (through, "without --config '/etc/h.toml', --host 'desk', --env 'B': unwrap it first"),
        "same": (through,),
    }
    assert {server.notes for server in wrapping.wrap(text, VIA, name="f").servers} == {(), (through,)}


@pytest.mark.parametrize(
    "words",
    [
        ["npx", "hauberk", "run"],
        ["evil", "-m", "hauberk", "run"],
        ["python", "evil.py", "-m", "hauberk", "run"],
        ["python", "-c", "evil", "-m", "hauberk", "run"],
        ["uvx", "--from", "evil", "hauberk", "run"],
        ["uvx", "--from", "hauberk @ git+https://evil", "hauberk", "run"],
        ["uvx", "evil", "hauberk", "run"],
        ["hauberk", "plugins"],
        ["hauberk"],
    ],
)
def test_the_word_alone_guards_nothing(words: list[str]) -> None:
    """A command that only has the words among its arguments is not taken for guarded: it is wrapped."""
    done = wrapping.wrap(servers(a={"command": words[0], "args": words[1:]}), VIA, name="f")
    assert states(done) == {"a": "wrapped"}


def test_only_those_that_are_meant() -> None:
    """With ``only``, other entries stay, there and back; a name that is not there is an error with those that are."""
    text = servers(a={"command": "a"}, b={"command": "b"})
    done = wrapping.wrap(text, VIA, name="f", only=["b"])
    assert states(done) == {"b": "wrapped"}
    assert json.loads(done.text)["mcpServers"]["a"] == {"command": "a"}
    both = wrapping.wrap(done.text, VIA, name="f").text
    assert wrapping.unwrap(both, name="f", only=["a"]).text == done.text
    for call in (
        lambda: wrapping.wrap(text, VIA, name="f", only=["c"]),
        lambda: wrapping.unwrap(text, name="f", only="c"),
    ):
        assert refusal(call).message == "f: there is no server 'c'"
        assert refusal(call).hint == "its servers: 'a', 'b'"


# --- where servers stand ---


@pytest.mark.parametrize(
    "path",
    [
        ["mcpServers"],
        ["servers"],
        ["context_servers"],
        ["mcp", "servers"],
        ["mcp.servers"],
        ["amp.mcpServers"],
        ["projects", "/home/u/a.b", "mcpServers"],
    ],
)
def test_tables_of_real_clients(path: list[str]) -> None:
    """Each place in which a client keeps its servers is found, and the entry says where it stands."""
    value: Any = {"a": {"command": "a"}}
    for key in reversed(path):
        value = {"other": 1, key: value}
    done = wrapping.wrap(json.dumps(value), VIA, name="f")
    assert [(one.table, one.state) for one in done.servers] == [(tuple(path), "wrapped")]


def test_tables_of_all_projects() -> None:
    """The servers of every project, and those for all of them, are wrapped."""
    text = json.dumps(
        {"mcpServers": {"a": {"command": "a"}}, "projects": {p: {"mcpServers": {"b": {"command": p}}} for p in "xy"}}
    )
    done = wrapping.wrap(text, VIA, name="f")
    assert [one.state for one in done.servers] == ["wrapped"] * 3
    assert wrapping.unwrap(done.text, name="f").text == text


def test_no_table_is_an_error() -> None:
    """A file without a table of servers is told with the places that were looked at."""
    error = refusal(lambda: wrapping.wrap('{"a": {"mcpServers": {}}}', VIA, name="f"))
    assert error.message == "f: there is no table of MCP servers"
    assert "projects.*.mcpServers" in str(error.hint)


# --- names ---


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("files", "files"),
        ("My server (1)", "My server (1)"),
        ("org/server", "org-server"),
        ("a*[b]?", "a--b--"),
        (" a\n", "a-"),
        ("--x", "x"),
        ("", "server"),
        ("/", "server"),
        ("cafe\u0301", "café"),
        ("a\u200bb\u3164", "a-b"),
        ("x" * 300, "x" * 128),
    ],
)
def test_names_that_a_pattern_can_tell(key: str, name: str) -> None:
    """A key that cannot name a server gives a name that can."""
    assert server_name(key) == name
    assert wrapped(servers(**{key: {"command": "a"}}))[key]["args"][1] == f"--server={name}"


def test_no_two_servers_have_one_name() -> None:
    """Keys that give one name get different ones, and a key that is a name keeps it."""
    text = servers(**{key: {"command": "a", "args": []} for key in ("a/b", "a*b", "a-b", "a-b-2")})
    given = {key: entry["args"][2] for key, entry in wrapped(text).items()}
    assert given == {"a/b": "a-b-3", "a*b": "a-b-4", "a-b": "a-b", "a-b-2": "a-b-2"}
    assert wrapped(text, only=["a/b"])["a/b"]["args"][2] == "a-b-3"


@given(st.text())
@example("\x1f -")
def test_every_key_gives_a_name(key: str) -> None:
    """Whatever the key is, its name is one that rules match and that no option is taken for."""
    name = server_name(key)
    assert is_name(name)
    assert not name.startswith("-")


# --- the text ---


def test_comments_stay() -> None:
    """Comments, trailing commas and spelling stay where they were."""
    done = wrapping.wrap(JSONC, VIA, name="f").text
    for kept in ("// servers of mine", "{ /* the notes */", '"-y", // yes', "// no arguments", " /* none */ ]"):
        assert kept in done
    assert '"--",\n        "np\\u0078",\n' in done or '"--", "np\\u0078", "-y", // yes' in done
    assert wrapping.unwrap(done, name="f").text == JSONC


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("  ", "\t"),
        lambda text: "\ufeff" + text,
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\n",
        lambda text: text.replace("pkg", "p\u00e4kg \U0001f9f7 \\u00e9"),
        lambda text: (
            text.replace("\n", "")
            .replace("// servers of mine", "")
            .replace("// yes", "")
            .replace("// no arguments", "")
        ),
    ],
)
def test_form_of_the_text_stays(change: Callable[[str], str]) -> None:
    """Line ends, tabs, byte order mark, last line and letters are as they were, there and back."""
    text = change(JSONC)
    done = wrapping.wrap(text, VIA, name="f").text
    assert done != text
    assert done.count("\n") == done.count("\r\n") or "\r" not in done
    assert wrapping.unwrap(done, name="f").text == text


def test_new_arguments_are_written_like_their_neighbours() -> None:
    """One argument a line stays one a line, and one line stays one line."""
    lines = wrapping.wrap(servers(a={"command": "a", "args": ["b", "c"]}), VIA, name="f").text
    assert '"args": [\n        "run",\n        "--server",\n' in lines
    line = wrapping.wrap('{"servers":{"a":{"command":"a","args":["b","c"]}}}', VIA, name="f").text
    assert '"args":["run","--server","a","--","a","b","c"]' in line


def test_what_was_changed_meanwhile_stays() -> None:
    """Unwrapping keeps what the user changed after wrapping: arguments, order, other servers, another layout."""
    entry = wrapped(servers(a={"command": "npx", "env": {"T": "x"}}))["a"]
    moved = {"args": [*entry.pop("args"), "--more"], "timeout": 9, **entry}
    later = {"new": {"command": "n"}, "a": moved}
    done = wrapping.unwrap(json.dumps({"mcpServers": later}, indent=7), name="f").text
    assert json.loads(done)["mcpServers"] == {
        "new": {"command": "n"},
        "a": {"args": ["--more"], "timeout": 9, "command": "npx", "env": {"T": "x"}},
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"args": ["run", "--server=a", "--", "x"], "command": "hauberk"}', '{"command": "x"}'),
        ('{"command": "hauberk", "args": ["run", "--", "x" /* , */ , ]}', '{"command": "x", "args": [ /* , */  ]}'),
        ('{"command": "hauberk", "args": ["run", "files"]}', None),
        ('{"command": "hauberk", "args": ["run", "--"]}', None),
        (
            '{"command": "uvx", "args": ["hauberk", "run", "--", "x", "--", "y"]}',
            '{"command": "x", "args": ["--", "y"]}',
        ),
    ],
)
def test_what_was_wrapped_by_hand_is_unwrapped(before: str, after: str | None) -> None:
    """The way back needs nothing but the entry; one without a command of its own stays, and is told."""
    done = wrapping.unwrap(f'{{"servers": {{"a": {before}}}}}', name="f")
    assert done.text == f'{{"servers": {{"a": {after or before}}}}}'
    assert states(done) == {"a": "unwrapped" if after else "guarded"}


def test_what_cannot_be_taken_back_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that unwrapping does not undo to the byte is an error and no result."""
    monkeypatch.setattr(wrapping, "_lead", lambda *_: "  oops  ")
    with pytest.raises(HauberkError):
        wrapping.wrap(servers(a={"command": "a"}), VIA, name="f")
    monkeypatch.setattr(wrapping, "_unwrapping", lambda *_: [])
    with pytest.raises(HauberkError, match="could not be taken back"):
        wrapping.wrap(servers(a={"command": "a", "args": []}), VIA, name="f")


# --- text that is refused ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: expected a value, got the end of the file"),
        ('{\n  "a": 1', "line 2, column 9: expected ',' or '}', got the end of the file"),
        ('{"a": "hunter2', "line 1, column 7: expected the end of this string"),
        ('{"a": "hunter2\n"}', "line 1, column 7: expected the end of this string"),
        ('{"a": "\\x"}', "line 1, column 7: expected the end of this string"),
        ('{"a": 1, "\\u0061": 2}', "line 1, column 10: expected each key once in an object"),
        ("{'a': 1}", "line 1, column 2: expected a key in double quotes or '}'"),
        ("{a: 1}", "line 1, column 2: expected a key in double quotes or '}'"),
        ('{"a" 1}', "line 1, column 6: expected ':'"),
        ('{"a": 01}', "line 1, column 7: expected a value"),
        ('{"a": 1.}', "line 1, column 8: expected ',' or '}'"),
        ('{"a": NaN}', "line 1, column 7: expected a value"),
        ('{"a": nullx}', "line 1, column 7: expected a value"),
        ('{"a": [1 2]}', "line 1, column 10: expected ',' or ']'"),
        ('{"a": [,]}', "line 1, column 8: expected a value"),
        ('{"a": 1} x', "line 1, column 10: expected the end of the file"),
        ('{"a": 1} /* x', "line 1, column 10: expected the end of the file"),
        ('{"a": [' + "[" * 200 + "]" * 200 + "]}", "expected at most 128 levels"),
    ],
)
def test_half_a_file_is_refused(text: str, said: str) -> None:
    """What is no JSON is refused with its place, never with what stands there (X.14)."""
    for call in (lambda: wrapping.wrap(text, VIA, name="f"), lambda: wrapping.unwrap(text, name="f")):
        error = refusal(call)
        assert said in error.message
        assert error.message.startswith("f: line ")
        assert "hunter2" not in str(error)


@given(st.text(alphabet='{}[]",:/*\\ \n01ae-.tru\u00e9'))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever the text is, it is a document or a ConfigError; what Python's reader takes, ours takes too."""
    try:
        _spans.parse(text, "f")
    except ConfigError:
        assert not is_read_by_python(text)


def is_read_by_python(text: str) -> bool:
    try:
        json.loads(text, object_pairs_hook=unique)
    except ValueError:
        return False
    return True


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


# --- any document ---

blank = st.sampled_from(["", " ", "\n", "\r\n", "\t", "\n    ", " /* , ] } */ ", ' // "x\n'])
words = st.one_of(
    st.sampled_from(["npx", "--", "run", "hauberk", "-m", "--server=x", "a b", "\u00e9", '"', "\\"]),
    st.text(max_size=5),
)
keys = st.one_of(
    st.sampled_from(["command", "args", "env", "type", "url", "files", "a/b", "mcpServers"]), st.text(max_size=5)
)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """Write a value with white space and comments of any kind anywhere, and letters in any spelling."""

    def gap() -> str:
        return draw(blank)

    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
        return (
            re.sub("[a-z]", lambda found: f"\\u{ord(found.group()):04X}", text)
            if draw(st.integers(0, 9)) == 0 and "\\" not in text
            else text
        )
    if isinstance(value, dict):
        items = [
            f"{gap()}{draw(written(key))}{gap()}:{gap()}{draw(written(item))}{gap()}" for key, item in value.items()
        ]
    elif isinstance(value, list):
        items = [f"{gap()}{draw(written(item))}{gap()}" for item in value]
    else:
        return json.dumps(value)
    last: bool = draw(st.booleans())
    comma = "," + gap() if items and last else ""
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}{','.join(items) + comma if items else gap()}{closing}"


entry = st.one_of(
    st.fixed_dictionaries(
        {"command": words},
        optional={
            "args": st.lists(words, max_size=4),
            "env": st.dictionaries(words, words, max_size=3),
            "cwd": words,
            "url": words,
        },
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | words,
        lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
        max_leaves=5,
    ),
)
document = st.fixed_dictionaries(
    {"mcpServers": st.dictionaries(keys, entry, max_size=4)},
    optional={
        "servers": st.dictionaries(keys, entry, max_size=2),
        "projects": st.dictionaries(
            words, st.fixed_dictionaries({"mcpServers": st.dictionaries(keys, entry, max_size=2)}), max_size=2
        ),
        "other": entry,
    },
)
shuffled = document.flatmap(lambda value: st.permutations(list(value.items()))).map(dict)


def plainly(text: str) -> Any:
    """Return what a document says, by the reader under test (comments and commas are beyond Python's)."""
    return said(_spans.parse(text, "f"), _spans.parse(text, "f").root)


def said(tree: _spans.Tree, node: _spans.Node) -> Any:
    if node.members is not None:
        return {member.key: said(tree, member.value) for member in node.members}
    if node.items is not None:
        return [said(tree, item) for item in node.items]
    return node.text if node.text is not None else json.loads(tree.raw(node))


@given(st.data())
def test_any_document_there_and_back(data: st.DataObject) -> None:
    """Wrapping twice is wrapping once, unwrapping gives the bytes back, and nothing but the two values changes."""
    value = data.draw(shuffled)
    text = data.draw(blank) + data.draw(written(value)) + data.draw(blank)
    assert plainly(text) == value
    via = data.draw(st.sampled_from([VIA, Via("hauberk", config="/c", host="h", env=("X",))]))
    done = wrapping.wrap(text, via, name="f")
    assert wrapping.wrap(done.text, VIA, name="f").text == done.text
    changed = {(one.table, one.key) for one in done.servers if one.state == "wrapped"}
    keys = {key for _, key in changed}
    if all(one.state != "guarded" for one in done.servers):
        assert wrapping.unwrap(done.text, name="f").text == text
    assert only_these_differ(value, plainly(done.text), changed)
    back = wrapping.unwrap(done.text, name="f", only=keys).text if keys else done.text
    assert plainly(back) == value or any(one.state == "guarded" for one in done.servers)


def only_these_differ(
    before: Any, after: Any, changed: set[tuple[tuple[str, ...], str]], path: tuple[str, ...] = ()
) -> bool:
    """Whether two documents differ in command and arguments of these entries alone, and there as they must."""
    if path and (path[:-1], path[-1]) in changed:
        assert after["command"] in {VIA.program, VIA.python, "hauberk"}
        at = after["args"].index("--") + 1
        assert after["args"][at:] == [before["command"], *before.get("args", [])]
        rest = [{key: item for key, item in one.items() if key not in {"command", "args"}} for one in (before, after)]
        return rest[0] == rest[1]
    if isinstance(before, dict) and isinstance(after, dict):
        return list(before) == list(after) and all(
            only_these_differ(before[key], after[key], changed, (*path, key)) for key in before
        )
    return type(before) is type(after) and before == after


@given(st.data())
def test_half_of_any_document_is_refused(data: st.DataObject) -> None:
    """A document that was not written to its end is refused, wherever it ends."""
    text = data.draw(shuffled.flatmap(written))
    end = data.draw(st.integers(0, len(text) - 1))
    assert refusal(lambda: wrapping.wrap(text[:end], VIA, name="f")).message.startswith("f: line ")
