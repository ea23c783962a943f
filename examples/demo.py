"""Five attacks on hosts, each without a guard and with one; then what the record of them is worth.

usage: python examples/demo.py            (`demo_tls.py`: the same, with the guarded servers behind TLS)

Three hosts (`hosts`) meet a server of notes with a poisoned tool, and one that lies. Whatever is printed was measured.
An attack counts as refused if it succeeded without the guard, nothing of it happened with the guard, and the refusal is
in the log. Exit status: 0 if all five were refused, and the log verifies until one byte of it is changed; else 1.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from hosts import Answer, Host, PlainHost, beside, over_stdio, plain
from notes_server import NOTES, fill, make_server, notes, stolen

from hauberk import Guard

HERE: Final = Path(__file__).resolve().parent
HAUBERK: Final = (sys.executable, "-m", "hauberk")
POISONED: Final = "word_count"
TWO_NAMES: Final = b'{"name":"read_note","name":"delete_all","arguments":{"name":"milk"}}'
"""One call for whoever takes the first of two equal keys, another for whoever takes the last."""
KEPT: Final = '\n[core]\nstate_dir = "."\n\n[audit]\npath = "audit.jsonl"\nkey_file = "audit.key"\n'
PATIENCE: Final = 60.0
"""Seconds that all hosts together may take: one that is never answered must not wait for ever."""


# --- what the hosts live through ---


@dataclass
class Seen:
    """What happened to all hosts without a guard, or to all with one. Attacks are counted in hosts."""

    hosts: int = 0
    read: list[str] = field(default_factory=list)
    """What an allowed call answered."""
    shown: int = 0
    """The model was shown the poisoned tool."""
    leaked: int = 0
    """The poisoned tool got the password."""
    deleted: int = 0
    """A denied call deleted the notes."""
    smuggled: int = 0
    """A call that names two tools deleted the notes."""
    deceived: int = 0
    """A forged list of tools was taken for the answer."""
    refusals: dict[str, set[Answer]] = field(default_factory=dict)
    """How each attack by a call was answered."""

    def note(self, attack: str, answer: Answer) -> None:
        """Note how an attack was answered."""
        self.refusals.setdefault(attack, set()).add(answer)

    def refusal(self, attack: str) -> str:
        """Return the one refusal that every host got; nothing where one got something else."""
        found = list(self.refusals[attack])
        return f"{found[0].code}: {found[0].rule}" if len(found) == 1 and found[0].rule else ""


async def live(host: Host, folder: Path, seen: Seen) -> None:
    """List, call what is allowed, then attack: a hidden tool, a denied one, one call with two names."""
    seen.hosts += 1
    seen.shown += POISONED in await host.tools()
    seen.read.append((await host.call("read_note", name="milk")).text)
    seen.note("hidden", await host.call(POISONED, text="a b", context=NOTES["password"]))
    seen.leaked += stolen(folder) == NOTES["password"]
    seen.note("denied", await host.call("delete_all"))
    seen.deleted += not notes(folder)
    if isinstance(host, PlainHost):  # no SDK writes such bytes
        fill(folder)
        seen.note("two names", await host.call_raw(TWO_NAMES))
        seen.smuggled += not notes(folder)


class Wire:
    """How hosts reach their servers: the SDK in its own process, the others over pipes, without a guard."""

    @asynccontextmanager
    async def target(self, folder: Path) -> AsyncIterator[Any]:
        """Yield what the SDK's client takes, for the server of notes."""
        yield make_server(folder)

    @asynccontextmanager
    async def command(self, *server: str) -> AsyncIterator[Sequence[str]]:
        """Yield the command that a client starts to reach a server."""
        yield server


class Pipes(Wire):
    """The same with a guard: in the process, and as ``hauberk run``."""

    def __init__(self, config: Path) -> None:
        self._config = config

    @asynccontextmanager
    async def target(self, folder: Path) -> AsyncIterator[Any]:
        """Yield the server of notes, guarded."""
        yield Guard.load(self._config).wrap(make_server(folder), server="notes")

    @asynccontextmanager
    async def command(self, *server: str) -> AsyncIterator[Sequence[str]]:
        """Yield a server behind ``hauberk run``."""
        yield (*HAUBERK, "run", "--config", str(self._config), "--server", "notes", "--", *server)


async def meet(work: Path, wire: Wire) -> Seen:
    """Let each host meet the server of notes, and those over stdio the lying one."""
    seen = Seen()
    async with wire.target(fill(work / "memory")) as target, beside(target) as host:
        await live(host, work / "memory", seen)
    for name, connect in (("sdk", over_stdio), ("plain", plain)):
        folder = fill(work / name)
        async with (
            wire.command(sys.executable, str(HERE / "notes_server.py"), str(folder)) as command,
            connect(*command) as host,
        ):
            await live(host, folder, seen)
        async with wire.command(sys.executable, str(HERE / "lying_server.py")) as command, connect(*command) as host:
            seen.deceived += POISONED in await host.tools()
    return seen


# --- what came of it ---


class Attack(NamedTuple):
    """One attack: what it did without a guard, and what became of it with one."""

    title: str
    without: str
    landed: bool
    refusal: str
    stopped: bool

    @property
    def proved(self) -> bool:
        """Whether it succeeded without the guard, and was refused with it."""
        return self.landed and self.stopped and bool(self.refusal)


