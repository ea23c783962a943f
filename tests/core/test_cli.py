"""The command line: what each command prints, and how each failure looks from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import hauberk
from hauberk import plugins
from hauberk.cli import _boundary, _connect, _run, main
from hauberk.cli.connect import command as connect_command
from hauberk.cli.options import print_json
from hauberk.cli.run import command as run_command

PLUGIN = """
import click
from hauberk import Layer, Options as Base, hookimpl

class Options(Base):
    token: str = "hunter2"
    limit: int = 5

class Plugin:
    name = "NAME"
    layer = Layer.POLICY
    Options = Options

    def __init__(self, options, guard):
        pass

    @hookimpl
    def on_send(self, message, connection):
        pass

    @staticmethod
    def commands():
        @click.command()
        @click.argument("word")
        def greet(word):
            "Say a word."
            click.echo(f"NAME {word}")
        return click.Group("NAME", commands=[greet])
"""


class Site:
    """A folder of installed packages, and a user's home."""

    def __init__(self, folder: Path) -> None:
        self.packages = folder / "packages"
        self.home = folder / "home"
        self.packages.mkdir()
        self.home.mkdir()

    def install(self, word: str, text: str = PLUGIN) -> None:
        """Install a package with one plugin."""
        module = f"hauberk_{word}_for_a_test"
        (self.packages / f"{module}.py").write_text(text.replace("NAME", word))
        info = self.packages / f"hauberk_{word}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hauberk-{word}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[hauberk.plugins]\n{word} = {module}:Plugin\n")

    def configure(self, text: str) -> str:
        """Write a configuration that turns every plugin of this environment off; return its path."""
        path = self.home / "given.toml"
        installed = [word for word, source in plugins.installed().items() if source.version != "1.2"]
        path.write_text(f"{text}\n[plugins]\ndisable = {json.dumps(installed)}\n")
        return str(path)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Return a place for plugins of a test, and let the user have no configuration."""
    made = Site(tmp_path)
    monkeypatch.syspath_prepend(str(made.packages))
    monkeypatch.setenv("HOME", str(made.home))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield made
    for name in [name for name in sys.modules if name.endswith("_for_a_test")]:
        del sys.modules[name]


class Output:
    """What a command line printed."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def hauberk_line(site: Site, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs a command line."""

    def call(*words: str) -> Output:
        status = main(words)
        return Output(status, *capsys.readouterr())

    return call


# --- the program ---


def test_version(hauberk_line: Any) -> None:
    """``--version`` prints name and version."""
    assert hauberk_line("--version").out == f"hauberk {hauberk.__version__}\n"


def test_help_lists_all_commands(site: Site, hauberk_line: Any) -> None:
    """``--help`` lists the commands of the core and those of installed plugins, with examples."""
    site.install("greeter")
    done = hauberk_line("--help")
    assert done.status == 0
    for word in ("run", "plugins", "config", "completion", "greeter", "Examples:"):
        assert word in done.out


def test_no_command_is_a_mistake(hauberk_line: Any) -> None:
    """Nothing asked for: the help on standard error, and 2."""
    done = hauberk_line()
    assert (done.status, done.out) == (2, "")
    assert "Commands:" in done.err


@pytest.mark.parametrize("words", [["config"], ["run", "--help"], ["plugins", "-h"], ["config", "check", "--help"]])
def test_every_command_explains_itself(hauberk_line: Any, words: list[str]) -> None:
    """Each command has a help text; every one that reads the configuration has ``--config`` and ``--host``."""
    done = hauberk_line(*words)
    text = done.out + done.err
    assert "Usage: hauberk" in text
    assert ("--config FILE" in text and "--host NAME" in text) or words == ["config"]


def test_unknown_command_names_the_nearest(hauberk_line: Any) -> None:
    """A mistyped command ends with 2 and the nearest name."""
    done = hauberk_line("plugin")
    assert done.status == 2
    assert done.err == "hauberk: there is no command 'plugin'\nhint: did you mean 'plugins'?\n"


