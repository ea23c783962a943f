"""One example of each model of the SDK, with every field filled and every arm of a union in a list."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, ForwardRef, Literal, Union, get_args, get_origin

from pydantic import AnyUrl, BaseModel, FileUrl, RootModel
from typing_extensions import TypeAliasType

ANY: Final = {"most": 2**64 - 1, "least": -(2**63), "one": 1.0, "list": [None, True, {}, "\u2028"], "": 5e-324}
_DEPTH: Final = 8
_PLAIN: Final[dict[Any, Any]] = {
    str: "é\u2028\U0001f600",
    int: 2**53 + 1,
    float: 0.1,
    bool: True,
    bytes: "AAEC",
    Any: ANY,
    object: ANY,
    type(None): None,
    AnyUrl: "x://a/b",
    FileUrl: "file:///a",
}
_BY_NAME: Final = {"ttl_ms": 0, "cache_scope": "private", "json_schema": "x", "field_schema": "x"}
"""Fields whose value the guard sets, or that have a form of their own."""


def sample(model: Any) -> Any:
    """Return an example as JSON values."""
    return _of(model, 0)


def _of(annotation: Any, depth: int) -> Any:
    if isinstance(annotation, str | ForwardRef):  # a JSON value that holds JSON values
        return ANY
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, type) and not get_args(annotation):
        return _of_class(annotation, depth)
    return _of_generic(annotation, depth)


def _of_class(annotation: type, depth: int) -> Any:
    if issubclass(annotation, RootModel):
        return _of(annotation.model_fields["root"].annotation, depth)
    if issubclass(annotation, BaseModel):
        return _model(annotation, depth)
    if hasattr(annotation, "__total__"):  # a TypedDict
        return dict(ANY)
    return annotation()


def _of_generic(annotation: Any, depth: int) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return arguments[0]
    if origin in (list, Sequence):
        return [_of(arm, depth + 1) for arm in arms(arguments[0])] if depth < _DEPTH else []
    if origin in (dict, Mapping):
        filled = enumerate(arms(arguments[1]) if depth < _DEPTH else [])
        return {f"key {i}": _of(arm, depth + 1) for i, arm in filled}
    (first, *_) = arms(annotation)
    if first is annotation:
        raise TypeError(annotation)
    return _of(first, depth)


def _model(model: type[BaseModel], depth: int) -> dict[str, Any]:
    found = {}
    for name, field in model.model_fields.items():
        if depth >= _DEPTH and not field.is_required():
            continue
        key = field.validation_alias or field.alias or name
        found[str(key)] = _BY_NAME[name] if name in _BY_NAME else _of(field.annotation, depth + 1)
    return found


def arms(annotation: Any) -> list[Any]:
    """Return the arms of a union without None; of anything else itself."""
    if isinstance(annotation, TypeAliasType):
        return arms(annotation.__value__)
    if get_origin(annotation) is Annotated:
        return arms(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for arm in get_args(annotation) if arm is not type(None) for inner in arms(arm)]
    return [annotation]
