"""``hauberk run`` from end to end: a client on pipes, the guard, and a server as a child process."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.running import (
    ANSWERING,
    KEEPING,
    PATIENCE,
    PING,
    SLOW,
    Fifo,
    configure,
    environment,
    line,
    readable,
    running,
    server,
)

ANSWER = {"jsonrpc": "2.0", "id": 1, "result": {}}
MIB = 1024 * 1024

LINGERING = """
import json, os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = '''
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
fifo = open(sys.argv[1], "w")
print(os.getpid(), file=fifo, flush=True)
signal.pause()
'''
subprocess.Popen([sys.executable, "-I", "-S", "-c", child, FIFO], stdin=subprocess.DEVNULL)
"""
"""A server that ignores SIGTERM, and has started a program that does too, holds FIFO open, and tells its number."""


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    made = Fifo(tmp_path / "fifo")
    yield made
    made.close()


# --- what passes ---


def test_request_and_answer_pass(tmp_path: Path) -> None:
    """A request reaches the server and its answer the client, with bytes in their compact form."""
    with running(tmp_path, server(tmp_path, ANSWERING)) as guarded:
        assert guarded.ask() == ANSWER
        assert guarded.ask({"jsonrpc": "2.0", "id": "two", "method": "tools/list"})["id"] == "two"
        assert guarded.end() == 0
        assert guarded.stderr() == ""


def test_without_configuration_one_line_says_so(tmp_path: Path) -> None:
    """Without any file the built-in defaults hold, and one line on standard error says so."""
    with running(tmp_path, server(tmp_path, ANSWERING), options=()) as guarded:
        assert guarded.ask() == ANSWER
        assert guarded.end() == 0
        assert len(guarded.stderr().splitlines()) == 1
        assert guarded.stderr().startswith("hauberk: no configuration")


def test_named_server_is_started_as_configured(tmp_path: Path) -> None:
    """``hauberk run NAME`` takes command, arguments, environment and working directory from the file."""
    (tmp_path / "work").mkdir()
    command, *args = server(tmp_path, "import os; print(os.environ['COLOUR'], os.getcwd(), file=open('seen', 'w'))")
    options = configure(
        tmp_path,
        f"[server.files]\ncommand = {json.dumps(command)}\nargs = {json.dumps(args)}\n"
        'cwd = "work"\nenv = { COLOUR = "blue" }',
    )
    with running(tmp_path, (), options=[*options, "files"]) as guarded:
        assert guarded.status() == 0
    assert (tmp_path / "work" / "seen").read_text() == f"blue {tmp_path / 'work'}\n"
    assert {event["server"] for event in guarded.events() if "server" in event} == {"files"}


def test_server_is_named_after_its_command(tmp_path: Path) -> None:
    """Without ``--server`` rules see the base name of the command."""
    program = tmp_path / "some-server"
    program.write_text("#!/bin/sh\ncat >/dev/null\n")
    program.chmod(0o755)
    with running(tmp_path, [str(program)]) as guarded:
        assert guarded.end() == 0
        assert {event["server"] for event in guarded.events() if "server" in event} == {"some-server"}


def test_files_as_input_and_output(tmp_path: Path) -> None:
    """Standard input and output may be regular files."""
    questions, answers = tmp_path / "questions", tmp_path / "answers"
    questions.write_text("".join(json.dumps(PING | {"id": number}) + "\n" for number in range(1000)))
    with (
        questions.open("rb") as stdin,
        answers.open("wb") as stdout,
        running(tmp_path, server(tmp_path, ANSWERING), stdin=stdin, stdout=stdout) as guarded,
    ):
        assert guarded.status() == 0
    assert [json.loads(found)["id"] for found in answers.read_bytes().splitlines()] == list(range(1000))


def test_full_disk_ends_it(tmp_path: Path) -> None:
    """An output that takes nothing more is a client that has gone."""
    options = configure(tmp_path, policy=None)
    with (
        (tmp_path / "answers").open("wb") as stdout,
        running(
            tmp_path,
            server(tmp_path, ANSWERING),
            options=options,
            stdout=stdout,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        ) as guarded,
    ):
        guarded.send(PING)
        assert guarded.status() == 128 + signal.SIGTERM


def test_null_devices(tmp_path: Path) -> None:
    """Standard input and output may be the null device."""
    with running(tmp_path, server(tmp_path, ANSWERING), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as guarded:
        assert guarded.status() == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(tmp_path: Path, closed: str) -> None:
    """A standard descriptor that is closed is not taken by another file."""
    command = [sys.executable, "-m", "hauberk", "run", *configure(tmp_path), "--", *server(tmp_path, ANSWERING)]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command],
        env=environment(tmp_path),
        input=b"",
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    assert done.returncode in {0, 128 + signal.SIGTERM}


def test_terminal(tmp_path: Path) -> None:
    """On a terminal, what is typed is no sign that nobody reads."""
    ours, theirs = pty.openpty()
    with running(tmp_path, server(tmp_path, ANSWERING), stdin=theirs, stdout=theirs) as guarded:
        for number in (1, 2):
            os.write(ours, json.dumps(PING | {"id": number}).encode() + b"\n")
            shown = b""
            while b'"result"' not in shown:
                assert readable(ours, PATIENCE)
                shown += os.read(ours, 4096)
        os.write(ours, b"\x04")
        assert guarded.status() == 0
    os.close(theirs)
    os.close(ours)


# --- how it ends ---


@pytest.mark.parametrize("status", [0, 3, 255])
def test_exit_status_is_the_childs(tmp_path: Path, status: int) -> None:
    """The exit status is the server's."""
    with running(tmp_path, server(tmp_path, f"raise SystemExit({status})")) as guarded:
        assert guarded.status() == status


