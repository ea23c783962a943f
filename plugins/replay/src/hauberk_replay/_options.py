"""The table ``[replay]``, and what memory it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from hauberk import config, shared
from hauberk.config import Narrow
from hauberk.refusals import ConfigError
from hauberk_replay._window import Window

OnStoreFailure = Literal["refuse", "local"]
_OF_THE_HOST: Final = ("memory", "group", "rate", "on_store_failure", "timeout")


class Options(config.Options, frozen=True, kw_only=True):
    """``[replay]``."""

    max_age: Annotated[float, Narrow.MIN, Meta(gt=0, le=86400)] = 300.0
    """How old a message may be (seconds); exactly so old is accepted."""
    skew: Annotated[float, Narrow.MIN, Meta(ge=0, le=300)] = 60.0
    """How far in the future a message may be made, by a sender whose clock is ahead (seconds)."""
    memory: str = "memory"
    """Where the nonces of messages are remembered: ``"memory"`` of the process; ``"sqlite:///PATH"``, a file that its
    processes share, ``"sqlite://"`` for one in the state directory; ``"redis://HOST:PORT"``, ``"rediss://…"`` or
    ``"unix:///PATH"``, a store that hosts share.
    """
    group: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,64}$")] = "default"
    """Of a shared store: hosts of one group accept a message once between them."""
    rate: Annotated[float, Meta(gt=0, le=1_000_000)] = 200.0
    """Messages a second for which there is room; the bound of the memory is this times the seconds remembered."""
    on_store_failure: Annotated[OnStoreFailure, Narrow.strictest("refuse", "local")] = "refuse"
    """While a shared store is lost: messages are refused, or each process judges by its own memory, which is reported
    and lets a message pass once in each."""
    timeout: Annotated[float, Meta(gt=0, le=1.5)] = 0.25
    """Seconds that a shared store may take for a message."""

    @property
    def window(self) -> Window:
        """Return when a message may be accepted."""
        return Window(self.max_age, self.skew)


def same_for(server: str, options: Options, host: Options, settings: config.Config) -> None:
    """Check that a server's own table says nothing else than the host's of what there is once.

    Raises:
        ConfigError: It does.
    """
    other = [name for name in _OF_THE_HOST if getattr(options, name) != getattr(host, name)]
    if other:
        raise ConfigError(
            f"{settings.name}: [server.{server}.replay] {other[0]}: a host has one memory for all its servers",
            hint="write it into [replay], or into [host.NAME.replay] for one host",
        )


def check_memory(options: Options, settings: config.Config) -> None:
    """Check that ``memory`` names one.

    Raises:
        ConfigError: It does not, or it is reached in clear over a network in production.
    """
    where = f"{settings.name}: [replay] memory"
    if shared.is_uri(options.memory):
        try:
            shared.check_uri(options.memory, production=settings.production)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.message}", hint=error.hint) from None
    elif options.memory.startswith("sqlite://"):
        path = options.memory.removeprefix("sqlite://")
        if path and not (Path(path).is_absolute() and Path(path).name):
            raise ConfigError(f"{where}: the path {path!r} is not absolute", hint="write sqlite:///PATH, or sqlite://")
    elif options.memory != "memory":
        scheme = options.memory.partition("://")[0] if "://" in options.memory else options.memory
        raise ConfigError(
            f"{where}: there is no memory {scheme[:40]!r}",
            hint='write "memory", "sqlite:///PATH" or "redis://HOST:PORT"',
        )
    if options.on_store_failure == "local" and not shared.is_uri(options.memory):
        raise ConfigError(f"{settings.name}: [replay] on_store_failure: there is no shared store", hint="leave it out")


def sqlite_path(options: Options, settings: Any) -> Path:
    """Return where the file is."""
    path = options.memory.removeprefix("sqlite://")
    return Path(path) if path else settings.state_dir / "replay" / "nonces.sqlite"
