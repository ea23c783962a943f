"""``hauberk config``: whether a configuration is sound, what is in force, a first one, and a schema for editors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hauberk.cli._boundary import COULD_NOT_TELL
from hauberk.cli._run import read
from hauberk.cli.options import HELP, configured, print_json, printing
from hauberk.refusals import HauberkError

if TYPE_CHECKING:
    from hauberk.config import Config, Options

_CHECK_EPILOG = """\b
Examples:
  hauberk config check
  hauberk config check --config hauberk.toml --json

Exit status: 0 a host can load it, 2 it cannot. `hauberk doctor` says whether plugins open and stop what they must.
"""
_SHOW_EPILOG = """\b
Examples:
  hauberk config show --config hauberk.toml
  hauberk config show --host desktop --json
"""


_INIT_EPILOG = """\b
Examples:
  hauberk config init
  hauberk config init hauberk.toml --from ~/.cursor/mcp.json
"""
_SCHEMA_EPILOG = """\b
Examples:
  hauberk config schema > ~/.config/hauberk/hauberk.schema.json
"""
_NOTES = (
    "each bound holds for one process: five servers under hauberk run are five processes",
    "no plugin was opened and no control tried: hauberk doctor does that",
)


@click.group("config", context_settings=HELP)
def command() -> None:
    """Check, show or begin the configuration."""


@command.command(epilog=_INIT_EPILOG, context_settings=HELP)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--from",
    "clients",
    multiple=True,
    metavar="CLIENT",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A client's file with servers [default: those of known clients].",
)
@printing
def init(*, file: Path | None, clients: tuple[Path, ...], as_json: bool) -> None:
    """Write a first configuration, with the servers that clients start.

    FILE is hauberk.toml in the user's configuration directory unless it is named. It is never overwritten.
    """
    from hauberk.cli import _initial

    made = _initial.write(file, clients)
    if as_json:
        print_json(made._asdict() | {"file": str(made.file)})
        return
    click.echo(f"written: {made.file}\nservers: {', '.join(made.servers) or 'none found'}")
    for line in made.next:
        click.echo(f"next: {line}")


@command.command(epilog=_SCHEMA_EPILOG, context_settings=HELP)
def schema() -> None:
    """Print a JSON Schema of the configuration, for editors.

    It holds the options of the plugins that are installed.
    """
    from hauberk import plugins
    from hauberk.schema import schema as made

    sources = plugins.installed()
    print_json(made({name: plugins.load_class(source).Options for name, source in sources.items()}))


@command.command(epilog=_CHECK_EPILOG, context_settings=HELP)
@configured
@printing
@click.pass_context
def check(ctx: click.Context, /, *, config: Path | None, host: str, as_json: bool) -> None:
    """Load configuration and plugins as a host does, and start nothing."""
    from hauberk.guard import Guard

    try:
        found = read(config, host)
        guard = Guard.load(found)
    except HauberkError as error:
        if not as_json:
            raise
        print_json({"ok": False, "error": error.message, "hint": error.hint})
        ctx.exit(COULD_NOT_TELL)
    active = [one.name for one in guard.roster if one.active]
    if as_json:
        print_json(
            _facts(found) | {"ok": True, "active": active, "warnings": list(found.warnings), "notes": list(_NOTES)}
        )
    else:
        click.echo(f"{click.style('ok', fg='green')}: {found.name}, profile {found.profile}, host {found.host}")
        click.echo(f"active: {', '.join(active) or 'no plugin'}")
        click.echo(f"policy version: {found.version}")
        for note in _NOTES:
            click.echo(f"note: {note}")


def _facts(config: Config) -> dict[str, Any]:
    return {"file": config.name, "host": config.host, "profile": config.profile, "version": config.version}


@command.command(epilog=_SHOW_EPILOG, context_settings=HELP)
@configured
@printing
def show(*, config: Path | None, host: str, as_json: bool) -> None:
    """Print the options in force, defaults included and secrets masked."""
    found = read(config, host)
    shown = _in_force(found)
    if as_json:
        print_json(shown)
        return
    for line in _lines(shown, ()):
        click.echo(line)


def _in_force(config: Config) -> dict[str, Any]:
    """Return what holds: of a plugin without a table its safe defaults, of one that is idle nothing."""
    from hauberk._options import plain
    from hauberk.guard import Guard

    shown = config.show(_kinds(config))
    guard = Guard.load(config)
    for one in guard.roster:
        if one.active:
            shown[one.name] = plain(guard.options_for(guard.loaded[one.name].plugin))
        elif not config.has_table(one.name):
            shown.pop(one.name, None)
    return shown


def _kinds(config: Config) -> dict[str, type[Options] | None]:
    """Return the options type of each plugin that is there; of one that a host leaves out nothing is imported."""
    from hauberk import loading, plugins

    sources = loading.sources(config, discover=True)
    there = loading.imported(config, sources)
    return {name: plugins.load_class(source).Options if name in there else None for name, source in sources.items()}


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Write plain data in the manner of TOML; what has no value is left out, as TOML has no null."""
    from hauberk._options import quoted

    values = {key: value for key, value in table.items() if not isinstance(value, dict) and value is not None}
    if values and path:
        yield ""
        yield f"[{'.'.join(map(quoted, path))}]"
    for key, value in values.items():
        yield f"{quoted(key)} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _lines(value, (*path, key))


def _value(value: Any) -> str:
    import json

    if isinstance(value, dict):
        from hauberk._options import quoted

        return "{ " + ", ".join(f"{quoted(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
