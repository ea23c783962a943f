"""Plugins: found by entry point, checked at load, registered with pluggy, frozen into steps.

pluggy holds the plugins, checks hook names and prunes arguments; it does not run the chains. What it would let through
is refused here: a misspelt hook, an option on a hook, an argument that the hook does not have, arguments in another
order, two plugins of one name.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec
import pluggy

from hauberk import files, hookspecs
from hauberk._document import FIRST_PARTY, WORDS
from hauberk.chains import HookName, Step, Toward
from hauberk.config import Options
from hauberk.layers import Layer, layers_of
from hauberk.methods import METHODS
from hauberk.modes import observed
from hauberk.refusals import PluginError

GROUP: Final = "hauberk.plugins"
POLICY_MODULE: Final = "hauberk_policy"
"""What a local ``policy.py`` is called among the modules."""
HOOKS: Final[tuple[HookName, ...]] = ("on_connect", "on_send", "on_receive", "on_tool_call", "on_audit")
_ARGUMENTS: Final = {hook: tuple(inspect.signature(getattr(hookspecs, hook)).parameters) for hook in HOOKS}
_PLUGGY_OPTIONS: Final = ("wrapper", "hookwrapper", "tryfirst", "trylast", "optionalhook", "specname")
_ALIKE: Final = str.maketrans("01i5", "olls")
_WORD: Final = re.compile(r"[a-z][a-z0-9_]*\Z")
_COLLECTIONS: Final = (tuple, list, set, frozenset)
"""What can be read twice: of an iterator the second reader gets nothing, and the hook would see no message."""
_OF_TASKS: Final = ("tasks/get", "tasks/result", "notifications/tasks")
"""What carries the result of a ``tools/call`` that its server made a task of."""


class Source(msgspec.Struct, frozen=True):
    """A plugin that is installed, and has perhaps not been imported."""

    name: str
    distribution: str
    version: str
    load: Callable[[], Any]
    module: str = ""
    """What is imported, and of which package it should be; a local policy has neither."""
    package: importlib.metadata.Distribution | None = None
    content: bytes = b""
    """The bytes of a local policy, those that are run."""


class Loaded(msgspec.Struct, frozen=True):
    """A plugin that was made, with its steps."""

    name: str
    plugin: Any
    mode: str
    steps: tuple[Step, ...]
    distribution: str = ""
    version: str = ""
    content: bytes = b""
    """As of its `Source`."""


def installed() -> dict[str, Source]:
    """Return the plugins that installed packages declare, by name; nothing is imported.

    Raises:
        PluginError: Two packages declare one name, or a name is not a plain word.
    """
    found: dict[str, Source] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        distribution = entry.dist.name if entry.dist else "?"
        version = entry.dist.version if entry.dist else "?"
        _check_name(entry.name, f"of {distribution!r}")
        source = Source(entry.name, distribution, version, entry.load, entry.module, entry.dist)
        other = found.get(entry.name)
        if other is not None and (other.distribution, other.module) != (distribution, entry.module):
            raise PluginError(
                f"plugin {entry.name!r} is declared twice, by {other.distribution!r} and {distribution!r}",
                hint="uninstall one of them",
            )
        found[entry.name] = source
    _check_looks(found)
    return found


def _check_looks(found: Mapping[str, Source]) -> None:
    """Check that no name could be read as another, or as one of this project's own.

    Raises:
        PluginError: Two look alike.
    """
    seen = {_look(word): word for word in FIRST_PARTY}
    for name in sorted(found, key=lambda name: (name not in FIRST_PARTY, name)):
        other = seen.setdefault(_look(name), name)
        if other != name:
            whose = f" of {found[other].distribution!r}" if other in found else ", one of hauberk's own"
            raise PluginError(
                f"plugin {name!r} of {found[name].distribution!r} looks like {other!r}{whose}",
                hint=f"uninstall {found[name].distribution}, unless you know it; its author should name it otherwise",
            )


def _look(name: str) -> str:
    """Return what a name looks like; names are ASCII words, so this is all that Unicode's confusables say of them."""
    return name.replace("_", "").translate(_ALIKE).replace("rn", "m").replace("vv", "w")


