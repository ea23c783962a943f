"""The key of a host's log: a plain one, or one that only goes forward, whose beginning is kept elsewhere.

The rules:

1. A plain key is a key file (`hauberk.keys`). Whoever reads it can verify the log, and write it anew.
2. A key that goes forward is one line in a private file, written in place: ``hauberk-root-v1:``, the id of the initial
   key, the number of the chain that begins next, its root in base64url, and a checksum. Taking the root for a chain
   puts the next one into its place, on the disk, before anything is signed: no root is taken twice, and none is left.
3. The initial key is a plain key file (the escrow). It verifies; the root does not.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
from pathlib import Path
from typing import Final, final

from hauberk import advisory, files, keys
from hauberk.refusals import ConfigError
from hauberk_audit.sealing._providers import KeyPlace, KeySource
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._ratchet import MOST_CHAINS, Root, Rung, first_root

PREFIX: Final = b"hauberk-root-v1:"
_LINE: Final = re.compile(rb"(hauberk-root-v1:([0-9a-f]{16}):([0-9]{5}):([A-Za-z0-9_-]{43})):([0-9a-f]{16})\n")
_MAX_BYTES: Final = 4096
_PATIENCE: Final = 5.0
"""Seconds that one host waits for another that takes a root."""
_PAUSE: Final = 0.01


@final
class Roots:
    """A key file of a key that goes forward."""

    def __init__(self, path: Path, key_id: str) -> None:
        self.path: Final = path
        self.key_id: Final = key_id

    def take(self) -> Rung:
        """Return the first rung of a new chain, and leave the root of the one after it.

        Raises:
            ConfigError: The file cannot be used, or all its chains were begun.
            OSError: The disk failed; the root is still there, unless the disk fails again while it is put back.
        """
        fd = files.append_private(self.path, in_place=True)
        try:
            _wait(fd, self.path)
            before = os.read(fd, _MAX_BYTES)
            root = _parse(before, self.path)
            if root.chain >= MOST_CHAINS:
                hint = "make a new one: hauberk audit init --escrow"
                raise _bad(self.path, f"has begun {MOST_CHAINS - 1} chains", hint)
            try:
                _overwrite(fd, _line(root.next()))
                os.fsync(fd)
            except BaseException:
                _overwrite(fd, before)  # nothing was signed with it; half a line would be no root at all
                raise
        finally:
            os.close(fd)
        return root.first()


Signing = Chain | Roots
"""What signs a log: one key for all its entries, or roots for its chains."""


def key_id(signing: Signing) -> str:
    """Return the id of the key that verifies what is signed."""
    return signing.key_id.decode() if isinstance(signing, Chain) else signing.key_id


def load(path: KeyPlace) -> Signing:
    """Return the key of a host's log.

    Raises:
        ConfigError: The file is not private, or holds neither form.
    """
    if isinstance(path, KeySource):
        return Chain(path.key())
    data = files.read_private(path, max_bytes=_MAX_BYTES)
    if data.startswith(PREFIX):
        return Roots(path, _parse(data, path).key_id)
    return Chain(keys.parse_key(data, f"key file {str(path)!r}"))


def load_initial(path: KeyPlace) -> bytes:
    """Return a key that verifies.

    Raises:
        ConfigError: The file is not private, is no key file, or its key only goes forward.
    """
    if isinstance(path, KeySource):
        return path.key()
    data = files.read_private(path, max_bytes=_MAX_BYTES)
    if data.startswith(PREFIX):
        raise _bad(
            path,
            "only goes forward, so this host cannot verify what it wrote",
            "verify with the initial key, where it is kept: hauberk audit verify PATH --key-file ESCROW",
        )
    return keys.parse_key(data, f"key file {str(path)!r}")


def make(path: Path, escrow: Path) -> str:
    """Make an initial key, and the roots of a host; return the key's id.

    Raises:
        ConfigError: One of the files exists, or its directory cannot hold a private file.
        OSError: The disk failed. What was made is whole; without roots nothing is signed with the initial key.
    """
    if os.path.lexists(path):
        raise ConfigError(f"cannot make {str(path)!r}: it exists already", hint="name another file, or put it away")
    for parent in (path.parent, escrow.parent):
        if not os.path.lexists(parent):
            files.private_dir(parent)
    initial = keys.create_key(escrow, random=os.urandom)
    files.write_new(path, _line(first_root(initial)))
    return keys.key_id(initial)


def _wait(fd: int, path: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while not advisory.take(fd):
        if time.monotonic() > end:
            raise _bad(path, "is held by another process", "end that process")
        time.sleep(_PAUSE)


def _overwrite(fd: int, line: bytes) -> None:
    os.lseek(fd, 0, os.SEEK_SET)
    while line:
        line = line[os.write(fd, line) :]


def _line(root: Root) -> bytes:
    key = base64.urlsafe_b64encode(root.key).rstrip(b"=")
    body = b"%b%b:%05d:%b" % (PREFIX, root.key_id.encode(), root.chain, key)
    return b"%b:%b\n" % (body, _checksum(body))


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode()


def _parse(data: bytes, path: Path) -> Root:
    found = _LINE.fullmatch(data)
    if found is None or _checksum(found[1]) != found[5]:
        raise _bad(path, "is damaged", "make a new key (hauberk audit init --escrow) and begin a new chain")
    return Root(found[2].decode(), int(found[3]), base64.urlsafe_b64decode(found[4] + b"="))


def _bad(path: Path, what: str, hint: str) -> ConfigError:
    return ConfigError(f"cannot use key file {str(path)!r}: it {what}", hint=hint)
