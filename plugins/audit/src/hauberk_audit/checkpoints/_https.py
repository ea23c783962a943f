"""Checkpoints over HTTPS: one request for each.

The rules:

1. A collector gets the note by ``POST``, as ``text/plain``. Any answer from 200 to 299 says that it is kept. A
   redirection is an answer like any other: nothing follows it.
2. The certificate is checked, and so is the name in it; TLS 1.2 or newer. No proxy is asked.
3. A token is sent to the host that it was written down for, and to no other. It is read from a private file each time.
4. What is answered is bounded in size and in time. Lines of signatures in it are added to the note; what else there may
   be is not looked at.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, final
from urllib.parse import urlsplit

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit.checkpoints import _note
from hauberk_audit.checkpoints._note import NoteError
from hauberk_audit.checkpoints._sinks import Setting, SinkError

_TOKEN_BYTES: Final = 8192
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
"""``token68`` (RFC 7235 section 2.1)."""
_TARGET: Final = re.compile(r"[!-~]+")
_KEPT: Final = range(200, 300)


class Answer(NamedTuple):
    """What was answered."""

    status: int
    kind: str
    """The media type, without its parameters."""
    body: bytes


@final
class Client:
    """Posts to one URL."""

    def __init__(self, url: str, setting: Setting) -> None:
        """Take a URL.

        Raises:
            ConfigError: It is none that checkpoints can be posted to.
        """
        try:
            parts = urlsplit(url)
            self.host: Final = (parts.hostname or "").lower()
            self._port: Final = parts.port or 443
        except ValueError as error:
            raise ConfigError(f"a URL for checkpoints is none: {error}") from None
        self.path: Final = parts.path or "/"
        if not self.host or parts.username is not None or parts.query or parts.fragment or not _TARGET.fullmatch(url):
            raise ConfigError(
                "a URL for checkpoints has a host and a path, and no user, query or fragment",
                hint="a token stands in a file that [audit.checkpoints.tokens] names",
            )
        self._token_file: Final[Path | None] = setting.tokens.get(self.host)
        self._ca_file: Final = setting.ca_file

    def post(self, path: str, body: bytes) -> Answer:
        """Post a text, and return what was answered, whatever it is.

        Raises:
            SinkError: Nothing was answered, or too much.
        """
        try:
            connection = http.client.HTTPSConnection(
                self.host, self._port, timeout=BOUNDS.patience, context=self._trust()
            )
            patience = threading.Timer(BOUNDS.patience, _hang_up, (connection,))
            patience.daemon = True
            patience.start()
            try:
                connection.request("POST", path, body, self._headers())
                answer = connection.getresponse()
                return Answer(answer.status, answer.headers.get_content_type(), _body(answer))
            finally:
                patience.cancel()
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise SinkError(f"{self.host} cannot be reached: {_reason(error)}") from error
        except ConfigError as error:
            raise SinkError(error.message, hint=error.hint) from error

    def _trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "hauberk", "Accept": "text/plain"}
        if self._token_file is not None:
            token = files.read_private(self._token_file, max_bytes=_TOKEN_BYTES).removesuffix(b"\n")
            if not _TOKEN.fullmatch(token):
                raise ConfigError(f"token file {str(self._token_file)!r} is not one line with a token")
            headers["Authorization"] = f"Bearer {token.decode()}"
        return headers


@final
class HttpsSink:
    """A collector, which may sign what it takes."""

    def __init__(self, url: str, setting: Setting) -> None:
        self._client: Final = Client(url, setting)

    def send(self, note: bytes) -> bytes:
        """Post a checkpoint; return the signatures in the answer."""
        answer = self._client.post(self._client.path, note)
        if answer.status not in _KEPT:
            raise SinkError(f"{self._client.host} answered {answer.status}")
        return signatures(answer.body)

    def within_reach(self) -> str:
        """Return nothing: what another machine keeps is not changed from here."""
        return ""


def signatures(body: bytes) -> bytes:
    """Return the lines of an answer that are signatures of a note."""
    found = []
    for line in body.split(b"\n"):
        try:
            found += [one.line for one in _note.signature_lines(line + b"\n")]
        except NoteError:
            continue
    return b"".join(found)


def _body(answer: http.client.HTTPResponse) -> bytes:
    """Return what was answered, if it is not too long."""
    body = b""
    while piece := answer.read1(BOUNDS.note + 1 - len(body)):
        body += piece
        if len(body) > BOUNDS.note:
            raise SinkError("the answer is too long")
    return body


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """End a connection that another thread waits for: a time-out of each read alone would let it last for ever."""
    with suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or str(error) or type(error).__name__).lower()