@pytest.mark.parametrize(("words", "status"), [(["plugins", "--nope"], 2), (["run", "--nope", "--", "true"], 125)])
def test_unknown_option(hauberk_line: Any, words: list[str], status: int) -> None:
    """A mistyped option ends with 2, and with 125 where the status could be the server's."""
    done = hauberk_line(*words)
    assert done.status == status
    assert done.err.startswith("hauberk: no such option")
    assert done.err.endswith(f"hint: hauberk {words[0]} --help\n")


def test_nobody_reads(site: Site) -> None:
    """A reader that goes away ends the program as SIGPIPE would, without a word."""
    done = subprocess.run(
        ["sh", "-c", '{ "$@"; echo $? >&2; } | true', "sh", sys.executable, "-c", HEAVY],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "141\n"


HEAVY = """
import sys, time
from hauberk.cli import _boundary
def action():
    while True:
        sys.stdout.write("x" * 100000)
sys.exit(_boundary.bounded(action, _boundary.Manner()))
"""


def test_interrupt() -> None:
    """Ctrl-C ends a command with 130, without a word."""

    def action() -> int:
        raise KeyboardInterrupt

    assert _boundary.bounded(action, _boundary.Manner()) == 130


@pytest.mark.parametrize("error", [ValueError("hunter2"), OSError(28, "hunter2")])
def test_internal_error_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """What nobody foresaw is told by its kind, without its text, which may hold anything; the traceback on demand."""

    def action() -> int:
        raise error

    assert _boundary.bounded(action, _boundary.Manner()) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("hauberk: internal error: ")
    assert shown.endswith("\nhint: hauberk --debug … shows the traceback\n")
    assert "hunter2" not in shown
    assert _boundary.bounded(action, _boundary.Manner(125, debug=True)) == 125
    assert "Traceback" in capsys.readouterr().err


def test_colour_on_a_terminal_only(hauberk_line: Any) -> None:
    """What is piped is plain."""
    assert "\x1b" not in hauberk_line("config", "check").out + hauberk_line("nope").err


# --- plugins ---


def test_plugins_shows_what_runs_and_why(site: Site, hauberk_line: Any) -> None:
    """Name, distribution, version, layer, hooks; active, or idle and why."""
    site.install("greeter")
    site.install("sleeper")
    path = site.configure("[greeter]\nlimit = 3")
    shown = {one["name"]: one for one in hauberk_line("plugins", "--json", "--config", path).json}
    assert shown["greeter"] == {
        "name": "greeter",
        "distribution": "hauberk-greeter",
        "version": "1.2",
        "active": True,
        "why": "",
        "mode": "enforce",
        "hooks": {"on_send": "POLICY"},
    }
    assert (shown["sleeper"]["active"], shown["sleeper"]["why"]) == (False, "no table [sleeper] in the configuration")
    assert shown["sleeper"]["hooks"] == {"on_send": "POLICY"}
    lines = {line.split()[0]: line for line in hauberk_line("plugins", "--config", path).out.splitlines()}
    assert lines["greeter"].split() == ["greeter", "hauberk-greeter", "1.2", "POLICY:", "on_send", "active"]
    assert "idle: no table [sleeper] in the configuration" in lines["sleeper"]


def test_plugins_works_without_configuration(hauberk_line: Any) -> None:
    """``hauberk plugins`` needs no file."""
    assert hauberk_line("plugins").status == 0


def test_no_plugin_at_all(hauberk_line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any plugin the way to get one is shown."""
    monkeypatch.setattr(plugins, "installed", dict)
    assert "pip install hauberk-sieve" in hauberk_line("plugins").out
    assert hauberk_line("plugins", "--json").json == []


def test_broken_plugin_is_named(site: Site, hauberk_line: Any) -> None:
    """A plugin that does not import ends ``plugins`` with 2 and a hint; the help still works (A70)."""
    site.install("broken", "import no_such_module_anywhere")
    done = hauberk_line("plugins")
    assert done.status == 2
    assert "hauberk: plugin 'broken' of 'hauberk-broken' does not import" in done.err
    assert "hint: " in done.err
    helped = hauberk_line("--help")
    assert helped.status == 0
    assert "warning: plugin 'broken'" in helped.err


# --- commands of plugins ---


def test_command_of_a_plugin(site: Site, hauberk_line: Any) -> None:
    """``hauberk <word> …`` is what the plugin's ``commands`` returns."""
    site.install("greeter")
    assert hauberk_line("greeter", "greet", "world").out == "greeter world\n"


def test_only_the_named_plugin_is_imported(site: Site, hauberk_line: Any) -> None:
    """A plugin's command imports that plugin, and no other."""
    site.install("greeter")
    site.install("broken", "import no_such_module_anywhere")
    done = hauberk_line("greeter", "greet", "world")
    assert (done.status, done.err) == (0, "")


def test_plainer_name_of_a_plugin_command(site: Site, hauberk_line: Any) -> None:
    """A plugin may name its command otherwise than itself."""
    site.install("greeter", PLUGIN.replace('Group("NAME"', 'Group("hello"'))
    assert hauberk_line("hello", "greet", "world").out == "greeter world\n"


def test_several_commands_of_a_plugin(site: Site, hauberk_line: Any) -> None:
    """A plugin may bring several commands; its word is the one of this name, and each other is found by its own."""
    text = PLUGIN.replace('return click.Group("NAME", commands=[greet])', 'return made("other"), made("NAME")')
    text += """
def made(name):
    return click.Group(name, commands=[click.Command("who", callback=lambda: click.echo(name))])
"""
    site.install("greeter", text)
    assert hauberk_line("greeter", "who").out == "greeter\n"
    assert hauberk_line("other", "who").out == "other\n"
    assert {"greeter", "other"} <= set(hauberk_line("--help").out.split())


def test_plugin_does_not_take_a_command_of_the_core(site: Site, hauberk_line: Any) -> None:
    """A plugin named like a command of the core does not replace it."""
    site.install("config")
    assert hauberk_line("config", "--help").out.startswith("Usage: hauberk config")
    assert "greet" not in hauberk_line("config", "--help").out


@pytest.mark.parametrize("body", ["return 5", "return click.Group('a'), 5", "raise ValueError(5)"])
def test_commands_that_are_none(site: Site, hauberk_line: Any, body: str) -> None:
    """A ``commands`` that fails, or answers something else, is an error that names the plugin."""
    text = PLUGIN.partition("    @staticmethod")[0] + f"    @staticmethod\n    def commands():\n        {body}\n"
    site.install("greeter", text)
    done = hauberk_line("greeter")
    assert done.status == 2
    assert "plugin 'greeter'" in done.err
    assert "hint: " in done.err


# --- config ---


def test_check_of_a_sound_configuration(site: Site, hauberk_line: Any) -> None:
    """``config check`` says ok, what is active, and the version of the policy."""
    site.install("greeter")
    path = site.configure("[greeter]")
    assert hauberk_line("config", "check", "--config", path).out.startswith(f"ok: {path}, profile development")
    facts = hauberk_line("config", "check", "--config", path, "--json").json
    assert (facts["ok"], facts["active"], facts["file"]) == (True, ["greeter"], path)
    assert facts["version"].startswith("sha256:")


def test_check_says_what_it_does_not_tell(site: Site, hauberk_line: Any) -> None:
    """``config check`` says that bounds are each wrapped server's own, and that only the doctor opens and tries."""
    path = site.configure("")
    notes = [
        "each bound holds for one process: five servers under hauberk run are five processes",
        "no plugin was opened and no control tried: hauberk doctor does that",
    ]
    assert hauberk_line("config", "check", "--config", path).out.endswith("".join(f"note: {note}\n" for note in notes))
    assert hauberk_line("config", "check", "--config", path, "--json").json["notes"] == notes


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("[greeter]\nlimits = 3", "[greeter] limits: unknown key", "did you mean 'limit'?"),
        ("[greeter]\nlimit = 'x'", "[greeter] limit: expected integer", None),
        ("[greeterr]", "plugin 'greeterr' is not installed", "did you mean 'greeter'?"),
        ("nonsense", "line 1", None),
    ],
)
def test_check_of_a_wrong_configuration(site: Site, hauberk_line: Any, text: str, said: str, hint: str | None) -> None:
    """``config check`` ends with 2, and names file, key, what was expected and what was perhaps meant (A70)."""
    site.install("greeter")
    path = site.configure(text)
    done = hauberk_line("config", "check", "--config", path)
    assert (done.status, done.out) == (2, "")
    assert path in done.err
    assert said in done.err
    assert hint is None or f"hint: {hint}" in done.err
    as_json = hauberk_line("config", "check", "--config", path, "--json")
    assert (as_json.status, as_json.json["ok"]) == (2, False)
    assert said in as_json.json["error"]