def test_status_of_a_killed_child(tmp_path: Path) -> None:
    """A server that a signal has ended is reported as a shell does."""
    with running(tmp_path, server(tmp_path, "import os; os.kill(os.getpid(), 9)")) as guarded:
        assert guarded.status() == 128 + signal.SIGKILL


def test_command_not_found(tmp_path: Path) -> None:
    """A command that is not there ends with 127 and says what to do."""
    with running(tmp_path, ["no-such-command-anywhere"]) as guarded:
        assert guarded.status() == 127
        assert guarded.stderr() == (
            "hauberk: command 'no-such-command-anywhere' is not found\nhint: check its name, and PATH\n"
        )


def test_interpreter_not_found(tmp_path: Path) -> None:
    """A script whose interpreter is not there is told from a command that is not there."""
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with running(tmp_path, [str(script)]) as guarded:
        assert guarded.status() == 127
        assert "first line" in guarded.stderr()


@pytest.mark.parametrize(("text", "mode"), [("#!/bin/sh\n", 0o644), ("no program\n", 0o755)])
def test_command_not_executable(tmp_path: Path, text: str, mode: int) -> None:
    """A file that cannot be executed ends with 126."""
    script = tmp_path / "script"
    script.write_text(text)
    script.chmod(mode)
    with running(tmp_path, [str(script)]) as guarded:
        assert guarded.status() == 126


@pytest.mark.parametrize("descriptors", [6, 8, 10])
def test_no_descriptor_left(tmp_path: Path, descriptors: int) -> None:
    """Too few descriptors end it with 125 and a line, not with a traceback or a hang (A85)."""
    command = [sys.executable, "-m", "hauberk", "run", *configure(tmp_path, policy=None), "--", "true"]
    done = subprocess.run(
        ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command],
        env=environment(tmp_path),
        input="",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("hauberk: ")
    assert "too many open files" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_working_directory_is_no_missing_command(tmp_path: Path) -> None:
    """A working directory that is not there is an error of the configuration."""
    options = configure(tmp_path, '[server.files]\ncommand = "true"\ncwd = "nowhere"')
    with running(tmp_path, (), options=[*options, "files"]) as guarded:
        assert guarded.status() == 125
        assert "working directory" in guarded.stderr()


def test_refused_connection_starts_nothing(tmp_path: Path) -> None:
    """A connection that a plugin refuses ends with 125, and the server is never started."""
    policy = """
from hauberk import Options, Refused, hookimpl

class Policy:
    name = "policy"
    Options = Options

    def __init__(self, options, guard):
        pass

    @hookimpl
    def on_connect(self, connection):
        raise Refused("policy.closed", "not today", hint="come back tomorrow")
"""
    command = server(tmp_path, f"open({str(tmp_path / 'started')!r}, 'w')")
    with running(tmp_path, command, options=configure(tmp_path, policy=policy)) as guarded:
        assert guarded.status() == 125
        assert guarded.stderr() == "hauberk: not today\nhint: come back tomorrow\n"
    assert not (tmp_path / "started").exists()


