"""The conformance suite: who passes it, and that each of its checks can fail, for its own reason."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.prose import EXAMPLES
from tests.running import environment

from hauberk import conformance
from hauberk.conformance import CHECKS, Limits, Subject
from hauberk.conformance._corpus import CANARY
from hauberk.conformance._manners import leaks
from hauberk.refusals import ConfigError, PluginError

HERE = Path(__file__).parent / "conformance_plugins"
BADS = {"bad_name": "bad_manners:BadManners", "bad_start": "bad_start:BadStart"}
BADS |= {"bad_manners": "bad_manners:BadManners", "bad_habits": "bad_habits:BadHabits"}
LIMITS = Limits(peers=4000)
HASTY = Limits(peers=4000, patience=1.0)
"""For what never ends."""
NAMES = [check.name for check in CHECKS]
PATIENCE = 120.0
pytestmark = pytest.mark.timeout(180)
FORBID = "forbid_unknown_fields=True"
LIST = "plugin 'bad_manners' answered on_receive with list"

EXPECTED: dict[str, dict[str, list[str]]] = {
    "bad_name": {"imports": ["plugin 'bad_name' calls itself 'bad_manners'"]},
    "bad_start": {
        "loads": ["plugin 'bad_start' has on_connect without @hookimpl"],
        "hook-options": ["on_tool_call has the option 'tryfirst' [bad_start.py:57]"],
        "declared-hooks": [
            "on_connect has no @hookimpl [bad_start.py:64]",
            "on_recieve is no hook [bad_start.py:61]",
            "plugin 'bad_start' has on_send(connection, message) [bad_start.py:67]",
        ],
        "unknown-option": [
            f"rules takes unknown keys of Rule: make it a msgspec.Struct with {FORBID} [bad_start.py:39]",
            "extra takes anything: say what it is, so that a slip is an error [bad_start.py:39]",
            "[bad_start] no_plugin_has_this_option = 1 is no error [bad_start.py:39]",
        ],
        "quiet-import": [
            "importing it opens a connection [bad_start.py:23]",
            "importing it writes a file [bad_start.py:24]",
            "importing it removes a file [bad_start.py:24]",
            "importing it starts a thread [bad_start.py:28]",
            "importing it starts a process [bad_start.py:29]",
        ],
    },
    "bad_manners": {
        "no-mutation": [
            "on_send changed the data of request tools/call [bad_manners.py:30]",
            "on_tool_call changed the data of request tools/call [bad_manners.py:49]",
            "on_tool_call changed the arguments of request tools/call [bad_manners.py:49]",
            "on_connect changed the principal of a connection [bad_manners.py:24]",
            "on_audit changed the event of event core.started [bad_manners.py:56]",
        ],
        "own-prefix": [
            "Deny has the code 'sieve.denied', which does not begin with 'bad_manners.' [bad_manners.py:54]",
            "Event has the code 'core.promoted', which does not begin with 'bad_manners.' [bad_manners.py:28]",
            "on_tool_call said 'sieve.denied', which does not begin with 'bad_manners.' [bad_manners.py:49]",
            "on_connect said 'core.promoted', which does not begin with 'bad_manners.' [bad_manners.py:24]",
        ],
        "no-canary": [
            "on_tool_call put a secret into a verdict (request tools/call) [bad_manners.py:49]",
            "on_receive put a secret into a refusal (error tools/call) [bad_manners.py:40]",
            "a secret is in the file state/calls.txt",
            "a secret is in the log",
        ],
        "survives": [
            f"on_receive gave an answer that is refused: {LIST} on result tools/list [bad_manners.py:40]",
            "on_receive raised KeyError on result tools/list [bad_manners.py:46]",
            "on_receive raised TypeError on result tools/list [bad_manners.py:46]",
        ],
    },
    "bad_habits": {
        "guards-clock": [
            "it asks time.time for the time, and not guard.now() [bad_habits.py:12]",
            "it asks datetime.now for the time, and not guard.now() [bad_habits.py:28]",
            "it asks time.localtime for the time, and not guard.now() [bad_habits.py:37]",
        ],
        "bounded-memory": ["4000 peers after the first 4000 added # bytes, 104000 are allowed [bad_habits.py:28]"],
        "cancellation": [
            "on_tool_call goes on after it was cancelled: let CancelledError through [bad_habits.py:25]",
        ],
    },
}
"""For each bad plugin the checks that it fails, with the reason and the place."""


def install(folder: Path) -> None:
    """Install the bad plugins into a folder: what a package manager leaves, without the code."""
    for name, target in BADS.items():
        info = folder / f"hauberk_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hauberk-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[hauberk.plugins]\n{name} = {target}\n")


@pytest.fixture
def bads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the bad plugins be installed; return their folder."""
    install(tmp_path)
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def results(subject: Subject) -> dict[str, list[str] | None]:
    """Run everything; return the faults of each check, as a report shows them, or None of what was not run."""
    return {
        result.check.name: None if result.faults is None else [line(fault) for fault in result.faults]
        for result in conformance.run(subject)
    }


