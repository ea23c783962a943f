"""From one policy to the next: what is told of it, and what becomes of the old one.

The rules:

1. The file is read once more, from one descriptor; its version is the SHA-256 of the bytes that were read and are then
   in force. Every check of the start holds. Nothing is done where it is as it was, and ``policy.py``, and what plugins
   read by themselves (`hauberk.sources`).
2. The new policy is made, opened, proved (`Guard.prove`) and recorded before it is in force. Whatever fails on the way,
   the old one stays as it is, nothing of the new one stays open, and ``policy.rejected`` says why.
3. The swap is one assignment. A message that began in the old policy ends in it. A connection stays, unless a plugin is
   gone that proved who is there, or agreed on something with the other end (``Connection.relies``).
4. The old plugins are closed, and what they have to record is recorded, once no such message is on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hauberk import differences, plugins
from hauberk.config import Config
from hauberk.differences import Diff, Rule
from hauberk.event import Event, Severity
from hauberk.opening import Opened
from hauberk.pipeline import is_cancelled
from hauberk.refusals import ConfigError, HauberkError, PluginError, Refused
from hauberk.sources import Sources

if TYPE_CHECKING:
    from hauberk.guard import Guard
    from hauberk.policy import Policy
    from hauberk.session import Session

logger = logging.getLogger("hauberk")
Given = Config | str | os.PathLike[str] | None
"""What a reload is given: None for what is in force, to be read again."""
_REASON_CHARS: Final = 1000
_NONE: Final = Sources()


class Reloaded(msgspec.Struct, frozen=True):
    """What a reload did."""

    old_version: str
    new_version: str
    diff: Diff | None
    """None where nothing has changed, so that the old policy is still in force."""

    def __str__(self) -> str:
        if self.diff is None:
            return f"the policy has not changed ({self.new_version})"
        return f"the policy is now {self.new_version} ({self.diff.summary})"


class Reloader:
    """The reloads of one guard."""

    def __init__(self, guard: Guard) -> None:
        self._guard: Final = guard
        self._one: Final = asyncio.Lock()
        self._task: asyncio.Task[Reloaded] | None = None
        self._retiring: Final[dict[asyncio.Task[None], Policy]] = {}

    async def reload(self, config: Given, changed_by: str | None) -> Reloaded:
        """Reload, as `hauberk.guard.Guard.reload`; one after the other."""
        async with self._one:
            self._task = task = asyncio.get_running_loop().create_task(self._reload(config, changed_by))
            try:
                return await task
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                raise HauberkError("cannot reload the policy: the guard was closed") from None
            finally:
                self._task = None

    async def stop(self) -> None:
        """Stop the reload that is under way; what it has opened is closed."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def end(self) -> None:
        """Let go of every old policy."""
        for old in self._retiring.values():
            old.users.let_go()
        if self._retiring:
            await asyncio.wait(self._retiring)

    async def _reload(self, config: Given, changed_by: str | None) -> Reloaded:
        guard = self._guard
        if not guard.is_open:
            async with guard.changing:  # it is being opened, or closed
                if not guard.is_open:
                    return self._put(self._found(config))
        old, by = guard.policy, changed_by
        try:
            found = self._found(config)
            by = changed_by or _author(found)
            if _unchanged(old, found) and not guard.sources.changed():
                return Reloaded(old.config.version, old.config.version, None)
            new, opened, diff = await self._prepared(old, found, by)
        except BaseException as error:
            guard.note(_rejected(old, error, by or _author(old.config)))
            if isinstance(error, SystemExit):  # raised on, it would end the loop, and with it the host
                raise PluginError(
                    "cannot reload the policy: a plugin tried to end the process",
                    hint="repair the plugin that raises SystemExit; no plugin may end its host",
                ) from error
            raise
        self._swap(old, new, opened)
        await asyncio.gather(*(session.renewed() for session in guard.sessions if not session.severed))
        return Reloaded(old.config.version, new.config.version, diff)

    def _found(self, config: Given) -> Config:
        guard = self._guard
        if config is None:
            return guard.config.again()
        found = config if isinstance(config, Config) else guard.config.again(Path(config))
        if found.host != guard.host:
            raise ConfigError(
                f"the policy is one of host {found.host!r}, and this is the guard of {guard.host!r}",
                hint=f"read it with host={guard.host!r}",
            )
        return found

    def _put(self, config: Config) -> Reloaded:
        """Put a policy in force while nothing is open."""
        guard = self._guard
        with _local_module():
            old, new = guard.policy, guard.made(config)
        guard.put(new, Opened())
        return Reloaded(old.config.version, config.version, _difference(old, new))

    async def _prepared(self, old: Policy, config: Config, changed_by: str) -> tuple[Policy, Opened, Diff]:
        """Make, open and record a policy, so that it can be put in force."""
        with _local_module():
            new = self._guard.made(config)
            opened = await Opened.all_of(new.loaded, old.loaded)
            try:
                diff = _difference(old, new, self._guard.sources, opened.sources)
                await self._guard.prove(new)
                await self._announce(old, new, diff, changed_by)
            except BaseException:
                await opened.close(keep=old.loaded)
                raise
        return new, opened, diff

    async def _announce(self, old: Policy, new: Policy, diff: Diff, changed_by: str) -> None:
        """Record that a policy was loaded and is about to be in force: in its own sinks, and in those that go.

        Raises:
            Refused: A required sink of the new policy cannot record.
        """
        loaded, event = policy_loaded(new, "reload", changed_by), _changed(old, new, diff, changed_by)
        complete = self._guard.complete
        if (waiting := new.recorder.barrier([complete(loaded)])) is not None:
            await waiting
        with contextlib.suppress(Refused):  # it has been reported; a log on a full disk must be one that can be changed
            if (waiting := old.recorder.barrier([complete(event)])) is not None:
                await waiting

    def _swap(self, old: Policy, new: Policy, opened: Opened) -> None:
        before = self._guard.put(new, opened)
        for session in self._guard.sessions:
            sever(session)
        task = asyncio.get_running_loop().create_task(_retire(old, new, before), name="hauberk-retire")
        self._retiring[task] = old
        task.add_done_callback(self._retiring.pop)


