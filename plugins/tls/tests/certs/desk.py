"""Somebody who types ``hauberk certs …``, in this process or in one that dies at a given moment."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import shutil
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from hauberk.cli._app import App
from hauberk_tls.certs import _options
from hauberk_tls.certs._holding import held
from hauberk_tls.certs._places import Folder, Kind, Places

PASSPHRASE: Final = "correct horse battery staple"
NOW: Final = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is not here")
_EVENTS: Final = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.chmod", "os.link"})


class Ran(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


class Desk:
    """A directory of certificates, and a person."""

    def __init__(self, base: Path) -> None:
        self.places = Places(base)

    @property
    def base(self) -> Path:
        return self.places.base

    def run(self, *args: str, placed: bool = True) -> Ran:
        """Run ``hauberk certs`` with these arguments, and --dir."""
        out, err = io.StringIO(), io.StringIO()
        where = ("--dir", str(self.base)) if placed else ()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = App().start(["certs", args[0], *where, *args[1:]])
        return Ran(status, out.getvalue(), err.getvalue())

    def ok(self, *args: str) -> Ran:
        """Run what must go well."""
        done = self.run(*args)
        assert done.status == 0, done
        return done

    def ca(self, *args: str) -> Desk:
        """Make a CA without a passphrase."""
        self.ok("init", "--no-passphrase", *args)
        return self

    def folder(self, name: str, kind: Kind = "server") -> Folder:
        return self.places.folder(kind, name)

    def serial(self, name: str, kind: Kind = "server") -> int:
        found = held(self.folder(name, kind))
        assert found is not None
        return found.leaf.serial_number

    def context(self, purpose: ssl.Purpose, name: str | None = None, *, crl: bool = True) -> ssl.SSLContext:
        """Return a strict context of Python's own, that trusts the CA and believes its list."""
        client = purpose is ssl.Purpose.SERVER_AUTH
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if client else ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(self.places.ca_certificate)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.verify_mode = ssl.CERT_REQUIRED
        context.hostname_checks_common_name = False
        if crl:
            context.load_verify_locations(self.places.crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        if name is not None:
            context.load_cert_chain(self.folder(name, "client" if client else "server").pair)
        return context

    def tree(self) -> dict[str, bytes]:
        """Return every file that is there."""
        return {str(path.relative_to(self.base)): path.read_bytes() for path in self.base.rglob("*") if path.is_file()}

    def modes(self) -> dict[str, str]:
        """Return the mode of everything that is there."""
        found = {str(path.relative_to(self.base)): path for path in [self.base, *self.base.rglob("*")]}
        return {name: f"{path.lstat().st_mode & 0o7777:04o}" for name, path in found.items()}


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """Make a handshake in memory, and say one word in both directions.

    Raises:
        ssl.SSLError: One side refuses the other.
    """
    ends = [_End(client, name), _End(server, None)]
    for _ in range(20):
        for one, other in (ends, ends[::-1]):
            with contextlib.suppress(ssl.SSLWantReadError):
                one.go_on()
            other.into.write(one.out.read())
        if all(end.heard for end in ends):
            return
    raise AssertionError("the handshake does not end")


class _End:
    """One side of a handshake, and one word after it."""

    def __init__(self, context: ssl.SSLContext, name: str | None) -> None:
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.into, self.out, server_side=name is None, server_hostname=name)
        self.done = self.heard = False

    def go_on(self) -> None:
        if not self.done:
            self.tls.do_handshake()
            self.done = True
            self.tls.write(b"x")
        self.heard = self.heard or self.tls.read(1) == b"x"


def openssl(*args: object) -> str:
    """Run openssl; return what it prints.

    Raises:
        AssertionError: It failed.
    """
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout + done.stderr


def cut(act: Callable[[], Any], at: int, *, interrupt: bool = False) -> int:
    """Do something in a process of its own that ends before its ``at``-th change of the disk; return its exit status.

    Args:
        act: What is done; it returns an exit status.
        at: The number of the change, from 0.
        interrupt: Whether it is interrupted there, as by Ctrl-C, and not killed.

    Returns:
        What ``act`` returned, 9 where it was killed, 77 where there is no such change, or 71 where a file is opened
        to be written that has its final name.
    """
    with warnings.catch_warnings():  # threads of other tests may still idle; the child runs none of them
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status, seen = 70, 0

    def count(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in _EVENTS or (event == "open" and not _writes(args)):
            return
        if event == "open" and not Path(os.fsdecode(args[0])).name.startswith("."):
            os._exit(71)  # what has its final name is never written to
        seen += 1
        if seen == at + 1:
            if not interrupt:
                os._exit(9)
            raise KeyboardInterrupt

    try:
        sys.addaudithook(count)
        done = act()
        status = int(done) if seen > at else 77
    finally:
        os._exit(status)


def _writes(args: tuple[Any, ...]) -> bool:
    path, _, flags = args
    written = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR)) and isinstance(path, str | bytes)
    return written and "__pycache__" not in os.fsdecode(path)


def set_clock(patch: pytest.MonkeyPatch, now: dt.datetime) -> None:
    """Let it be this time for the commands."""
    patch.setattr(_options, "now", lambda: now)