def line(fault: conformance.Fault) -> str:
    place = f" [{fault.where.rpartition('/')[2]}]" if fault.where else ""
    words = fault.reason.split()
    return " ".join("#" if words[i - 1] == "added" else word for i, word in enumerate(words)) + place


# --- who fails ---


@pytest.mark.parametrize("name", EXPECTED)
def test_bad_plugin_fails_with_the_reason(name: str, bads: Path) -> None:
    """A bad plugin fails the checks that it was made to fail, each with its reason and its line, and no other."""
    found = results(Subject(name, limits=LIMITS))
    assert {check: faults for check, faults in found.items() if faults} == EXPECTED[name]


def test_each_check_can_fail() -> None:
    """Each check of the suite is failed by exactly one bad plugin: none is there that cannot fail."""
    assert sorted(check for failed in EXPECTED.values() for check in failed) == sorted(NAMES)


def test_check_whose_need_has_failed_is_not_run(bads: Path) -> None:
    """What needs a guard is not run on a plugin that does not load, and does not count as passed."""
    found = results(Subject("bad_start", limits=LIMITS))
    assert [check for check, faults in found.items() if faults is None] == [
        check.name for check in CHECKS if check.needs == "loads"
    ]
    alone = list(conformance.run(Subject("bad_start"), [check for check in CHECKS if check.name == "survives"]))
    assert [result.faults for result in alone] == [None]
    assert not alone[0].passed


# --- one fault each ---


def policy(
    folder: Path,
    body: str,
    *,
    head: str = "",
    options: str = "pass",
    layer: str = "POLICY",
    init: str = "pass",
    limits: Limits = LIMITS,
) -> Subject:
    """Return a policy in a file of its own, under test."""
    text = f"""
import asyncio, base64, logging, os, sys, time
import datetime as dt
import hauberk
from hauberk import Event, Refused, hookimpl
{head}

class Policy:
    name = "policy"
    layer = hauberk.Layer.{layer}

    class Options(hauberk.Options, frozen=True):
        {options}

    def __init__(self, options, guard):
        self.options, self.guard, self.kept, self.lock = options, guard, [], asyncio.Lock()
        {init}

{textwrap.indent(textwrap.dedent(body).strip(), "    ")}
"""
    path = folder / "policy.py"
    path.write_text(text)
    path.chmod(0o600)
    return Subject("policy", '[plugins]\npolicy = "policy.py"', base=folder, limits=limits)


SEND = "@hookimpl\ndef on_send(self, message, connection): "
RECEIVE = "@hookimpl\ndef on_receive(self, message, connection): "
CALL = "@hookimpl\ndef on_tool_call(self, call, connection): "
WAIT = "@hookimpl\nasync def on_tool_call(self, call, connection):\n    "
QUIET = "@hookimpl\ndef on_audit(self, event): pass"

