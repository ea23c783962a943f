"""Where the passphrase of a CA's key comes from: a person at a terminal, or a private file. Never an argument.

The rules:

1. A terminal shows nothing of it, and asks twice for a new one.
2. A file is private (`hauberk.files`), and holds the passphrase and at most one line feed; nothing else is trimmed.
3. A new one has at least 12 characters. That a key has none must be said (``--no-passphrase``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_tls.certs._limits import LIMITS


def _ask(text: str, confirm: bool) -> str:  # noqa: FBT001 - the shape that a test replaces
    if not sys.stdin.isatty():
        raise ConfigError("there is nobody to ask for the passphrase of the CA's key", hint="--passphrase-file FILE")
    answer: str = click.prompt(text, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer


class Passphrases(NamedTuple):
    """Who knows the passphrase."""

    file: Path | None = None
    ask: Callable[[str, bool], str] = _ask

    def new(self) -> bytes:
        """Return a passphrase for a new key.

        Raises:
            ConfigError: There is none, or none that is long enough (rule 3).
        """
        found = self._read("New passphrase for the key of the CA", confirm=True)
        if len(found.decode()) < LIMITS.passphrase_chars:
            raise ConfigError(
                f"a passphrase has at least {LIMITS.passphrase_chars} characters", hint="take six words by chance"
            )
        return found

    def known(self) -> bytes:
        """Return the passphrase of a key that is there.

        Raises:
            ConfigError: There is none to be had.
        """
        return self._read("Passphrase of the key of the CA", confirm=False)

    def _read(self, text: str, *, confirm: bool) -> bytes:
        if self.file is None:
            data, where = self.ask(text, confirm).encode(errors="surrogateescape"), "the passphrase"
        else:
            data = files.read_private(self.file, max_bytes=LIMITS.passphrase_bytes + 1).removesuffix(b"\n")
            where = f"the passphrase in {str(self.file)!r}"
        try:
            usable = data.decode().isprintable()  # a line feed, a NUL or a carriage return got in by mistake
        except UnicodeDecodeError:
            usable = False
        if not data or not usable or len(data) > LIMITS.passphrase_bytes:
            raise ConfigError(f"cannot use {where}: it is one line of 1 to {LIMITS.passphrase_bytes} bytes of UTF-8")
        return data
