"""What can be told from a plugin's class and source: its hooks, its options, the codes that it writes."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any, Final, get_args, is_typeddict

import msgspec

from hauberk._options import bare, is_table_type
from hauberk.conformance._subject import Fault, Subject, shown
from hauberk.plugins import _PLUGGY_OPTIONS, HOOKS, _check_signature
from hauberk.refusals import PluginError

_CODED: Final = ("Deny", "Refused", "Event")
UNHEARD_OF: Final = "no_plugin_has_this_option"


async def loads(subject: Subject) -> list[Fault]:
    """Load, open and close a guard with the plugin."""
    try:
        async with subject.opened() as opened:
            return [] if opened.steps else [Fault("it is loaded and has no hook")]
    except Exception as error:  # noqa: BLE001 - whatever keeps it from loading is the reason
        text = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        return [Fault(text, subject.raised_at(error) if not hasattr(error, "message") else "")]


async def hook_options(subject: Subject) -> list[Fault]:
    """Find options of pluggy's on hooks, which would let it jump the queue or hide a refusal."""
    return [
        Fault(f"{hook} has the option {option!r}", subject.place(hook))
        for hook, marks in _marked(subject.cls)
        for option in _PLUGGY_OPTIONS
        if marks.get(option)
    ]


async def declared_hooks(subject: Subject) -> list[Fault]:
    """Find methods that look like hooks and are none, and hooks that do not take what a hook takes."""
    faults = []
    marked = dict(_marked(subject.cls))
    for attribute in dir(subject.cls):
        value = inspect.getattr_static(subject.cls, attribute)
        if attribute in marked and attribute in HOOKS:
            faults += _signature_faults(subject, attribute, value)
        elif attribute in marked or (attribute.startswith("on_") and callable(value)):
            said = "has no @hookimpl" if attribute in HOOKS else "is no hook"
            faults.append(Fault(f"{attribute} {said}", subject.place(attribute)))
    return faults


def _marked(cls: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for attribute in dir(cls):
        marks = getattr(inspect.getattr_static(cls, attribute), "hauberk_impl", None)
        if marks is not None:
            yield attribute, marks


def _signature_faults(subject: Subject, hook: Any, value: Any) -> list[Fault]:
    try:
        _check_signature(subject.name, hook, value)
    except PluginError as error:
        return [Fault(error.message, subject.place(hook))]
    return []


# --- options ---


async def unknown_option(subject: Subject) -> list[Fault]:
    """Give the plugin's table a key that nothing reads, and look into its types for places where one would pass."""
    options = subject.cls.Options
    faults = [Fault(f"{key} takes {what}", _class_place(options)) for key, what in _loose(options, "", ())]
    if not subject.refuses(f"{UNHEARD_OF} = 1"):
        faults.append(Fault(f"[{subject.name}] {UNHEARD_OF} = 1 is no error", _class_place(options)))
    return faults


def _loose(kind: Any, key: str, seen: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    """Yield the places of an options type that take keys which nothing reads."""
    kind, _ = bare(kind)
    if kind in seen:
        return
    if is_table_type(kind):
        if not kind.__struct_config__.forbid_unknown_fields:
            yield key, f"unknown keys of {kind.__name__}: give it forbid_unknown_fields=True"
        for field in msgspec.structs.fields(kind):
            yield from _loose(field.type, f"{key}.{field.encode_name}".lstrip("."), (*seen, kind))
    elif dataclasses.is_dataclass(kind) or is_typeddict(kind):
        yield key, f"unknown keys of {kind.__name__}: make it a msgspec.Struct with forbid_unknown_fields=True"
    elif kind is Any or kind is object or kind is dict:
        yield key, "anything: say what it is, so that a slip is an error"
    for inner in get_args(kind):
        yield from _loose(inner, key, seen)


def _class_place(cls: type) -> str:
    try:
        return shown(inspect.getsourcefile(cls) or "?", inspect.getsourcelines(cls)[1])
    except (OSError, TypeError):
        return ""


# --- codes ---


def written_codes(subject: Subject) -> Iterator[tuple[str, str, str]]:
    """Yield each code that stands in the plugin's source for a `Deny`, a `Refused` or an `Event`: kind, code, place."""
    for path in subject.files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = dict(_imported(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (kind := _kind_of(node.func, names)) in _CODED:
                code = _begin(_first(node))
                if code is not None:
                    yield kind, code, shown(str(path), node.lineno)


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield what the names of a module stand for, of those that come from hauberk."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.asname or "hauberk", "hauberk") for a in node.names if a.name.split(".")[0] == "hauberk")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hauberk":
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)


def _kind_of(function: ast.expr, names: dict[str, str]) -> str:
    if isinstance(function, ast.Name):
        return names.get(function.id, "")
    if isinstance(function, ast.Attribute):
        root: ast.expr = function.value
        while isinstance(root, ast.Attribute):
            root = root.value
        return function.attr if isinstance(root, ast.Name) and root.id in names else ""
    return ""


def _first(call: ast.Call) -> ast.expr | None:
    named = next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
    return named or (call.args[0] if call.args else None)


def _begin(node: ast.expr | None) -> str | None:
    """Return a text, or the constant beginning of a formatted one."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
