"""What a policy file makes of a guard: its plugins, chains and sinks, in one object that is made once.

A reload makes another one. A message takes the one in force when it begins and knows no other until its end, so it is
never judged by one policy and recorded, or sealed, by another.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hauberk import agreement, loading, pipeline, plugins, signatures
from hauberk.bounds import Bounds
from hauberk.chains import Chains
from hauberk.config import Config
from hauberk.event import Event
from hauberk.methods import Method
from hauberk.plugins import Loaded, Registry, Source
from hauberk.refusals import ConfigError, HookError, PluginError, Refused
from hauberk.signatures import Signed
from hauberk.sinks import Recorder, Sink

if TYPE_CHECKING:
    from hauberk.guard import Guard
    from hauberk.message import SecretRef, ToolCall


class GuardView:
    """The guard as the plugins of one policy see it: the second argument of their constructors."""

    def __init__(self, guard: Guard, config: Config) -> None:
        self.guard: Final = guard
        """The guard itself, whose policy in force may be another one by now."""
        self.config: Final = config
        """The configuration that the plugin was made from."""
        self.host: Final = guard.host
        self.principal: Final = guard.principal
        self.clock: Final = guard.clock
        """Monotonic seconds."""
        self.now: Final = guard.now
        """Seconds since 1970."""
        self.next_id: Final = guard.next_id
        self.loaded: Mapping[str, Loaded] = {}
        """The active plugins of the policy by name; complete once all of them are made."""
        self.signed: Signed | None = None
        """What the trust stores say of the policy; None where nobody has to have signed it."""

    def options_for(self, plugin: Any, server: str | None = None) -> Any:
        """Return a plugin's options, merged for one server if one is named."""
        name, options = plugin.name, plugin.Options
        default = getattr(plugin, "safe_default", None)
        untouched = default is not None and name not in self.config.plugins.require and not self.config.has_table(name)
        return default if untouched else self.config.options(name, options, server)

    def emit(self, event: Event) -> None:
        """Record an event that belongs to no message, with the sinks that are in force."""
        self.guard.emit(event)


class Users:
    """How many messages that began in a policy, and had to wait, are on their way."""

    __slots__ = ("_count", "_free")

    def __init__(self) -> None:
        self._count = 0
        self._free: Final = asyncio.Event()
        self._free.set()

    def enter(self) -> None:
        """Count one more."""
        self._count += 1
        self._free.clear()

    def leave(self) -> None:
        """Count one less."""
        self._count -= 1
        if not self._count:
            self._free.set()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Count one more while it lasts."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def let_go(self) -> None:
        """Wait for none of them any longer."""
        self._free.set()

    async def gone(self, seconds: float) -> bool:
        """Wait until there is none, and return True; or until the time is over."""
        try:
            await asyncio.wait_for(self._free.wait(), seconds)
        except TimeoutError:
            return False
        return True


class Policy(msgspec.Struct, frozen=True, eq=False, weakref=True):
    """One policy: everything that a reload changes, and nothing that changes between two of them."""

    chains: Chains
    recorder: Recorder
    methods: Mapping[str, Method]
    """Methods outside every revision that may come in: those that the configuration declares, and those of plugins."""
    answers: Mapping[str, tuple[str, agreement.Answer]]
    """Which plugin answers which of them (`hauberk.agreement`)."""
    agreeing: tuple[tuple[str, Any], ...]
    """The plugins that have something to agree on with a peer."""
    decides: bool
    """Whether a call that meets no hook is still to be judged or recorded."""
    production: bool
    deadline: float
    """One chain of hooks for one message (seconds)."""
    approval_deadline: float
    """One approver's answer (seconds)."""
    request_timeout: float | None
    """An answer to a request (seconds)."""
    refuses_as_result: bool
    approvers: tuple[tuple[str, Any], ...]
    resolvers: tuple[tuple[str, Any], ...]
    config: Config
    bounds: Bounds
    loaded: Mapping[str, Loaded]
    """The active plugins by name."""
    roster: tuple[loading.Standing, ...]
    signed: Signed | None
    """What the trust stores say of it; None where nobody has to have signed it."""
    view: GuardView
    users: Users

    @property
    def longest(self) -> float:
        """What a message may take from its first hook to its last, at most (seconds)."""
        return self.longest_unasked + len(self.approvers) * self.approval_deadline

    @property
    def longest_unasked(self) -> float:
        """The same, of a message that nobody is asked about, such as an answer (seconds)."""
        chains = 8.0  # frames, shape, judges, charges twice, admit, secrets, and one for what waits behind another
        return chains * self.deadline + 2 * self.bounds.sink_deadline

    @property
    def asks(self) -> bool:
        """Whether anybody may be asked for approval."""
        return bool(self.approvers)

    def reveal(self, ref: SecretRef, call: ToolCall) -> Generator[Awaitable[Any], Any, str]:
        """Return the value of a secret from the plugin that owns it.

        Raises:
            Refused: ``core.secret``: no plugin has it.
            HookError: The plugin could not tell.
        """
        for name, resolve in self.resolvers:
            try:
                value = yield pipeline.ask(name, "resolve", resolve, ref, call, seconds=self.deadline)
            except TimeoutError as error:
                raise pipeline.failed(name, "resolve", error) from None
            if type(value) is str:
                return value
            if value is not None:
                raise HookError(
                    f"plugin {name!r} answered resolve with {type(value).__name__}", plugin=name, hook="resolve"
                )
        raise Refused("core.secret", f"no plugin has the secret {ref.name!r}", hint="put it into the vault")


