"""Limits and isolation together: who uses up his own limit is suspended, who meets the end of a shared one is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hauberk import plugins
from hauberk.principal import Principal
from hauberk.testing import Clock, guard_from
from hauberk_bulkhead import Bulkhead
from hauberk_ratelimit import RateLimit


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ('[ratelimit.principals]\n"*" = "5/hour each"\n', "bulkhead.suspended"),
        ('[ratelimit]\nglobal = "5/hour"\n', "ratelimit.exceeded"),
    ],
    ids=["own", "shared"],
)
async def test_only_an_own_limit_suspends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limits: str, code: str
) -> None:
    """Only a limit that nobody else uses up says something of who meets its end (S0.39)."""
    known = {
        "ratelimit": plugins.Source("ratelimit", "hauberk-ratelimit", "0", lambda: RateLimit),
        "bulkhead": plugins.Source("bulkhead", "hauberk-bulkhead", "0", lambda: Bulkhead),
    }
    monkeypatch.setattr(plugins, "installed", lambda: known)
    toml = f"{limits}[bulkhead.isolation]\nevents = 10\n"
    async with guard_from(toml, name="files", role="server", clock=Clock(), folder=tmp_path) as rig:
        rig.connection.principal = Principal(id="eve", kind="user", method="mtls")
        for number in range(30):
            await rig.call("x", id=number)
        assert rig.codes[-1] == code
