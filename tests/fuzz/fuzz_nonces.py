"""Seal in eight processes that were forked with the same keys: no key meets a nonce twice (S0.27, A05).

    python tests/fuzz/fuzz_nonces.py --runs 1048576

The parent holds all keys before it forks, as a host would that forks its workers; the children seal at once, every
other message under a provisioned secret. What is compared is what AES-256-GCM is given. The random bytes are the
system's, which a seed does not choose.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz import driver

from hauberk_envelope import _aead
from hauberk_envelope._identity import Identity
from hauberk_envelope._sealing import seal_message
from hauberk_envelope._secret import ProvisionedSecret

PROCESSES: Final = 8
DIGEST_BYTES: Final = 20
ALICE: Final = Identity.generate("alice", now=time.time(), days=1)
BOB: Final = Identity.generate("bob", now=time.time(), days=1)
SECRET: Final = ProvisionedSecret(b"s" * 32)


def seal(runs: int) -> bytes:
    """Seal so many messages in this process; return a digest of the key and the nonce of each, one after the other."""
    seen = bytearray()
    real = _aead.seal

    def noted(key: bytes, nonce: bytes, content: bytes, bound: bytes) -> bytes:
        seen.extend(hashlib.sha256(key + nonce).digest()[:DIGEST_BYTES])
        return real(key, nonce, content, bound)

    _aead.seal = noted
    try:
        for number in range(runs):
            to, secret = (BOB.public, None) if number % 2 else (None, SECRET)
            seal_message(b"x", sender=ALICE, to=to, now=ALICE.public.not_before, secret=secret)
    finally:
        _aead.seal = real
    return bytes(seen)


def run(runs: int, seed: int) -> Counter[str]:
    """Seal ``runs`` messages in all; the seed chooses nothing.

    Raises:
        AssertionError: A key met a nonce twice, or a message had none.
    """
    shares = [runs // PROCESSES + (number < runs % PROCESSES) for number in range(PROCESSES)]
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        found = b"".join(pool.map(seal, shares, chunksize=1))
    pairs = [found[at : at + DIGEST_BYTES] for at in range(0, len(found), DIGEST_BYTES)]
    assert len(pairs) == runs, len(pairs)
    assert len(set(pairs)) == runs, f"{runs - len(set(pairs))} of {runs} met before"
    return Counter(sealed=runs)


if __name__ == "__main__":
    driver.main("the nonces of messages", run)