def _check_name(name: str, whose: str) -> None:
    if not _WORD.match(name):
        raise PluginError(
            f"plugin name {name!r} {whose} is not a plain word", hint="use lower-case letters, digits and underscores"
        )
    if name in WORDS:
        raise PluginError(f"plugin name {name!r} {whose} is a word of the core's own", hint="give it another name")


def load_class(source: Source) -> Any:
    """Import a plugin's class and check its shape.

    Raises:
        PluginError: It does not import, or is no plugin.
    """
    try:
        cls = source.load()
    except (KeyboardInterrupt, PluginError):
        raise
    except BaseException as error:
        raise PluginError(
            f"plugin {source.name!r} of {source.distribution!r} does not import ({type(error).__name__}: {error})",
            hint=f"repair {source.distribution}, or turn it off with plugins.disable in development",
        ) from error
    return check_class(source.name, cls)


def check_class(name: str, cls: Any) -> Any:
    """Check that a class has what a plugin needs: ``name``, ``layer`` or ``layers``, ``Options``, at least one hook."""
    if not isinstance(cls, type):
        raise PluginError(
            f"plugin {name!r} is {type(cls).__name__}, not a class", hint="the entry point names the class"
        )
    if getattr(cls, "name", None) != name:
        raise PluginError(
            f"plugin {name!r} calls itself {getattr(cls, 'name', None)!r}", hint=f"set name = {name!r} in the class"
        )
    options = getattr(cls, "Options", None)
    if not (isinstance(options, type) and issubclass(options, Options)):
        raise PluginError(f"plugin {name!r} has no Options", hint="give it a class Options(hauberk.Options)")
    if not any(_is_hook(cls, hook) for hook in HOOKS):
        raise PluginError(f"plugin {name!r} implements no hook", hint=f"mark one of {', '.join(HOOKS)} with @hookimpl")
    return cls


def _is_hook(plugin: Any, hook: str) -> bool:
    return hasattr(getattr(plugin, hook, None), "hauberk_impl")


def policy_source(path: Path) -> Source:
    """Return a local ``policy.py`` as a plugin of the word ``policy``.

    The file is opened once, without following a link; it must be ours and writable by nobody else.

    Raises:
        ConfigError: The file is not safe to run.
        PluginError: It defines no plugin, or more than one.
    """
    text = files.read_trusted(path)
    version = f"sha256:{hashlib.sha256(text).hexdigest()}"

    def load() -> Any:
        module = ModuleType(POLICY_MODULE)
        module.__file__ = str(path)
        sys.modules[module.__name__] = module  # annotations of Options and dataclasses are looked up there
        exec(compile(text, str(path), "exec"), module.__dict__)  # noqa: S102 - the operator's own file, checked above
        classes = [v for v in vars(module).values() if isinstance(v, type) and getattr(v, "name", None) == "policy"]
        if len(classes) != 1:
            raise PluginError(
                f"{path} defines {len(classes)} plugins named 'policy'",
                hint="define one class with name = 'policy' and @hookimpl methods",
            )
        return classes[0]

    return Source("policy", str(path), version, load, content=text)


