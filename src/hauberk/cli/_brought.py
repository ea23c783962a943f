"""Commands that installed plugins bring: ``hauberk <word> …``, imported when the word is typed."""

from __future__ import annotations

import click

from hauberk import plugins
from hauberk.cli._boundary import complain
from hauberk.refusals import PluginError


def commands() -> dict[str, click.Command]:
    """Return the commands of all installed plugins by name; a broken plugin is told of, and has none."""
    found: dict[str, click.Command] = {}
    for source in plugins.installed().values():
        try:
            brought = _made(source)
        except PluginError as error:
            complain(f"warning: {error.message}", error.hint)
            continue
        if brought is not None:
            found.setdefault(brought.name or source.name, brought)
    return found


def command(word: str) -> click.Command | None:
    """Return the command of the plugin of this word, else the one to which a plugin gave this plainer name.

    Raises:
        PluginError: The plugin is broken, or two packages declare it.
    """
    source = plugins.installed().get(word)
    return (_made(source) if source is not None else None) or commands().get(word)


def _made(source: plugins.Source) -> click.Command | None:
    maker = getattr(plugins.load_class(source), "commands", None)
    if maker is None:
        return None
    try:
        made = maker()
    except Exception as error:
        raise PluginError(
            f"plugin {source.name!r} failed in commands ({type(error).__name__}: {error})",
            hint="make it a static method that returns a click.Command",
        ) from error
    if not isinstance(made, click.Command):
        raise PluginError(
            f"plugin {source.name!r} answered {type(made).__name__} in commands",
            hint="return a click.Command or a click.Group",
        )
    made.name = made.name or source.name
    return made
