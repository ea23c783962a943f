"""Where checkpoints go: files that are only added to, collectors, and what packages bring."""

from __future__ import annotations

import base64
import datetime as dt
import errno
import http.server
import importlib.metadata
import os
import ssl
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hauberk.refusals import ConfigError, PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit.checkpoints import _reach, _sinks
from hauberk_audit.checkpoints._checkpoint import Checkpoint
from hauberk_audit.checkpoints._note import Signer, check_signed, parse
from hauberk_audit.checkpoints._reach import Place, within
from hauberk_audit.checkpoints._sinks import FileSink, Setting, SinkError, make
from hauberk_audit.checkpoints._tree import Growth, Tree, consistent, leaf_hash

SIGNER = Signer("example.com/log", bytes(range(32)))
WITNESS = Signer("witness.example/w", bytes(range(1, 33)))
NOTE = SIGNER.sign(b"example.com/log\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").data
TOKEN = "abc.DEF-123_~+/="


# --- files ---


def test_file_is_added_to(tmp_path: Path) -> None:
    """Each checkpoint stands behind the one before it; what was there stays, and the file is private if it is made."""
    path = tmp_path / "kept"
    for _ in range(2):
        sink = FileSink(f"file:{path}", Setting())
        assert sink.send(NOTE) == b""
        sink.send(NOTE)
    assert path.read_bytes() == (b"\n\n" + NOTE + b"\n" + NOTE) * 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_is_not_made_in_production(tmp_path: Path) -> None:
    """In production a file that is not there is an error: one that the host makes is its own."""
    with pytest.raises(SinkError, match="no such file"):
        FileSink(f"file:{tmp_path}/kept", Setting(production=True)).send(NOTE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    """A link, a pipe that nobody reads and a directory are refused, and nothing blocks."""
    path = tmp_path / "kept"
    if kind == "link":
        path.symlink_to(tmp_path / "other")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(SinkError, match="cannot append"):
        FileSink(f"file:{path}", Setting()).send(NOTE)
    assert not (tmp_path / "other").exists()


def test_half_a_checkpoint_is_an_error_and_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that is not written whole is said not to be kept, and the next one is told apart from it."""
    path = tmp_path / "kept"
    sink = FileSink(f"file://{path}", Setting())
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:30]))
    with pytest.raises(SinkError, match="cannot append"):
        sink.send(NOTE)
    monkeypatch.undo()
    sink.send(NOTE)
    assert path.read_bytes().endswith(b"\n\n" + NOTE)


def test_failed_sync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that did not reach the disk is not said to be kept."""

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    (tmp_path / "kept").touch()
    with pytest.raises(SinkError, match="input/output error"):
        FileSink(f"file:{tmp_path}/kept", Setting()).send(NOTE)


@pytest.mark.parametrize("url", ["file:", "file:kept", "file:./kept", "file://host/kept", "file:/kept/", "file:/a\0b"])
def test_url_that_names_no_file_is_refused(url: str) -> None:
    """A path that does not begin at the root, or on another host, is refused."""
    with pytest.raises(ConfigError, match="names no file"):
        make(url, Setting())


# --- out of reach ---

SAFE = Place(owner=1, append_only=True, directory_owner=0, directory_mode=0o755, directory_open=False)


@pytest.mark.parametrize(
    ("place", "user", "why"),
    [
        (SAFE, 1000, ""),
        (SAFE, 0, "runs as root"),
        (SAFE, 1, "belongs to the user"),
        (SAFE._replace(append_only=False), 1000, "not append-only"),
        (SAFE._replace(directory_owner=1000), 1000, "its directory"),
        (SAFE._replace(directory_open=True, directory_mode=0o777), 1000, "its directory"),
        (SAFE._replace(directory_open=True, directory_mode=0o1777), 1000, ""),
    ],
)
def test_what_is_out_of_reach(place: Place, user: int, why: str) -> None:
    """Only a file of another user that can only be added to, in a directory of another one, is out of reach (S3.6)."""
    found = within(place, user)
    assert why in found
    assert bool(found) == bool(why)


def test_file_of_the_host_is_within_reach(tmp_path: Path) -> None:
    """A file that the host made itself is no anchor, and it is said why."""
    sink = FileSink(f"file:{tmp_path}/kept", Setting())
    with pytest.raises(SinkError, match="cannot open"):
        sink.within_reach()
    sink.send(NOTE)
    assert sink.within_reach()


@pytest.fixture
def append_only(tmp_path: Path) -> Iterator[Path]:
    """Return a file that may only be appended to, where the system can make one."""
    path = tmp_path / "kept"
    path.touch()
    try:
        done = subprocess.run(["chattr", "+a", path], check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no chattr")
    if done.returncode:
        pytest.skip("the file system, or the user, has no such attribute")
    yield path
    subprocess.run(["chattr", "-a", path], check=True)


def test_append_only_file_is_known_and_takes_checkpoints(append_only: Path) -> None:
    """A file that may only be appended to is told from another one, and a checkpoint can be added to it."""
    assert _reach.place(append_only).append_only
    FileSink(f"file:{append_only}", Setting(production=True)).send(NOTE)
    with pytest.raises(PermissionError):
        os.open(append_only, os.O_WRONLY)
    other = append_only.with_name("other")
    other.touch()
    assert not _reach.place(other).append_only


# --- collectors ---


class Collector(http.server.ThreadingHTTPServer):
    """A collector on this machine."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.answer = b""
        self.handle: Callable[[bytes], tuple[int, bytes]] = lambda _: (self.status, self.answer)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server_address[1]}/checkpoints"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that end early."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        status, answer = self.server.handle(body)
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


def certificate(folder: Path, host: str = "localhost") -> tuple[Path, Path]:
    """Make a certificate for a host, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("certs"))


@contextmanager
def serving(certificates: tuple[Path, Path]) -> Iterator[Collector]:
    """Run a collector with a certificate and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates)
    server = Collector(context)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def collector(certificates: tuple[Path, Path]) -> Iterator[Collector]:
    with serving(certificates) as server:
        yield server


@pytest.fixture
def setting(certificates: tuple[Path, Path]) -> Setting:
    return Setting(ca_file=certificates[0])


def test_collector_gets_the_note(collector: Collector, setting: Setting) -> None:
    """A collector gets the note to the byte, at its path, and no token that is not its own."""
    assert make(collector.url, setting).send(NOTE) == b""
    ((path, headers, body),) = collector.got
    assert (path, body, headers["Content-Type"]) == ("/checkpoints", NOTE, "text/plain; charset=utf-8")
    assert "Authorization" not in headers


def test_cosignatures_are_taken_and_nothing_else(collector: Collector, setting: Setting) -> None:
    """Lines of signatures in the answer are returned, so that the note can have them; all else is left."""
    cosigned = WITNESS.sign(parse(NOTE).text).signatures[0].line
    collector.answer = b"thank you\n" + cosigned + b"\xe2\x80\x94 broken\n\nmore"
    added = make(collector.url, setting).send(NOTE)
    assert added == cosigned
    assert len(check_signed(parse(NOTE + added), [SIGNER.verifier, WITNESS.verifier])) == 2


def test_token_goes_to_its_host_alone(collector: Collector, setting: Setting, tmp_path: Path) -> None:
    """A token is sent to the host that it was written down for, and to no other."""
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    make(collector.url, setting._replace(tokens={"localhost": token})).send(NOTE)
    make(collector.url, setting._replace(tokens={"other.example": token})).send(NOTE)
    assert [headers.get("Authorization") for _, headers, _ in collector.got] == [f"Bearer {TOKEN}", None]


@pytest.mark.parametrize(("text", "mode"), [("a b", 0o600), ("", 0o600), ("a\r\nX: y", 0o600), (TOKEN, 0o644)])
def test_unusable_token_is_not_sent(
    collector: Collector, setting: Setting, tmp_path: Path, text: str, mode: int
) -> None:
    """A file that is no token, or that others can read, is an error that does not show it (X.14)."""
    token = tmp_path / "token"
    token.write_text(text)
    token.chmod(mode)
    with pytest.raises(SinkError) as caught:
        make(collector.url, setting._replace(tokens={"localhost": token})).send(NOTE)
    assert TOKEN not in str(caught.value)
    assert collector.got == []


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 409, 500, 503])
def test_other_answers_are_errors(collector: Collector, setting: Setting, status: int) -> None:
    """Any answer but 200 to 299 says that nothing is kept; a redirection is not followed."""
    collector.status, collector.headers = status, {"Location": collector.url}
    with pytest.raises(SinkError, match=f"answered {status}"):
        make(collector.url, setting).send(NOTE)
    assert len(collector.got) == 1


def test_certificate_is_checked(collector: Collector, tmp_path: Path) -> None:
    """A collector that nobody vouches for gets nothing."""
    for ca_file in (None, certificate(tmp_path)[0]):
        with pytest.raises(SinkError, match="certificate verify failed"):
            make(collector.url, Setting(ca_file=ca_file)).send(NOTE)
    assert collector.got == []


def test_name_in_the_certificate_is_checked(tmp_path: Path) -> None:
    """A collector with the certificate of another host gets nothing, though somebody vouches for it."""
    other = certificate(tmp_path, "other.example")
    with serving(other) as server, pytest.raises(SinkError, match=r"certificate verify failed.*mismatch"):
        make(server.url, Setting(ca_file=other[0])).send(NOTE)
    assert server.got == []


def test_answer_is_bounded(collector: Collector, setting: Setting) -> None:
    """An answer that is longer than any is not read to its end."""
    collector.answer = b"x" * (BOUNDS.note + 1)
    with pytest.raises(SinkError, match="too long"):
        make(collector.url, setting).send(NOTE)


def test_collector_that_never_answers_is_given_up(
    setting: Setting, certificates: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that sends a byte now and then does not keep the thread for ever."""
    from hauberk_audit.checkpoints import _https

    asked, hung_up = threading.Event(), threading.Event()
    hang_up = _https._hang_up

    def soon(seconds: float, function: Callable[..., None], args: tuple[Any, ...]) -> threading.Timer:
        assert seconds == BOUNDS.patience

        def once_asked() -> None:
            asked.wait(30)
            function(*args)

        return real(0, once_asked)

    def seen(connection: Any) -> None:
        hang_up(connection)
        hung_up.set()

    def never(_: Any) -> None:
        asked.set()
        hung_up.wait(30)

    real = threading.Timer
    monkeypatch.setattr(_https, "_hang_up", seen)
    monkeypatch.setattr(_Handler, "do_POST", never)
    with serving(certificates) as server:
        monkeypatch.setattr(threading, "Timer", soon)
        with pytest.raises(SinkError, match="cannot be reached"):
            make(server.url, setting).send(NOTE)
        assert hung_up.wait(30)  # the thread that hangs up may say so after its socket did


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https:///path",
        "https://user:pass@host/",
        "https://host/?a=b",
        "https://host/#a",
        "https://host:99999/",
        "https://host/a b",
    ],
)
def test_url_that_is_none_of_a_collector_is_refused(url: str) -> None:
    """A URL with a user, a query or a fragment, or without a host, is refused."""
    with pytest.raises(ConfigError):
        make(url, Setting())