def test_production_cannot_be_weakened_by_a_flag(tmp_path: Path) -> None:
    """``-p no:NAME`` in production ends with 125 (X.5)."""
    options = configure(tmp_path, 'profile = "production"')
    (tmp_path / "hauberk.toml").chmod(0o600)
    with running(tmp_path, ["true"], options=[*options, "-p", "no:policy"]) as guarded:
        assert guarded.status() == 125
        assert "cannot be turned off by a flag in production" in guarded.stderr()


def test_plugin_left_out_by_a_flag(tmp_path: Path) -> None:
    """``-p no:NAME`` leaves a plugin out in development."""
    options = [*configure(tmp_path), "-p", "no:policy"]
    with running(tmp_path, server(tmp_path, ANSWERING), options=options) as guarded:
        assert guarded.ask() == ANSWER
        assert guarded.end() == 0
        assert guarded.events() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_child(tmp_path: Path, fifo: Fifo, number: signal.Signals) -> None:
    """A signal to hauberk ends the server, and the status is 128 and its number."""
    text = f"""
    import signal, sys
    signal.signal(signal.SIGTERM, lambda *_: (open({fifo.path!r}, "w").write("told"), sys.exit(0)))
    print('{{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}}', flush=True)
    signal.pause()
    """
    with running(tmp_path, server(tmp_path, text)) as guarded:
        assert guarded.receive()["method"] == "notifications/tools/list_changed"
        guarded.signal(number)
        assert fifo.read() == "told"
        assert guarded.status() == 128 + number
        assert guarded.stderr() == ""


def test_child_that_ignores_sigterm_is_killed_with_all_it_started(tmp_path: Path, fifo: Fifo) -> None:
    """A server that ignores SIGTERM, and its own child that does too, are gone in five seconds (A86)."""
    text = LINGERING.replace("FIFO", repr(fifo.path)) + "signal.pause()"
    with running(tmp_path, server(tmp_path, text)) as guarded:
        assert int(fifo.read())
        began = time.monotonic()
        guarded.signal(signal.SIGTERM)
        assert guarded.status() == 128 + signal.SIGTERM
        fifo.until_nobody_has_it()
        assert time.monotonic() - began <= 5


def test_child_that_outlives_its_input_is_ended(tmp_path: Path, fifo: Fifo) -> None:
    """A server that does not go at the end of its input is ended, with all it started (A86)."""
    text = LINGERING.replace("FIFO", repr(fifo.path)) + "signal.pause()"
    with running(tmp_path, server(tmp_path, text)) as guarded:
        assert int(fifo.read())
        began = time.monotonic()
        assert guarded.end() == 128 + signal.SIGKILL
        fifo.until_nobody_has_it()
        assert time.monotonic() - began <= 5


def test_grandchild_is_ended_when_the_child_goes(tmp_path: Path, fifo: Fifo) -> None:
    """What the server has started goes with it, and does not hold up the end (A86)."""
    text = LINGERING.replace("FIFO", repr(fifo.path)) + "sys.stdin.read()"
    with running(tmp_path, server(tmp_path, text)) as guarded:
        assert int(fifo.read())
        assert guarded.end() == 0
        fifo.until_nobody_has_it()


def test_process_that_got_away_does_not_hold_up_the_end(tmp_path: Path, fifo: Fifo) -> None:
    """A process in a session of its own that holds the server's output open is not waited for."""
    text = LINGERING.replace("FIFO", repr(fifo.path)).replace(
        "stdin=subprocess.DEVNULL", "stdin=subprocess.DEVNULL, start_new_session=True"
    )
    with running(tmp_path, server(tmp_path, text + "print(0); sys.stdin.read()")) as guarded:
        pid = int(fifo.read())
        try:
            assert guarded.end() == 0
        finally:
            os.kill(pid, signal.SIGKILL)


def test_client_that_goes_away_ends_the_child(tmp_path: Path, fifo: Fifo) -> None:
    """Nobody reading our output ends the server, even while nothing is written and input stays open."""
    text = LINGERING.replace("FIFO", repr(fifo.path)) + "signal.pause()"
    with running(tmp_path, server(tmp_path, text)) as guarded:
        assert int(fifo.read())
        assert guarded.process.stdout is not None
        guarded.process.stdout.close()
        assert guarded.status() == 128 + signal.SIGKILL
        fifo.until_nobody_has_it()


