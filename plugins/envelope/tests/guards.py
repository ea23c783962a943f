"""Two guards that seal, in memory: one beside a client, one in front of a server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from hauberk.connection import Carrier, Role
from hauberk.principal import Principal
from hauberk.refusals import Refused
from hauberk.testing._clock import Clock
from hauberk.testing._loading import load
from hauberk.testing._recorder import Recorder
from hauberk.testing._rig import Port, Rig
from hauberk_envelope import _keyfiles
from hauberk_envelope._identity import Identity

START = 1_795_000_000.0
DAY = 86_400.0


class Yard:
    """A folder with the keys of two agents, who trust each other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agents = {name: Identity.generate(name, now=START - DAY) for name in ("laptop", "vault")}
        for name, identity in self.agents.items():
            for part in ("own", "agents"):
                (folder / name / part).mkdir(parents=True, mode=0o700)
            self.give(name, identity)
        self.trust("laptop", self.agents["vault"])
        self.trust("vault", self.agents["laptop"])

    def give(self, name: str, identity: Identity) -> Path:
        """Put an identity among an agent's own."""
        return _keyfiles.write_secret(self.folder / name / "own", identity)

    def trust(self, name: str, identity: Identity) -> None:
        """Let an agent trust an identity."""
        path = self.folder / name / "agents" / f"{identity.key_id}.toml"
        path.write_text(_keyfiles.public_text(identity.public))
        path.chmod(0o600)

    def revoke(self, name: str, identity: Identity) -> None:
        """Let an agent trust an identity no longer."""
        path = self.folder / name / "agents" / f"{identity.key_id}.revoked"
        path.write_text(_keyfiles.revocation_text(identity.key_id, now=START, reason="compromised"))
        path.chmod(0o600)

    def toml(self, name: str, **options: Any) -> str:
        """Return the configuration of an agent."""
        table: dict[str, Any] = {
            "own_keys": f"{name}/own",
            "keys_directory": f"{name}/agents",
            "can_communicate_with": {"laptop": ["vault"]},
        }
        if name == "laptop":
            table["peer"] = "vault"
        lines = [f"{key} = {written(value)}" for key, value in {**table, **options}.items() if value is not None]
        return "\n".join(["[envelope]", *lines, ""])


def written(value: Any) -> str:
    """Return a value as TOML has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {written(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


class Wire(Port):
    """A far port that is the other guard's far side, with somebody between."""

    other: Rig

    def __init__(self, *, bytes_only: bool = True) -> None:
        super().__init__(bytes_only=bytes_only)
        self.seen: list[Any] = []
        """What was written here."""
        self.between: Callable[[Any], list[Any]] = lambda data: [data]
        """What comes of each message on its way."""

    def deliver(self, data: Any, ticket: Any) -> None:
        """Carry one message."""
        super().deliver(data, ticket)
        self.seen.append(data)
        session = self.other.session
        for one in self.between(data):
            if self.bytes_only:
                session.receive(session.inn, one)
            else:
                session.receive_object(session.inn, one)


class Pair:
    """Both guards."""

    def __init__(self, client: Rig, server: Rig, clock: Clock) -> None:
        self.client, self.server, self.clock = client, server, clock
        self.out: Any = client.far
        """What the client's guard writes to the wire."""
        self.back: Any = server.far

    async def agree(self) -> None:
        """Agree on a session."""
        try:
            await self.client.session.agree()
        finally:
            await self.client.settle()
            await self.server.settle()

    def codes(self, side: Rig) -> list[str]:
        """Return the codes of what a guard refused."""
        return [event.code for event in side.recorder.events if event.action == "blocked"]

    @property
    def wire(self) -> bytes:
        """Return all that crossed the wire."""
        return b"\n".join(
            one if isinstance(one, bytes) else json.dumps(one).encode() for one in self.out.seen + self.back.seen
        )


@asynccontextmanager
async def two_guards(
    yard: Yard,
    *,
    client: dict[str, Any] | str | None = None,
    server: dict[str, Any] | str | None = None,
    plugins: tuple[list[Any], list[Any]] = ([], []),
    bytes_only: bool = True,
    carrier: Carrier = "unix",
    principal: Principal | None = None,
    more: str = "",
    agree: bool = True,
) -> AsyncIterator[Pair]:
    """Open two guards with a wire between them, and let them agree unless told otherwise."""
    clock = Clock(START)
    rigs = []
    for name, given, objects in (("laptop", client, plugins[0]), ("vault", server, plugins[1])):
        toml = given if isinstance(given, str) else yard.toml(name, **(given or {}))
        recorder = Recorder()
        guard = load(more + toml, yard.folder / name, (*objects, recorder), clock, base=yard.folder)
        rigs.append(Rig(guard, clock, recorder, Port(bytes_only=bytes_only), Wire(bytes_only=bytes_only)))
    async with AsyncExitStack() as stack:
        roles: tuple[Role, Role] = ("client", "server")
        for rig, other, role in zip(rigs, rigs[::-1], roles, strict=True):
            rig.far.other = other  # type: ignore[attr-defined]
            await stack.enter_async_context(rig.guard)
            rig.connection = await rig.guard.admit("files", role, carrier=carrier, target="unix:///files")
            if principal is not None and role == "server":
                rig.connection.principal = principal
            rig.session = rig.guard.session(rig.connection, rig.near, rig.far)
        pair = Pair(rigs[0], rigs[1], clock)
        if agree:
            await pair.agree()
        yield pair
        for rig in rigs:
            await rig.session.close()


async def refusal_of(awaitable: Any) -> str:
    """Return the code that refuses something."""
    try:
        await awaitable
    except Refused as refused:
        return refused.code
    return ""