def of_objects(guard: Guard, config: Config, objects: tuple[Any, ...]) -> Policy:
    """Return the policy of plugin objects that somebody made.

    Raises:
        PluginError: A plugin breaks the contract.
    """
    view, registry = GuardView(guard, config), Registry()
    if objects:  # without any it judges nothing, and `load` makes another
        view.signed = signatures.checked(config, "", guard.now())
    _add(registry, objects)
    signatures.kept(view.signed, registry.loaded)
    return _frozen(guard, view, registry, ())


def load(guard: Guard, config: Config, objects: tuple[Any, ...], disable: Iterable[str], *, discover: bool) -> Policy:
    """Find and make the plugins that a configuration asks for.

    Args:
        guard: Whose policy it will be.
        config: The configuration.
        objects: Further plugin objects, made by the caller.
        disable: Names to leave out.
        discover: Whether to look for installed plugins at all.

    Raises:
        ConfigError: The operator must change something.
        PluginError: A plugin is missing or broken.
    """
    view, registry = GuardView(guard, config), Registry()
    sources = loading.sources(config, discover=discover)
    left_out = loading.before_import(config, sources, [getattr(plugin, "name", "") for plugin in objects], disable)
    local = sources.get("policy")
    view.signed = signatures.checked(config, "" if local is None else local.version, guard.now())
    signatures.whole(view.signed, frozenset(disable) - frozenset(config.plugins.disable))
    classes = {name: plugins.load_class(source) for name, source in sources.items() if name not in left_out}
    config.check({name: found.Options for name, found in classes.items()} | dict.fromkeys(left_out))
    roster = []
    for name in loading.listed(config, sources):
        why = left_out[name] if name in left_out else loading.idle(config, name, classes[name])
        loaded = None if why else _make(view, registry, sources[name], classes[name])
        roster.append(loading.standing(sources[name], why, loaded))
    _add(registry, objects)
    loading.exactly_required(config, registry.loaded)
    signatures.kept(view.signed, registry.loaded)
    policy = _frozen(guard, view, registry, tuple(roster))
    for name in config.core.approvers:
        _approver(registry, name)
    return policy


def _add(registry: Registry, objects: Iterable[Any]) -> None:
    for plugin in objects:
        registry.add(plugin, mode=getattr(plugin, "mode", "enforce"))


def _make(view: GuardView, registry: Registry, source: Source, cls: Any) -> Loaded:
    options = view.options_for(cls)
    try:
        plugin = cls(options, view)
    except (ConfigError, PluginError):
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"plugin {source.name!r} cannot start ({type(error).__name__}: {error})",
            hint=f"see its options in [{source.name}]",
        ) from error
    return registry.add(plugin, mode=options.mode, source=source)


def _frozen(guard: Guard, view: GuardView, registry: Registry, roster: tuple[loading.Standing, ...]) -> Policy:
    config, loaded = view.config, registry.loaded
    view.loaded = loaded
    core = config.core
    steps = [step for one in loaded.values() for step in one.steps]
    chains = Chains(steps)
    if chains.replays and not chains.seals:
        raise PluginError(
            "a plugin in REPLAY runs without one in SEAL: there is no proof to check",
            hint="turn on the plugin that seals (envelope), or turn replay off",
        )
    answers = agreement.answers_of(loaded)
    recorder = Recorder(sinks_of(loaded), core.bounds, guard.complete, guard.clock)
    return Policy(
        chains=chains,
        recorder=recorder,
        methods={**loading.declared(config), **agreement.methods(answers)},
        answers=answers,
        agreeing=agreement.agreeing(loaded),
        decides=bool(recorder) or config.production,
        production=config.production,
        deadline=core.bounds.deadline,
        approval_deadline=core.bounds.approval_deadline,
        request_timeout=core.request_timeout,
        refuses_as_result=core.refuse_as == "result",
        approvers=tuple(_approver(registry, name) for name in core.approvers) if loaded else (),
        resolvers=tuple((one.name, one.plugin.resolve) for one in loaded.values() if hasattr(one.plugin, "resolve")),
        config=config,
        bounds=core.bounds,
        loaded=loaded,
        roster=roster,
        signed=view.signed,
        view=view,
        users=Users(),
    )


def sinks_of(loaded: Mapping[str, Loaded]) -> list[Sink]:
    """Return the sinks of some plugins, each with a queue of its own."""
    return [
        Sink(
            step,
            getattr(one.plugin, "required", False),
            quick=getattr(one.plugin, "quick", False),
            settled=getattr(one.plugin, "settled", None),
        )
        for one in loaded.values()
        for step in one.steps
        if step.hook == "on_audit"
    ]


def _approver(registry: Registry, name: str) -> tuple[str, Any]:
    loaded = registry.loaded.get(name)
    if loaded is None or not hasattr(loaded.plugin, "approve"):
        raise ConfigError(
            f"core.approvers names {name!r}, which is no active plugin that approves",
            hint="name a plugin that has approve(call, connection)",
        )
    return name, loaded.plugin