class Registry:
    """The plugins of one guard, registered and checked."""

    def __init__(self) -> None:
        self._manager: Final = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._loaded: dict[str, Loaded] = {}

    def add(self, plugin: Any, *, mode: str = "enforce", source: Source | None = None) -> Loaded:
        """Register one plugin object.

        Raises:
            PluginError: Its name is taken, or a hook of it breaks the contract.
        """
        name = str(getattr(plugin, "name", ""))
        _check_name(name, f"of {type(plugin).__name__}")
        if mode not in ("enforce", "audit"):
            raise PluginError(f"plugin {name!r} has mode {mode!r}", hint="use 'enforce' or 'audit', or leave it out")
        if name in self._loaded:
            raise PluginError(f"plugin {name!r} is there twice", hint="load it once")
        _check_promises(name, plugin)
        _check_hooks(name, plugin)
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            self._manager.unregister(plugin)
            raise PluginError(f"plugin {name!r} breaks a hook: {error}", hint="see the hook reference") from None
        steps = tuple(self._steps(name, plugin, mode))
        found = () if source is None else (source.distribution, source.version, source.content)
        loaded = Loaded(name, plugin, mode, steps, *found)
        self._loaded[name] = loaded
        return loaded

    def _steps(self, name: str, plugin: Any, mode: str) -> Iterable[Step]:
        for hook in HOOKS:
            caller = getattr(self._manager.hook, hook)
            for impl in caller.get_hookimpls():
                if impl.plugin_name == name:
                    for layer in layers_of(plugin, hook):
                        yield _step(name, plugin, hook, layer, impl.function, mode)

    @property
    def loaded(self) -> Mapping[str, Loaded]:
        """Return the plugins by name, in the order in which they were added."""
        return self._loaded


def _step(name: str, plugin: Any, hook: HookName, layer: Layer, function: Callable[..., Any], mode: str) -> Step:
    is_async = inspect.iscoroutinefunction(function)
    if is_async and hook in ("on_send", "on_receive") and _must_be_plain(layer, hook):
        raise PluginError(
            f"plugin {name!r} has an async {hook} in layer {layer.name}", hint="frames are written in one plain step"
        )
    if hook == "on_tool_call" and layer < Layer.ADMIT:
        raise PluginError(f"plugin {name!r} judges calls in layer {layer.name}", hint="use ADMIT, POLICY or CONTENT")
    step = Step(
        plugin=name,
        hook=hook,
        layer=layer,
        call=_adapted(hook, function),
        is_async=is_async,
        must_judge=hook == "on_tool_call" and mode == "enforce" and bool(getattr(plugin, "must_judge", False)),
        methods=_methods(plugin, hook, layer),
        toward=_toward(plugin) if hook in ("on_send", "on_receive") and layer >= Layer.REPLAY else {},
    )
    if mode == "audit" and hook != "on_audit":
        if not getattr(plugin, "observable", layer not in (Layer.WIRE, Layer.SEAL)):
            raise PluginError(f"plugin {name!r} cannot run in mode 'audit'", hint="use mode 'enforce' or 'off'")
        return observed(step)
    return step


def _toward(plugin: Any) -> dict[Toward, frozenset[str]]:
    """Return the methods of which the message hooks see messages in one direction, where the class names them."""
    named = getattr(plugin, "toward", {})
    return {toward: _named(plugin, methods, f"messages toward the {toward}") for toward, methods in named.items()}


def _methods(plugin: Any, hook: HookName, layer: Layer) -> frozenset[str] | None:
    """Return the methods of which a hook sees messages, where the class names them."""
    named = getattr(plugin, "methods", {}).get(hook)
    if named is None or (layer.framed and len(layers_of(plugin, hook)) > 1):
        return None
    if hook not in ("on_send", "on_receive") or layer < Layer.REPLAY:
        raise PluginError(
            f"plugin {plugin.name!r} names methods for {hook} in layer {layer.name}",
            hint="name them for on_send and on_receive, in REPLAY and above; a frame has no method yet",
        )
    return _named(plugin, named, hook)


def _named(plugin: Any, named: Any, what: str) -> frozenset[str]:
    """Check a list of methods."""
    if not isinstance(named, _COLLECTIONS) or not named or any(method not in METHODS for method in named):
        raise PluginError(
            f"plugin {plugin.name!r} names {named!r} as the methods of {what}",
            hint='name methods of the protocol: methods = {"on_receive": ("tools/list",)}',
        )
    if "tools/call" in named and (missing := [method for method in _OF_TASKS if method not in named]):
        raise PluginError(
            f"plugin {plugin.name!r} names 'tools/call' for {what} without {', '.join(map(repr, missing))}",
            hint="name them too: the result of a call that became a task comes by these",
        )
    return frozenset(named)


def _must_be_plain(layer: Layer, hook: HookName) -> bool:
    return layer in (Layer.WIRE, Layer.SEAL) or (layer is Layer.GATE and hook == "on_send")