def test_missing_file(hauberk_line: Any) -> None:
    """A file that is not there is an error, never the defaults."""
    done = hauberk_line("plugins", "--config", "/no/such/file.toml")
    assert done.status == 2
    assert "/no/such/file.toml" in done.err


def test_unknown_host(site: Site, hauberk_line: Any) -> None:
    """A mistyped ``--host`` does not leave out the rules of the one that was meant."""
    path = site.configure("[host.desktop]")
    assert hauberk_line("config", "check", "--config", path, "--host", "desktop").status == 0
    assert hauberk_line("config", "check", "--config", path, "--host", "desktp").status == 2


def test_show_is_what_is_in_force(site: Site, hauberk_line: Any) -> None:
    """``config show`` prints options with their defaults, and reads as TOML."""
    site.install("greeter")
    site.install("sleeper")
    path = site.configure('[greeter]\nlimit = 7\n[server."my files"]\ncommand = "ls"\nargs = ["-l"]')
    shown = hauberk_line("config", "show", "--config", path, "--json").json
    assert (shown["greeter"]["limit"], shown["profile"], shown["server"]["my files"]["command"]) == (
        7,
        "development",
        "ls",
    )
    assert "sleeper" not in shown
    text = hauberk_line("config", "show", "--config", path).out
    parsed = tomllib.loads(text)
    assert parsed["greeter"] == shown["greeter"]
    assert parsed["core"]["bounds"] == shown["core"]["bounds"]
    assert parsed["server"]["my files"]["args"] == ["-l"]


