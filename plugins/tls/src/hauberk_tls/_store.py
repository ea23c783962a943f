"""The key material of one guard: one `Kept` for each set of options, however many servers share it."""

from __future__ import annotations

from typing import Any, Final

from hauberk.connection import Connection
from hauberk.refusals import ConfigError
from hauberk_tls import _secure
from hauberk_tls._options import Options
from hauberk_tls._rotation import Kept

_OPENSSL: Final = ("OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES")
"""What OpenSSL looks for in the environment when it is loaded, before anything of ours runs."""


class Store:
    """What the files of a configuration hold."""

    def __init__(self, plugin: Any, guard: Any) -> None:
        self._plugin: Final = plugin
        self._guard: Final = guard
        self._kept: Final[dict[Options, Kept]] = {}
        self._taken: Final[dict[Options, Kept]] = {}
        """What a policy before this one has read, for options that are as they were."""

    @property
    def production(self) -> bool:
        """Return whether the rules of production hold."""
        found: bool = self._guard.config.production
        return found

    def open(self) -> None:
        """Read every file that is named.

        Raises:
            ConfigError: One cannot be used, or a server that listens lacks one; or the environment has a say.
        """
        self._check_environment()
        self.all()
        for server in self._guard.config.servers:
            self._check_listener(server)

    def all(self) -> dict[str, Kept]:
        """Return what was read, by the table that it is of."""
        servers = (None, *self._guard.config.servers_of("tls"))
        return {"[tls]" if one is None else f"[server.{one}.tls]": self.kept(self.options(one)) for one in servers}

    def take(self, old: Store) -> None:
        """Take over what was read for options that are as they were, if it was by the same rules."""
        if old.production == self.production:
            self._taken.update(old._kept)

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
        if found is None and (taken := self._taken.get(options)) is not None:
            taken.again()
            found = self._kept[options] = taken
        if found is None:
            config, name = self._guard.config, options.passphrase_env
            found = self._kept[options] = Kept(
                options,
                environment=lambda: config.child_env(None, names=[name] if name else []),
                production=self.production,
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

    def _check_environment(self) -> None:
        """Refuse, in production, what OpenSSL reads by itself: it may change each context, and load code."""
        if not self.production:
            return
        for name in _OPENSSL:
            if name in self._guard.config.child_env(None, names=[name]):
                raise ConfigError(
                    f"the environment has {name}, by which OpenSSL changes what is agreed on",
                    hint="unset it; in production nothing but the configuration has a say",
                )

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