# --- what is in flight at the end ---


def test_end_of_input_with_a_request_in_flight(tmp_path: Path, fifo: Fifo) -> None:
    """An answer comes through after the end of input, from a server that drops everything at the end of its own."""
    text = f"""
    import os, sys, threading
    def answer():
        open({fifo.path!r}).read(1)
        os.write(1, b'{{"jsonrpc":"2.0","id":1,"result":{{}}}}\\n')
    sys.stdin.readline()
    threading.Thread(target=answer, daemon=True).start()
    sys.stdin.read()
    os._exit(0)
    """
    with running(tmp_path, server(tmp_path, text)) as guarded:
        guarded.send(PING)
        guarded.close()
        fifo.write("x")
        assert guarded.receive() == ANSWER
        assert guarded.status() == 0


def test_signal_after_the_end_of_input(tmp_path: Path) -> None:
    """A server that reads nothing does not keep a signal from being heard once input has ended."""
    text = "import signal; signal.pause()"
    with running(tmp_path, server(tmp_path, text)) as guarded:
        guarded.send(*(PING | {"id": number, "params": {"x": "x" * MIB}} for number in range(2)))
        guarded.close()
        guarded.signal(signal.SIGTERM)
        assert guarded.status() == 128 + signal.SIGTERM


def test_child_that_dies_mid_frame(tmp_path: Path) -> None:
    """Half a message is not passed on, is recorded, and the client gets an error and sees the end (A86)."""
    text = """
    import os, sys
    sys.stdin.readline()
    os.write(1, b'{"jsonrpc":"2.0","id":1,"resu')
    sys.exit(3)
    """
    with running(tmp_path, server(tmp_path, text)) as guarded:
        guarded.send(PING)
        answer = guarded.receive()
        assert (answer["id"], answer["error"]["data"]["code"]) == (1, "core.server_gone")
        assert guarded.line() == b""
        assert guarded.status() == 3
        assert {"core.not_json", "core.server_gone"} <= {event["code"] for event in guarded.events()}


CALL = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "pay"}}


def test_last_answer_is_waited_for(tmp_path: Path) -> None:
    """What a child said before it ended passes a hook that takes its time, within its deadline."""
    text = """
    import os, sys
    sys.stdin.readline()
    os.write(1, b'{"jsonrpc":"2.0","id":2,"result":{"content":[]}}\\n')
    """
    bounds = "[core.bounds]\ndeadline = 30.0"
    slow = SLOW.replace("BODY", "await asyncio.sleep(2)")
    with running(tmp_path, server(tmp_path, text), options=configure(tmp_path, bounds, policy=slow)) as guarded:
        assert guarded.ask(CALL) == {"jsonrpc": "2.0", "id": 2, "result": {"content": []}}
        assert guarded.rest() == []
        assert guarded.status() == 0
        codes = {event["code"] for event in guarded.events()}
        assert "core.answered" in codes
        assert "core.server_gone" not in codes


def test_last_answer_that_cannot_pass_is_an_error(tmp_path: Path) -> None:
    """An answer that a hook keeps for ever, whatever its deadline, is replaced once its child has gone; so is none."""
    text = """
    import os, sys
    sys.stdin.readline(), sys.stdin.readline()
    os.write(1, b'{"jsonrpc":"2.0","id":2,"result":{"content":[]}}\\n')
    """
    bounds = "[core.bounds]\ndeadline = 0.1\nsink_deadline = 0.1"
    with running(tmp_path, server(tmp_path, text), options=configure(tmp_path, bounds, policy=KEEPING)) as guarded:
        guarded.send(PING, CALL)
        answers = sorted(guarded.rest(), key=lambda one: one["id"])
        assert [one["id"] for one in answers] == [1, 2]
        assert {one["error"]["data"]["code"] for one in answers} == {"core.server_gone"}
        assert guarded.status() == 0
        outcomes = [event["code"] for event in guarded.events() if event.get("category") == "outcome"]
        assert outcomes == ["core.closed"]


def test_last_answer_without_a_line_feed(tmp_path: Path) -> None:
    """A whole message that the server ends with its life passes."""
    text = """
    import os, sys
    sys.stdin.readline()
    os.write(1, b'{"jsonrpc":"2.0","id":1,"result":{}}')
    """
    with running(tmp_path, server(tmp_path, text)) as guarded:
        assert guarded.ask() == ANSWER
        assert guarded.status() == 0