def test_show_of_a_plugin_with_safe_defaults(site: Site, hauberk_line: Any) -> None:
    """Of a plugin without a table, what is shown is the safe default that runs, not the default of its options."""
    site.install("greeter", PLUGIN + "    safe_default = Options(limit=99)\n")
    shown = hauberk_line("config", "show", "--json", "--config", site.configure("")).json
    assert shown["greeter"]["limit"] == 99


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_show_never_prints_a_secret(site: Site, hauberk_line: Any, more: list[str]) -> None:
    """``config show`` masks secrets (X.14)."""
    site.install("greeter")
    path = site.configure(
        '[greeter]\ntoken = "s3cr3t"\n[server.a]\ncommand = "x"\nenv = { API_TOKEN = "s3cr3t" }\n'
        '[server.b]\nurl = "https://me:s3cr3t@example.org"\nheaders = { Authorization = "s3cr3t" }'
    )
    done = hauberk_line("config", "show", "--config", path, *more)
    assert done.status == 0
    assert "***" in done.out
    assert "s3cr3t" not in done.out + done.err


def test_warning_about_the_file(site: Site, hauberk_line: Any) -> None:
    """A file that others can change is told of, on standard error."""
    path = site.configure("")
    Path(path).chmod(0o666)
    done = hauberk_line("config", "check", "--config", path)
    assert done.status == 0
    assert done.err.startswith("hauberk: warning: ")


