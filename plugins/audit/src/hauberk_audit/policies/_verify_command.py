"""``hauberk policy verify``: whether the history is whole, and the file is one that was signed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import click

from hauberk import signatures
from hauberk.cli.options import HELP, print_json, printing
from hauberk.refusals import ConfigError, HauberkError
from hauberk_audit import _options
from hauberk_audit._entry import visible
from hauberk_audit._paths import log_set
from hauberk_audit.policies import _site
from hauberk_audit.policies._site import Site, site, sited
from hauberk_audit.policies._verify import Named, anchors, examined, unanchored
from hauberk_audit.queries._parts import Progress
from hauberk_audit.queries._reading import Reader
from hauberk_audit.sealing import _encryption
from hauberk_audit.sealing._opening import Opener

_MUCH: Final = 16 * 1024 * 1024
"""Bytes of logs above which a bar is shown."""

_EPILOG: Final = """\b
Examples:
  hauberk policy verify
  hauberk policy verify --config hauberk.toml --json

Exit status: 0 all is as it was written and signed, 1 something is not, or the policy cannot be loaded, 2 there is
nothing to verify, or it cannot be read: a log that is sealed, with no key at hand. That the audit log is whole is for
`hauberk audit verify` to say.
"""


class Verified(NamedTuple):
    """What was found."""

    rows: int
    taken_away: int
    """Rows that are not kept any more."""
    anchors: int
    """Logs that name a row."""
    faults: list[str]
    closed: list[str]
    """Logs with entries that no key at hand opens."""
    signature: str
    """``valid``, why not, or nothing where nobody has to sign."""
    enforced: bool
    signer: str
    serial: int

    @property
    def status(self) -> int:
        """The exit status."""
        if self.faults or self.signature not in {"", "valid"}:
            return 1
        return 0 if (self.rows or self.signature) and not self.closed else 2


@click.command("verify", epilog=_EPILOG, context_settings=HELP)
@sited
@printing
@click.pass_context
def verify(ctx: click.Context, /, *, config: Path | None, host: str, state_dir: Path | None, as_json: bool) -> None:
    """Say whether the history of policies is what was written, and whether the file is one that was signed."""
    found = site(config, host, state_dir)
    made = _verified(found)
    if as_json:
        print_json(made._asdict() | {"status": made.status})
    else:
        _print(made)
    ctx.exit(made.status)


def _verified(found: Site, now: Callable[[], float] = time.time) -> Verified:
    rows, faults = examined(found.history)
    named = _anchors(found)
    signed, fault = None, found.fault  # of what cannot be read nobody can say that it was signed
    try:
        if found.settings is not None:
            local = _site.local_version(found.settings)
            signed = signatures.checked(found.settings, local, now())
    except HauberkError as error:
        fault = error.message
    return Verified(
        rows=len(rows),
        taken_away=rows[0].number - 1 if rows else 0,
        anchors=len({one.log for one in named.anchors}),
        faults=faults + unanchored(rows, named.anchors),
        closed=named.closed,
        signature=fault or ("" if signed is None else signed.fault or "valid"),
        enforced=bool(fault) or (signed is not None and signed.enforced),
        signer="" if signed is None else signed.signer,
        serial=0 if signed is None else signed.serial,
    )


def _anchors(found: Site) -> Named:
    """Return the rows that the logs of the configuration name."""
    settings = found.settings
    if settings is None:
        return Named([], [])
    options = settings.options("audit", _options.Options)
    log = _options.log_path(options, settings)
    policy_path = "" if settings.path is None else visible(str(settings.path))
    opener = Opener(_encryption.at_hand(options.encryption, settings).providers, index=False)
    with _bar(log) as progress:
        return anchors(log, policy_path, opener, progress)


@contextmanager
def _bar(path: Path) -> Iterator[Progress | None]:
    """Show a bar, where somebody looks and the logs are large."""
    try:
        size = sum(sum(Reader(log).sizes().values()) for log in log_set(path)) if sys.stderr.isatty() else 0
    except ConfigError:  # there is no log
        size = 0
    if size < _MUCH:
        yield None
        return
    with click.progressbar(length=size, label="log", file=sys.stderr) as bar:
        yield bar.update


def _print(made: Verified) -> None:
    for fault in made.faults:
        click.secho(visible(fault), fg="red")
    for name in made.closed:
        click.secho(visible(name), fg="yellow")
    if made.faults:
        click.secho(f"history: broken: {len(made.faults)} faults in {made.rows} rows", fg="red", bold=True)
    elif made.rows:
        older = f", after {made.taken_away} that are not kept any more" if made.taken_away else ""
        click.secho(f"history: whole: {made.rows} rows{older}", fg="green", bold=True)
        if not made.anchors and not made.closed:
            click.echo(
                "note: no audit log that can be read here names a row: rows that were cut off the end are not missed"
            )
    else:
        click.echo("history: there is none")
    if made.signature not in {"", "valid"}:
        click.secho(f"signature: {visible(made.signature)}", fg="red" if made.enforced else "yellow", bold=True)
    elif made.signature:
        click.secho(f"signature: valid: {visible(made.signer)}, serial {made.serial}", fg="green", bold=True)
    else:
        click.echo("signature: none is asked for: there is no trust store, or each is off")
