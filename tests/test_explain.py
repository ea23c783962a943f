"""``hauberk explain`` with the plugins that are installed: what it prints, and what it leaves alone."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from tests.prose import DOCS, Place, block, call, like, steps

from hauberk.cli import main
from hauberk.cli._app import App
from hauberk.config import Config
from hauberk_pins._desk import Desk
from hauberk_pins._items import item

RULES = '[sieve]\ndefault = "deny"\nallow = ["files/read_*"]\n'


class Told:
    """What the command left."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


class Host:
    """A host with a configuration and a state directory of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.config = folder / "hauberk.toml"
        self.state = folder / "state"
        self._capsys = capsys
        self.write(RULES)

    def write(self, text: str) -> None:
        self.config.write_text(f'[core]\nstate_dir = "{self.state}"\n{text}')

    def write_policy(self, layer: str, body: str) -> None:
        """Let a local policy judge."""
        policy = self.folder / "policy.py"
        lines = [
            "import hauberk",
            "class Policy:",
            f"    name, layer, Options = 'policy', hauberk.Layer.{layer}, hauberk.Options",
            "    def __init__(self, options, guard): pass",
            "    @hauberk.hookimpl",
            f"    def on_tool_call(self, call): {body}",
        ]
        policy.write_text("\n".join(lines) + "\n")
        policy.chmod(0o600)
        self.write(f'[plugins]\npolicy = "policy.py"\n[policy]\n{RULES}')

    def explain(self, *words: str) -> Told:
        status = main(["explain", *words, "--config", str(self.config)])
        return Told(status, *self._capsys.readouterr())


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, capsys)


# --- what it says ---


def test_refused_call_is_explained(host: Host) -> None:
    """Each judge has a line, with code, reason and rule; the hint, what the host gets, and the outcome follow."""
    told = host.explain("files", "write_file")
    pins, sieve, hint, gets, digest, last = told.out.splitlines()
    assert told.status == 1
    assert pins.split() == ["pins", "allow", "(pins)"]
    assert sieve.split(None, 2)[:2] == ["sieve", "DENY"]
    assert sieve.endswith("sieve.denied: tool 'write_file' of server 'files' is not allowed (default = deny)")
    assert hint.strip() == 'hint: add "files/write_file" to [sieve] allow'
    assert json.loads(gets.removeprefix("the host gets: "))["data"]["code"] == "sieve.denied"
    assert digest.startswith("digest: sha256:")
    assert last == f"refused: sieve.denied; files/write_file; {host.config}, profile development, host default"


def test_call_that_passes_is_explained(host: Host) -> None:
    """A call that no judge stops passes, with status 0 and no word of what a host would get."""
    told = host.explain("files", "read_file")
    assert told.status == 0
    assert [line.split()[:2] for line in told.out.splitlines()[:2]] == [["pins", "allow"], ["sieve", "allow"]]
    assert "the host gets" not in told.out
    assert told.out.splitlines()[-1].startswith("passes: files/read_file; ")


def test_pins_go_by_what_was_seen_last(host: Host) -> None:
    """Pins compare what a server showed last, and say so; of one that nobody has seen they cannot tell."""
    host.write('[plugins]\ndisable = ["sieve"]\n[pins]\n')
    unseen = host.explain("files", "read_file")
    assert (unseen.status, unseen.out.splitlines()[-1].split(";")[0]) == (2, "could not tell: pins.unlisted")
    desk, tool = Desk(Config.read(host.config)), item("tool", "read_file", {"name": "read_file"})
    desk.record("files", {tool.key: tool})
    unpinned = host.explain("files", "read_file")
    assert (unpinned.status, unpinned.out.split(None, 2)[:2]) == (1, ["pins", "DENY"])
    assert "pins.unpinned: tool 'read_file' of server 'files' is not pinned, as last seen" in unpinned.out
    assert "is in no list that the server has sent, as last seen" in host.explain("files", "read_all").out
    desk.accept(desk.rows(desk.trusted()))
    pinned = host.explain("files", "read_file")
    assert (pinned.status, pinned.out.splitlines()[0].split(None, 2)) == (0, ["pins", "allow", "(pins, as last seen)"])
    changed = item("tool", "read_file", {"name": "read_file", "title": "x"})
    desk.record("files", {changed.key: changed})
    assert "is not what was pinned, as last seen" in host.explain("files", "read_file").out


def test_plugin_that_is_not_run_is_named(host: Host) -> None:
    """What a local policy does in ADMIT is named as not run, with its hooks."""
    host.write_policy("ADMIT", "raise AssertionError")
    told = host.explain("files", "read_file")
    assert "not run, and may say otherwise: policy (on_tool_call)" in told.out.splitlines()
    assert told.status == 0


def test_one_object_with_json(host: Host) -> None:
    """With ``--json`` the same is one object, which names the status."""
    found = host.explain("files", "write_file", "--json").json
    assert (found["outcome"], found["code"], found["plugin"], found["status"]) == (
        "refused",
        "sieve.denied",
        "sieve",
        1,
    )
    assert [(one["plugin"], one["verdict"]) for one in found["opinions"]] == [("pins", "allow"), ("sieve", "deny")]
    assert found["answer"]["error"]["code"] == -32003
    assert found["file"] == str(host.config)


def test_nothing_that_moves_a_cursor_is_printed(host: Host) -> None:
    """The name of a tool, a reason, a rule and a hint may hold anything; a terminal gets only what can be seen."""
    bad = "\x1b[2J\x9b\u202e"
    host.write_policy("CONTENT", f"return hauberk.Deny('policy.no', {bad!r}, rule={bad!r}, hint={bad!r})")
    told = host.explain("files", f"x{bad}")
    assert told.status == 1
    assert not set(bad) - set("[2J") & set(told.out)
    assert "files/x\\u{1b}[2J\\u{9b}\\u{202e};" in told.out


def test_colour_is_for_terminals(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the verdicts are in colour, and in a pipe they are plain."""
    assert "\x1b" not in host.explain("files", "write_file").out
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_: False)
    assert "\x1b[31mDENY" in host.explain("files", "write_file").out