def test_slow_client_gets_all(tmp_path: Path) -> None:
    """A server that writes much and ends has its answers delivered, however late the client reads."""
    text = f"""
    import os, sys
    sys.stdin.readline()
    answer = b'{{"jsonrpc":"2.0","id":1,"result":{{"x":"' + b"x" * {3 * MIB} + b'"}}}}\\n'
    while answer:
        answer = answer[os.write(1, answer):]
    open({str(tmp_path / "fifo")!r}, "w").write("written")
    """
    fifo = Fifo(tmp_path / "fifo")
    with running(tmp_path, server(tmp_path, text)) as guarded:
        guarded.send(PING)
        guarded.close()
        assert fifo.read() == "written"
        assert len(guarded.receive()["result"]["x"]) == 3 * MIB
        assert guarded.status() == 0
    fifo.close()


# --- what a plugin may do wrong ---


@pytest.mark.parametrize("buffered", ["", "1"])
def test_plugin_that_prints(tmp_path: Path, buffered: str) -> None:
    """What a plugin prints, or a program that it starts, goes to standard error, and takes nothing of the input."""
    policy = """
import subprocess
from hauberk import Options, hookimpl

class Policy:
    name = "policy"
    Options = Options

    def __init__(self, options, guard):
        print("made")

    @hookimpl
    def on_send(self, message, connection):
        print("printed")
        subprocess.run(["sh", "-c", "cat; echo started"], check=True)
"""
    options = configure(tmp_path, policy=policy)
    env = environment(tmp_path, PYTHONUNBUFFERED=buffered)
    with running(tmp_path, server(tmp_path, ANSWERING), options=options, env=env) as guarded:
        guarded.send(*(PING | {"id": number} for number in range(3)))
        assert [guarded.receive()["id"] for _ in range(3)] == [0, 1, 2]
        assert guarded.end() == 0
        assert sorted(guarded.stderr().split()) == ["made", *["printed"] * 3, *["started"] * 3]


# --- what a server may do wrong ---


def test_log_line_on_standard_output_is_dropped(tmp_path: Path) -> None:
    """Text on the server's standard output is dropped with an event, and the stream stays in step (A56)."""
    text = "print('listening on stdio', flush=True)" + ANSWERING
    with running(tmp_path, server(tmp_path, text)) as guarded:
        assert guarded.ask() == ANSWER
        assert guarded.end() == 0
        dropped = [event for event in guarded.events() if event["code"] == "core.not_json"]
        assert len(dropped) == 1


def test_flood_on_standard_error(tmp_path: Path) -> None:
    """Megabytes on the server's standard error arrive on ours, and hold up nothing (A86)."""
    text = f"import os\nfor _ in range(256): os.write(2, b'x' * {64 * 1024})\n" + ANSWERING
    with running(tmp_path, server(tmp_path, text)) as guarded:
        assert guarded.ask() == ANSWER
        assert guarded.end() == 0
        assert len(guarded.stderr()) == 16 * MIB


def test_full_standard_error_does_not_hold_up_the_guard(tmp_path: Path) -> None:
    """A server that fills a standard error that nobody reads does not stop the guard's own log from going on."""
    policy = """
import logging
from hauberk import Options, hookimpl

class Policy:
    name = "policy"
    Options = Options

    def __init__(self, options, guard):
        pass

    @hookimpl
    def on_receive(self, message, connection):
        logging.getLogger("hauberk.policy").warning("x" * 1000)
"""
    text = """
    import os
    os.set_blocking(2, False)
    try:
        while True:
            os.write(2, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(2, True)
    """
    program = server(tmp_path, textwrap.dedent(text) + ANSWERING)
    options = configure(tmp_path, policy=policy)
    with running(tmp_path, program, options=options, stderr=subprocess.PIPE) as guarded:
        assert [guarded.ask(PING | {"id": number})["id"] for number in range(100)] == list(range(100))
        assert guarded.end() == 0


def test_child_that_closes_its_input(tmp_path: Path) -> None:
    """A server that can be told nothing any more is ended, and its status passed on; no request waits for ever."""
    text = "import os, signal; os.close(0); print('{}', flush=True); signal.pause()"
    with running(tmp_path, server(tmp_path, text)) as guarded:
        for number in range(3):
            guarded.send(PING | {"id": number})
        assert guarded.status() == 128 + signal.SIGTERM


