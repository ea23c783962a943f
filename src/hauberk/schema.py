"""A JSON Schema of ``hauberk.toml``, made from the very types that the file is decoded into, for editors to check by.

The rules:

1. JSON Schema 2020-12. What no type has is refused (``additionalProperties: false``), as the loader refuses it.
2. Tables of several levels become one, so a key that must be there may stand in another table: nothing is required but
   in the items of an array, which are whole.
3. What a schema cannot say (a deny list that is only widened, two keys that exclude each other) the loader says.
4. What a key means is the docstring of its field.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec

from hauberk._document import Core, Features, Plugins
from hauberk._options import Options, bare, fields_of, is_table_type, item_of
from hauberk._servers import ServerOptions

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_NAME: Final = r"^[^/*?\[\]\s]([^/*?\[\]]{0,126}[^/*?\[\]\s])?$"
_POLICY: Final = "policy"
_ITEMS: Final = {"min_length": "minItems", "max_length": "maxItems"}
_PROPERTIES: Final = {"min_length": "minProperties", "max_length": "maxProperties"}
_OVERRIDE: Final = {
    "type": "boolean",
    "default": False,
    "description": "Whether this table may widen a more general one; never in production.",
}
_NO_OVERRIDE: Final = {"const": False, "description": "There is no more general table that this one could widen."}
Schema = dict[str, Any]


def schema(plugins: Mapping[str, type[Options]]) -> Schema:
    """Return the schema of a configuration file where these plugins are installed."""
    maker = _Maker()
    general = {word: maker.plugin(word, kind, _NO_OVERRIDE) for word, kind in plugins.items()}
    narrower = {word: maker.plugin(f"{word}.narrower", kind, _OVERRIDE) for word, kind in plugins.items()}
    policy = {"type": "object", "description": "The options of the plugin in plugins.policy."}
    own = narrower | {_POLICY: policy}
    server = maker.fields(ServerOptions)
    top: Schema = {
        "profile": {"enum": ["development", "production"], "default": "development"},
        "plugins": maker.table(Plugins),
        "features": maker.table(Features),
        "core": maker.table(Core),
        "server": _named(_closed(server | own, "How a server is reached, and what holds for it alone.")),
        "host": _named(_closed({"server": _named(_closed(own))} | own, "What holds for one host alone.")),
    }
    return {
        "$schema": DIALECT,
        "title": "hauberk.toml",
        **_closed(top | general | {_POLICY: policy}),
        "dependentSchemas": {
            _POLICY: {"required": ["plugins"], "properties": {"plugins": {"required": [_POLICY]}}},
        },
        "$defs": maker.definitions,
    }


def described(kind: type) -> dict[str, str]:
    """Return the docstrings of the fields of a class, its own and inherited ones, where the source is there."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        found |= _docstrings(tree.body[0])
    return found


class _Maker:
    """Makes schemas, and keeps those of named tables apart."""

    def __init__(self) -> None:
        self.definitions: Final[dict[str, Schema]] = {}

    def table(self, kind: type[msgspec.Struct], *, whole: bool = False) -> Schema:
        """Return a reference to the schema of a table; ``whole`` is one that no other table adds to."""
        name = f"{kind.__module__}.{kind.__qualname__}{'.item' if whole else ''}"
        if name not in self.definitions:
            self.definitions[name] = {}  # a table may hold itself
            self.definitions[name] |= _closed(self.fields(kind), _first_line(kind.__dict__.get("__doc__")))
            if whole and (required := [key for key, field in fields_of(kind).items() if field.required]):
                self.definitions[name]["required"] = required
        return {"$ref": f"#/$defs/{name}"}

    def plugin(self, name: str, kind: type[Options], override: Schema) -> Schema:
        """Return a reference, by a name, to the schema of a plugin's table."""
        text = _first_line(kind.__dict__.get("__doc__"))
        self.definitions[name] = _closed(self.fields(kind) | {"override": override}, text)
        return {"$ref": f"#/$defs/{name}"}

    def fields(self, kind: type[msgspec.Struct]) -> Schema:
        """Return the schemas of the fields of a table by their keys."""
        words = described(kind)
        return {
            key: self._of(field.type) | _described(words.get(field.name)) | _default(field)
            for key, field in fields_of(kind).items()
        }

    def _of(self, kind: Any, *, whole: bool = False) -> Schema:
        inner, metas = bare(kind)
        if is_table_type(inner):
            return self.table(inner, whole=whole)
        if get_origin(inner) is dict:
            values = self._of(get_args(inner)[1], whole=whole)
            return {"type": "object", "additionalProperties": values} | _limits(metas, _PROPERTIES)
        if (item := item_of(inner)) is not None:
            return {"type": "array", "items": self._of(item, whole=True)} | _limits(metas, _ITEMS)
        if get_origin(inner) in {Union, types.UnionType}:
            arms = [arm for arm in get_args(inner) if arm is not type(None)]
            return {"anyOf": [self._of(arm, whole=True) for arm in arms]}
        return _leaf(inner, metas)


def _leaf(kind: Any, metas: Iterable[Any]) -> Schema:
    for meta in metas:
        if isinstance(meta, msgspec.Meta):
            kind = Annotated[kind, meta]
    return msgspec.json.schema(kind, schema_hook=_custom)


def _custom(kind: type) -> Schema:
    return {"type": "string", "minLength": 1} if kind is Path else {}


def _limits(metas: Iterable[Any], names: Mapping[str, str]) -> Schema:
    pairs = ((name, getattr(meta, field, None)) for meta in metas for field, name in names.items())
    return {name: value for name, value in pairs if value is not None}


def _default(field: msgspec.structs.FieldInfo) -> Schema:
    value = field.default
    if value is None or value is msgspec.NODEFAULT or isinstance(value, msgspec.Struct):
        return {}
    try:
        return {"default": msgspec.json.decode(msgspec.json.encode(value, enc_hook=_path))}
    except (TypeError, ValueError):
        return {}


def _path(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError


def _described(text: str | None) -> Schema:
    return {"description": text} if text else {}


def _closed(properties: Schema, text: str | None = None) -> Schema:
    return {"type": "object", **_described(text), "properties": properties, "additionalProperties": False}


def _named(values: Schema) -> Schema:
    return {"type": "object", "propertyNames": {"pattern": _NAME}, "additionalProperties": values}


def _first_line(text: str | None) -> str | None:
    return text.strip().splitlines()[0] if text and text.strip() else None


def _docstrings(node: ast.stmt) -> dict[str, str]:
    """Return what stands under each annotated name in the body of a class."""
    body = node.body if isinstance(node, ast.ClassDef) else []
    return {
        before.target.id: " ".join(after.value.value.split())
        for before, after in itertools.pairwise(body)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }
