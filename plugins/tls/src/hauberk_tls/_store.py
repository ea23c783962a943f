"""The key material of one guard: one `Kept` for each set of options, however many servers share it."""

from __future__ import annotations

from typing import Any, Final

from hauberk.connection import Connection
from hauberk.refusals import ConfigError
from hauberk_tls import _secure
from hauberk_tls._options import Options
from hauberk_tls._rotation import Kept


class Store:
    """What the files of a configuration hold."""

    def __init__(self, plugin: Any, guard: Any) -> None:
        self._plugin: Final = plugin
        self._guard: Final = guard
        self._kept: Final[dict[Options, Kept]] = {}

    def open(self) -> None:
        """Read every file that is named.

        Raises:
            ConfigError: One cannot be used, or a server that listens lacks one.
        """
        self.all()
        for server in self._guard.config.servers:
            self._check_listener(server)

    def all(self) -> dict[str, Kept]:
        """Return what was read, by the table that it is of."""
        servers = (None, *self._guard.config.servers_of("tls"))
        return {"[tls]" if one is None else f"[server.{one}.tls]": self.kept(self.options(one)) for one in servers}

    def take(self, old: Store) -> None:
        """Take over what was read for options that are as they were."""
        for options, kept in old._kept.items():
            self._kept.setdefault(options, kept)

    def options(self, server: str | None) -> Options:
        """Return the options that hold for a server."""
        found: Options = self._guard.options_for(self._plugin, server)
        return found

    def kept(self, options: Options) -> Kept:
        """Return the material of a set of options.

        Raises:
            ConfigError: It cannot be used.
        """
        found = self._kept.get(options)
        if found is None:
            config, name = self._guard.config, options.passphrase_env
            found = self._kept[options] = Kept(
                options,
                environment=lambda: config.child_env(None, names=[name] if name else []),
                production=config.production,
                now=self._guard.now,
                emit=self._guard.emit,
            )
        return found

    def secure(self, connection: Connection) -> None:
        """Give a connection its TLS.

        Raises:
            Refused: There is nothing to secure it with.
        """
        _secure.secure(connection, self.kept(self.options(connection.server)), self._guard.now)

    def _check_listener(self, server: str) -> None:
        listen = getattr(self._guard.config.server(server), "listen", None)
        if not str(getattr(listen, "address", "")).startswith("tls://"):
            return
        options = self.options(server)
        if options.certificate is None:
            raise ConfigError(
                f"server {server!r} listens by TLS and has no certificate", hint="name [tls] certificate and key"
            )
        if options.clients != "none" and options.ca is None:
            raise ConfigError(
                f"server {server!r} asks clients for certificates, and nobody is trusted to sign them",
                hint="name [tls] ca, or say client_certificates = 'none'",
            )
