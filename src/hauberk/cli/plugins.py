"""``hauberk plugins``: what is installed, what of it runs, and why the rest does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hauberk.cli._run import read
from hauberk.cli._shared import HELP, configured, print_json, printing, table

if TYPE_CHECKING:
    from hauberk.config import Config
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

    found = read(config, host)
    roster = Guard.load(found).roster
    hooks = {one.name: one.layers or {} for one in roster} | _idle_hooks(found, roster)
    if as_json:
        print_json([_plain(one, hooks[one.name]) for one in roster])
    elif not roster:
        click.echo("no plugin is installed\nhint: pip install hauberk-sieve hauberk-audit")
    else:
        _print(roster, hooks)


def _idle_hooks(config: Config, roster: tuple[Standing, ...]) -> dict[str, dict[str, str]]:
    """Return the layer of each hook of what is idle; of what is disabled nothing is imported."""
    from hauberk import plugins

    off = config.disabled()
    sources = {name: source for name, source in plugins.installed().items() if name not in off}
    classes = {
        one.name: plugins.load_class(sources[one.name]) for one in roster if not one.active and one.name in sources
    }
    return {
        name: {hook: plugins.layer_of(found, hook).name for hook in plugins.HOOKS if _has(found, hook)}
        for name, found in classes.items()
    }


def _has(plugin: type, hook: str) -> bool:
    return hasattr(getattr(plugin, hook, None), "hauberk_impl")


def _print(roster: tuple[Standing, ...], hooks: Mapping[str, Mapping[str, str]]) -> None:
    rows = [
        (one.name, f"{one.distribution} {one.version}".strip(), _by_layer(hooks[one.name]), _state(one))
        for one in roster
    ]
    for one, line in zip(roster, table(rows), strict=True):
        click.echo(line if one.active else click.style(line, dim=True))


def _state(one: Standing) -> str:
    if not one.active:
        return f"idle: {one.why}"
    return "active" if one.mode == "enforce" else f"active, mode {one.mode!r}"


def _by_layer(hooks: Mapping[str, str]) -> str:
    layers: dict[str, list[str]] = {}
    for hook, layer in hooks.items():
        layers.setdefault(layer, []).append(hook)
    return "; ".join(f"{layer}: {', '.join(names)}" for layer, names in layers.items())


def _plain(one: Standing, hooks: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": one.name,
        "distribution": one.distribution,
        "version": one.version,
        "active": one.active,
        "why": one.why,
        "mode": one.mode,
        "hooks": hooks,
    }
