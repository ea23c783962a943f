"""Typed options: what a table may hold, and what may be shown of it; how tables become one is `hauberk._merging`'s."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from hauberk.refusals import ConfigError

MASK: Final = "***"
SECRET: Final = Meta(extra={"secret": True})
"""Marks an option whose value is shown nowhere: ``token: Annotated[str, SECRET]``."""

# Patterns are strings: most starts need none of them, and compiling them all takes longer than reading the file.
_HIDDEN_NAME: Final = r"(?i)secret|token|passw|credential|webhook|api_?key|private_?key|authorization"
_PLACE_NAME: Final = r"_(file|path|dir|directory|header|env)\Z"
_USERINFO: Final = r"://\S*@"
_QUERY: Final = r"(://[^\s?#]*)[?#]\S*"
_WHOLE: Final = r"(?s)(?P<text>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?"
_ECHO_CHARS: Final = 60
_NAMES: Final[dict[Any, str]] = {str: "string", int: "integer", float: "number", bool: "boolean", Path: "path"}
_ARRAYS: Final = (list, tuple, set, frozenset, Sequence)


class Narrow:
    """Marks for options that a more specific table only narrows: ``deny: Annotated[tuple[str, ...], Narrow.UNION]``."""

    UNION: Final = Meta(extra={"narrow": "union"})
    """Arrays and tables are united: deny lists, required things."""
    COMMON: Final = Meta(extra={"narrow": "common"})
    """What both have stands, of arrays their items and of tables their keys: who may do something."""
    MIN: Final = Meta(extra={"narrow": "min"})
    """The smallest value stands: limits."""
    MAX: Final = Meta(extra={"narrow": "max"})
    """The largest value stands: key sizes, delays."""
    OR: Final = Meta(extra={"narrow": "or"})
    """True stands: controls that can be switched on."""
    AND: Final = Meta(extra={"narrow": "and"})
    """False stands: permissions."""

    @staticmethod
    def strictest(*words: str) -> Meta:
        """Of these words, given from the strictest to the loosest, the strictest stands."""
        return Meta(extra={"narrow": words})

    @staticmethod
    def by(stricter: Callable[[Any, Any], Any]) -> Meta:
        """Let ``stricter(general, specific)``, of plain TOML values, answer what stands, or raise ValueError."""
        return Meta(extra={"narrow": stricter})


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of every plugin's ``Options``. A field is a key of the plugin's table.

    Relative paths (fields of type `pathlib.Path`) are taken from the directory of the configuration file. A
    ``__post_init__`` that raises ValueError is a configuration error.
    """

    mode: Annotated[Literal["enforce", "audit", "off"], Narrow.strictest("enforce", "audit", "off")] = "enforce"
    """``audit`` runs the checks and lets pass what they would refuse, with an event; ``off`` runs nothing."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={value!r}" for key, value in plain(self).items())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(plain(self).items())


class Decoder:
    """Makes typed options of tables, with errors that name the file, the key, what was expected and what was got."""

    __slots__ = ("name", "resolve")

    def __init__(self, name: str, resolve: Callable[[Path], Path]) -> None:
        self.name = name
        self.resolve = resolve

    def error(self, where: str, key: str, text: str, hint: str | None = None) -> ConfigError:
        """Return the error ``<file>: [table] key: text``."""
        place = " ".join(filter(None, (where, key)))
        return ConfigError(f"{self.name}: {place}: {text}" if place else f"{self.name}: {text}", hint=hint)

    def unknown(self, where: str, key: str, known: Iterable[str], hint: str | None = None) -> ConfigError:
        """Return the error for a key that nothing reads, with what could have been meant."""
        names = sorted(known)
        return self.error(
            where,
            key,
            f"unknown key, expected one of: {', '.join(names)}",
            hint or suggestion(key.rpartition(".")[2], names),
        )

    def check(
        self,
        where: str,
        table: Mapping[str, Any],
        kind: type[msgspec.Struct],
        *,
        prefix: str = "",
        whole: bool = False,
        hint: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """Check each key of one table; unless it is ``whole``, a required key may stand in another level.

        Raises:
            ConfigError: A key is unknown or missing, or its value is not of its type.
        """
        fields = fields_of(kind)
        for key, value in table.items():
            if key not in fields:
                raise self.unknown(where, prefix + key, fields, hint(key))
            self._check_value(where, prefix + key, value, fields[key].type, secret=False, whole=whole)
        missing = next((key for key, field in fields.items() if whole and field.required and key not in table), None)
        if missing is not None:
            raise self.error(where, prefix + missing, "required, and missing")

    def decode(self, where: str, table: Mapping[str, Any], kind: type[Any]) -> Any:
        """Return the options of a whole table, already checked key by key.

        Raises:
            ConfigError: A required key is missing, or ``__post_init__`` says that the options make no sense together.
        """
        try:
            return self._convert(table, kind)
        except msgspec.ValidationError as exc:
            self.check(where, table, kind, whole=True)  # knows the whole path of a key, where msgspec does not
            key, text = _reason(exc)
            raise self.error(where, key, text) from None

    def _check_value(self, where: str, key: str, value: Any, kind: Any, *, secret: bool, whole: bool) -> None:
        inner, metas = bare(kind)
        secret = secret or _is_secret(metas)
        if is_table_type(inner) and isinstance(value, dict):
            self.check(where, value, inner, prefix=f"{key}.", whole=whole)
            return
        if isinstance(value, dict) and get_origin(inner) is dict:
            for name, item in value.items():
                self._check_value(where, f"{key}.{quoted(name)}", item, get_args(inner)[1], secret=secret, whole=whole)
            if is_table_type(bare(get_args(inner)[1])[0]):
                return
        elif isinstance(value, list) and (item_kind := item_of(inner)) is not None:
            for position, item in enumerate(value):
                self._check_value(where, f"{key}[{position}]", item, item_kind, secret=secret, whole=True)
        try:
            self._convert(value, kind)
        except msgspec.ValidationError as exc:
            sub, text = _reason(exc)
            if sub:
                raise self.error(where, key + sub, text) from None
            got = type_name(value) if secret or _is_secret_name(key) else echo(value)
            raise self.error(where, key, f"expected {describe(kind)}, got {got}") from None

    def _convert(self, value: Any, kind: Any) -> Any:
        return msgspec.convert(value, kind, dec_hook=self._hook)

    def _hook(self, kind: type, value: Any) -> Any:
        if kind is Path and isinstance(value, str) and value and "\0" not in value:
            return self.resolve(Path(value))
        raise ValueError(f"expected {describe(kind)}")


def plain(value: Any, *, secret: bool = False) -> Any:
    """Return options as plain data that may be shown: secrets, and the private parts of URLs, are masked."""
    if isinstance(value, msgspec.Struct):
        fields = fields_of(type(value)).items()
        return {key: _plain_field(key, getattr(value, field.name), field.type) for key, field in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item, secret=secret or _is_secret_name(str(key))) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=repr)
    if isinstance(value, (list, tuple)):
        return [plain(item, secret=secret) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if secret:
        return MASK if value != "" else ""
    return value if isinstance(value, (int, float)) else masked(str(value))


def masked(text: str) -> str:
    """Return the text with user information and query of any URL in it hidden."""
    return re.sub(_QUERY, rf"\1?{MASK}", re.sub(_USERINFO, f"://{MASK}@", text)) if "://" in text else text


def echo(value: Any) -> str:
    """Return a wrong value as an error may show it: short, and without the private parts of URLs."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float, str)):
        text = repr(masked(value)) if isinstance(value, str) else str(value)
        return text if len(text) <= _ECHO_CHARS else f"{text[:_ECHO_CHARS]}…"
    return type_name(value)


