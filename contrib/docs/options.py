"""The tables of the configuration reference: keys, types and defaults from the types, meanings as the page has them."""

from __future__ import annotations

import ast
import datetime as dt
import inspect
import itertools
import json
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from contrib.docs.pages import ROOT, plain, table, with_table

from hauberk import Options
from hauberk._document import Core, Features, Plugins
from hauberk._servers import Listen, Retry, ServerOptions
from hauberk.bounds import Bounds
from hauberk.plugins import installed, load_class
from hauberk_audit.checkpoints._checkpoint_options import Checkpoints
from hauberk_audit.sealing._encryption import Encryption
from hauberk_audit.writing._rotation import Rotation
from hauberk_bulkhead._options import Breaking, Isolating, Shedding
from hauberk_ratelimit._options import RuleTable
from hauberk_sieve.access._rule import Entry
from hauberk_sieve.addresses._options import Addresses
from hauberk_sieve.asks._options import Asks
from hauberk_sieve.inner._options import Inner
from hauberk_sieve.names._options import Names
from hauberk_sieve.probing._options import Probing
from hauberk_sieve.schemas._options import Schemas
from hauberk_sieve.storms._options import Storms
from hauberk_sieve.text._options import Suppress, TextOptions
from hauberk_sieve.who._options import People

FIRST_PARTY: Final = tuple(sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")))
"""The words of the plugins of this repository."""
TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "`[plugins]`": Plugins,
    "`[features]`": Features,
    "`[server.NAME]`": ServerOptions,
    "`[server.NAME.listen]`": Listen,
    "`[server.NAME.retry]`": Retry,
    "`[core]`": Core,
    "`[core.bounds]`": Bounds,
    "Every plugin": Options,
    **{f"`[{word}]`": load_class(installed()[word]).Options for word in FIRST_PARTY},
    "`[ratelimit.rules]`": RuleTable,
    "`[bulkhead.breaker]`": Breaking,
    "`[bulkhead.shedding]`": Shedding,
    "`[bulkhead.isolation]`": Isolating,
    "`[audit.rotation]`": Rotation,
    "`[audit.encryption]`": Encryption,
    "`[audit.checkpoints]`": Checkpoints,
    "`[sieve.allow]`": Entry,
    "`[sieve.names]`": Names,
    "`[sieve.people]`": People,
    "`[sieve.inner]`": Inner,
    "`[sieve.asks]`": Asks,
    "`[sieve.addresses]`": Addresses,
    "`[sieve.storms]`": Storms,
    "`[sieve.schemas]`": Schemas,
    "`[sieve.probing]`": Probing,
    "`[sieve.text]`": TextOptions,
    "`[sieve.text.suppress]`": Suppress,
}
"""The headings of the page, and the type of the table under each."""
HEAD: Final = ("key", "type", "default", "meaning")
_WORDS: Final[dict[Any, str]] = {
    bool: "true or false",
    float: "number",
    int: "integer",
    str: "text",
    type(None): "",
    Path: "path",
    dt.date: "date",
}
_MARKS: Final = ("narrow", "secret")
_FEWEST: Final = 2


def page(text: str) -> str:
    """Return the page with its tables made anew; a key without a meaning gets what stands at its field."""
    for heading, kind in TABLES.items():
        text = with_table(text, heading, lambda found, kind=kind: _table(found, kind))  # type: ignore[misc]
    return text


def _table(found: list[list[str]], kind: type[msgspec.Struct]) -> str:
    meanings = {row[0].strip("`"): row[-1] for row in found if len(row) > _FEWEST}
    return table(HEAD, [(*row[:3], meanings.get(row[0].strip("`")) or row[3]) for row in options(kind)])


def options(kind: type[msgspec.Struct]) -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type, default and meaning of each option of a table that is no table itself."""
    hints, meanings = get_type_hints(kind, include_extras=True), _meanings(kind)
    shared = set(Options.__struct_fields__) if kind is not Options and issubclass(kind, Options) else set()
    for field in msgspec.structs.fields(kind):
        default = _default(field)
        if field.name not in shared and not isinstance(default, msgspec.Struct):
            marks = "".join(f", *{mark}*" for mark in sorted(_marks(hints[field.name])))
            yield f"`{field.encode_name}`", words(hints[field.name]) + marks, written(default), meanings[field.name]


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def written(value: Any) -> str:
    """Return a default as the page writes it."""
    if value is None:
        return "none"
    if value is msgspec.NODEFAULT:
        return "required"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def words(kind: Any) -> str:
    """Return a type as an author of TOML would say it."""
    base, args = get_origin(kind), get_args(kind)
    if base is Annotated:
        return words(args[0]) + "".join(filter(None, map(_limit, args[1:])))
    if base is Literal:
        # typing takes two literals of the same values for one, so their order is that of whichever came first
        return " or ".join(f"`{json.dumps(arg)}`" for arg in sorted(args, key=str))
    if base in {Union, types.UnionType}:
        return " or ".join(filter(None, map(words, args)))
    if base is tuple:
        return f"list of {words(args[0])}"
    if base is dict:
        return f"table of {words(args[1])}"
    return _WORDS.get(kind, "table")


def _limit(mark: Any) -> str:
    if not isinstance(mark, msgspec.Meta):
        return ""
    if mark.gt is not None:
        return f" above {mark.gt}"
    return f", at least {mark.ge}" if mark.ge is not None else ""


def _marks(kind: Any) -> set[str]:
    """Return the marks of an option: narrow, secret."""
    found = {mark for arg in get_args(kind) for mark in _marks(arg)} if get_origin(kind) is not Literal else set()
    extras = [mark.extra or {} for mark in getattr(kind, "__metadata__", ()) if isinstance(mark, msgspec.Meta)]
    return found | {mark for extra in extras for mark in _MARKS if mark in extra}


def _meanings(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return what stands below each field in the source of a type."""
    found = dict.fromkeys(kind.__struct_fields__, "")
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for field, text in itertools.pairwise(statements):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(field.target)] = plain(" ".join(str(text.value.value).split()))
    return found
