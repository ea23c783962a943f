"""``hauberk serve`` from end to end: clients on sockets, the guard, and a child process for each of them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.prose import DOCS, ROOT, block, blocks
from tests.running import ANSWERING, PATIENCE, WITNESS, Fifo, configure, environment, server
from tests.serving import PING, Client, Serving, serving, until_true

from hauberk._servers import Listen
from hauberk.config import Config

SLOW = """
import json, sys, time
for line in sys.stdin.buffer:
    request = json.loads(line)
    if request.get("method") == "tools/call":
        time.sleep(request["params"]["arguments"]["seconds"])
    if "id" in request:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {"content": []}}), flush=True)
"""
"""A server whose tool takes as long as it is asked to."""

STUBBORN = """
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
for line in sys.stdin.buffer:
    print(json.dumps({"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": {}}), flush=True)
signal.pause()
"""
"""A server that ignores SIGTERM and the end of its input, and has started a program that does too."""


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    made = Fifo(tmp_path / "fifo")
    yield made
    made.close()


def call(id: int, seconds: float) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": id,
        "method": "tools/call",
        "params": {"name": "wait", "arguments": {"seconds": seconds}},
    }


def telling(result: str) -> str:
    """Return a server that answers each request with what an expression gives."""
    return f"""
    import json, os, sys
    for line in sys.stdin:
        answer = {{"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": {result}}}
        print(json.dumps(answer), flush=True)
    """


def failed(folder: Path, *arguments: str, **env: str) -> tuple[int, str]:
    """Run it where it does not start; return status and standard error."""
    folder.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-m", "hauberk", "serve", *arguments],
        env=environment(folder, **env),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


# --- what passes ---


def test_two_clients_have_two_servers(tmp_path: Path) -> None:
    """Each connection has a child of its own; nothing is written to standard output, one line says where it listens."""
    tell = telling("{'pid': os.getpid()}")
    with serving(tmp_path, server(tmp_path, tell)) as serve:
        assert serve.stderr() == f"hauberk: listening at unix://{serve.path}\n"
        assert stat.S_IMODE(serve.path.lstat().st_mode) == 0o600
        assert serve.children() == []
        with serve.client() as one, serve.client() as other:
            pids = {client.ask()["result"]["pid"] for client in (one, other)}
            assert pids == set(serve.children())
        until_true(lambda: not serve.children())
        assert serve.stop() == 0
        assert serve.process.stdout is not None
        assert serve.process.stdout.read() == b""
        assert not serve.path.exists()
        codes = [event["code"] for event in serve.events()]
        assert codes[0] == "core.started"
        assert codes[-1] == "core.stopped"
        assert sorted(codes).count("core.connected") == sorted(codes).count("core.disconnected") == 2


def test_named_server(tmp_path: Path) -> None:
    """``hauberk serve NAME`` takes command, environment, directory and address from the file, and one child's only."""
    (tmp_path / "work").mkdir()
    names = "('COLOUR', 'SECRET', 'NOTIFY_SOCKET')"
    text = telling("{'cwd': os.getcwd(), 'env': [os.environ.get(name) for name in " + names + "]}")
    command, *args = server(tmp_path, text)
    options = configure(
        tmp_path,
        f"[server.files]\ncommand = {json.dumps(command)}\nargs = {json.dumps(args)}\n"
        'cwd = "work"\nenv = { COLOUR = "blue" }\n'
        f'[server.files.listen]\naddress = "unix://{tmp_path}/run/x.sock"\nconnections = 1\n',
    )
    env = environment(tmp_path, SECRET="s", NOTIFY_SOCKET="/nowhere")
    with serving(tmp_path, (), "files", options=options, listen=(), env=env) as serve, serve.client() as client:
        assert client.ask()["result"] == {"cwd": f"{tmp_path}/work", "env": ["blue", None, None]}
        with serve.client() as second:
            assert second.ask()["error"]["data"]["code"] == "core.too_many_connections"
        assert {event["server"] for event in serve.events() if "server" in event} == {"files"}


