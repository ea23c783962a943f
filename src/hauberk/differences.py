"""How two configurations differ, rule by rule: the same comparison at a reload, and afterwards of what was kept.

What is a rule, and which values of it are shown, is said in `hauberk._policy_diff`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hauberk import _policy_diff
from hauberk._policy_diff import Diff, Rule
from hauberk.config import MASK, Config, Options, ServerOptions

__all__ = ["Diff", "Kinds", "Rule", "between", "compare", "hidden", "like", "rules"]

Kinds = Mapping[str, type[Options] | None]
"""The options type of each plugin by its word; where there is none, no value of the plugin's table is shown."""
compare = _policy_diff.compare


def like(config: Config, content: bytes) -> Config:
    """Return what other bytes would say in the place of a configuration.

    Raises:
        ConfigError: They say something that nothing reads.
    """
    return Config(
        content,
        name=config.name,
        host=config.host,
        base=config.base,
        path=config.path,
        profile_default=config.profile_default,
    )


def between(old: Config, new: Config, kinds: Kinds, *, local: tuple[str, str] = ("", "")) -> Diff:
    """Compare two configurations by the types of the plugins that are there now.

    Args:
        old: The one.
        new: The other.
        kinds: The options types of both.
        local: The versions of ``policy.py`` beside each; empty where there is none.
    """
    return compare(rules(old, kinds, local[0]), rules(new, kinds, local[1]))


def rules(config: Config, kinds: Kinds, local: str = "") -> dict[str, Rule]:
    """Return each value of a configuration by its place.

    Args:
        config: The configuration.
        kinds: The options types of its plugins.
        local: The version of its ``policy.py``, if it has one.
    """
    flat = _policy_diff.flat
    found = {"profile": Rule(config.profile, shown=True)}
    for word, table in (("plugins", config.plugins), ("features", config.features), ("core", config.core)):
        found |= flat(word, table)
    for name in config.servers:
        if (server := config.server(name)) is not None:
            found |= flat(f"server.{name}", _said(server))  # without a type, as its arguments may hold a password
    for place, values in config.tables.items():
        found |= flat(str(place)[1:-1], values, kinds.get(place.word))
    if local:
        found["policy.py"] = Rule(local, shown=True)
    return found


def _said(server: ServerOptions) -> dict[str, Any]:
    """Return what a file says of a server, and not each key that it could have."""
    silent = ServerOptions()
    held = msgspec.structs.asdict(server)
    return {key: value for key, value in held.items() if value != getattr(silent, key)}


def hidden(config: Config, kinds: Kinds) -> list[str]:
    """Return the places of values that are shown nowhere, or of which nobody knows whether they may be.

    What stands in comments is not looked at.
    """
    servers = [f"server.{name}" for name in config.servers if MASK in repr(config.server(name))]
    tables = [_policy_diff.flat(str(place)[1:-1], held, kinds.get(place.word)) for place, held in config.tables.items()]
    return [*servers, *(place for found in tables for place, rule in found if not rule.shown)]
