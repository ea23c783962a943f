"""The document: how its text is read, what the core's tables hold, and other programs' words, refused with a hint."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from hauberk._options import Decoder, echo, quoted, suggestion, type_name
from hauberk._servers import SERVER_WORDS, ServerOptions, Table
from hauberk.bounds import Bounds, Seconds
from hauberk.principal import DOCTOR
from hauberk.refusals import ConfigError

TableT = TypeVar("TableT", bound=msgspec.Struct)

WORDS: Final = ("core", "features", "host", "plugins", "profile", "server")
"""The top level of the file; any other table is a plugin's."""
FIRST_PARTY: Final = frozenset(
    {
        *("approve", "audit", "auth", "bulkhead", "console", "envelope", "gateway", "metrics"),
        *("pins", "ratelimit", "redact", "replay", "sieve", "tls", "vault"),
    }
)
"""The plugins of this project. A hint tells nobody to install a package of any other name."""
INHERITED: Final = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
"""What a child gets of the environment without being named."""

_DEPTH: Final = 32
_NAME_CHARS: Final = 128

# Patterns are strings: most starts need none of them, and compiling them all takes longer than reading the file.
_POSITION: Final = r"(?s)(?P<text>.*) \(at (?P<where>[^()]*)\)"


class Plugins(Table, frozen=True):
    """``[plugins]``: which plugins run."""

    require: tuple[str, ...] = ()
    """These must load. In production they are all that runs, and this is their order inside a layer."""
    disable: tuple[str, ...] = ()
    policy: Path | None = None
    """A ``policy.py`` to load as the plugin ``policy``."""

    def __post_init__(self) -> None:
        both = sorted(set(self.require) & set(self.disable))
        if both:
            raise ValueError(f"{both[0]!r} is both required and disabled")
        if len(set(self.require)) < len(self.require):
            raise ValueError("a name is required twice")


class Features(Table, frozen=True):
    """``[features]``: the switches of S0.1. All are off unless the file says otherwise."""

    mcp_tls_enabled: bool = False
    agent_security_enabled: bool = False
    agent_rate_limit_enabled: bool = False


class Method(Table, frozen=True):
    """One of ``core.methods``: a method, outside every MCP revision, that may cross."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    sender: Literal["client", "server", "both"]
    kind: Literal["request", "notification"]


class Core(Table, frozen=True):
    """``[core]``: what the core itself can be told."""

    bounds: Bounds = Bounds()
    request_timeout: Seconds | None = None
    """A request without an answer ends after this (seconds); never ``subscriptions/listen``."""
    refuse_as: Literal["error", "result"] = "error"
    approvers: tuple[str, ...] = ()
    methods: tuple[Method, ...] = ()
    state_dir: Path | None = None


def is_word(text: str) -> bool:
    """Whether the text can be a plugin's word."""
    plain_word = text.isascii() and text.isidentifier() and text == text.lower() and text[0] != "_"
    return plain_word and text not in WORDS and text not in SERVER_WORDS


def is_name(text: str) -> bool:
    """Whether the text can name a server or a host: patterns such as ``files/read_*`` must be able to tell it."""
    fits = 0 < len(text) <= _NAME_CHARS and text.isprintable() and text == text.strip() and not set(text) & set("/*?[]")
    return fits and text != DOCTOR.id  # options of its own would let the doctor try other rules than those in force


Profile = Literal["development", "production"]
_PROFILES: Final[tuple[Profile, ...]] = ("development", "production")


class Place(NamedTuple):
    """Where a plugin's table stands: for one host and one server, or for any (None)."""

    host: str | None
    server: str | None
    word: str

    def __str__(self) -> str:
        path = []
        if self.host is not None:
            path += ["host", quoted(self.host)]
        if self.server is not None:
            path += ["server", quoted(self.server)]
        return f"[{'.'.join((*path, self.word))}]"