# --- run: its words (what it does is tested from end to end) ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to run"),
        (["--"], "no command after '--'"),
        (["npx", "-y", "x"], "a command stands after '--'\nhint: hauberk run -- npx -y …"),
        (["files", "--", "ls"], "two servers"),
        (["--server", "x", "files"], "--server names a command"),
        (["--env", "A=hunter2", "--", "ls"], "--env takes a name, not a value: 'A'"),
        (["-p", "sieve", "--", "ls"], "-p takes no:NAME"),
        (["--server", "a/b", "--", "ls"], "'a/b' cannot name a server"),
        (["--", "/"], "'' cannot name a server"),
        (["nowhere"], "there is no server 'nowhere' (servers: none)"),
        (["--config"], "requires an argument"),
    ],
)
def test_words_of_run(hauberk_line: Any, words: list[str], said: str) -> None:
    """A command line that cannot be meant ends with 125 and what to write."""
    done = hauberk_line("run", *words)
    assert (done.status, done.out) == (125, "")
    assert said in done.err
    assert "hint: " in done.err
    assert "hunter2" not in done.err


def test_server_without_a_command(site: Site, hauberk_line: Any) -> None:
    """A server that is reached by a URL is not one to start."""
    path = site.configure('[server.far]\nurl = "https://example.org"')
    done = hauberk_line("run", "--config", path, "far")
    assert done.status == 125
    assert "[server.far] has no command" in done.err


WORDS = [
    "--config",
    "--host",
    "--server",
    "--env",
    "-p",
    "--",
    "-",
    "",
    "a",
    "no:b",
    "--config=c",
    "--env=",
    "-pno:d",
    "-h",
]
OTHER = st.text(st.characters(exclude_characters="\0"), max_size=3)
"""An argument of a process holds no NUL."""


@pytest.mark.parametrize(("module", "seen_by_click"), [(_run, run_command), (_connect, connect_command)])
@given(words=st.lists(st.sampled_from(WORDS) | OTHER, max_size=8))
def test_plain_command_line_is_read_as_click_reads_it(module: Any, seen_by_click: Any, words: list[str]) -> None:
    """What is read without click is read as click reads it; the rest is left to click."""
    read = module.plain(words)
    seen: list[_run.Request] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run", seen.append)
        result = CliRunner().invoke(seen_by_click, words)
    if read is not None:
        assert result.exit_code == 0
        assert seen == [read]


def test_connect_takes_its_options_after_the_word(site: Site, hauberk_line: Any) -> None:
    """Nothing stands for a command in ``hauberk connect``, so an option after the word is one."""
    path = site.configure('[server.far]\nurl = "https://example.org"')
    done = hauberk_line("connect", "far", "--config", path)
    assert done.status == 125
    assert "speaks no HTTP" in done.err


def test_plain_command_line_needs_no_click(tmp_path: Path) -> None:
    """``hauberk run`` starts without click: start-up time is a feature."""
    text = "import sys; from hauberk.cli import main; main(['run', '--', '/']); print('click' in sys.modules)"
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n"


# --- completion ---


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(hauberk_line: Any, shell: str) -> None:
    """Each shell gets a script that asks the program itself."""
    done = hauberk_line("completion", shell)
    assert done.status == 0
    assert "_HAUBERK_COMPLETE" in done.out
    assert "hauberk" in done.out


def test_completion_of_commands(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell that asks gets the names of commands, plugins' too."""
    site.install("greeter")
    for name, value in {"_HAUBERK_COMPLETE": "bash_complete", "COMP_WORDS": "hauberk gr", "COMP_CWORD": "1"}.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    assert capsys.readouterr().out == "plain,greeter\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_json_is_harmless_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """On a terminal JSON has no character that it would act on; in a pipe texts are as they are (X.14)."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    print_json({"a": "ä\x9b2J\u202e"})
    said = capsys.readouterr().out
    assert said.isascii() is terminal
    assert json.loads(said) == {"a": "ä\x9b2J\u202e"}