def test_other_machine_is_out_of_reach() -> None:
    """What a collector keeps cannot be changed from here."""
    assert make("https://collector.example/host1", Setting()).within_reach() == ""


# --- witnesses ---


class Witness:
    """A witness as https://c2sp.org/tlog-witness has it, for one log."""

    def __init__(self) -> None:
        self.size, self.root = 0, b""
        self.sizes: list[tuple[int, int]] = []
        """What was asked for: the size before, and the size."""

    def __call__(self, body: bytes) -> tuple[int, bytes]:
        head, _, data = body.partition(b"\n\n")
        first, *proof = head.decode().split("\n")
        note = parse(data)
        check_signed(note, [SIGNER.verifier])
        found = Checkpoint.parse(note.text)
        old = int(first.removeprefix("old "))
        self.sizes.append((old, found.size))
        if old > found.size:
            return 400, b""
        if old != self.size or (old == found.size and self.root != found.root):
            return 409, b"%d\n" % self.size
        path = [base64.b64decode(node) for node in proof]
        if old and not consistent(old, found.size, (self.root, found.root), path):
            return 422, b""
        self.size, self.root = found.size, found.root
        return 200, WITNESS.sign(note.text).signatures[0].line


def tree_of(count: int, text: str = "x") -> Tree:
    tree = Tree()
    for number in range(count):
        tree.push(leaf_hash(f"{text}{number}".encode()))
    return tree


