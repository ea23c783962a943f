"""Which plugins run, and why the others do not.

A plugin without a table in the configuration is idle unless it is required, its class says ``safe_default``, or a
feature flag switches it on. In production what runs is exactly what is required.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from hauberk.config import Config
from hauberk.methods import REVISIONS, Method
from hauberk.plugins import Loaded, Source
from hauberk.refusals import ConfigError, PluginError

FEATURES: Final[Mapping[str, str]] = {
    "tls": "mcp_tls_enabled",
    "envelope": "agent_security_enabled",
    "replay": "agent_security_enabled",
    "ratelimit": "agent_rate_limit_enabled",
}
"""The feature flag that switches a plugin (S0.1)."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin, as ``hauberk plugins`` shows it."""

    name: str
    distribution: str
    version: str
    active: bool
    why: str
    mode: str = ""
    layers: dict[str, str] = {}
    """Layer of each hook."""


def idle(config: Config, name: str, cls: Any) -> str:
    """Return why a plugin does not run, or nothing if it does."""
    if config.has_table(name):
        return "mode = 'off'" if config.options(name, cls.Options).mode == "off" else ""
    if name in config.plugins.require or name == "policy" or getattr(cls, "safe_default", None) is not None:
        return ""
    flag = FEATURES.get(name)
    if flag is None:
        return f"no table [{name}] in the configuration"
    return "" if getattr(config.features, flag) else f"features.{flag} is false, and there is no table [{name}]"


def declared(config: Config) -> dict[str, Method]:
    """Return the methods outside every revision that the configuration lets cross."""
    return {
        extra.name: Method(extra.name, extra.sender, extra.kind, REVISIONS, "configuration")
        for extra in config.core.methods
    }


def listed(config: Config, sources: Mapping[str, Source]) -> list[str]:
    """Return the names in listed order: as required, then by name; in ADMIT auth is first inwards, so last here."""
    required = [name for name in config.plugins.require if name in sources]
    rest = sorted((name for name in sources if name not in required), key=lambda name: (name == "auth", name))
    return [*required, *rest]


def all_there(config: Config, sources: Mapping[str, Source], disabled: Iterable[str]) -> None:
    """Check that what is required, or switched on, is installed.

    Raises:
        ConfigError: It is also disabled.
        PluginError: It is not installed.
    """
    for name in config.plugins.require:
        if name in disabled:
            raise ConfigError(f"plugin {name!r} is required and disabled", hint="take it out of one of the two lists")
        if name not in sources:
            there = ", ".join(sorted(sources)) or "none"
            raise PluginError(
                f"plugin {name!r} is not installed (installed: {there})",
                hint=f"pip install hauberk-{name}, or remove {name!r} from plugins.require",
            )
    for name, flag in FEATURES.items():
        if getattr(config.features, flag) and name not in sources:
            raise PluginError(
                f"features.{flag} needs plugin {name!r}, which is not installed", hint=f"pip install hauberk-{name}"
            )


def exactly_required(config: Config, loaded: Mapping[str, Loaded]) -> None:
    """Check that what is required runs, and in production that nothing else does.

    Raises:
        PluginError: One is missing, or one is extra.
    """
    required = set(config.plugins.require)
    for name in required - set(loaded):
        raise PluginError(f"plugin {name!r} is required and does not run", hint=f"see mode in [{name}]")
    if config.production and (extra := sorted(set(loaded) - required)):
        raise PluginError(
            f"plugin {extra[0]!r} runs and is not in plugins.require",
            hint=f"add {extra[0]!r} to plugins.require, or to plugins.disable",
        )


def standing(source: Source, why: str, loaded: Loaded | None = None) -> Standing:
    """Return how a plugin stands."""
    return Standing(
        name=source.name,
        distribution=source.distribution,
        version=source.version,
        active=loaded is not None,
        why=why,
        mode=loaded.mode if loaded else "",
        layers={step.hook: step.layer.name for step in loaded.steps} if loaded else {},
    )