def type_name(value: Any) -> str:
    """Return what kind of TOML value this is."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    return {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}.get(type(value), "a date or time")


def describe(kind: Any) -> str:
    """Return what a value of this type looks like in TOML."""
    inner, metas = bare(kind)
    if get_origin(inner) is Literal:
        return _either([repr(word) for word in get_args(inner)])
    if get_origin(inner) in {Union, types.UnionType}:
        return _either([describe(arm) for arm in get_args(inner) if arm is not type(None)])
    item = item_of(inner)
    if item is not None:
        text = f"array of {_plural(describe(item))}"
    elif is_table_type(inner) or inner is dict or get_origin(inner) is dict:
        text = "table"
    else:
        text = _NAMES.get(inner) or str(getattr(inner, "__name__", inner))
    return text + "".join(_constraints(metas, "characters" if inner is str else "items"))


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """Return "did you mean …?" for the nearest of the known words, if one is near."""
    import difflib  # only for an error: start-up time is a feature

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None


def quoted(name: str) -> str:
    """Return a key as it is written in TOML."""
    return name if name.isascii() and name.replace("-", "_").isidentifier() else msgspec.json.encode(name).decode()


def bare(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without ``Annotated`` and ``| None`` (TOML has no null), and the marks that stood round it."""
    metas: tuple[Any, ...] = ()
    while True:
        if get_origin(kind) is Annotated:
            metas += kind.__metadata__
            kind = kind.__origin__
            continue
        arms = [arm for arm in get_args(kind) if arm is not type(None)]
        if get_origin(kind) not in {Union, types.UnionType} or len(arms) != 1:
            return kind, metas
        kind = arms[0]