def checkpoint(count: int, text: str = "x") -> bytes:
    return SIGNER.sign(Checkpoint("example.com/log", count, tree_of(count, text).root()).text).data


def prove(count: int) -> Callable[[int], list[bytes]]:
    """Return what proves that a log of so many entries only grew."""

    def proof(size: int) -> list[bytes]:
        grown = Growth(tree_of(size))
        for number in range(size, count):
            grown.push(leaf_hash(f"x{number}".encode()))
        return grown.proof()

    return proof


def test_witness_signs_what_only_grew(collector: Collector, setting: Setting) -> None:
    """A witness gets a proof from what it signed last, and its signature goes on with the checkpoint (S3.6)."""
    witness = collector.handle = Witness()
    sink: Any = make(f"witness+{collector.url}/w1/", setting)
    for count in (3, 7, 7, 20):
        note = checkpoint(count)
        signed = sink.cosign(note, prove(count))
        assert len(check_signed(parse(note + signed), [SIGNER.verifier, WITNESS.verifier])) == 2
    assert witness.sizes == [(0, 3), (3, 7), (7, 7), (7, 20)]
    assert {path for path, _, _ in collector.got} == {"/checkpoints/w1/add-checkpoint"}


def test_witness_says_where_it_was(collector: Collector, setting: Setting) -> None:
    """After a restart the witness says what it signed last, and gets the proof from there."""
    witness = collector.handle = Witness()
    first: Any = make(f"witness+{collector.url}", setting)
    first.cosign(checkpoint(5), prove(5))
    again: Any = make(f"witness+{collector.url}", setting)
    assert again.cosign(checkpoint(9), prove(9))
    assert witness.sizes == [(0, 5), (0, 9), (5, 9)]