# --- arguments ---


def test_arguments_change_the_digest(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments come from a file, or from standard input; none are an empty object."""
    file = host.folder / "arguments.json"
    file.write_text('{\n  "path": "/"\n}\n')
    given = host.explain("files", "read_file", str(file), "--json").json["digest"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"path": "/"}')))
    assert host.explain("files", "read_file", "-", "--json").json["digest"] == given
    none = host.explain("files", "read_file", "--json").json["digest"]
    file.write_text("{}")
    assert host.explain("files", "read_file", str(file), "--json").json["digest"] == none != given


@pytest.mark.parametrize("text", [b'{"a": 1, "a": 2}', b"[]", b"{", b'{"a": "' + b"x" * 2000 + b'"}'])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_bad_arguments_are_status_two(host: Host, text: bytes, flags: list[str]) -> None:
    """Arguments that the edge would refuse, or that are too long, are an error of status 2 without them."""
    file = host.folder / "arguments.json"
    file.write_bytes(text)
    host.write(f"[core.bounds]\nline_bytes = 1024\n{RULES}")
    told = host.explain("files", "read_file", str(file), *flags)
    assert told.status == 2
    assert "cannot use the arguments of" in (told.json["error"] if flags else told.err)
    assert "xxx" not in told.out + told.err


def test_no_more_is_read_than_a_message_may_have(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Input that does not end is not read to its end."""
    host.write(f"[core.bounds]\nline_bytes = 1024\n{RULES}")
    buffer = io.BytesIO(b" " * 5000)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(buffer))
    assert host.explain("files", "read_file", "-").status == 2
    assert buffer.tell() == 1025


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_arguments_that_cannot_be_read_are_status_two(host: Host, name: str) -> None:
    """A file that is missing, or a folder, is an error of status 2."""
    told = host.explain("files", "read_file", str(host.folder / name))
    assert told.status == 2
    assert "cannot read the arguments of" in told.err


# --- what keeps it from telling ---


@pytest.mark.parametrize("text", ["[sieve]\nnonsense = 1\n", "[unheard_of]\n", "[sieve\n"])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_host_that_does_not_load_is_status_two(host: Host, text: str, flags: list[str]) -> None:
    """A configuration that a host cannot load explains nothing."""
    host.write(text)
    told = host.explain("files", "read_file", *flags)
    assert told.status == 2
    assert told.json["outcome"] == "unknown" if flags else told.err.startswith("hauberk: ")


def test_nothing_is_left_behind(host: Host) -> None:
    """Neither a log nor a key is made or written, in a host that requires a log too."""
    host.write(f"[audit]\nrequired = true\n{RULES}")
    assert host.explain("files", "read_file").status == 0
    assert host.explain("files", "write_file").status == 1
    assert not host.state.exists()


def test_servers_are_completed(host: Host) -> None:
    """A shell completes SERVER with the names of the configuration."""
    host.write(f'[server.files]\ncommand = "x"\n[server.time]\ncommand = "x"\n{RULES}')
    complete = ShellComplete(App(), {}, "hauberk", "_HAUBERK_COMPLETE")
    words = complete.get_completions(["explain", "--config", str(host.config)], "fi")
    assert [item.value for item in words] == ["files"]


# --- its page ---


def test_page_shows_what_is_printed(tmp_path: Path) -> None:
    """With the configuration of its page the command prints, and ends, as the page shows."""
    place = Place(tmp_path)
    found = list(steps(DOCS / "explain.md"))
    assert [bool(step.file) for step in found] == [True, False, False]
    place.write(found[0].file, found[0].text)
    for step, status in zip(found[1:], (1, 0), strict=True):
        done = place.run(step.text)
        assert done.status == status
        assert like(step.shown, done.out), done.out


def test_host_gets_what_is_explained(tmp_path: Path) -> None:
    """The refusal that is explained is the one that a client of ``hauberk run`` gets, to the letter."""
    place = Place(tmp_path)
    place.write("hauberk.toml", block(DOCS / "explain.md", "toml", "sieve"))
    place.write("arguments.json", '{"path": "x"}')
    told = json.loads(place.run("hauberk explain files write_file arguments.json --config hauberk.toml --json").out)
    answers = place.answers("hauberk run --server files --config hauberk.toml -- npx", call("write_file", path="x"))
    assert answers[1]["error"] == told["answer"]["error"]
