"""Damage to bytes that were whole: what a fuzz target reads where it does not read what its grammar wrote."""

from __future__ import annotations

import random
from collections.abc import Sequence


def wounded(rnd: random.Random, whole: bytes, atoms: Sequence[bytes], *, least: int = 1, most: int = 3) -> bytes:
    """Return bytes with ``least`` to ``most`` wounds: something put in, repeated, cut out or cut off, a byte, a bit.

    Args:
        rnd: Chooses.
        whole: What is damaged.
        atoms: What is put in: pieces that mean something to the reader.
        least: How few wounds.
        most: How many at most.
    """
    data = bytearray(whole)
    for _ in range(rnd.randint(least, most)):
        at, to = sorted((rnd.randint(0, len(data)), rnd.randint(0, len(data))))
        match rnd.randrange(8):
            case 0:
                data[at:at] = rnd.choice(atoms)
            case 1:
                data[at : at + rnd.randint(1, 4)] = rnd.choice(atoms)
            case 2:
                data[at:at] = rnd.choice(atoms) * rnd.randint(1, 4)
            case 3:
                data[at:at] = data[at:to]
            case 4:
                del data[at:to]
            case 5:
                data[at : at + 1] = bytes([rnd.randrange(256)])
            case 6 if at < len(data):
                data[at] ^= 1 << rnd.randrange(8)
            case _:
                if not rnd.randrange(4):
                    del data[at:]
    return bytes(data)