# --- one side stops reading ---


def test_child_that_never_reads(tmp_path: Path) -> None:
    """A server that reads nothing holds up the client, and memory stays flat (A85)."""
    text = """
    import signal
    print('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}', flush=True)
    signal.pause()
    """
    with running(tmp_path, server(tmp_path, text), options=configure(tmp_path, policy=None)) as guarded:
        assert guarded.receive()["method"] == "notifications/tools/list_changed"
        assert guarded.process.stdin is not None
        before = guarded.resident()
        lines = b"".join(line(PING | {"id": number, "params": {"x": "x" * 60_000}}) for number in range(2, 1000))
        assert until_blocked(guarded.process.stdin.fileno(), lines) < 8 * MIB
        assert guarded.resident() - before < 16 * MIB
        guarded.signal(signal.SIGTERM)
        assert guarded.status() == 128 + signal.SIGTERM


def test_client_that_only_writes_what_is_refused(tmp_path: Path) -> None:
    """A client that reads no refusals is held up before they fill the memory (A85)."""
    options = configure(tmp_path, policy=None)
    with running(tmp_path, server(tmp_path, ANSWERING), options=options) as guarded:
        assert guarded.ask() == ANSWER
        assert guarded.process.stdin is not None
        before = guarded.resident()
        lines = b'{"jsonrpc":"2.0","id":7,"method":"no/such/method"}\n' * 1_000_000
        assert until_blocked(guarded.process.stdin.fileno(), lines) < 8 * MIB
        assert guarded.resident() - before < 16 * MIB
        assert guarded.receive()["id"] == 7


def test_client_that_never_reads(tmp_path: Path, fifo: Fifo) -> None:
    """A client that reads nothing holds up the server, memory stays flat, and nothing is lost or disordered (A85)."""
    text = f"""
    import os, select
    os.set_blocking(1, False)
    fifo = open({fifo.path!r}, "w", buffering=1)
    rest = count = 0
    while select.select([], [1], [], 1)[1]:
        if not rest:
            count += 1
            params = b'{{"level":"info","data":"%d%s"}}' % (count, b"x" * 60000)
            rest = b'{{"jsonrpc":"2.0","method":"notifications/message","params":%s}}\\n' % params
        rest = rest[os.write(1, rest):]
    print(count, file=fifo)
    os.set_blocking(1, True)
    while rest:
        rest = rest[os.write(1, rest):]
    """
    with running(tmp_path, server(tmp_path, text), options=configure(tmp_path, policy=None)) as guarded:
        count = int(fifo.read())
        assert count * 60_000 < 8 * MIB
        assert guarded.resident() < 128 * MIB
        said = [message["params"]["data"].rstrip("x") for message in guarded.rest()]
        assert said == [str(number + 1) for number in range(count)]
        assert guarded.status() == 0


def until_blocked(fd: int, data: bytes) -> int:
    """Write until the other side takes nothing more for a second; return how many bytes went."""
    os.set_blocking(fd, False)
    rest = memoryview(data)
    while rest and select.select([], [fd], [], 1.0)[1]:
        rest = rest[os.write(fd, rest) :]
    os.set_blocking(fd, True)
    return len(data) - len(rest)


# --- bad input ---