def attacks(bare: Seen, guarded: Seen, log: Counter[str]) -> Iterator[Attack]:
    """Compare the two sides, and what the log says of the guarded one."""
    hosts, over = guarded.hosts, guarded.hosts - 1
    yield Attack(
        "a poisoned tool description",
        f"shown to {bare.shown} of {hosts} models",
        bare.shown == hosts,
        "hidden: no allow rule names the tool",
        not guarded.shown and log["sieve.hidden"] >= hosts,
    )
    yield Attack(
        "the hidden tool, called anyway",
        f"{bare.leaked} of {hosts} passwords leaked",
        bare.leaked == hosts,
        guarded.refusal("hidden"),
        not guarded.leaked and log["sieve.denied"] == 2 * hosts,
    )
    yield Attack(
        "a call that a rule denies",
        f"notes of {bare.deleted} of {hosts} hosts deleted",
        bare.deleted == hosts,
        guarded.refusal("denied"),
        not guarded.deleted and log["sieve.denied"] == 2 * hosts,
    )
    yield Attack(
        "one call with two names",
        "looks like read_note, runs delete_all" if bare.smuggled else "nothing",
        bare.smuggled == 1,
        guarded.refusal("two names"),
        not guarded.smuggled and log["core.duplicate_key"] == 1,
    )
    yield Attack(
        "an answer to a foreign id",
        f"{bare.deceived} of {over} took a forged list",
        bare.deceived == over,
        "dropped: core.unmatched",
        not guarded.deceived and log["core.unmatched"] >= over,
    )


def codes(log: Path) -> Counter[str]:
    """Count what is in the log, by code."""
    return Counter(json.loads(line)["code"] for line in log.read_bytes().splitlines())


def verify(log: Path) -> tuple[int, str]:
    """Verify the log by the command; return its exit status and the first line that it prints."""
    command = (*HAUBERK, "audit", "verify", str(log), "--key-file", str(log.with_name("audit.key")))
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a command of our own
    return done.returncode, (done.stdout or done.stderr).partition("\n")[0].replace(f"{log.parent}/", "")


def flip(log: Path) -> None:
    """Change one bit of the log: in the name of a tool that was denied."""
    data = bytearray(log.read_bytes())
    data[data.index(b"delete_all")] ^= 1
    log.write_bytes(data)


# --- what is printed ---


def mark(text: str, *, good: bool) -> str:
    """Return a text in the colour of what it says."""
    return click.style(text, fg="green" if good else "red")


def show(found: list[Attack]) -> None:
    """Print the table of attacks."""
    wide = max(len(row.title) for row in found)
    left = max(len(row.without) for row in found)
    click.secho(f"   {'attack':{wide}}  {'without hauberk':{left}}  with hauberk", bold=True)
    for number, row in enumerate(found, 1):
        without = mark(f"{row.without:{left}}", good=not row.landed)
        within = mark(row.refusal if row.proved else "NOT REFUSED", good=row.proved)
        click.echo(f"{number}  {row.title:{wide}}  {without}  {within}")


def show_log(log: Path) -> bool:
    """Verify the log, change one bit, verify it again; return whether both times the answer was right."""
    status, said = verify(log)
    click.echo(f"hauberk audit verify   exit {status}  {mark(said, good=status == 0)}")
    flip(log)
    changed, told = verify(log)
    click.echo("one byte of the log is changed")
    click.echo(f"hauberk audit verify   exit {changed}  {mark(told, good=changed == 0)}")
    return status == 0 and changed == 1 and "edited" in told


async def both(work: Path, more: str, wire: Callable[[Path], Wire]) -> tuple[Seen, Seen, Path]:
    """Let hosts meet the servers without a guard and with one; return what they saw, and the log."""
    bare, kept = work / "bare", work / "guarded"
    bare.mkdir()
    kept.mkdir(mode=0o700)
    config = kept / "hauberk.toml"
    config.write_text((HERE / "hauberk.toml").read_text(encoding="utf-8") + KEPT + more, encoding="utf-8")
    config.chmod(0o600)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        without = group.create_task(meet(bare, Wire()))
        within = group.create_task(meet(kept, wire(config)))
    return without.result(), within.result(), kept / "audit.jsonl"


def demonstrate(about: Sequence[str], more: str = "", wire: Callable[[Path], Wire] = Pipes) -> int:
    """Run the demonstration; return the exit status.

    Args:
        about: What is printed first.
        more: Further configuration of the guard beside the hosts.
        wire: How its hosts reach their servers.
    """
    for line in about:
        click.echo(line)
    click.echo("Rules (examples/hauberk.toml): allow notes/list_* and notes/read_*, deny */delete_*\n")
    with tempfile.TemporaryDirectory(prefix="hauberk-demo-") as work:
        bare, guarded, log = asyncio.run(both(Path(work).resolve(), more, wire))
        found = list(attacks(bare, guarded, sum(map(codes, log.parent.rglob("audit.jsonl")), Counter())))
        show(found)
        same = bare.read == guarded.read == [NOTES["milk"]] * guarded.hosts
        click.echo(
            f"-  an allowed call: {mark('answered as without a guard' if same else 'NOT ANSWERED', good=same)}\n"
        )
        noticed = show_log(log)
    refused = sum(row.proved for row in found)
    good = refused == len(found) and same and noticed
    change = "the change to the log was noticed" if noticed else "the log proves NOTHING"
    click.echo(mark(f"\n{refused} of {len(found)} attacks refused; {change}", good=good))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(
        demonstrate(
            [
                "Three hosts, each without a guard and with one: the SDK's client with a server in its process,",
                "the same over stdio through `hauberk run`, and a plain program that writes lines of JSON.",
            ]
        )
    )
