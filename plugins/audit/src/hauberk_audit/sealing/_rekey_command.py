"""``hauberk audit rekey``: another key for a log that is encrypted at rest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hauberk.cli.options import HELP, print_json, printing
from hauberk.refusals import ConfigError, HauberkError
from hauberk_audit._entry import visible
from hauberk_audit._options import key_path, log_path
from hauberk_audit._paths import log_set
from hauberk_audit._places import configuration, keyed
from hauberk_audit.sealing import _encryption
from hauberk_audit.sealing._providers import KeyProvider, is_source
from hauberk_audit.sealing._rekey import Change, Done, rekey
from hauberk_audit.writing._chain_commands import say
from hauberk_audit.writing._custody import key_id, load

if TYPE_CHECKING:
    from hauberk.config import Config

_EPILOG: Final = """\b
Examples:
  hauberk audit rekey --new-key new-seal.key
  hauberk audit rekey --new-key keyring:hauberk/seal --yes
  hauberk audit rekey --key escrow.key --new-key new-seal.key   # the host's own key was lost

No line of the log changes. Where it was interrupted, ask for the same again. What was copied before, data keys and old
key together, still opens what was written before.

Exit status: 0 the new key opens the log and the old one does not; 2 it could not be done.
"""


@click.command("rekey", epilog=_EPILOG, context_settings=HELP)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--new-key", metavar="KEY", required=True, help="The new key: a key file, or a source such as keyring:….")
@click.option("--key", metavar="KEY", help="A key that opens the log now [default: from the configuration].")
@click.option("--yes", is_flag=True, help="Do not ask.")
@keyed
@printing
def rekey_command(
    *,
    path: Path | None,
    new_key: str,
    key: str | None,
    yes: bool,
    key_file: Path | None,
    config: Path | None,
    host: str,
    as_json: bool,
) -> None:
    """Give a log that is encrypted another key, and end the old one.

    PATH is the log, with its numbered siblings; without it, that of the configuration. No host may be writing it.
    """
    settings, options = configuration(config, host)
    logs = log_set(path or log_path(options, settings))
    signing = load(key_file or key_path(options, settings))
    found = _change(options.encryption, settings, new_key, key)
    if key_id(signing) == found.new[0].key_id:
        raise ConfigError("the new key is the one that signs the log: whoever verifies could read it")
    if not yes:
        click.confirm(f"give {visible(str(logs[0]))} key {visible(found.new[0].key_id)}?", abort=True, err=True)
    try:
        done = rekey(logs, found, signing, say, {"changed_by": f"uid:{os.getuid()}"})
    except OSError as error:
        raise HauberkError(
            f"cannot change the key of {str(logs[0])!r}: {(error.strerror or type(error).__name__).lower()}",
            hint="do the same again: it goes on where it was interrupted",
        ) from None
    _tell(done, found, _source(new_key), as_json=as_json)


def _source(text: str) -> str:
    return text if is_source(text) else f"file:{Path(text).absolute()}"


def _change(encryption: _encryption.Encryption, settings: Config, new_key: str, key: str | None) -> Change:
    """Return which keys there are, and which ones there will be.

    Raises:
        ConfigError: A key cannot be used, or none is at hand that could open the log.
        PluginError: A provider fails.
    """
    _encryption.check_backend(encryption)
    here = _encryption.sources(settings)._replace(resolve=Path.absolute)
    new = here.provider(_source(new_key))
    there = _encryption.at_hand(encryption, settings)
    old: tuple[KeyProvider, ...] = there.providers if key is None else (here.provider(_source(key)), *there.providers)
    if not old:
        raise ConfigError(
            f"no key is at hand that opens the log: {'; '.join(there.missing)}", hint="name one that does: --key KEY"
        )
    others = (_encryption.sources(settings).provider(source) for source in encryption.recipients)
    return Change(_encryption.distinct(old), _encryption.distinct((new, *others)))


def _tell(done: Done, change: Change, source: str, *, as_json: bool) -> None:
    new = change.new[0].key_id
    if as_json:
        files = [str(path) for path in done.files]
        print_json({"key": new, "recipients": [one.key_id for one in change.new], "keys": done.keys, "files": files})
        return
    if not (done.files or done.logs):
        click.echo(f"nothing to do: there are no data keys but those of key {visible(new)}")
        return
    click.echo(f"{done.keys} data keys in {len(done.files)} files are wrapped for key {visible(new)}")
    click.echo(
        f"hint: write key = {visible(source)!r} into [audit.encryption]; with the old key no host starts. Keep a copy "
        "of the new one, and destroy the old one"
    )
