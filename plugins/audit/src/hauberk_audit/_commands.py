"""``hauberk audit``: verify and read logs, make the key."""

from __future__ import annotations

from pathlib import Path

import click

from hauberk import keys
from hauberk.cli.options import HELP
from hauberk.refusals import ConfigError
from hauberk_audit import _options
from hauberk_audit._entry import visible
from hauberk_audit._places import configuration, keyed, places
from hauberk_audit.checkpoints import _checkpoint_keys
from hauberk_audit.checkpoints._prune_command import prune_command
from hauberk_audit.queries._query_commands import COMMANDS as QUERIES
from hauberk_audit.sealing._encryption import key_source, sources
from hauberk_audit.sealing._rekey_command import rekey_command
from hauberk_audit.verifying._verify_command import verify_command
from hauberk_audit.writing._chain_commands import chain
from hauberk_audit.writing._custody import make


@click.group("audit", context_settings=HELP)
def audit() -> None:
    """Verify and read the tamper-evident log."""


audit.add_command(verify_command)
audit.add_command(chain)
audit.add_command(prune_command)
audit.add_command(rekey_command)
for asking in QUERIES:
    audit.add_command(asking)


@audit.command("init", context_settings=HELP)
@keyed
@click.option(
    "--escrow",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where the initial key goes, for who verifies; this host gets one that only goes forward.",
)
@click.option("--encryption", is_flag=True, help="Make the key that opens the log, where the configuration says.")
@click.option("--checkpoints", is_flag=True, help="Make the key that signs checkpoints, and print the public one.")
def init_command(
    *, key_file: Path | None, escrow: Path | None, encryption: bool, checkpoints: bool, config: Path | None, host: str
) -> None:
    """Make the key of the log, where there is none.

    With --escrow, as production wants it, who takes this host over later cannot write the log's past anew. With
    --encryption it is not the key that signs the log, but the one that opens it where [audit.encryption] is on; with
    --checkpoints the one that signs what [audit.checkpoints] gives away.
    """
    if encryption:
        _make_sealing_key(config, host)
        return
    if checkpoints:
        _make_checkpoint_key(key_file, config, host)
        return
    path = places(config, host, key=key_file)[1]
    if escrow is None:
        key = keys.key_id(_options.make_key(path))
        hint = "keep a copy where this host cannot write; without the key nobody can verify the log"
    elif isinstance(path, Path):
        key = make(path, escrow)
        hint = f"move {visible(str(escrow))} off this host, to who verifies; without it nobody can verify the log"
    else:
        raise ConfigError(f"key {str(path)!r} cannot go forward", hint="name a file: [audit] key_file")
    click.echo(f"made key {key}: {visible(str(path))}")
    click.echo(f"hint: {hint}")


def _make_sealing_key(config: Path | None, host: str) -> None:
    settings, options = configuration(config, host)
    source = key_source(options.encryption, settings)
    key = keys.key_id(sources(settings).make(source))
    click.echo(f"made key {key}: {visible(source)}")
    click.echo("hint: keep a copy off this host; without the key nobody can read the log")


def _make_checkpoint_key(key_file: Path | None, config: Path | None, host: str) -> None:
    settings, options = configuration(config, host)
    log = _options.log_path(options, settings)
    path = key_file or _checkpoint_keys.key_path(options.checkpoints, settings)
    name = _checkpoint_keys.origin_of(options.checkpoints, log, host, log)
    public = _checkpoint_keys.make_signer(path, name).verifier.line
    click.echo(f"made key: {visible(str(path))}")
    click.echo(f"public key: {visible(public)}")
    click.echo(f"hint: give {visible(str(_checkpoint_keys.public_path(path)))} to who verifies")
