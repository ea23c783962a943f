"""``hauberk limits``: see the limits of a configuration and how they stand, and lift them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click
import msgspec

from hauberk.cli.options import HELP, configured, print_json, printing, table
from hauberk.config import Config
from hauberk.policy import GuardView
from hauberk.refusals import ConfigError
from hauberk_ratelimit._desk import Desk
from hauberk_ratelimit._limits import LIMITS
from hauberk_ratelimit._options import Options
from hauberk_ratelimit._peers import key_of
from hauberk_ratelimit._plugin import RateLimit
from hauberk_ratelimit._rules import Bucket

HEAD: Final = ("limit", "allows", "left", "full in")


class Row(msgspec.Struct):
    """One rate or quota."""

    rule: str
    limit: str
    each: bool
    """Whether there is one bucket for each."""
    left: int | None = None
    reset: float | None = None
    """Seconds until all of it is there again."""
    buckets: int | None = None
    """How many the store holds."""


@click.group("limits", context_settings=HELP)
def limits() -> None:
    """See the rate limits of a configuration and how they stand, and lift them."""


@limits.command("show", context_settings=HELP)
@configured
@printing
def show_command(*, config: Path | None, host: str, as_json: bool) -> None:
    """List the limits, and what is left of those that hosts share.

    What a process keeps by itself is in its memory, and seen by nobody else.
    """
    desk = _desk(config, host)
    rows = [Row(bucket.rule, str(bucket.part), not bucket.shared) for bucket in desk.book.buckets if _runs(desk)]
    if desk.options.store is not None:
        from hauberk_ratelimit._seen import seen

        asyncio.run(seen(desk, rows))
    if as_json:
        print_json(msgspec.to_builtins(rows))
        return
    if not rows:
        click.echo("nothing is limited")
        return
    for line in table([HEAD, *map(_cells, rows)]):
        click.echo(line)


@limits.command("reset", context_settings=HELP)
@configured
@click.option("--rule", metavar="NAME", help="The limit, as `hauberk limits show` names it [default: all].")
@click.option("--id", "key", metavar="ID", help="Whose bucket of it [default: everybody's].")
@printing
def reset_command(*, config: Path | None, host: str, rule: str | None, key: str | None, as_json: bool) -> None:
    """Let limits begin anew, as if nothing had been used.

    Where hosts share them that is at once; a process that keeps its own does it within a second, when it would refuse.
    """
    desk = _desk(config, host)
    concerned = [bucket for bucket in desk.book.buckets if rule is None or rule == bucket.rule]
    if not concerned:
        there = ", ".join(dict.fromkeys(bucket.rule for bucket in desk.book.buckets)) or "none"
        raise ConfigError(f"there is no limit {rule!r} (there are: {there})", hint="hauberk limits show")
    shared = None
    if desk.options.store is not None:
        from hauberk_ratelimit._seen import forgotten

        shared = count = asyncio.run(forgotten(desk, [one for one in concerned if one in desk.book.calls], key))
        if not as_json:
            click.echo(f"{count} shared bucket{'' if count == 1 else 's'} reset")
    from hauberk_ratelimit import _resets

    _resets.add(desk.guard.config.state_dir / _resets.NAME, host, rule or "", key)
    if as_json:
        print_json({"limits": list(dict.fromkeys(bucket.rule for bucket in concerned)), "id": key, "shared": shared})
        return
    click.echo("processes that keep buckets of their own begin anew when they would refuse")


@limits.command("credit", context_settings=HELP)
@configured
@click.argument("count", type=click.IntRange(1, LIMITS.count))
@click.option("--id", "id", metavar="ID", help="Whose balance, where each caller has one.")
@click.option("--tenant", metavar="TENANT", help="The tenant that he belongs to, if he does.")
@click.option("--rule", metavar="NAME", help="The limit, as `hauberk limits show` names it [default: the only one].")
@printing
def credit_command(
    *, config: Path | None, host: str, count: int, id: str | None, tenant: str | None, rule: str | None, as_json: bool
) -> None:
    """Add COUNT credits to a balance, beside those that are given for each month; they stay until they are spent."""
    _meant("--id", id)
    _meant("--tenant", tenant)
    desk = _desk(config, host)
    bucket = _balance(desk, rule)
    if bucket.shared != (id is None):
        hint = "without --id" if bucket.shared else "--id ID"
        raise ConfigError(f"{bucket.rule}: {'all share' if bucket.shared else 'each caller has'} this", hint=hint)
    held = asyncio.run(_bought(desk, bucket, count, id, tenant))
    if as_json:
        print_json({"limit": bucket.rule, "id": id, "tenant": tenant, "bought": held})
        return
    click.echo(f"{held} credits that were bought are left")


async def _bought(desk: Desk, bucket: Bucket, count: int, id: str | None, tenant: str | None) -> int:
    """Add to a balance, and record it; return how many it holds that were bought."""
    from hauberk_ratelimit._recording import credited, recording
    from hauberk_ratelimit._seen import bought

    async with recording(desk.guard.config) as record:
        held = await bought(desk, bucket, "" if id is None else key_of(id, tenant), count)
        await record(credited(limit=bucket.rule, of=id or "all", tenant=tenant, count=count, bought=held))
    return held


def _meant(option: str, name: str | None) -> None:
    """Check that a name can be meant.

    Raises:
        ConfigError: It is empty, stands for all, or has blanks around it: a slip would be paid for by somebody.
    """
    if name is not None and (name != name.strip() or name in ("", "*")):
        what = "is empty" if not name else "means nobody" if name == "*" else "begins or ends with a blank"
        hint = "name one caller, as events name him; what all share is credited without --id"
        raise ConfigError(f"{option} {name!r} {what}", hint=hint)


def _balance(desk: Desk, rule: str | None) -> Bucket:
    """Return the balance that is meant; those of several plans are one.

    Raises:
        ConfigError: There is none, or not one alone, or nothing can be added to it.
    """
    there = {bucket.account: bucket for bucket in desk.book.calls if bucket.credit and rule in (None, bucket.rule)}
    names = ", ".join(dict.fromkeys(bucket.rule for bucket in desk.book.calls if bucket.credit)) or "none"
    if len(there) != 1:
        raise ConfigError(f"no balance alone is meant (there are: {names})", hint="--rule NAME")
    (bucket,) = there.values()
    if bucket.each not in ((), ("principal",)):
        raise ConfigError(f"{bucket.rule}: credits are bought for all together, or for a caller, and not for this")
    if desk.options.store is None:
        raise ConfigError(
            "without a store a balance is in the memory of a process, and ends with it", hint="[ratelimit] store"
        )
    return bucket


def _desk(config: Path | None, host: str) -> Desk:
    """Return the limits of a configuration; what it warns of goes to standard error."""
    from hauberk.guard import Guard

    settings = Config.read(config, host=host)
    for warning in settings.warnings:
        click.echo(f"hauberk: warning: {warning}", err=True)
    settings.check({**dict.fromkeys(place.word for place in settings.tables), RateLimit.name: Options})
    return Desk(RateLimit, settings.options(RateLimit.name, Options), GuardView(Guard(settings), settings))


def _runs(desk: Desk) -> bool:
    """Whether the plugin runs with this configuration."""
    from hauberk.loading import idle

    return not idle(desk.guard.config, RateLimit.name, RateLimit)


def _cells(row: Row) -> tuple[str, ...]:
    limit = f"{row.limit} each" if row.each else row.limit
    if row.buckets is not None:
        return row.rule, limit, "", f"{row.buckets} bucket{'' if row.buckets == 1 else 's'}"
    left = "" if row.left is None else str(row.left)
    return row.rule, limit, left, "" if row.reset is None else f"{row.reset:.3g} s"
