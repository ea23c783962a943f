"""What the commands share: options, the clock, completion, and what a failing disk is called."""

from __future__ import annotations

import datetime as dt
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from hauberk.refusals import ConfigError, HauberkError
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._making import ALGORITHMS, Source
from hauberk_tls.certs._places import KINDS, Places

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


def placed(function: F) -> F:
    """Give a command ``--dir``, and let a disk that fails be told in one line."""

    @functools.wraps(function)
    def told(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except BrokenPipeError:  # nobody reads what is printed, which is no failure of a disk
            raise
        except OSError as error:
            what = (error.strerror or type(error).__name__).lower()
            name = "" if error.filename is None else f" {str(error.filename)!r}"
            raise ConfigError(
                f"cannot go on with{name or ' the files'}: {what}", hint="what has its final name is whole"
            ) from error

    option = click.option(
        "--dir",
        "base",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Where certificates are [default: certs beside the user's hauberk.toml].",
    )
    return cast("F", option(told))


def opening(function: F) -> F:
    """Give a command ``--passphrase-file``."""
    return click.option(
        "--passphrase-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Private file with the passphrase of the CA's key [default: ask on the terminal].",
    )(function)


def lasting(function: F) -> F:
    """Give a command ``--days``: how long what it makes counts."""
    return click.option(
        "--days",
        default=LIMITS.leaf_days,
        show_default=True,
        type=click.IntRange(1, LIMITS.most_days),
        help="How long it counts; no longer than the CA.",
    )(function)


def keyed(function: F) -> F:
    """Give a command ``--algorithm`` of a new key."""
    return click.option(
        "--algorithm", type=click.Choice(ALGORITHMS), default=None, help="Kind of a new key [default: p256]."
    )(function)


def naming(function: F) -> F:
    """Give a command ``--san``."""
    return click.option(
        "--san",
        "sans",
        metavar="NAME",
        multiple=True,
        help="Further name: a DNS name, an address, a URI, or dns:, ip:, uri:, email: and a name. May be repeated.",
    )(function)


def of_kind(function: F) -> F:
    """Give a command ``--kind``, where a client and a server may have one name."""
    return click.option("--kind", type=click.Choice(KINDS), help="Which, if a client and a server have that name.")(
        function
    )


def names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the NAMEs of certificates that begin so."""
    from click.shell_completion import CompletionItem

    try:
        found = {folder.name for folder in Places.of(ctx.params.get("base")).folders()}
    except (HauberkError, OSError):
        return []  # nobody wants to read of it between two words
    return [CompletionItem(name) for name in sorted(found) if name.startswith(incomplete) and name.isprintable()]


def now(clock: Callable[[], float] = time.time) -> dt.datetime:
    """Return the time, in UTC and whole seconds, as certificates have it."""
    return dt.datetime.fromtimestamp(int(clock()), dt.UTC)


def source() -> Source:
    """Return the time and chance of this machine."""
    return Source(now(), os.urandom)