@pytest.mark.parametrize("listen", [(), ("unix",), ("unix://",)])
def test_default_address(tmp_path: Path, listen: tuple[str, ...]) -> None:
    """Without an address it listens in the user's own directory for sockets, under the server's name (S4.8)."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    command = server(tmp_path, ANSWERING)
    env = environment(tmp_path, XDG_RUNTIME_DIR=str(runtime))
    with serving(tmp_path, command, "--server", "time", listen=listen, env=env) as serve:
        serve.path = runtime / "hauberk" / "time.sock"
        assert stat.S_IMODE(serve.path.parent.stat().st_mode) == 0o700
        with serve.client() as client:
            assert client.ask()["result"] == {}


def test_several_addresses(tmp_path: Path) -> None:
    """It listens on as many addresses as it is told to; each of them is removed at the end."""
    paths = [tmp_path / "run" / name for name in ("a.sock", "b.sock")]
    with serving(tmp_path, server(tmp_path, ANSWERING), listen=[f"unix://{path}" for path in paths]) as serve:
        for path in paths:
            serve.path = path
            with serve.client() as client:
                assert client.ask()["result"] == {}
        assert serve.stop() == 0
        assert not any(path.exists() for path in paths)


def test_service_manager_is_told(tmp_path: Path) -> None:
    """A service manager learns when it is ready, and when it begins to end."""
    tmp_path.chmod(0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        env = environment(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"))
        with serving(tmp_path, server(tmp_path, ANSWERING), env=env) as serve:
            assert manager.recv(100) == b"READY=1"
            assert serve.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"


def test_reload(tmp_path: Path) -> None:
    """SIGHUP reads the configuration again, and a file that is refused ends nothing."""
    with serving(tmp_path, server(tmp_path, ANSWERING)) as serve, serve.client() as client:
        assert client.ask()["result"] == {}
        (tmp_path / "hauberk.toml").write_text("nonsense")
        serve.process.send_signal(signal.SIGHUP)
        until_true(lambda: "the old one is in force" in serve.stderr())
        assert client.ask()["result"] == {}
        assert serve.stop() == 0


# --- what does not start ---


def test_command_not_found(tmp_path: Path) -> None:
    """A command that is not there ends with 127 before anything listens, one that is no program with 126."""
    options = configure(tmp_path)
    where = f"unix://{tmp_path}/run/x.sock"
    status, text = failed(tmp_path, *options, "--listen", where, "--", "no-such-command-anywhere")
    assert (status, text) == (
        127,
        "hauberk: command 'no-such-command-anywhere' is not found\nhint: check its name, and PATH\n",
    )
    (tmp_path / "script").write_text("no program")
    assert failed(tmp_path, *options, "--listen", where, "--", str(tmp_path / "script"))[0] == 126
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "unix:@x", "--", "true"], "is no address"),
        (["--listen", "unix://@x", "--", "true"], "is no address"),
        (["--listen", "http://x:1", "--", "true"], "is no address"),
        (["--listen", "unix:///" + "x" * 200, "--", "true"], "has 201 bytes"),
        (["--listen", "tls://127.0.0.1:0", "--", "true"], "needs the plugin tls"),
        (["--listen", "unix:///proc/x.sock", "--", "true"], "cannot"),
        (["--listen", "unix:///tmp/x.sock", "--", "true"], "'/tmp'"),
        (["nowhere"], "there is no server 'nowhere'"),
        ([], "nothing to serve"),
        (["a", "--", "b"], "two servers"),
        (["--env", "A=b", "--", "true"], "--env takes a name"),
    ],
)
def test_errors(tmp_path: Path, arguments: list[str], words: str) -> None:
    """What cannot be served is an error with 125, and says why (S4.8, X.16)."""
    status, text = failed(tmp_path, *configure(tmp_path), *arguments)
    assert (status, words in text, "Traceback" in text) == (125, True, False), text


def test_wrong_address_in_the_file(tmp_path: Path) -> None:
    """An address that is none is an error of the file, with its place."""
    options = configure(tmp_path, '[server.files]\ncommand = "true"\n[server.files.listen]\naddress = "tcp://x"')
    status, text = failed(tmp_path, *options, "files")
    assert status == 125
    assert "listen" in text
    assert "'tcp://x' is no address" in text


def test_second_server(tmp_path: Path) -> None:
    """A second server on the path of the first is told so, and leaves it as it is (S4.8)."""
    with serving(tmp_path, server(tmp_path, ANSWERING)) as serve:
        status, text = failed(tmp_path, *configure(tmp_path), "--listen", f"unix://{serve.path}", "--", "true")
        assert (status, "a server listens there already" in text) == (125, True)
        with serve.client() as client:
            assert client.ask()["result"] == {}


def test_killed_server_is_followed_by_another(tmp_path: Path) -> None:
    """A server that was killed leaves its socket; the next one takes its place."""
    command = server(tmp_path, ANSWERING)
    with serving(tmp_path, command) as serve:
        serve.process.kill()
        serve.process.wait()
        assert serve.path.exists()
    with serving(tmp_path, command) as serve, serve.client() as client:
        assert client.ask()["result"] == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_other_user(tmp_path: Path) -> None:
    """Another user cannot reach the socket; with the directory open to him he is refused by the kernel's word (A80)."""
    with serving(tmp_path, server(tmp_path, ANSWERING)) as serve:

        def other() -> str:
            for folder in tmp_path.parents:
                if not folder.stat().st_mode & 0o001:
                    folder.chmod(0o711)
            reading, writing = os.pipe()
            if (pid := os.fork()) == 0:
                os.setuid(12345)
                sock = socket.socket(socket.AF_UNIX)
                number = sock.connect_ex(str(serve.path))
                os.write(writing, b"%d %s" % (number, b"" if number else sock.recv(999)))
                os._exit(0)
            os.waitpid(pid, 0)
            os.close(writing)
            with os.fdopen(reading, "rb") as file:
                return file.read().decode()

        tmp_path.chmod(0o711)
        assert other() == f"{errno.EACCES} "
        serve.path.parent.chmod(0o711)
        serve.path.chmod(0o666)
        assert "core.peer_user" in other()
        (event,) = serve.told("core.peer_user")
        assert event["details"]["uid"] == 12345
        assert serve.children() == []


