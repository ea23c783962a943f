"""``hauberk plugins``: what is installed, what of it runs, and why the rest does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hauberk.cli._shared import HELP, configured, print_json, printing, read, table

if TYPE_CHECKING:
    from hauberk.loading import Standing

_EPILOG = """\b
Examples:
  hauberk plugins
  hauberk plugins --config hauberk.toml --json
"""


@click.command("plugins", epilog=_EPILOG, context_settings=HELP)
@configured
@printing
def command(*, config: Path | None, host: str, as_json: bool) -> None:
    """Show what is installed, and what runs.

    Name, distribution and version, active or idle and why, and the hooks by layer.
    """
    from hauberk.guard import Guard

    roster = Guard.load(read(config, host)).roster
    if as_json:
        print_json([_plain(one) for one in roster])
    elif not roster:
        click.echo("no plugin is installed\nhint: pip install hauberk-sieve hauberk-audit")
    else:
        _print(roster)


def _print(roster: tuple[Standing, ...]) -> None:
    rows = [(one.name, f"{one.distribution} {one.version}".strip(), _state(one), _hooks(one)) for one in roster]
    for one, line in zip(roster, table(rows), strict=True):
        click.echo(line if one.active else click.style(line, dim=True))


def _state(one: Standing) -> str:
    if not one.active:
        return f"idle: {one.why}"
    return "active" if one.mode == "enforce" else f"active, mode {one.mode!r}"


def _hooks(one: Standing) -> str:
    """Return the hooks, by layer."""
    layers: dict[str, list[str]] = {}
    for hook, layer in one.layers.items():
        layers.setdefault(layer, []).append(hook)
    return "; ".join(f"{layer}: {', '.join(hooks)}" for layer, hooks in layers.items())


def _plain(one: Standing) -> dict[str, Any]:
    return {
        "name": one.name,
        "distribution": one.distribution,
        "version": one.version,
        "active": one.active,
        "why": one.why,
        "mode": one.mode,
        "hooks": one.layers,
    }