ONE_EACH: dict[str, tuple[str, str, dict[str, str]]] = {
    "cannot start": ("loads", "cannot start (ZeroDivisionError", {"body": QUIET, "init": "1 / 0"}),
    "cannot open": ("loads", "cannot open (KeyError", {"body": QUIET + "\nasync def open(self): raise KeyError('x')"}),
    "headers": ("no-mutation", "changed the headers", {"body": SEND + "connection.headers['x'] = 'y'"}),
    "server": (
        "no-mutation",
        "changed the server",
        {"body": "@hookimpl\ndef on_connect(self, connection): connection.server = 'x'"},
    ),
    "checks": ("no-mutation", "changed the checks", {"body": SEND + "connection.verify.append(print)"}),
    "exchange": (
        "no-mutation",
        "changed the exchange",
        {"body": CALL + "call.exchange.tool = 'other'"},
    ),
    "asks": ("no-mutation", "changed the asks", {"body": CALL + "call.asks.append(1)"}),
    "result": (
        "no-mutation",
        "changed the data of result tools/list",
        {"body": RECEIVE + "(message.result or {}).pop('tools', 0)"},
    ),
    "formatted code": (
        "own-prefix",
        "'sieve.'",
        {"body": SEND + "\n    if message.method == 'x': raise Refused(f'sieve.{1}', 'm')"},
    ),
    "code by name": (
        "own-prefix",
        "'core.x'",
        {"body": SEND + "\n    if message.method == 'x': message.note(Event(code='core.x'))"},
    ),
    "code made": (
        "own-prefix",
        "on_send said 'core.made'",
        {"body": SEND + "\n    code = 'core.' + 'made'\n    raise Refused(code, 'm')"},
    ),
    "noted on a call": (
        "own-prefix",
        "on_tool_call said 'a.b'",
        {"body": CALL + "\n    code = '.'.join('ab')\n    call.note(Event(code))"},
    ),
    "printed": ("no-canary", "standard output", {"body": SEND + "print(message.data)"}),
    "hex": (
        "no-canary",
        "the event 'policy.x'",
        {"body": SEND + "message.note(Event('policy.x', details={'a': str(message.data).encode().hex()}))"},
    ),
    "base64": (
        "no-canary",
        "the text of KeyError",
        {"body": SEND + "raise KeyError(base64.b64encode(b'x' + str(message.data).encode()))"},
    ),
    "reversed": (
        "no-canary",
        "a refusal",
        {"body": SEND + "raise Refused('policy.x', 'm', hint=str(message.data)[::-1])"},
    ),
    "details": (
        "no-canary",
        "a refusal",
        {"body": SEND + "raise Refused('policy.x', 'm', details={'d': message.data})"},
    ),
    "headers leak": (
        "no-canary",
        "the event 'policy.x'",
        {"body": SEND + "message.note(Event('policy.x', rule=str(dict(message.headers))))"},
    ),
    "written at the end": (
        "no-canary",
        "a secret is in the file late.txt",
        {
            "body": SEND + "self.kept.append(str(message.data))\n"
            "async def close(self): (self.guard.config.state_dir.parent / 'late.txt').write_text(''.join(self.kept))"
        },
    ),
    "emitted": (
        "no-canary",
        "a secret is in the event 'policy.x'",
        {"body": SEND + "self.guard.emit(Event('policy.x', rule=str(message.data)))"},
    ),
    "unknown method": (
        "survives",
        "raised KeyError on request vendor/unheard-of",
        {"body": SEND + "{'x': 1}[message.method] if 'unheard-of' in message.method else 0"},
    ),
    "no verdict": ("survives", "on_tool_call answered bool", {"body": CALL + "return True"}),
    "answer to an event": (
        "survives",
        "on_audit answered int",
        {"body": "@hookimpl\ndef on_audit(self, event): return 1"},
    ),
    "changed method": (
        "survives",
        "changed the method",
        {"body": SEND + "return message.with_params({'name': 'x'}) if message.method == 'prompts/get' else None"},
    ),
    "frame": ("survives", "raised AttributeError", {"body": SEND + "message.params", "layer": "GATE"}),
    "ids kept": ("bounded-memory", "4000 peers", {"body": SEND + "self.kept.append(connection.id)"}),
    "hashes kept": ("bounded-memory", "4000 peers", {"body": CALL + "self.kept.append(hash(call.principal.id))"}),
    "exchanges kept": ("bounded-memory", "4000 peers", {"body": RECEIVE + "self.kept.append(message.exchange)"}),
    "events kept": (
        "bounded-memory",
        "4000 peers",
        {"body": "@hookimpl\ndef on_audit(self, event): self.kept.append(event.server)"},
    ),
    "holds a lock": (
        "cancellation",
        "does not end within 1 s, after an earlier call was cancelled",
        {"body": WAIT + "await self.lock.acquire()\n    await asyncio.sleep(0)\n    self.lock.release()"},
    ),
    "breaks": (
        "cancellation",
        "fails after an earlier call was cancelled (ValueError)",
        {
            "body": WAIT
            + "if self.kept: raise ValueError\n    self.kept.append(1)\n    await asyncio.sleep(0)\n    self.kept.pop()"
        },
    ),
    "never ends": (
        "cancellation",
        "is not ended by a cancellation within 1 s",
        {"body": WAIT + "try: await asyncio.sleep(0)\n    except asyncio.CancelledError: await asyncio.Event().wait()"},
    ),
    "async deferred": (
        "cancellation",
        "deferred an async function",
        {"body": CALL + "call.exchange.defer(self.later)\nasync def later(self, outcome): pass"},
    ),
    "ends badly": (
        "cancellation",
        "deferred a function that raises KeyError when a request is closed",
        {"body": CALL + "call.exchange.defer(lambda outcome: {}[0] if outcome == 'closed' else 0)"},
    ),
    "waits for ever": (
        "cancellation",
        "does not end within 1 s",
        {
            "body": WAIT
            + "if self.kept: await asyncio.Event().wait()\n    self.kept.append(1)\n    await asyncio.sleep(0)"
        },
    ),
    "time_ns": ("guards-clock", "time.time_ns", {"body": SEND + "time.time_ns()"}),
    "strftime": ("guards-clock", "time.strftime", {"body": SEND + "time.strftime('%H')"}),
    "today": ("guards-clock", "date.today", {"body": SEND + "dt.date.today()"}),
    "folder": (
        "quiet-import",
        "makes a folder",
        {
            "body": QUIET,
            "head": "try: os.mkdir('/dev/null/x')\nexcept OSError: pass",
        },
    ),
    "name": (
        "quiet-import",
        "looks up a name",
        {"body": QUIET, "head": "import socket; socket.getaddrinfo('127.0.0.1', 9)"},
    ),
    "ends": (
        "quiet-import",
        "ends with status 7",
        {"body": QUIET, "head": "if 'pytest' not in sys.modules: os._exit(7)"},
    ),
    "any": ("unknown-option", "more takes anything", {"body": QUIET, "options": "more: list[object] = []"}),
}
"""Vectors: the check that fails, words of its reason, and the policy that has this fault."""