# --- children that lie, or die ---


def test_child_that_is_killed(tmp_path: Path) -> None:
    """A child that dies in the middle leaves its asker with an error and an orderly end, and others alone (A86)."""
    with serving(tmp_path, server(tmp_path, SLOW)) as serve, serve.client() as other:
        assert "result" in other.ask(call(1, 0))
        (bystander,) = serve.children()
        with serve.client() as client:
            client.send(call(7, 60))
            until_true(lambda: len(serve.children()) == 2)
            (pid,) = {*serve.children()} - {bystander}
            time.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
            answer = client.receive()
            assert (answer["id"], answer["error"]["data"]["code"]) == (7, "core.server_gone")
            assert client.receive() is None
        assert "result" in other.ask(call(2, 0))
        assert len(serve.told("core.server_gone")) == 1


def test_child_that_ends_in_the_middle_of_a_frame(tmp_path: Path) -> None:
    """Half a frame is refused, whoever asked gets an error, and the connection ends (A86)."""
    text = 'import sys; sys.stdin.readline(); sys.stdout.write(\'{"jsonrpc":"2.0","id":1,"res\'); sys.stdout.flush()'
    with serving(tmp_path, server(tmp_path, text)) as serve, serve.client() as client:
        assert client.ask()["error"]["data"]["code"] in {"core.server_gone", "core.refused"}
        assert client.receive() is None


def test_child_that_ignores_sigterm(tmp_path: Path, fifo: Fifo) -> None:
    """When a client goes, its child goes within five seconds, with all that it started (A86)."""
    with serving(tmp_path, server(tmp_path, STUBBORN.replace("FIFO", repr(fifo.path)))) as serve:
        with serve.client() as client:
            client.ask()
            assert int(fifo.read())
            began = time.monotonic()
        fifo.until_nobody_has_it()
        assert time.monotonic() - began <= 5
        until_true(lambda: not serve.children())


def test_client_that_vanishes_in_a_call(tmp_path: Path) -> None:
    """A client that goes while it waits takes its child with it (A86)."""
    with serving(tmp_path, server(tmp_path, SLOW)) as serve:
        with serve.client() as client:
            client.send(call(1, 600))
            until_true(serve.children)
        began = time.monotonic()
        until_true(lambda: not serve.children())
        assert time.monotonic() - began <= 8


# --- the end ---


