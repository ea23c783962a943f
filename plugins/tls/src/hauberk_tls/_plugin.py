"""The hooks: give each connection its TLS, and check the peer once its handshake is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hauberk.config import Config
from hauberk.connection import Connection
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk_tls import _options
from hauberk_tls._refusals import refused

if TYPE_CHECKING:
    import click

    from hauberk.probe import Probe
    from hauberk_tls._store import Store


def _asked_for(settings: Config) -> bool:
    """Whether nothing goes in clear; in production the flag is as good as set (S0.3)."""
    return settings.production or settings.features.mcp_tls_enabled


class Tls:
    """TLS 1.3 with certificates on both sides."""

    name = "tls"
    layer = Layer.WIRE
    Options = _options.Options

    def __init__(self, options: _options.Options, guard: Any) -> None:  # noqa: ARG002 - each server has its own
        self.guard: Final = guard
        self._store: Store | None = None
        _options.check_profile(guard, type(self))

    @property
    def store(self) -> Store:
        """The key material, read when it is first needed."""
        if self._store is None:
            from hauberk_tls._store import Store  # a host without TLS loads neither ssl nor cryptography

            self._store = Store(type(self), self.guard)
        return self._store

    def adopt(self, old: Any) -> None:
        """Go on with the contexts, and so the tickets, of options that are as they were."""
        self.store.take(old.store)

    def open(self) -> None:
        """Read every file that is named.

        Raises:
            ConfigError: One is missing, loose, or cannot be used.
        """
        self.store.open()

    @hookimpl
    def on_connect(self, connection: Connection) -> None:
        """Give the connection its TLS; refuse one that would do without where TLS is asked for (S0.8)."""
        if connection.carrier in ("tls", "https"):
            self.store.secure(connection)
        elif connection.carrier == "http" and _asked_for(self.guard.config):
            raise refused("tls.plaintext", f"server {connection.server!r}")

    @staticmethod
    def commands() -> click.Command:
        """Return ``hauberk certs``."""
        from hauberk_tls.certs import certs  # a host without its commands loads no cryptography

        return certs

    def probes(self) -> list[Probe]:
        """Return what shows that each check is live."""
        from hauberk_tls._probes import probes  # in development a host starts without them

        return probes(self.store)