@pytest.mark.parametrize("vector", ONE_EACH)
def test_one_fault_is_found(vector: str, tmp_path: Path) -> None:
    """Each way in which a check can fail is found in a policy that has nothing else against it."""
    check, words, source = ONE_EACH[vector]
    subject = policy(tmp_path, **source, limits=HASTY if "within 1 s" in words else LIMITS)
    (result,) = conformance.run(subject, [found for found in CHECKS if found.name == check])
    assert result.faults, vector
    assert any(words in fault.reason for fault in result.faults), result.faults


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_secret_is_known_in_base64_wherever_it_stands(before: int, after: int) -> None:
    """The secret is found in base64 at any offset, in hexadecimal in either case, and not where it is not."""
    text = b"x" * before + CANARY.encode() + b"y" * after
    assert leaks(f"a {base64.b64encode(text).decode()} b")
    assert leaks(text.hex())
    assert leaks(text.hex().upper())
    assert not leaks(base64.b64encode(b"x" * before + b"y" * 40).decode() + CANARY[:-1])


# --- who passes ---


@pytest.mark.parametrize("name", ["sieve", "audit"])
def test_own_plugins_pass(name: str) -> None:
    """The plugins of this project keep the promises that they ask of others."""
    assert {check: faults for check, faults in results(Subject(name)).items() if faults != []} == {}


