r"""The kit for whoever tests a plugin, or what a guard does to a server.

Nothing here is loaded unasked. ``pytest -p hauberk.testing`` brings the fixtures ``guard_from``, ``clock`` and
``hostile_server``; without pytest the names below are there all the same::

    async def test_writing_is_refused() -> None:
        server = HostileServer("read", "write")
        async with guard_from('[sieve]\nallow = ["files/read"]', server=server) as rig:
            assert_refused(await rig.call("write"), "sieve.denied")
            assert server.called("write") == []
"""

from __future__ import annotations

from hauberk.testing._asserting import assert_refused, refusal_code
from hauberk.testing._attacks_shown import FIELDS, POISON
from hauberk.testing._clock import Clock
from hauberk.testing._faces import DoesNotFit, Era, Face
from hauberk.testing._hostile import HostileServer, Shown, Tool
from hauberk.testing._messages import answer, call_params, notification, request
from hauberk.testing._recorder import Recorder
from hauberk.testing._rig import Port, Rig, guard_from

__all__ = [
    "FIELDS",
    "POISON",
    "Clock",
    "DoesNotFit",
    "Era",
    "Face",
    "HostileServer",
    "Port",
    "Recorder",
    "Rig",
    "Shown",
    "Tool",
    "answer",
    "assert_refused",
    "call_params",
    "guard_from",
    "notification",
    "refusal_code",
    "request",
]
pytest_plugins = ("hauberk.testing._pytest",)
"""Read by pytest, when it is told to load this module."""
