"""What replay says of answers whose seal proved something. The stage stands at 1000 s; a ring makes the proofs."""

from __future__ import annotations

from typing import Any, Final

from contrib.docs import rings
from contrib.docs.scene import Line, Scene, answer, request

from hauberk import Layer, hookimpl
from hauberk.message import Frame, Proof

_REPLAY: Final = "[replay]\n"


class _Proves(rings.Ring):
    """A seal that opens anything, and proves what the scene says, in order."""

    name = "seal"
    layer = Layer.SEAL
    proofs: tuple[dict[str, Any], ...] = ()

    def __init__(self) -> None:
        self._left = iter(self.proofs)

    @hookimpl
    def on_receive(self, message: Frame, connection: Any) -> Frame:  # noqa: ARG002 - the hook's signature
        """Add the proof."""
        said: dict[str, Any] = {"key_id": "alice", "nonce": b"0123456789ab", "issued": 1000.0} | next(self._left)
        return message.with_data(message.data, proof=Proof(**said))


def _scene(about: str, *proofs: dict[str, Any], toml: str = _REPLAY) -> Scene:
    ring = type("Proves", (_Proves,), {"proofs": proofs, "__doc__": f"A seal that holds, and proves that {about}."})
    lines: list[Line] = []
    for number in range(1, len(proofs) + 1):
        lines += [request("tools/list", id=number), answer({"tools": []}, number)]
    return Scene(tuple(lines), toml, (ring,))


REFUSALS: Final = {
    "replay.too_old": _scene("the answer was made 300.1 s ago", {"issued": 699.9}),
    "replay.from_the_future": _scene("the answer was made 60.5 s from now", {"issued": 1060.5}),
    "replay.expired": _scene("the answer held until a second ago", {"issued": 1000.0, "expires": 999.0}),
    "replay.detected": _scene("both answers have one nonce", {}, {}),
    "replay.not_remembered": _scene("the answer was made 10 s ago, before this guard started", {"issued": 990.0}),
    "replay.full": _scene(
        "three answers have three nonces",
        {"nonce": b"1"},
        {"nonce": b"2"},
        {"nonce": b"3"},
        toml="[replay]\nrate = 0.001\n",
    ),
}
UNPLAYED_REFUSALS: Final = {"replay.store_down": (-32007, "warning")}
"""Number and severity of what needs a store that is lost; plugins/replay/tests loses one."""
UNPLAYED_EVENTS: Final = {
    "replay.store_lost": ("system", "critical", "logged", "`why`, `meanwhile`"),
    "replay.store_found": ("system", "info", "logged", "`judged_alone`"),
}
"""Category, severity, action and details of those that need one, too."""
