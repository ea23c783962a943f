"""``hauberk plugins``: what is installed, what of it runs, why the rest does not, and what is locked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hauberk.cli import _lock
from hauberk.cli._run import read
from hauberk.cli.options import HELP, configured, print_json, printing, table

if TYPE_CHECKING:
    from hauberk.config import Config
    from hauberk.loading import Standing

_EPILOG = """\b
Examples:
  hauberk plugins
  hauberk plugins --config hauberk.toml --json
  hauberk plugins lock --config hauberk.toml
  hauberk plugins verify --config hauberk.toml
"""


@click.group("plugins", epilog=_EPILOG, context_settings=HELP, invoke_without_command=True)
@configured
@printing
@click.pass_context
def command(ctx: click.Context, /, *, config: Path | None, host: str, as_json: bool) -> None:
    """Show what is installed, and what runs; lock it.

    Without a word: name, distribution and version, active or idle and why, the hooks by layer, and whether a plugin is
    as it was locked.
    """
    if ctx.invoked_subcommand is not None:
        if config is not None or as_json or host != "default":
            raise click.UsageError(f"options stand after {ctx.invoked_subcommand!r}", ctx)
        return
    from hauberk import loading
    from hauberk.guard import Guard

    found = read(config, host)
    roster = Guard.load(found).roster
    hooks = {one.name: one.layers or {} for one in roster} | _idle_hooks(found, roster)
    marks = _lock.marks(found, loading.sources(found, discover=True))
    if as_json:
        print_json([_plain(one, hooks[one.name]) | _marked(one, marks) for one in roster])
    elif not roster:
        click.echo("no plugin is installed\nhint: pip install hauberk-sieve hauberk-audit")
    else:
        _print(roster, hooks, marks)


command.add_command(_lock.lock)
command.add_command(_lock.verify)


def _marked(one: Standing, marks: Mapping[str, str]) -> dict[str, str]:
    return {"lock": marks[one.name]} if one.name in marks else {}


def _idle_hooks(config: Config, roster: tuple[Standing, ...]) -> dict[str, dict[str, str]]:
    """Return the layer of each hook of what is idle; of what is disabled, or not required, nothing is imported."""
    from hauberk import loading, plugins

    sources = loading.imported(config, plugins.installed())
    classes = {
        one.name: plugins.load_class(sources[one.name]) for one in roster if not one.active and one.name in sources
    }
    return {
        name: {hook: _layers(found, hook) for hook in plugins.HOOKS if _has(found, hook)}
        for name, found in classes.items()
    }


def _layers(plugin: type, hook: str) -> str:
    from hauberk.layers import layers_of

    return " and ".join(layer.name for layer in layers_of(plugin, hook))


def _has(plugin: type, hook: str) -> bool:
    return hasattr(getattr(plugin, hook, None), "hauberk_impl")


def _print(roster: tuple[Standing, ...], hooks: Mapping[str, Mapping[str, str]], marks: Mapping[str, str]) -> None:
    rows = [
        (
            one.name,
            f"{one.distribution} {one.version}".strip(),
            _by_layer(hooks[one.name]),
            ", ".join([_state(one), *_marked(one, marks).values()]),
        )
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