class Document:
    """One file, read: the core's tables typed, and each plugin's table by its place."""

    __slots__ = ("_data", "core", "decoder", "features", "hosts", "plugins", "profile", "servers", "tables")

    def __init__(self, data: bytes, name: str, *, resolve: Callable[[Path], Path], profile_default: Profile) -> None:
        self._data: Final = parse(data, name)
        self.decoder: Final = Decoder(name, resolve)
        self.profile: Final[Profile] = self._profile(self._data.get("profile", profile_default))
        self.plugins: Final = self._core_table("plugins", Plugins)
        self.features: Final = self._core_table("features", Features)
        self._check_features()
        self.core: Final = self._core_table("core", Core)
        self.hosts: Final = tuple(self._table(("host",), self._data.get("host", {})))
        self.servers: Final[dict[str, ServerOptions]] = {}
        self.tables: Final[dict[Place, dict[str, Any]]] = {}
        self._index()

    def _profile(self, value: Any) -> Profile:
        for profile in _PROFILES:
            if value == profile:
                return profile
        near = suggestion(value, _PROFILES) if isinstance(value, str) else None
        raise self.decoder.error("", "profile", f"expected 'development' or 'production', got {echo(value)}", near)

    def _core_table(self, word: str, kind: type[TableT]) -> TableT:
        table = self._table((word,), self._data.get(word, {}))
        self.decoder.check(f"[{word}]", table, kind, hint=lambda key: legacy((word, key)))
        decoded: TableT = self.decoder.decode(f"[{word}]", table, kind)
        return decoded

    def _check_features(self) -> None:
        """In production no flag turns a control off (S0.3)."""
        if self.profile == "production":
            for key, value in self._data.get("features", {}).items():
                if value is False:
                    hint = "leave it out: in production plugins.require says what runs"
                    raise self.decoder.error("[features]", key, "cannot be false in production", hint)

    def _index(self) -> None:
        """Note every table by its place, and refuse what can be none."""
        self._add_plugins(None, None, {k: v for k, v in self._data.items() if k not in WORDS})
        for name, section in self._sections(("server",), self._data.get("server", {})):
            self.servers[name] = self._server(name, {k: v for k, v in section.items() if k in SERVER_WORDS})
            self._add_plugins(None, name, {k: v for k, v in section.items() if k not in SERVER_WORDS})
        for host, section in self._sections(("host",), self._data.get("host", {})):
            self._add_plugins(host, None, {k: v for k, v in section.items() if k != "server"})
            for name, table in self._sections(("host", host, "server"), section.get("server", {})):
                self._add_plugins(host, name, table)

    def _server(self, name: str, table: dict[str, Any]) -> ServerOptions:
        where = header(("server", name))
        self.decoder.check(where, table, ServerOptions)
        options: ServerOptions = self.decoder.decode(where, table, ServerOptions)
        if options.command and "/" in options.command:
            return msgspec.structs.replace(options, command=str(self.decoder.resolve(Path(options.command))))
        return options

    def _sections(self, path: tuple[str, ...], value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, section in self._table(path, value).items():
            if not is_name(name):
                hint = "a name has up to 128 characters, no '/', '*', '?', '[' or ']', and no blank at its ends"
                hint = f"{name!r} is the doctor's own; give it another name" if name == DOCTOR.id else hint
                raise self.decoder.error(header(path), quoted(name), f"{name!r} cannot name a {path[-1]}", hint)
            yield name, self._table((*path, name), section)

    def _table(self, path: tuple[str, ...], value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.decoder.error(
                "", ".".join(map(quoted, path)), f"expected a table, got {type_name(value)}", legacy(path)
            )
        return value

    def _add_plugins(self, host: str | None, server: str | None, section: Mapping[str, Any]) -> None:
        for word, value in section.items():
            if not isinstance(value, dict) or not is_word(word):
                raise self._not_read(host, server, word)
            self.tables[Place(host, server, word)] = value

    def _not_read(self, host: str | None, server: str | None, word: str) -> ConfigError:
        where = str(Place(host, server, "")).replace(".]", "]").replace("[]", "")
        own = {(True, True): WORDS, (True, False): SERVER_WORDS, (False, True): ("server",)}
        known = (*own.get((host is None, server is None), ()), "the table of a plugin")
        hint = legacy((word,) if server is None else ("server", "NAME", word))
        return self.decoder.unknown(where, quoted(word), known, hint)


def header(path: tuple[str, ...]) -> str:
    """Return the path of a table as TOML writes it."""
    return f"[{'.'.join(map(quoted, path))}]"


def parse(data: bytes, name: str) -> dict[str, Any]:
    """Return the document; its numbers are finite, and nothing is nested deeper than a person would write.

    Raises:
        ConfigError: It is not UTF-8 or not TOML; the error says where.
    """
    try:
        text = data.decode()
        document = tomllib.loads(text)
        _check_values(document, name, ())
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{name}: byte {exc.start}: not UTF-8", hint="save the file as UTF-8") from None
    except RecursionError:  # arrays in arrays
        raise ConfigError(f"{name}: nested deeper than {_DEPTH} levels") from None
    except ValueError as exc:
        raise _syntax_error(name, str(exc), mark=data.startswith(b"\xef\xbb\xbf")) from None
    return document


def _syntax_error(name: str, message: str, *, mark: bool) -> ConfigError:
    found = re.fullmatch(_POSITION, message)
    text, where = (found["text"], f"{found['where']}: ") if found else (message, "")
    hint = "a key or table is set once" if text.startswith("Cannot") else None
    if mark:
        hint = "save the file without a byte order mark"
    return ConfigError(f"{name}: {where}{text[:1].lower()}{text[1:]}", hint=hint)


def _check_values(value: Any, name: str, path: tuple[str, ...]) -> None:
    if len(path) > _DEPTH:
        raise ConfigError(f"{name}: {path[0]}: nested deeper than {_DEPTH} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_values(item, name, (*path, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _check_values(item, name, (*path, str(position)))
    elif isinstance(value, float) and not math.isfinite(value):
        place = f"{header(path[:-1])} {quoted(path[-1])}" if path[1:] else path[0]
        raise ConfigError(f"{name}: {place}: expected a finite number, got {value}")


def legacy(path: tuple[str, ...]) -> str | None:
    """Return what to write for a key that the designs hauberk comes from spell in another way."""
    for length in range(len(path), 0, -1):
        if hint := _LEGACY.get(path[:length]):
            return hint
    return None


_TLS: Final = "TLS and mTLS are set in [tls], for one server in [server.NAME.tls]"
_SEAL: Final = "signing and encryption are set in [envelope]"
_REPLAY: Final = "replay defence is set in [replay]"
_RATE: Final = "rates are set in [ratelimit], for one server in [server.NAME.ratelimit]"
_SIEVE: Final = "which tools may be used is set in [sieve], what they must look like in [pins]"
_AUDIT: Final = "the log is set in [audit]; a plugin that has a table is on, and mode = 'off' turns it off"
_SERVER: Final = "servers are tables [server.NAME] with command, args, env, cwd, or url and headers"
_LEGACY: Final[dict[tuple[str, ...], str]] = {
    ("security",): "write [features], and [tls], [envelope], [replay] and [ratelimit] for what they switch on",
    ("security", "tls_enabled"): f"write [features] mcp_tls_enabled = true; {_TLS}",
    ("security", "mtls_enabled"): _TLS,
    ("security", "tls_version"): _TLS,
    ("security", "tls"): _TLS,
    ("security", "certificates"): _TLS,
    ("security", "zero_trust_mode"): "write profile = 'production'",
    ("security", "signing"): _SEAL,
    ("security", "encryption"): _SEAL,
    ("security", "replay_protection"): _REPLAY,
    ("security", "rate_limiting"): _RATE,
    ("security", "rate_limit"): _RATE,
    ("security", "auth"): "who may speak is set in [auth]",
    ("security", "audit"): _AUDIT,
    ("agent_security",): f"write [features] agent_security_enabled = true; {_SEAL}",
    ("agent_security", "rate_limiting"): f"write [features] agent_rate_limit_enabled = true; {_RATE}",
    ("mcp_servers",): _SERVER,
    ("mcpServers",): f"{_SERVER}; in a client's own JSON, put `hauberk run --` before each server's command",
    ("servers",): _SERVER,
    ("hosts",): "hosts are tables [host.NAME]",
    ("profiles",): "write profile = 'production' or profile = 'development' at the top",
    ("required_plugins",): "write [plugins] require = ['NAME', …]",
    ("plugins", "required"): "write [plugins] require = ['NAME', …]",
    ("plugins", "disabled"): "write [plugins] disable = ['NAME', …]",
    ("features", "tls_enabled"): "write mcp_tls_enabled = true",
    ("mcp",): _SIEVE,
    ("tools",): _SIEVE,
    ("policy",): "a policy.py is named in [plugins] policy; which tools may be used is set in [sieve]",
    ("policies",): "a policy.py is named in [plugins] policy; which tools may be used is set in [sieve]",
    ("sandbox",): _SIEVE,
    ("sandbox", "rate_limits"): _RATE,
    ("rate_limits",): _RATE,
    ("rate_limit",): _RATE,
    ("rate_limiting",): _RATE,
    ("transport",): "how a server is reached is set in [server.NAME], what protects the wire in [tls]",
    ("approvals",): "who is asked is set in [core] approvers, how in [approve]",
    ("audit", "enabled"): _AUDIT,
    ("audit", "log_dir"): "write [audit] path = 'FILE'",
    ("audit", "include_mcp_calls"): "every decision is logged",
    ("audit", "include_agent_messages"): "every decision is logged",
    ("audit", "include_security_events"): "every security event is logged",
    ("audit", "include_tool_args"): "arguments are logged as digests",
    ("audit", "integrity"): "the chain is always on; write [audit] key_file = 'FILE'",
    ("audit", "alerts"): "alerts are sent by a plugin with an on_audit hook",
    **{
        ("server", "NAME", key): _TLS
        for key in (
            "bind_address",
            "tls_cert",
            "tls_key",
            "require_client_cert",
            "auth_method",
            "trusted_ca",
            "transport",
        )
    },
    ("server", "NAME", "type"): "a command is started, a url is dialled: write the one you mean",
    ("server", "NAME", "environment"): "write env = { NAME = 'value' }",
    ("server", "NAME", "disabled_tools"): _SIEVE,
    ("server", "NAME", "enabled_tools"): _SIEVE,
}
