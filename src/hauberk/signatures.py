"""Whether a policy is signed, where it has to be: asked before anything that it says is believed (S3.20).

The rules:

1. A trust store is a directory ``policy-keys`` in one of two places: ``/etc/hauberk``, and the configuration directory
   in the home that the system has for the user. No policy names another, and no variable of the environment moves one:
   what is checked does not say how.
2. Where there is none, nothing is asked. Where there is one, the plugin `KEEPER` checks each policy that was read from
   a file, whatever the policy says of that plugin, and the one that was looked for and is not there.
3. It gets the bytes that were read, before ``policy.py`` or any plugin that only the policy names is imported.
4. Where a signature is enforced the policy must let that plugin run: it remembers what was accepted.
5. Where a signature is enforced nobody leaves a plugin out at the command line: what was signed is what runs.
6. What cannot be told is refused: a store that cannot be looked at, a plugin that is not installed.
7. The text of a program's own (`Config.from_toml`) is the program, and is not asked about.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from hauberk import _homes, plugins
from hauberk.config import Config
from hauberk.refusals import ConfigError, HauberkError, PluginError

NAME: Final = "policy-keys"
KEEPER: Final = "audit"
"""The plugin that checks signatures, by its static ``check_signature(config, policy_file, stores, now)``."""
_SYSTEM: Final = Path("/etc/hauberk")

logger = logging.getLogger("hauberk")


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What the trust stores say of one policy."""

    enforced: bool
    """Whether a policy with a fault is refused."""
    fault: str = ""
    """Why it would be refused, where it only would."""
    signer: str = ""
    key_id: str = ""
    """SHA-256 of the public key, in hexadecimal."""
    serial: int = 0
    """0 where no store accepts it."""

    def details(self) -> dict[str, Any]:
        """Return what events say of it."""
        found = {"signature": self.fault or "valid"}
        return found | ({"signer": self.signer, "key_id": self.key_id, "serial": self.serial} if self.serial else {})


def places() -> tuple[Path, ...]:
    """Return where trust stores are looked for: the system's, then the user's."""
    home = _homes.fixed_dir("config")
    return tuple(folder / NAME for folder in (_SYSTEM, *(() if home is None else (home,))))


def stores() -> tuple[Path, ...]:
    """Return the trust stores that are there.

    Raises:
        ConfigError: It cannot be told.
    """
    return tuple(place for place in places() if not _homes.is_missing(place))


def state_dir() -> Path | None:
    """Return the user's state directory where no variable of the environment moves it; None where there is no home."""
    return _homes.fixed_dir("state")


def checked(config: Config, policy_file: str, now: float) -> Signed | None:
    """Return what the trust stores say of a policy; None where nobody has to have signed it.

    Args:
        config: The policy as it was read.
        policy_file: The version of its ``policy.py``, empty where it has none.
        now: Seconds since 1970.

    Raises:
        ConfigError: It has to be signed, and is not, or not so that it is accepted.
        PluginError: Nothing that is installed can tell.
    """
    if config.place is None or not (found := stores()):
        return None
    source = plugins.installed().get(KEEPER)
    check = None if source is None else getattr(plugins.load_class(source), "check_signature", None)
    if check is None:
        raise PluginError(
            f"there is a trust store {str(found[0])!r}, and nothing is installed that checks signatures",
            hint=f"pip install hauberk-{KEEPER}, or remove the store",
        )
    try:
        signed: Signed | None = check(config, policy_file, found, now)
    except HauberkError:
        raise
    except Exception as error:
        raise PluginError(
            f"plugin {KEEPER!r} failed to check the signature of {config.name} ({type(error).__name__})",
            hint=f"repair hauberk-{KEEPER}; without it no policy can be checked",
        ) from error
    return signed


def whole(signed: Signed | None, left_out: Iterable[str]) -> None:
    """Check that nothing of a policy that has to be signed is left out.

    Args:
        signed: What the trust stores say.
        left_out: Plugins that the command line turns off, and the policy does not.

    Raises:
        ConfigError: Something is, and signatures are enforced.
    """
    if signed is not None and signed.enforced and (names := sorted(left_out)):
        raise ConfigError(
            f"plugin {names[0]!r} cannot be turned off by a flag: the policy has to be a signed one",
            hint="turn it off in [plugins] disable, and sign the policy again",
        )


def kept(signed: Signed | None, loaded: Iterable[str]) -> None:
    """Check that the plugin which remembers what was accepted is one of those that run; tell a fault that is let pass.

    Raises:
        PluginError: It is not, and signatures are enforced.
    """
    if signed is not None and signed.fault:
        logger.warning("%s; the trust store only warns of it", signed.fault)
    if signed is not None and signed.enforced and KEEPER not in loaded:
        raise PluginError(
            f"plugin {KEEPER!r} does not run, and remembers which signed policy was the last",
            hint=f"let it run: it is idle, disabled, or not in plugins.require; see [{KEEPER}]",
        )