def test_witness_does_not_sign_what_was_put_back(collector: Collector, setting: Setting) -> None:
    """A log that has fewer entries than the witness signed, or others, is not signed: the error says why (A18)."""
    collector.handle = Witness()
    sink: Any = make(f"witness+{collector.url}", setting)
    sink.cosign(checkpoint(9), prove(9))
    fresh: Any = make(f"witness+{collector.url}", setting)
    for asked in (sink, fresh):
        with pytest.raises(SinkError, match="has signed 9 entries of this log, and it has 4"):
            asked.cosign(checkpoint(4), prove(4))
    with pytest.raises(SinkError, match=r"did not sign \(422\)"):
        sink.cosign(checkpoint(12, "y"), prove(12))
    with pytest.raises(SinkError, match=r"did not sign \(409\)"):
        sink.cosign(checkpoint(9, "y"), prove(9))


@pytest.mark.parametrize(("status", "answer"), [(200, b""), (200, b"thanks\n"), (404, b""), (409, b"many\n")])
def test_witness_that_does_not_sign_is_an_error(
    collector: Collector, setting: Setting, status: int, answer: bytes
) -> None:
    """An answer without a signature says that nothing was signed."""
    collector.handle = lambda _: (status, answer)
    with pytest.raises(SinkError, match=f"did not sign \\({status}\\)"):
        make(f"witness+{collector.url}", setting).send(checkpoint(1))


# --- others ---


class Kept:
    """A sink that a package could bring."""

    def __init__(self, url: str, setting: Setting) -> None:
        self.url = url

    def send(self, note: bytes) -> bytes:
        return b""

    def within_reach(self) -> str:
        return ""


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Let packages bring sinks: entry points by scheme."""
    entries: dict[str, list[Any]] = {}

    def entry_points(*, group: str, name: str = "") -> Any:
        assert group == "hauberk.audit_sinks"
        found = [entry for scheme, some in entries.items() if name in {"", scheme} for entry in some]
        return importlib.metadata.EntryPoints(found)

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    return entries


def entry(scheme: str, target: str, package: str = "hauberk-kms") -> Any:
    class Point(importlib.metadata.EntryPoint):
        dist = type("Package", (), {"name": package})()

    return Point(scheme, target, "hauberk.audit_sinks")


def test_package_brings_a_sink(brought: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point of the group makes a sink for its scheme; the interface is open."""
    monkeypatch.setattr(_sinks, "Kept", Kept, raising=False)
    brought["kms"] = [entry("kms", "hauberk_audit.checkpoints._sinks:Kept")]
    sink = make("kms:alias/audit", Setting())
    assert isinstance(sink, Kept)
    assert sink.url == "kms:alias/audit"
    assert _sinks.schemes() == ["file", "https", "kms", "witness+https"]


def test_unknown_scheme_names_those_that_there_are(brought: dict[str, list[Any]]) -> None:
    """A scheme that nobody brings is an error that says which there are."""
    with pytest.raises(ConfigError, match="there are: file, https, witness"):
        make("syslog:local0", Setting())
    with pytest.raises(ConfigError) as caught:
        make("http://collector.example/", Setting())
    assert "not http" in str(caught.value.hint)


def test_two_packages_cannot_bring_one_scheme(brought: dict[str, list[Any]]) -> None:
    """Which of two packages would get the checkpoints must not depend on their order."""
    brought["kms"] = [entry("kms", "a:b", "one"), entry("kms", "c:d", "two")]
    with pytest.raises(PluginError, match="one and two"):
        make("kms:x", Setting())


def test_production_takes_locked_packages_alone(brought: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not locked is not imported in production (X.5)."""
    monkeypatch.setattr(_sinks, "Kept", Kept, raising=False)
    brought["kms"] = [entry("kms", "no_such_module:Kept")]
    with pytest.raises(PluginError, match="no plugin that is required"):
        make("kms:x", Setting(packages=frozenset({"hauberk-audit"})))
    brought["kms"] = [entry("kms", "hauberk_audit.checkpoints._sinks:Kept")]
    assert isinstance(make("kms:x", Setting(packages=frozenset({"hauberk-kms"}))), Kept)


def test_package_that_breaks_is_named(brought: dict[str, list[Any]]) -> None:
    """A sink that cannot be imported or made is an error that names its package."""
    brought["kms"] = [entry("kms", "no_such_module:Kept")]
    with pytest.raises(PluginError, match="of 'hauberk-kms' cannot be made"):
        make("kms:x", Setting())
