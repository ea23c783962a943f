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
        for one in brought:
            found.setdefault(one.name or source.name, one)
    return found


def command(word: str) -> click.Command | None:
    """Return the command of this name of the plugin of this word, or its first; else one that a plugin gave this name.

    Raises:
        PluginError: The plugin is broken, or two packages declare it.
    """
    source = plugins.installed().get(word)
    own = () if source is None else _made(source)
    return next((one for one in own if one.name == word), own[0] if own else None) or commands().get(word)


def _made(source: plugins.Source) -> tuple[click.Command, ...]:
    """Return the commands of a plugin: what its ``commands`` returns, one or several."""
    maker = getattr(plugins.load_class(source), "commands", None)
    if maker is None:
        return ()
    try:
        made = maker()
    except Exception as error:
        raise PluginError(
            f"plugin {source.name!r} failed in commands ({type(error).__name__}: {error})",
            hint="make it a static method that returns a click.Command, or several in a tuple",
        ) from error
    found = tuple(made) if isinstance(made, tuple | list) else (made,)
    for one in found:
        if not isinstance(one, click.Command):
            raise PluginError(
                f"plugin {source.name!r} answered {type(one).__name__} in commands",
                hint="return a click.Command or a click.Group, or several of them in a tuple",
            )
        one.name = one.name or source.name
    return found