@functools.lru_cache(maxsize=256)
def fields_of(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """Return the fields of a struct by the key that they have in a table."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def is_table_type(kind: Any) -> bool:
    """Whether values of the type are tables with named keys."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def item_of(kind: Any) -> Any:
    """Return the type of the items of an array type, or None."""
    args = get_args(kind)
    if get_origin(kind) not in _ARRAYS or (get_origin(kind) is tuple and args[1:] != (...,)):
        return None
    return args[0]


def _is_secret(metas: Iterable[Any]) -> bool:
    return any((getattr(meta, "extra", None) or {}).get("secret") for meta in metas)


def _is_secret_name(name: str) -> bool:
    """Whether a name tells of a secret and not of the place of one. A second net: the first is the mark `SECRET`."""
    return bool(re.search(_HIDDEN_NAME, name)) and not re.search(_PLACE_NAME, name)


def _plain_field(key: str, value: Any, kind: Any) -> Any:
    number = isinstance(value, (int, float))  # a limit such as `tokens` is no secret unless it is marked
    return plain(value, secret=_is_secret(bare(kind)[1]) or (_is_secret_name(key) and not number))


def hides(key: str, kind: Any) -> bool:
    """Whether the value of a key of this type is shown nowhere."""
    return _is_secret(bare(kind)[1]) or _is_secret_name(key)


def _constraints(metas: Iterable[Any], unit: str) -> Iterator[str]:
    forms = {
        "gt": " > {}",
        "ge": " >= {}",
        "lt": " < {}",
        "le": " <= {}",
        "pattern": " like {!r}",
        "min_length": f" of at least {{}} {unit}",
        "max_length": f" of at most {{}} {unit}",
    }
    for meta in metas:
        bounds = ((form, getattr(meta, name, None)) for name, form in forms.items())
        yield from (form.format(bound) for form, bound in bounds if bound is not None)


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _plural(text: str) -> str:
    head, _, rest = text.partition(" ")
    return f"{head}s {rest}".rstrip() if text in {"string", "integer", "number", "path", "table"} else f"({text})"


def _reason(exc: msgspec.ValidationError) -> tuple[str, str]:
    """Return the key path and the text of a msgspec error in this project's form."""
    match = re.fullmatch(_WHOLE, str(exc))
    path = str((match and match["path"]) or "")
    text = str(match["text"] if match else exc)
    return path.lstrip("."), text[:1].lower() + text[1:].replace("`", "'")
