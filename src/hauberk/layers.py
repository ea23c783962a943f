"""The layers of the onion, from the wire to the host.

One number orders both directions: a message on its way out meets the layers from CONTENT to WIRE, a message on its way
in from WIRE to CONTENT, so what seals last opens first.
"""

from __future__ import annotations

from enum import IntEnum


class Layer(IntEnum):
    """Where a plugin's hooks stand. WIRE, GATE and SEAL see a `Frame`, the others a `Message`."""

    WIRE = 1
    GATE = 2
    SEAL = 3
    REPLAY = 4
    ADMIT = 5
    POLICY = 6
    CONTENT = 7

    @property
    def framed(self) -> bool:
        """Whether hooks of this layer get and return a `Frame` (bytes) and not a `Message`."""
        return self <= Layer.SEAL


WIRE, GATE, SEAL, REPLAY, ADMIT, POLICY, CONTENT = Layer