def test_drain(tmp_path: Path) -> None:
    """SIGTERM lets a call in flight finish, refuses what is new, and ends with 0."""
    with serving(tmp_path, server(tmp_path, SLOW)) as serve, serve.client() as client:
        client.send(call(1, 1.0))
        until_true(serve.children)
        time.sleep(0.1)
        serve.process.send_signal(signal.SIGTERM)
        until_true(lambda: not serve.path.exists())
        refused = client.ask(call(2, 0))
        assert (refused["id"], refused["error"]["data"]["code"]) == (2, "core.draining")
        assert client.receive() == {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}
        assert client.receive() is None
        assert serve.status() == 0


def test_drain_that_does_not_end(tmp_path: Path) -> None:
    """What is not answered in time gets an error, and the status says that something was lost."""
    command, *args = server(tmp_path, SLOW)
    options = configure(
        tmp_path,
        f"[server.slow]\ncommand = {json.dumps(command)}\nargs = {json.dumps(args)}\n"
        "[server.slow.listen]\ndrain_seconds = 0.2",
    )
    with serving(tmp_path, (), "slow", options=options) as serve, serve.client() as client:
        client.send(call(1, 600))
        until_true(serve.children)
        serve.process.send_signal(signal.SIGTERM)
        assert client.receive()["error"]["data"]["code"] == "core.draining"
        assert serve.status() == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_it_at_once(tmp_path: Path, fifo: Fifo, number: signal.Signals) -> None:
    """A second signal ends everything at once, children that ignore SIGTERM included (A85, A86)."""
    text = STUBBORN.replace("FIFO", repr(fifo.path)).replace("print(json", "0 and print(json")
    with serving(tmp_path, server(tmp_path, text)) as serve, serve.client() as client:
        client.send(PING)
        assert int(fifo.read())
        serve.process.send_signal(number)
        until_true(lambda: not serve.path.exists())
        began = time.monotonic()
        serve.process.send_signal(number)
        assert serve.status() == 128 + number
        fifo.until_nobody_has_it()
        assert time.monotonic() - began <= 2


def test_socket_that_is_taken_over(tmp_path: Path) -> None:
    """A path that was replaced by a link is left alone; nobody could reach it, so it ends with 125 (A80)."""
    with serving(tmp_path, server(tmp_path, ANSWERING)) as serve:
        serve.path.unlink()
        serve.path.symlink_to("elsewhere")
        assert serve.status() == 125
        assert serve.path.is_symlink()
        assert "replaced" in serve.stderr()
        assert serve.told("core.socket_lost")


def test_hook_that_never_returns(tmp_path: Path) -> None:
    """A hook that never returns ends it with the stack of whoever is stuck, and the children with it."""
    policy = """
import time
from hauberk import Options, hookimpl

class Policy:
    name = "policy"
    Options = Options

    def __init__(self, options, guard):
        pass

    @hookimpl
    def on_receive(self, message, connection):
        if message.id == "stuck":
            time.sleep(600)
"""
    options = configure(tmp_path, "[core.bounds]\nwatchdog = 0.5\ndeadline = 0.4", policy=policy)
    with serving(tmp_path, server(tmp_path, ANSWERING), options=options) as serve, serve.client() as client:
        client.ask()
        (pid,) = serve.children()
        client.send({"jsonrpc": "2.0", "id": "stuck", "method": "ping"})
        assert serve.status() == 125
        until_true(lambda: not Path(f"/proc/{pid}").exists() or b"Z" in Path(f"/proc/{pid}/stat").read_bytes())


# --- many ---


def test_fifty_children(tmp_path: Path) -> None:
    """Fifty connections have fifty children; when they go, nothing is left of them (A85)."""
    with serving(tmp_path, server(tmp_path, ANSWERING)) as serve:
        with serve.client() as client:
            client.ask()
        until_true(lambda: not serve.children())
        before = serve.descriptors()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(serve.client()) for _ in range(50)]
            for client in clients:
                client.send(PING)
            assert all(client.receive()["result"] == {} for client in clients)
            assert len(serve.children()) == 50
        until_true(lambda: not serve.children())
        until_true(lambda: serve.descriptors() <= before)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(serve.client()) for _ in range(20)]
            for client in clients:
                client.ask()
            assert serve.stop() == 0
            assert all(client.receive() is None for client in clients)


