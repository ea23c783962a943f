"""Which plugins run, and why the others do not.

A plugin without a table in the configuration is idle unless it is required, its class says ``safe_default``, or a
feature flag switches it on. In production what runs is exactly what is required.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from hauberk import plugins
from hauberk._document import FIRST_PARTY
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
    """Return why a plugin does not run, or nothing if it does.

    Raises:
        ConfigError: It has different modes for different servers.
    """
    if config.has_table(name):
        mode = config.options(name, cls.Options).mode
        _one_mode(config, cls, mode)
        return "mode = 'off'" if mode == "off" else ""
    if name in config.plugins.require or name == "policy" or getattr(cls, "safe_default", None) is not None:
        return ""
    flag = FEATURES.get(name)
    if flag is None:
        return f"no table [{name}] in the configuration"
    return "" if getattr(config.features, flag) else f"features.{flag} is false, and there is no table [{name}]"


def _one_mode(config: Config, plugin: Any, mode: str) -> None:
    """Check that a plugin has one mode: its hooks are frozen once, for every server."""
    for server in config.servers_of(plugin.name):
        other = config.options(plugin.name, plugin.Options, server).mode
        if other != mode:
            raise ConfigError(
                f"plugin {plugin.name!r} has mode {other!r} for server {server!r} and {mode!r} for others",
                hint=f"write mode in [{plugin.name}], or give that server a host of its own",
            )


def declared(config: Config) -> dict[str, Method]:
    """Return the methods outside every revision that the configuration lets cross."""
    return {
        extra.name: Method(extra.name, extra.sender, extra.kind, REVISIONS, "configuration")
        for extra in config.core.methods
    }


def listed(config: Config, sources: Mapping[str, Source]) -> list[str]:
    """Return the names in listed order: as required, then by name; in ADMIT auth is first inwards, so last here."""
    required = [name for name in config.plugins.require if name in sources]
    rest = sorted(name for name in sources if name not in required)
    return sorted([*required, *rest], key=lambda name: name == "auth")


def sources(config: Config, *, discover: bool) -> dict[str, Source]:
    """Return every plugin that there is: those of installed packages, and the local ``policy.py``.

    Raises:
        PluginError: Two of them have one name.
    """
    found = plugins.installed() if discover else {}
    if config.plugins.policy:
        if "policy" in found:
            raise PluginError(
                f"plugin 'policy' is there twice, in {found['policy'].distribution!r} and as plugins.policy",
                hint="uninstall the package, or take plugins.policy out",
            )
        found["policy"] = plugins.policy_source(config.resolve(config.plugins.policy))
    return found


def before_import(
    config: Config, sources: Mapping[str, Source], objects: Iterable[str], disable: Iterable[str]
) -> dict[str, str]:
    """Check what can be checked before any plugin is imported; return why some are not to be imported, by name.

    Args:
        config: The configuration.
        sources: Every plugin that there is.
        objects: The names of plugins that the caller made itself.
        disable: Names to leave out, as ``-p no:NAME``.

    Raises:
        ConfigError: The operator must change something.
        PluginError: A plugin is missing.
    """
    disabled = config.disabled(disable)
    all_there(config, {*sources, *objects}, disabled)
    left_out = dict.fromkeys(disabled, "disabled by plugins.disable or -p no:")
    left_out |= dict.fromkeys(_not_required(config, sources, disabled), "not in plugins.require")
    if config.production and not left_out.keys() >= sources.keys():
        from hauberk import locking  # only here: most hosts run in development

        locking.check(config, sources)
    return left_out


def imported(config: Config, sources: Mapping[str, Source]) -> dict[str, Source]:
    """Return the plugins whose modules a host imports: none that is disabled, in production none that is not required.

    Raises:
        PluginError: One that is not required is to run.
    """
    off = config.disabled()
    off |= {*_not_required(config, sources, off)}
    return {name: source for name, source in sources.items() if name not in off}


def _not_required(config: Config, sources: Iterable[str], disabled: Iterable[str]) -> list[str]:
    """Return what production does not even import.

    Raises:
        PluginError: It has a table, or is switched on: it is to run.
    """
    if not config.production:
        return []
    extra = sorted(set(sources) - set(config.plugins.require) - set(disabled))
    for name in extra:
        if name == "policy" or config.has_table(name) or _switched_on(config, name):
            raise _runs_unasked(name)
    return extra


def _switched_on(config: Config, name: str) -> bool:
    """Whether a feature flag switches a plugin on; in production one is true for all that it names, or for none."""
    flag = FEATURES.get(name)
    if flag is None:
        return False
    if getattr(config.features, flag):
        return True
    return config.production and any(FEATURES.get(other) == flag for other in config.plugins.require)


def _runs_unasked(name: str) -> PluginError:
    return PluginError(
        f"plugin {name!r} runs and is not in plugins.require",
        hint=f"add {name!r} to plugins.require, or to plugins.disable",
    )


def all_there(config: Config, known: set[str], disabled: Iterable[str]) -> None:
    """Check that what is required, or switched on, is installed and not disabled."""
    for name in config.plugins.require:
        if name in disabled:
            raise ConfigError(f"plugin {name!r} is required and disabled", hint="take it out of one of the two lists")
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise PluginError(
                f"plugin {name!r} is not installed (installed: {there})",
                hint=f"{_install(name)}, or remove {name!r} from plugins.require",
            )
    for name, flag in FEATURES.items():
        if not _switched_on(config, name):
            continue
        if name in disabled:
            raise ConfigError(f"features.{flag} needs plugin {name!r}, which is disabled", hint="turn one of them off")
        if name not in known:
            raise PluginError(
                f"features.{flag} needs plugin {name!r}, which is not installed", hint=f"pip install hauberk-{name}"
            )


def _install(name: str) -> str:
    """Say how to get a plugin; only the project's own are named as packages, a mistyped word may be anybody's."""
    return f"pip install hauberk-{name}" if name in FIRST_PARTY else "install the package that brings it"


def exactly_required(config: Config, loaded: Mapping[str, Loaded]) -> None:
    """Check that what is required runs, and in production that nothing else does and that each enforces.

    Raises:
        ConfigError: One only observes, and the profile is production.
        PluginError: One is missing, or one is extra.
    """
    required = set(config.plugins.require)
    for name in sorted(required - set(loaded)):
        raise PluginError(f"plugin {name!r} is required and does not run", hint=f"see mode in [{name}]")
    for name, flag in FEATURES.items():
        if _switched_on(config, name) and name not in loaded:
            raise PluginError(
                f"features.{flag} needs plugin {name!r}, which does not run", hint=f"see mode in [{name}]"
            )
    if config.production and (extra := sorted(set(loaded) - required)):
        raise _runs_unasked(extra[0])
    for name, one in loaded.items():
        if config.production and one.mode != "enforce":
            raise ConfigError(
                f"plugin {name!r} has mode {one.mode!r}, and in production nothing that is required only observes",
                hint=f"take mode out of [{name}]",
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
        layers=_layers(loaded) if loaded else {},
    )


def _layers(loaded: Loaded) -> dict[str, str]:
    """Return the layers of each hook, as they are shown: of a hook in two, the outer one first."""
    found: dict[str, str] = {}
    for step in loaded.steps:
        found[step.hook] = f"{found[step.hook]} and {step.layer.name}" if step.hook in found else step.layer.name
    return found