def test_line_over_the_bound(tmp_path: Path) -> None:
    """A line over 16 MiB is refused by its id, never held whole, and the next ping is answered in a second (A53)."""
    options = configure(tmp_path, policy=None)
    with running(tmp_path, server(tmp_path, ANSWERING), options=options) as guarded:
        assert guarded.ask() == ANSWER
        guarded.send(b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":"' + b"x" * (64 * MIB) + b'"}}\n')
        refused = guarded.receive()
        assert (refused["id"], refused["error"]["data"]["code"]) == (7, "core.line_too_long")
        began = time.monotonic()
        assert guarded.ask() == ANSWER
        assert time.monotonic() - began <= 1
        assert guarded.end() == 0


def test_line_without_end(tmp_path: Path) -> None:
    """A line that never ends is not held (A53)."""
    options = configure(tmp_path, "[core.bounds]\nline_bytes = 4096", policy=None)
    with running(tmp_path, server(tmp_path, ANSWERING), options=options) as guarded:
        assert guarded.ask() == ANSWER
        before = guarded.resident()
        for _ in range(64):
            guarded.send(b"[" * MIB)
        assert guarded.resident() - before < 8 * MIB
        guarded.send(b"\n")
        assert guarded.receive()["error"]["data"]["code"] == "core.line_too_long"
        assert guarded.ask() == ANSWER


HOSTILE = {
    "not UTF-8": b"\xff\xfe\x00\n",
    "zeros": b"\0\0\0\0\n",
    "a mark": b'\xef\xbb\xbf{"jsonrpc":"2.0","id":5,"method":"ping"}\n',
    "UTF-16": '{"jsonrpc":"2.0","id":5,"method":"ping"}'.encode("utf-16-le") + b"\n",
    "a batch": b'[{"jsonrpc":"2.0","id":5,"method":"ping"}]\n',
    "depth": b'{"jsonrpc":"2.0","id":5,"method":"ping","params":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001 + b"\n",
    "a long number": b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":' + b"9" * 5000 + b"}}\n",
    "NaN": b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":NaN}}\n',
    "two names": b'{"jsonrpc":"2.0","id":5,"method":"ping","method":"tools/call"}\n',
    "a lone surrogate": b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":"\\ud800"}}\n',
    "two objects": b'{"jsonrpc":"2.0","id":5,"method":"ping"}{"jsonrpc":"2.0","id":6,"method":"ping"}\n',
    "CR alone": b'{"jsonrpc":"2.0","id":5,"method":"ping"}\r{"jsonrpc":"2.0","id":6,"method":"ping"}\n',
    "a string": b'"ping"\n',
    "no version": b'{"id":5,"method":"ping"}\n',
}


def test_hostile_bytes(tmp_path: Path) -> None:
    """Each bad line gets one refusal with a code, in order, and what follows it is answered (A51-A53, A55)."""
    with running(tmp_path, server(tmp_path, ANSWERING), options=configure(tmp_path, policy=None)) as guarded:
        for name, bad in HOSTILE.items():
            refused = guarded.ask(bad)  # type: ignore[arg-type]  # a line
            assert refused["error"]["data"]["code"].startswith("core."), name
            assert guarded.ask() == ANSWER, name
        assert guarded.end() == 0


def test_only_a_line_feed_ends_a_frame(tmp_path: Path) -> None:
    """What Unicode or a terminal ends a line at stays inside the frame, both ways (A56)."""
    echo = """
    import json, sys
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": {"x": request["params"]["x"]}}
        sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\\n")
        sys.stdout.buffer.flush()
    """
    odd = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\rh"
    with running(tmp_path, server(tmp_path, echo)) as guarded:
        asked = PING | {"params": {"x": odd}}
        assert guarded.ask(json.dumps(asked, ensure_ascii=False).encode() + b"\n")["result"]["x"] == odd  # type: ignore[arg-type]  # a line


# --- what the server sees ---


def test_environment_of_the_server(tmp_path: Path) -> None:
    """A server gets six names of the environment, and those that ``--env`` names (A32)."""
    seen = tmp_path / "seen"
    command = server(tmp_path, f"import json, os; json.dump(dict(os.environ), open({str(seen)!r}, 'w'))")
    env = environment(
        tmp_path, LOGNAME="l", SHELL="s", TERM="t", USER="u", AWS_SECRET_ACCESS_KEY="no", LD_PRELOAD="", PASSED="yes"
    )
    options = [*configure(tmp_path), "--env", "PASSED", "--env", "MISSING"]
    with running(tmp_path, command, options=options, env=env) as guarded:
        assert guarded.status() == 0
        assert guarded.stderr() == "hauberk: warning: --env MISSING is not set, the server does not get it\n"
    # LC_CTYPE is what an interpreter started without a locale sets for itself (PEP 538).
    found = {name: value for name, value in json.loads(seen.read_text()).items() if name != "LC_CTYPE"}
    assert sorted(found) == ["HOME", "LOGNAME", "PASSED", "PATH", "SHELL", "TERM", "USER"]


def test_env_takes_no_value(tmp_path: Path) -> None:
    """``--env NAME=VALUE`` is refused without repeating the value: arguments are there for everybody to read."""
    with running(tmp_path, ["true"], options=[*configure(tmp_path), "--env", "TOKEN=hunter2"]) as guarded:
        assert guarded.status() == 125
        assert "TOKEN" in guarded.stderr()
        assert "hunter2" not in guarded.stderr()


