"""The configuration: one TOML file in, typed options out.

The rules:

1. One file, named or in the user's configuration directory, never looked for from the working directory. It is read
   once, from one descriptor; the SHA-256 of exactly these bytes is the version of the policy.
2. Whatever nothing reads is an error: an unknown table, key, type or value, a plugin that is not installed.
3. Most specific first: ``[host.H.server.S.PLUGIN]``, ``[host.H.PLUGIN]``, ``[server.S.PLUGIN]``, ``[PLUGIN]``; how they
   become one is said in `hauberk._merging`.
4. The profile stands in the file alone. In production nothing outside the file turns a control off, no table widens
   another, and the file is one that nobody else can change (X.5).
5. No secret is shown (X.14).

The environment is read here and nowhere else: for the user's directories, and for what a child is given.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, final

from hauberk import files
from hauberk._document import (
    FIRST_PARTY,
    INHERITED,
    WORDS,
    Core,
    Document,
    Features,
    Method,
    Place,
    Plugins,
    Profile,
    legacy,
)
from hauberk._homes import check_home, check_state, is_missing, user_dir
from hauberk._merging import merge
from hauberk._options import MASK, SECRET, Narrow, Options, echo, plain, quoted, suggestion
from hauberk._servers import ServerOptions
from hauberk.refusals import ConfigError

__all__ = ["MASK", "SECRET", "Config", "Core", "Features", "Method", "Narrow", "Options", "Plugins", "ServerOptions"]

T = TypeVar("T", bound=Options)

FILE_NAME: Final = "hauberk.toml"
_CACHED: Final = 4096
_OVERRIDE: Final = "override"
_DEFAULTS: Final = "built-in defaults"


@final
class Config:
    """One configuration, read and immutable. Make it by `read`, `from_toml` or `default`."""

    __slots__ = (
        "_cache",
        "_decoder",
        "_document",
        "_home",
        "_tables",
        "base",
        "content",
        "host",
        "name",
        "path",
        "profile_default",
        "version",
        "warnings",
    )

    def __init__(
        self,
        data: bytes,
        *,
        name: str,
        host: str,
        base: Path | None,
        path: Path | None = None,
        profile_default: Profile = "development",
    ) -> None:
        self.name: Final = name
        self.host: Final = host
        self.base: Final = base
        self.path: Final = path
        self.content: Final = data
        self.version: Final = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.warnings: tuple[str, ...] = ()
        self.profile_default: Final[Profile] = profile_default
        self._home: Path | None = None
        self._document: Final = Document(data, name, resolve=self.resolve, profile_default=profile_default)
        self._decoder: Final = self._document.decoder
        self._tables: Final = self._document.tables
        self._cache: Final[dict[tuple[str, type[Options], str | None], Options]] = {}
        self._check_host()
        self._check_home()

    @classmethod
    def read(cls, path: Path | None, *, host: str = "default", profile_default: Profile = "development") -> Config:
        """Read the file, or with None the user's own, if there is one.

        A file that others can change is refused in production, and is one of ``warnings`` in development.

        Raises:
            ConfigError: The file is missing, cannot be trusted, or says something that nothing reads.
        """
        if path is None:
            path = default_path()
            if is_missing(path):
                return cls(b"", name=_DEFAULTS, host=host, base=path.parent, profile_default=profile_default)
        path = Path(os.path.abspath(path))  # noqa: PTH100  # Path.resolve would follow the link that is to be refused
        data, fault = files.read_judged(path)
        config = cls(data, name=str(path), host=host, base=path.parent, path=path, profile_default=profile_default)
        if fault and config.production:
            raise fault
        config.warnings = (str(fault),) if fault else ()
        return config

    def again(self, path: Path | None = None) -> Config:
        """Return what is now in the file that this was read from, or in the user's own that has come to be.

        Args:
            path: Another file, read for the same host and with the same default of the profile.

        Raises:
            ConfigError: It was read from no file, or as `read`.
        """
        if path is None and self.place is None:
            raise ConfigError(f"{self.name}: was read from no file, so there is none to read again", hint="give one")
        return type(self).read(path or self.path, host=self.host, profile_default=self.profile_default)

    @classmethod
    def from_toml(
        cls,
        text: str,
        *,
        name: str = "<inline>",
        host: str = "default",
        base: Path | None = None,
        profile_default: Profile = "development",
    ) -> Config:
        """Make a configuration from text. Relative paths in it need ``base``, the directory that they start from.

        Raises:
            ConfigError: The text says something that nothing reads.
        """
        return cls(text.encode(), name=name, host=host, base=base, profile_default=profile_default)

    @classmethod
    def default(cls, *, host: str = "default") -> Config:
        """Return what holds without any file: the development profile, and each plugin's own defaults."""
        return cls(b"", name=_DEFAULTS, host=host, base=None)

    def __repr__(self) -> str:
        return f"Config({self.name!r}, host={self.host!r}, profile={self.profile!r}, version={self.version!r})"

    @property
    def place(self) -> Path | None:
        """The file that was read, or the user's own that is not there; None where a program gave the text."""
        return self.base / FILE_NAME if self.base is not None and self.name == _DEFAULTS else self.path

    @property
    def profile(self) -> Profile:
        """``development`` or ``production``: what the file says, and nothing else."""
        return self._document.profile

    @property
    def plugins(self) -> Plugins:
        """``[plugins]``."""
        return self._document.plugins

    @property
    def features(self) -> Features:
        """``[features]``."""
        return self._document.features

    @property
    def core(self) -> Core:
        """``[core]``."""
        return self._document.core

    @property
    def production(self) -> bool:
        """Whether the profile is ``production``."""
        return self.profile == "production"

    @property
    def servers(self) -> tuple[str, ...]:
        """The names that have a table ``[server.NAME]``, in the order of the file."""
        return tuple(self._document.servers)

    @property
    def tables(self) -> Mapping[Place, Mapping[str, Any]]:
        """Each plugin's table by its place, as the file has it: with its secrets."""
        return self._tables

    @property
    def state_dir(self) -> Path:
        """The directory of pins, logs and locks; it is made by who needs it (`hauberk.files.private_dir`).

        Raises:
            ConfigError: The environment would move it, and the profile is production (X.5, S3.43).
        """
        found = self.core.state_dir or user_dir("state")
        if self.core.state_dir is None and self.production:
            check_state(self.name, found, os.environ)
        return found

    def server(self, name: str) -> ServerOptions | None:
        """Return how the server is reached, or None if the file does not name it."""
        return self._document.servers.get(name)

    def has_table(self, word: str) -> bool:
        """Whether any table for this host configures the plugin, for one server or for all."""
        return any(place.word == word and place.host in {None, self.host} for place in self._tables)

    def servers_of(self, word: str) -> tuple[str, ...]:
        """Return the servers for which a plugin has a table of its own, on this host."""
        places = (place for place in self._tables if place.word == word and place.host in {None, self.host})
        return tuple(dict.fromkeys(place.server for place in places if place.server is not None))

    def resolve(self, path: Path) -> Path:
        """Return an absolute path: ``~`` is the user's home, and what is relative starts at the file's directory.

        Raises:
            ConfigError: The path is relative and the configuration is no file.
        """
        if str(path).startswith("~"):
            path = self._home = self._expanded(path)
        if path.is_absolute():
            return path
        if self.base is None:
            raise ConfigError(
                f"{self.name}: path {str(path)!r} is relative, and this configuration is no file",
                hint="write an absolute path, or give base=",
            )
        return self.base / path

    def options(self, word: str, kind: type[T], server: str | None = None) -> T:
        """Return the merged options of a plugin, for one server or for none.

        Raises:
            ConfigError: A table of this plugin has an unknown key, a wrong value, or an override in production.
        """
        if not any(Place(host, server, word) in self._tables for host in (None, self.host)):
            server = None  # a server without a table of its own; so an outsider's names do not fill the cache
        key = (word, kind, server)
        found = self._cache.get(key)
        if found is None:
            found = self._merged(word, kind, server)
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            self._cache[key] = found
        return found  # type: ignore[return-value]  # the key holds the type

    def disabled(self, extra: Iterable[str] = ()) -> frozenset[str]:
        """Return the plugins that are turned off, by the file and by ``-p no:NAME`` on the command line.

        Raises:
            ConfigError: The command line turns one off, and the profile is production (X.5).
        """
        flags = frozenset(extra)
        if flags and self.production:
            raise ConfigError(
                f"{self.name}: plugin {min(flags)!r} cannot be turned off by a flag in production",
                hint=f"take it out of [plugins] require in {self.name}",
            )
        return flags | frozenset(self.plugins.disable)

    def check(self, known: Mapping[str, type[Options] | None]) -> None:
        """Check every table of the file, those of other hosts too, against the options of the installed plugins.

        None stands for the options of a plugin that is installed and was not imported: its tables are not looked into.

        Raises:
            ConfigError: A plugin is not installed, or one of its tables has an unknown key or a wrong value.
        """
        for place, table in self._tables.items():
            if place.word not in known:
                raise self._not_installed(place, known)
            if (kind := known[place.word]) is not None:
                self._check_table(place, table, kind)
        for word, kind in known.items():
            if kind is not None and self.has_table(word):
                for server in (None, *{place.server for place in self._tables if place.word == word}):
                    self.options(word, kind, server)

    def child_env(self, server: str | None, *, names: Iterable[str] = ()) -> dict[str, str]:
        """Return the environment of a child: a fixed few names, ``names``, and what ``[server.NAME] env`` says."""
        options = self._document.servers.get(server) if server is not None else None
        env = options.env if options else {}
        passed = (*INHERITED, *names, *(name for name, value in env.items() if value is True))
        # A value that begins so is a shell function, and not for a child to run.
        inherited = {n: v for n in passed if (v := os.environ.get(n)) is not None and not v.startswith("()")}
        return inherited | {name: value for name, value in env.items() if isinstance(value, str)}

    def show(self, known: Mapping[str, type[Options] | None]) -> dict[str, Any]:
        """Return what is in force as plain data, with every secret masked.

        Raises:
            ConfigError: As `check`.
        """
        self.check(known)
        kinds = {word: kind for word, kind in known.items() if kind is not None}
        return {
            "file": self.name,
            "version": self.version,
            "host": self.host,
            "profile": self.profile,
            "warnings": list(self.warnings),
            "plugins": plain(self.plugins),
            "features": plain(self.features),
            "core": {**plain(self.core), "state_dir": str(self.state_dir)},
            "server": {name: self._show_server(name, kinds) for name in self._document.servers},
            **{word: plain(self.options(word, kind)) for word, kind in kinds.items()},
        }

    def _show_server(self, name: str, kinds: Mapping[str, type[Options]]) -> dict[str, Any]:
        words = {p.word for p in self._tables if p.server == name and p.host in {None, self.host}}
        own = {word: plain(self.options(word, kind, name)) for word, kind in kinds.items() if word in words}
        return self._document.servers[name].shown() | own

    def _merged(self, word: str, kind: type[T], server: str | None) -> T:
        merged: dict[str, Any] = {}
        last = Place(None, None, word)
        for place in self._levels(word, server):
            table = self._tables[place]
            self._check_table(place, table, kind)
            values = {key: value for key, value in table.items() if key != _OVERRIDE}
            try:
                merged = merge(merged, values, kind, widen=table.get(_OVERRIDE, False))
            except ValueError as exc:
                raise self._decoder.error(
                    str(place), "", f"cannot be compared with a more general table, {exc}"
                ) from None
            last = place
        options: T = self._decoder.decode(str(last), merged, kind)
        self._check_home()
        return options

    def _levels(self, word: str, server: str | None) -> Iterator[Place]:
        """Give the places that have a table, the most general first."""
        for host in (None, self.host):
            for name in (None, server) if server is not None else (None,):
                if (place := Place(host, name, word)) in self._tables:
                    yield place

    def _check_table(self, place: Place, table: Mapping[str, Any], kind: type[Options]) -> None:
        override = table.get(_OVERRIDE, False)
        if not isinstance(override, bool):
            raise self._decoder.error(str(place), _OVERRIDE, f"expected true or false, got {echo(override)}")
        if override and place.host is None and place.server is None:
            raise self._decoder.error(str(place), _OVERRIDE, "there is no more general table that this one could widen")
        if override and self.production:
            raise self._decoder.error(
                str(place), _OVERRIDE, "no table widens another in production", "change the more general table"
            )
        values = {key: value for key, value in table.items() if key != _OVERRIDE}
        self._decoder.check(str(place), values, kind, hint=lambda key: legacy((place.word, key)))

    def _check_home(self) -> None:
        """In production no variable moves what the file calls ``~``."""
        if self._home is not None and self.production:
            check_home(self.name, self._home, os.environ)

    def _expanded(self, path: Path) -> Path:
        try:
            return path.expanduser()
        except RuntimeError:
            raise ConfigError(f"{self.name}: path {str(path)!r}: there is no such user, or it has no home") from None

    def _check_host(self) -> None:
        """A mistyped ``--host`` must not leave out the rules of the host that was meant."""
        hosts = self._document.hosts
        if hosts and self.host != "default" and self.host not in hosts:
            raise ConfigError(
                f"{self.name}: there is no table [host.{quoted(self.host)}] (hosts: {', '.join(hosts)})",
                hint=suggestion(self.host, hosts),
            )

    def _not_installed(self, place: Place, known: Iterable[str]) -> ConfigError:
        word = place.word
        first = (word, *self._tables[place])[:2]
        names = ", ".join(sorted(known)) or "none"
        if hint := legacy(first) if place.server is None else legacy(("server", "NAME", word)):
            return self._decoder.error(str(place), "", f"unknown table (installed plugins: {names})", hint)
        if word in FIRST_PARTY:
            hint = f"pip install hauberk-{word}, or remove the table"
        else:
            hint = suggestion(word, (*known, *WORDS, *FIRST_PARTY))
        hint = hint or "install the package that brings it, or remove the table"
        return self._decoder.error(str(place), "", f"plugin {word!r} is not installed (installed: {names})", hint)


def default_path() -> Path:
    """Return where the user's own configuration is looked for."""
    return user_dir("config") / FILE_NAME
