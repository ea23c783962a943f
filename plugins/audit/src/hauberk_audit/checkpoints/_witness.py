"""Checkpoints to a witness, who signs them if nothing that it signed before was changed.

The protocol is https://c2sp.org/tlog-witness. The rules:

1. A request has the size that the witness signed last, the proof that the log only grew since (`checkpoints._tree`),
   and the checkpoint. What size that was the witness says itself, if it is not the one that was named: 409, and a size.
2. It answers 200 with its signatures; they go on with the checkpoint. Any other answer says that it did not sign.
3. A witness that has signed more entries than the log has is what a log that was put back meets.
"""

from __future__ import annotations

import re
from typing import Final, final

from hauberk_audit.checkpoints import _note
from hauberk_audit.checkpoints._checkpoint import Checkpoint
from hauberk_audit.checkpoints._https import Answer, Client, signatures
from hauberk_audit.checkpoints._sinks import Prove, Setting, SinkError

_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,17})\n")
_OK: Final = 200
_CONFLICT: Final = 409


@final
class WitnessSink:
    """A witness: ``witness+https://host/prefix``."""

    def __init__(self, url: str, setting: Setting) -> None:
        self._client: Final = Client(url.removeprefix("witness+"), setting)
        self._path: Final = f"{self._client.path.rstrip('/')}/add-checkpoint"
        self._size = 0
        """What it signed last, as far as is known."""

    def send(self, note: bytes) -> bytes:
        """Have the first checkpoint of a log signed; any other one wants a proof."""
        return self.cosign(note, lambda _: ())

    def cosign(self, note: bytes, prove: Prove) -> bytes:
        """Have a checkpoint signed; return the signatures."""
        checkpoint = Checkpoint.parse(_note.parse(note).text)
        answer = self._ask(note, checkpoint.size, prove)
        if answer.status == _CONFLICT and (found := _SIZE.fullmatch(answer.body)):
            self._size = int(found[1])
            answer = self._ask(note, checkpoint.size, prove)
        signed = signatures(answer.body)
        if answer.status != _OK or not signed:
            raise SinkError(f"{self._client.host} did not sign ({answer.status})")
        self._size = checkpoint.size
        return signed

    def within_reach(self) -> str:
        """Return nothing: what a witness has signed it remembers."""
        return ""

    def _ask(self, note: bytes, size: int, prove: Prove) -> Answer:
        if self._size > size:
            raise SinkError(f"{self._client.host} has signed {self._size} entries of this log, and it has {size}")
        proof = "".join(f"{_note.encode(node)}\n" for node in prove(self._size))
        return self._client.post(self._path, f"old {self._size}\n{proof}\n".encode() + note)