def test_no_descriptors_left(tmp_path: Path) -> None:
    """With no descriptors left it waits without a busy loop, says so, and goes on when there are some (A85)."""
    limit = 60
    keeping = (
        WITNESS.replace("pass", "self.file = open({path!r}, 'ab', buffering=0)")
        .replace('with open({path!r}, "ab") as file:', "if True:")
        .replace("file.write", "self.file.write")
    )
    options = configure(tmp_path, policy=keeping)
    lower = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))  # noqa: E731
    with serving(tmp_path, server(tmp_path, ANSWERING), options=options, preexec_fn=lower) as serve:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(serve.client()) for _ in range(80)]
            until_true(lambda: serve.events("core.no_descriptors"))
            used = cpu(serve)
            time.sleep(1)
            assert cpu(serve) - used < 0.5
            for client in clients[:20]:
                client.send(PING)
            answer = clients[0].receive()
            assert answer is None or "error" in answer or "result" in answer
        with serve.client() as client:
            assert client.ask()["result"] == {}
        assert serve.stop() == 0
        assert "Traceback" not in serve.stderr()


def cpu(serve: Serving) -> float:
    """Return the time of the processor that it has used (seconds)."""
    fields = Path(f"/proc/{serve.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_large_and_many_messages(tmp_path: Path) -> None:
    """What is large, and what comes in thousands, passes whole and in order while nobody is in a hurry."""
    text = """
    import sys
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(line.replace(b'"method":"ping","params"', b'"result"'))
        sys.stdout.buffer.flush()
    """
    with serving(tmp_path, server(tmp_path, text)) as serve, serve.client() as client:
        large = b'{"jsonrpc":"2.0","id":0,"method":"ping","params":{"x":"%s"}}\n' % (b"x" * 4_000_000)
        client.send(large)
        assert len(client.receive()["result"]["x"]) == 4_000_000
        frames = b"".join(
            b'{"jsonrpc":"2.0","id":%d,"method":"ping","params":{"x":"%s"}}\n' % (n, b"x" * 500) for n in range(1, 4000)
        )
        receiving = Client(client.sock)
        pid = os.fork()
        if pid == 0:
            client.sock.sendall(frames)
            os._exit(0)
        assert [receiving.receive()["id"] for _ in range(1, 4000)] == list(range(1, 4000))
        os.waitpid(pid, 0)


# --- docs/serve.md, contrib/hauberk-serve@.service ---


def test_configuration_of_the_page_says_the_defaults(tmp_path: Path) -> None:
    """The table of the page is read, and its bounds are the ones that hold without it."""
    config = Config.from_toml(block(DOCS / "serve.md", "toml", "listen"))
    options = config.server("files")
    assert options is not None
    assert options.listen == Listen(address="unix:///run/hauberk/files.sock")


def test_commands_of_the_page_are_understood(tmp_path: Path) -> None:
    """Each command of the page, and that of the unit, is read up to the server, which is not there."""
    lines = [line for text in blocks(DOCS / "serve.md", "console") for line in text.splitlines()]
    commands = [line.removeprefix("$ ").split() for line in lines if line.startswith("$ hauberk")]
    unit = (ROOT / "contrib" / "hauberk-serve@.service").read_text()
    (started,) = re.findall(r"(?m)^ExecStart=%h/\.local/bin/(.*)$", unit)
    for command in [*commands, started.replace("%i", "files").split()]:
        assert command[:2] == ["hauberk", "serve"]
        status, text = failed(tmp_path, *configure(tmp_path), *command[2:])
        assert (status, "there is no server 'files'" in text) == (125, True), text


def test_unit_is_one(tmp_path: Path) -> None:
    """A service manager finds no fault with the unit, where it is there to look."""
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd-analyze")
    unit = tmp_path / "hauberk-serve@files.service"
    program = "ExecStart=/bin/true"
    text = (ROOT / "contrib" / "hauberk-serve@.service").read_text()
    unit.write_text(re.sub(r"(?m)^ExecStart=.*$", program, text))
    done = subprocess.run([analyze, "verify", "--user", str(unit)], capture_output=True, text=True, check=False)
    assert str(unit) not in done.stderr
