"""An authority, certificates of it in files, and guards that use them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from plugins.tls.tests.maker import CLIENT, SERVER, Ca, Issued, put
from plugins.tls.tests.shaking import Party, party, plain

from hauberk.connection import Role


class Yard:
    """A folder with what a test made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = Ca()
        put(folder / "ca.pem", self.ca.pem, 0o644)
        self.number = 0
        self.host = self.ca.issue("urn:hauberk:host", purposes=[CLIENT])
        self.server = self.ca.issue("files.example", purposes=[SERVER])
        self.host.write(folder, "host")
        self.server.write(folder, "server")

    def pair(self, issued: Issued) -> tuple[Path, Path]:
        self.number += 1
        return issued.write(self.folder, f"made-{self.number}")

    def plain(self, role: Role, issued: Issued | None = None, **more: Any) -> ssl.SSLContext:
        """Return a context of the standard library that shows a certificate, or none."""
        return plain(role, pair=None if issued is None else self.pair(issued), **more)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """Return the folder."""
    return Yard(tmp_path)


Opener = Callable[..., Awaitable[Party]]
CALLER = '[tls]\nca = "ca.pem"\ncertificate = "host.pem"\nkey = "host.key"\n'
CALLED = '[tls]\nca = "ca.pem"\ncertificate = "server.pem"\nkey = "server.key"\n'


@pytest.fixture
async def opened(yard: Yard) -> AsyncIterator[Opener]:
    """Return a function that opens a guard, closed at the end."""
    parties: list[Party] = []

    async def start(toml: str = CALLER, **more: Any) -> Party:
        parties.append(await party(toml, yard.folder, **more))
        return parties[-1]

    yield start
    for one in parties:
        await one.guard.close()
