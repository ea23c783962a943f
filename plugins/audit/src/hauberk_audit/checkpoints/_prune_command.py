"""``hauberk audit prune``."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import click

from hauberk.cli.options import HELP, print_json, printing
from hauberk.refusals import ConfigError, HauberkError
from hauberk_audit import _options
from hauberk_audit._entry import rfc3339, visible
from hauberk_audit._paths import pruned_path, state_path, tree_path
from hauberk_audit._places import configuration, keyed
from hauberk_audit.checkpoints import _checkpoint_keys
from hauberk_audit.checkpoints._checkpoint import Cut
from hauberk_audit.checkpoints._checkpoint_options import Checkpoints
from hauberk_audit.checkpoints._note import Signer
from hauberk_audit.checkpoints._pruned import PRUNED, Keep, Plan, cut_note, details, execute, own_cut, plan, sweep
from hauberk_audit.sealing._encryption import sealing_for
from hauberk_audit.sealing._providers import KeyPlace
from hauberk_audit.verifying._verify import verify
from hauberk_audit.verifying._verify_command import progress_bar
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._chain_commands import say
from hauberk_audit.writing._custody import Signing, key_id, load, load_initial
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._opened import opened
from hauberk_audit.writing._reset import is_held

_UNITS: Final = {"d": 86_400, "h": 3600, "w": 7 * 86_400, "y": 365 * 86_400}
_EPILOG: Final = """\b
Examples:
  hauberk audit prune --dry-run
  hauberk audit prune --older-than 90d --yes
  hauberk audit prune audit.jsonl --key-file audit.key --keep-files 12 --reason 'policy 7.2'

Exit status: 0 what was to go is gone, or nothing was; 2 it could not be done, and nothing is gone, or the rest will go
the next time.
"""


class Age(click.ParamType[float]):
    """A number and a unit: ``365d``."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        found = re.fullmatch(r"([0-9]+)([hdwy])", str(value))
        if found is None:
            self.fail(f"{value!r} is no age such as 365d, 12h, 8w or 1y", param, ctx)
        return float(int(found[1]) * _UNITS[found[2]])


@click.command("prune", epilog=_EPILOG, context_settings=HELP)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--older-than",
    metavar="AGE",
    type=Age(),
    default="365d",
    show_default=True,
    help="Let files go whose last entry is older: 90d, 12h, 8w, 1y.",
)
@click.option("--keep-files", metavar="N", type=click.IntRange(1), default=1, help="So many closed files stay anyway.")
@click.option("--reason", default="", help="Why; it is recorded.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@keyed
@printing
def prune_command(
    *,
    path: Path | None,
    older_than: float,
    keep_files: int,
    reason: str,
    dry_run: bool,
    yes: bool,
    key_file: Path | None,
    config: Path | None,
    host: str,
    as_json: bool,
) -> None:
    """Let the oldest files of a log go, so that the rest still verifies.

    PATH is the log; without it, that of the configuration. Whole files go that were closed, the oldest first. An entry
    says so, and a signed checkpoint beside the log. The log must not be written meanwhile: a host that runs does the
    same by [audit.rotation] keep and keep_days.
    """
    settings, options = configuration(config, host)
    log = path or _options.log_path(options, settings)
    try:
        key = key_file or _options.key_path(options, settings)
        signing = load(key)
        begun = _begun(log, signing, options.checkpoints, _checkpoint_keys.key_path(options.checkpoints, settings))
        found = plan(log, Keep(_before(older_than), None, keep_files), begun=begun)
        if not dry_run and found is not None:
            origin = _checkpoint_keys.origin_of(options.checkpoints, log, host, log)
            signer = _signer(log, options.checkpoints, _checkpoint_keys.key_path(options.checkpoints, settings))
            _check(log, signing, key)
            sealing = sealing_for(options.encryption, settings, log, key_id(signing))
            if not yes:
                click.confirm(f"let {len(found.files)} files of {visible(str(log))} go?", abort=True, err=True)
            said = details(found, reason or f"older than {older_than / 86_400:g} days", f"uid:{os.getuid()}")
            note = cut_note(found.cut, origin, rfc3339(_before(0)), signer)
            _prune(log, begun, found, said, note, lambda: Log.open(log, signing, sync=True, sealing=sealing))
    except OSError as error:
        raise HauberkError(f"cannot prune {str(log)!r}: {(error.strerror or type(error).__name__).lower()}") from error
    _print(log, found, dry_run=dry_run, as_json=as_json)


def _before(age: float, now: Callable[[], float] = time.time) -> float:
    return now() - age


def _begun(log: Path, signing: Signing, options: Checkpoints, key_file: Path) -> Cut | None:
    """Return with what a log begins of which files are gone; one that was cut by somebody else is left alone."""
    if not os.path.lexists(log):
        raise ConfigError(f"there is no audit log {str(log)!r}", hint="name the log that [audit] path says")
    if not os.path.lexists(pruned_path(log)):
        return None
    return own_cut(log, _signer(log, options, key_file), signing.signed if isinstance(signing, Chain) else None)


def _signer(log: Path, options: Checkpoints, key_file: Path) -> Signer | None:
    """Return the key of the checkpoints; a log that has some must have it, or there would be none any more."""
    if os.path.lexists(key_file):
        return _checkpoint_keys.load_signer(key_file)
    if options.sinks or os.path.lexists(tree_path(log)):
        raise ConfigError(
            f"audit log {str(log)!r} has checkpoints, and their key {str(key_file)!r} is missing",
            hint="say with --config which configuration has [audit.checkpoints] key_file",
        )
    return None


def _check(log: Path, signing: Signing, key: KeyPlace) -> None:
    """Check that nothing goes that would show a change. With a key that only goes forward nobody can tell, here."""
    if not isinstance(signing, Chain):
        return
    with progress_bar((log,)) as progress:
        report = verify([log], load_initial(key), progress=progress)
    if report.status:
        raise HauberkError(
            f"audit log {str(log)!r} is not whole, so nothing of it goes", hint="see what hauberk audit verify says"
        )


def _prune(
    log: Path, begun: Cut | None, found: Plan, said: dict[str, Any], note: bytes, open_log: Callable[[], Log]
) -> None:
    if is_held(state_path(log)):
        raise ConfigError(
            f"audit log {str(log)!r} is being written",
            hint="end its host, or let it do this itself: [audit.rotation] keep_days",
        )
    if begun is not None:
        sweep(log, begun)
    with closing(open_log()) as opening:
        if opening.path != log:
            raise ConfigError(f"audit log {str(log)!r} is being written", hint="end its host")
        for code, more, _ in opened(opening):
            opening.append(say(code, more))
        execute(log, found, lambda: opening.append(say(PRUNED, said)), note)


def _print(log: Path, found: Plan | None, *, dry_run: bool, as_json: bool) -> None:
    names = [] if found is None else [name.name for name in found.files]
    if as_json:
        sequence, size = (0, 0) if found is None else (found.cut.size, found.bytes)
        print_json({"log": str(log), "files": names, "entries": sequence, "bytes": size, "dry_run": dry_run})
        return
    for name in names:
        click.echo(f"{'would go' if dry_run else 'gone'}: {visible(name)}")
    if found is None:
        click.echo(f"{visible(str(log))}: nothing is old enough")
    else:
        verb = "would begin" if dry_run else "begins"
        click.echo(f"{visible(str(log))} {verb} with entry {found.cut.size + 1}")