def test_neither_sdk_nor_pydantic_is_imported(tmp_path: Path) -> None:
    """``hauberk run`` imports neither the SDK nor pydantic."""
    with running(
        tmp_path,
        server(tmp_path, ANSWERING),
        options=(),
        env=environment(tmp_path, PYTHONPROFILEIMPORTTIME="1"),
    ) as guarded:
        assert guarded.ask() == ANSWER
        assert guarded.end() == 0
        imported = {found.rpartition("|")[2].strip().partition(".")[0] for found in guarded.stderr().splitlines()}
    assert "hauberk" in imported
    assert imported.isdisjoint({"mcp", "mcp_types", "pydantic", "pydantic_core", "anyio"})


def test_nothing_is_imported_from_the_working_directory(tmp_path: Path) -> None:
    """A folder that one happens to stand in, such as a cloned repository, is not imported from."""
    here = tmp_path / "cloned"
    here.mkdir()
    (here / "orjson.py").write_text("raise SystemExit('imported')")
    with running(tmp_path, server(tmp_path, ANSWERING), cwd=here) as guarded:
        assert guarded.ask() == ANSWER


# --- the watchdog ---

STUCK = """
import re
from hauberk import Options, hookimpl

class Policy:
    name = "policy"
    Options = Options

    def __init__(self, options, guard):
        pass

    @hookimpl
    def on_send(self, message, connection):
        never_returns()

def never_returns():
    BODY
"""
BODIES = {
    "a loop": "while True: pass",
    "a wait": "import threading; threading.Event().wait()",
    "a pattern that backtracks": "re.fullmatch('(a|a)*b', 'a' * 200)",
}
"""Each keeps the event loop in another way; the last does not let go of the interpreter either."""


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_hook_that_never_returns_ends_the_process(tmp_path: Path, fifo: Fifo, body: str) -> None:
    """A hook that never returns lets nothing pass; the process ends with its stack, and so does the server (A68)."""
    options = configure(tmp_path, "[core.bounds]\nwatchdog = 1", policy=STUCK.replace("BODY", body))
    text = LINGERING.replace("FIFO", repr(fifo.path)) + "sys.stdin.read(); signal.pause()"
    with running(tmp_path, server(tmp_path, text), options=options) as guarded:
        assert int(fifo.read())
        guarded.send(PING)
        assert guarded.line() == b""
        assert guarded.status() == 125
        assert "a hook has not returned" in guarded.stderr()
        assert "in never_returns" in guarded.stderr()
        fifo.until_nobody_has_it()


def test_stopped_and_continued_is_not_stuck(tmp_path: Path) -> None:
    """A process that was stopped for two seconds goes on (A85)."""
    options = configure(tmp_path, "[core.bounds]\nwatchdog = 1", policy=None)
    with running(tmp_path, server(tmp_path, ANSWERING), options=options) as guarded:
        assert guarded.ask() == ANSWER
        assert guarded.process.stdout is not None
        guarded.signal(signal.SIGSTOP)
        guarded.send(PING)
        assert not readable(guarded.process.stdout.fileno(), 2)
        guarded.signal(signal.SIGCONT)
        assert guarded.receive() == ANSWER
        assert not readable(guarded.process.stdout.fileno(), 1.5)
        assert guarded.ask() == ANSWER
        assert guarded.end() == 0


def test_check_of_the_child_that_refuses_is_recorded(tmp_path: Path) -> None:
    """A check that refuses the child once it is started ends it with 125, and is in the record (X.3)."""
    policy = """
import pathlib
from hauberk import Options, Refused, hookimpl

class Policy:
    name = "policy"
    Options = Options

    def __init__(self, options, guard):
        pass

    def check(self, peer):
        raise Refused("policy.no", "not this one")

    @hookimpl
    def on_connect(self, connection):
        connection.verify.append(self.check)

    @hookimpl
    def on_audit(self, event):
        with pathlib.Path({path!r}).open("a") as file:
            file.write(event.code + "\\n")
"""
    options = configure(tmp_path, policy=policy)
    with running(tmp_path, server(tmp_path, ANSWERING), options=options) as guarded:
        assert guarded.status() == 125
        assert "not this one" in guarded.stderr()
    assert (tmp_path / "events").read_text().split().count("policy.no") == 1