def _check_promises(name: str, plugin: Any) -> None:
    """Check what a class says of its hooks, where a slip would change nothing and be seen by nobody."""
    for hook in getattr(plugin, "layers", {}):
        if hook not in HOOKS:
            raise PluginError(f"plugin {name!r} gives {hook!r} a layer, which is no hook", hint=_nearest(str(hook)))
    methods = getattr(plugin, "methods", {})
    if not isinstance(methods, Mapping):
        raise PluginError(f"plugin {name!r} has {methods!r} as methods", hint="write them by hook, in a dict")
    for hook in methods:
        if hook not in HOOKS:
            raise PluginError(f"plugin {name!r} names methods of {hook!r}, which is no hook", hint=_nearest(str(hook)))
    toward = getattr(plugin, "toward", {})
    if not isinstance(toward, Mapping) or set(toward) - {"server", "client"}:
        raise PluginError(
            f"plugin {name!r} has {toward!r} as toward", hint='write methods by direction: toward = {"server": (…)}'
        )
    if getattr(plugin, "must_judge", False) and not _is_hook(plugin, "on_tool_call"):
        raise PluginError(f"plugin {name!r} must judge and has no on_tool_call", hint="give it one, or drop must_judge")
    for attribute, value in getattr(plugin, "__dict__", {}).items():
        if attribute in HOOKS or hasattr(value, "hauberk_impl"):
            raise PluginError(f"plugin {name!r} has {attribute} in the object", hint="write hooks in the class")


def _check_hooks(name: str, plugin: Any) -> None:
    """Check what pluggy accepts in silence: look-alike names, options, argument names and their order."""
    for attribute in dir(type(plugin)):
        value = inspect.getattr_static(plugin, attribute)
        marks = getattr(value, "hauberk_impl", None)
        if marks is None:
            if attribute.startswith("on_") and attribute not in HOOKS and callable(value):
                raise PluginError(f"plugin {name!r} has {attribute}, which is no hook", hint=_nearest(attribute))
            if attribute in HOOKS:
                raise PluginError(f"plugin {name!r} has {attribute} without @hookimpl", hint="mark it with @hookimpl")
            continue
        if attribute not in HOOKS:
            raise PluginError(f"plugin {name!r} marks {attribute}, which is no hook", hint=_nearest(attribute))
        if any(marks.get(option) for option in _PLUGGY_OPTIONS):
            raise PluginError(
                f"plugin {name!r} puts an option on {attribute}",
                hint="use hauberk.hookimpl, without options; order comes from the layer",
            )
        _check_signature(name, attribute, value)


def _check_signature(name: str, hook: HookName, function: Any) -> None:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if any(p.kind not in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY) for p in parameters):
        raise PluginError(
            f"plugin {name!r} takes *args, **kwargs or keyword-only arguments in {hook}", hint=_usage(hook)
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(f"plugin {name!r} has a generator for {hook}", hint="return the answer; nothing wraps a hook")
    names = tuple(p.name for p in parameters)
    if names != _ARGUMENTS[hook][: len(names)]:
        raise PluginError(f"plugin {name!r} has {hook}({', '.join(names)})", hint=_usage(hook))


def _usage(hook: HookName) -> str:
    return f"write {hook}(self, {', '.join(_ARGUMENTS[hook])}); later arguments may be left out"


def _nearest(attribute: str) -> str:
    import difflib

    near = difflib.get_close_matches(attribute, HOOKS, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else f"the hooks are {', '.join(HOOKS)}"


def _adapted(hook: HookName, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with the hook's full positional signature, the function itself where it has it."""
    takes = len(inspect.signature(function).parameters)
    if takes == len(_ARGUMENTS[hook]):
        return function
    if inspect.iscoroutinefunction(function):

        async def shorter_async(*args: Any) -> Any:
            return await function(*args[:takes])

        return shorter_async
    if takes == 1:
        return lambda item, _connection: function(item)
    return lambda *args: function(*args[:takes])