@pytest.fixture
def hours(tmp_path: Path) -> Path:
    """Return the configuration of the example, with the example beside it."""
    for name in ("business_hours.py", "business_hours.toml"):
        (tmp_path / name).write_text((EXAMPLES / name).read_text(encoding="utf-8"), encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    return tmp_path / "business_hours.toml"


def command(*arguments: str | Path, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    env = environment(cwd)
    env["PYTHONPATH"] = ":".join(filter(None, (path, env.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-m", "hauberk.conformance", *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_example_of_a_policy_passes(hours: Path, tmp_path: Path) -> None:
    """The example of a policy passes, on the command line as the page says, with a line for each check."""
    done = command("policy", "--config", hours, "--peers", "2000", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:-1]] == [["ok", name] for name in NAMES]
    assert lines[-1] == f"{len(NAMES)} checks passed"


def test_example_of_a_policy_is_short() -> None:
    """The example of a policy is about twenty lines long, without what is written for people."""
    text = (EXAMPLES / "business_hours.py").read_text(encoding="utf-8")
    code = re.sub(r'(?s)""".*?"""', "", text)
    assert len([line for line in code.splitlines() if line.strip()]) <= 22


def test_bad_plugin_fails_on_the_command_line(tmp_path: Path) -> None:
    """A plugin that fails ends with status 1, its reason and its place, as text and as JSON."""
    install(tmp_path)
    path = f"{tmp_path}:{HERE}"
    said = command("bad_start", cwd=tmp_path, path=path)
    assert said.returncode == 1
    assert "  FAILED   hook-options" in said.stdout
    assert "on_tool_call has the option 'tryfirst'  [conformance_plugins/bad_start.py:57]" in said.stdout
    assert "  not run  survives" in said.stdout
    told = command("bad_name", "--json", cwd=tmp_path, path=path)
    assert told.returncode == 1
    report = json.loads(told.stdout)
    assert report["passed"] is False
    assert [check["check"] for check in report["checks"]] == NAMES
    assert {check["check"]: check["status"] for check in report["checks"]}["imports"] == "failed"
    assert {check["check"]: check["status"] for check in report["checks"]}["loads"] == "not run"
    assert report["checks"][0]["faults"] == [
        {"reason": "plugin 'bad_name' calls itself 'bad_manners'", "where": ""},
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "plugin 'nobody' is not installed"),
        (["sieve", "--config", "absent.toml"], "absent.toml"),
        ([], "give the NAME of a plugin"),
    ],
    ids=["nobody", "no file", "no name"],
)
def test_what_cannot_be_tested_ends_with_two(arguments: list[str], words: str, tmp_path: Path) -> None:
    """What could not be tested at all ends with status 2 and says why; it is no pass and no failure."""
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_checks_are_listed(tmp_path: Path) -> None:
    """``--list`` gives each check with what it claims."""
    done = command("--list", cwd=tmp_path)
    assert [line.split(None, 1) for line in done.stdout.splitlines()] == [[c.name, c.claim] for c in CHECKS]


def test_plugin_of_the_working_directory_is_not_taken(tmp_path: Path) -> None:
    """What lies in the working directory is not tested in place of what is installed."""
    install(tmp_path)
    done = command("bad_name", cwd=tmp_path)
    assert done.returncode == 2
    assert "plugin 'bad_name' is not installed" in done.stderr


def test_plugin_of_replay_is_tested_with_a_seal(tmp_path: Path) -> None:
    """A plugin in REPLAY, which no guard takes without one in SEAL, can be tested by itself."""
    subject = policy(tmp_path, RECEIVE + "return None", layer="REPLAY")
    assert {check for check, faults in results(subject).items() if faults != []} == set()


def test_wrong_configuration_is_no_failure_of_the_plugin() -> None:
    """A configuration that nothing reads, or a name that nobody has, is an error before any check."""
    with pytest.raises(ConfigError, match="expected a table"):
        Subject("sieve", "core = 3")
    with pytest.raises(PluginError, match=r"plugin 'nobody' is not installed \(installed: .*sieve"):
        Subject("nobody")


# --- as tests ---


class TestSieve(conformance.Suite):
    """The class that plugin authors subclass, on a plugin of this project."""

    name = "sieve"
    config = '[sieve]\ndefault = "allow"\ndeny = ["*/write_*"]'
    limits = LIMITS


def test_suite_has_a_test_for_each_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class has one test for each check, and nothing that looks like another."""
    asked: list[str] = []
    monkeypatch.setattr(TestSieve, "check", lambda self, name: asked.append(name))
    tests = [name for name in dir(TestSieve) if name.startswith("test_")]
    for test in tests:
        getattr(TestSieve(), test)()
    assert sorted(asked) == sorted(NAMES)


def test_suite_says_why(bads: Path) -> None:
    """A test of the class fails with the reason and the place, and one that could not be run does not pass."""

    class Bad(conformance.Suite):
        name = "bad_start"

    with pytest.raises(AssertionError, match=r"(?s)does not pass hook-options.*'tryfirst'  \[.*bad_start\.py:57\]"):
        Bad().test_hook_options()
    with pytest.raises(AssertionError, match="survives was not run: 'bad_start' does not pass loads"):
        Bad().test_survives()