def sever(session: Session) -> None:
    """Let nothing pass any more where a plugin is gone that proved who is there, or agreed on something with them."""
    if session.connection.relies - session.guard.loaded.keys():
        session.severed = True
        session.connection.hang_up("policy.changed")


@contextlib.contextmanager
def _local_module() -> Iterator[None]:
    """Keep the module of the ``policy.py`` in force where its types look for it, unless another one takes its place."""
    before = sys.modules.get(plugins.POLICY_MODULE)
    try:
        yield
    except BaseException:
        if before is not None:
            sys.modules[plugins.POLICY_MODULE] = before
        raise


def _unchanged(old: Policy, config: Config) -> bool:
    """Whether a configuration is the one in force, to the byte, and so is its ``policy.py``.

    Raises:
        ConfigError: ``policy.py`` cannot be read, or not trusted.
    """
    if config.version != old.config.version or config.name != old.config.name:
        return False
    path, local = config.plugins.policy, old.loaded.get("policy")
    if path is None or local is None:
        return True
    return plugins.policy_source(config.resolve(path)).version == local.version


def _named(config: Config) -> dict[str, Any]:
    """Return how events name a policy."""
    path = "" if config.path is None else str(config.path)
    return {"policy_name": config.name if config.path is None else config.path.name, "policy_path": path}


def _author(config: Config) -> str:
    """Return who changed a policy, where nobody said it: the owner of the file, or the program that gave it."""
    if config.path is None:
        return "api"
    try:
        return f"file:{os.lstat(config.path).st_uid}"
    except OSError:
        return "file"


def policy_loaded(policy: Policy, how: str, changed_by: str | None = None) -> Event:
    """Return the event of a policy that was loaded (S3.17), with who signed it where somebody had to (S3.20)."""
    details = {**_named(policy.config), "policy_version": policy.config.version, "loaded_by": how}
    details["changed_by"] = changed_by or _author(policy.config)
    if (local := policy.loaded.get("policy")) is not None:
        details["policy_file"] = local.version
    signed = policy.signed
    if signed is not None:
        details |= signed.details()
    severity: Severity = "warning" if signed is not None and signed.fault else "info"
    return Event(code="policy.loaded", category="policy", severity=severity, details=details)


def _changed(old: Policy, new: Policy, diff: Diff, changed_by: str) -> Event:
    return policy_changed(new.config, old.config.version, diff.summary, diff.lines, changed_by)


def policy_changed(config: Config, old_version: str, summary: str, lines: Iterable[str], changed_by: str) -> Event:
    """Return the event of a policy that took the place of another (S3.18).

    Args:
        config: The one that is in force now.
        old_version: The version of the other.
        summary: How many rules differ.
        lines: Which do.
        changed_by: Who changed it.
    """
    details = {
        **_named(config),
        "old_version": old_version,
        "new_version": config.version,
        "diff_summary": summary,
        "diff": list(lines),
        "changed_by": changed_by,
    }
    return Event(code="policy.changed", category="policy", severity="warning", details=details)


def _rejected(old: Policy, error: BaseException, changed_by: str) -> Event:
    """Return the event of a policy that could not take the place of the one in force (S3.21)."""
    details = {
        **_named(old.config),
        "version_in_force": old.config.version,
        "reason": _reason(error),
        "changed_by": changed_by,
    }
    return Event(code="policy.rejected", category="policy", severity="critical", action="blocked", details=details)


def _reason(error: BaseException) -> str:
    """Return why, without the text of an error that a plugin raised, which may hold a secret."""
    if not isinstance(error, HauberkError):
        return type(error).__name__
    cause, text = error.__cause__, error.message
    if cause is not None and not isinstance(cause, HauberkError) and str(cause):
        text = text.replace(f": {cause}", "")
    return text[:_REASON_CHARS]


def _difference(old: Policy, new: Policy, was: Sources = _NONE, now: Sources = _NONE) -> Diff:
    """Compare two policies rule by rule, and what their plugins read by themselves."""
    return differences.compare({**_rules(old), **was.rules(now)}, {**_rules(new), **now.rules(was)})


def _rules(policy: Policy) -> dict[str, Rule]:
    """Return each value of a policy by its place; a value of a plugin's table is shown where its type is known."""
    kinds = {name: getattr(one.plugin, "Options", None) for name, one in policy.loaded.items()}
    local = policy.loaded.get("policy")
    return differences.rules(policy.config, kinds, "" if local is None else local.version)


async def _retire(old: Policy, new: Policy, opened: Opened) -> None:
    """Let go of a policy once nothing needs it; what one of its plugins raises on the way is in the log."""
    if not await old.users.gone(old.longest):
        logger.warning(
            "messages of the policy %s are still on their way; its plugins are closed now", old.config.version
        )
    try:
        try:
            await old.recorder.close()
        finally:
            await opened.close(keep=new.loaded)
    except asyncio.CancelledError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the policy in force needs none of its plugins
        logger.error("a plugin of an old policy could not be closed (%s)", type(error).__name__)  # noqa: TRY400 - as in a hook
