"""A reload puts a whole policy in force or nothing, under load too (A72, A73, S3.17, S3.18, S3.21)."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import importlib
import os
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.core.harness import Clock, Port, Recorder, Rig, call_params, notification, request, ring
from tests.core.house import House, empty_house, source

from hauberk import lists
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.policy import Policy
from hauberk.refusals import ConfigError, HauberkError, PluginError, Refused
from hauberk.reloading import Reloaded

RULES = '''
from __future__ import annotations
import asyncio
from typing import Annotated
import hauberk

LOG = []
"""What each plugin object was told to do, and by which policy it was made."""
EVENTS = []
"""What each recorded, with the policy that it was made from."""
GATES = {}

class Plugin:
    name = "rules"
    layers = {"on_tool_call": hauberk.Layer.POLICY, "on_audit": hauberk.Layer.POLICY, "on_send": hauberk.Layer.CONTENT}

    class Options(hauberk.Options):
        policy: str = ""
        allow: tuple[str, ...] = ()
        deny: tuple[str, ...] = ()
        token: Annotated[str, hauberk.SECRET] = ""
        fails: str = ""
        required: bool = False
        limit: int = 1

    def __init__(self, options, guard):
        self.options, self.guard, self.required = options, guard, options.required
        self._say("make")

    def _say(self, what):
        LOG.append((self.options.policy, what))
        if self.options.fails == what:
            raise ValueError("the password is swordfish")

    def adopt(self, old):
        self._say("adopt")
        LOG.append((self.options.policy, "from " + old.options.policy))

    async def open(self):
        self._say("open")
        if gate := GATES.get(self.options.policy):
            LOG.append((self.options.policy, "waits"))
            await gate.wait()

    async def close(self):
        self._say("close")

    @hauberk.hookimpl
    async def on_send(self, message, connection):
        """Mark a call with the policy, after a while."""
        if message.method != "tools/call":
            return None
        arguments = message.params["arguments"]
        for _ in range(arguments.get("turns", 0)):
            await asyncio.sleep(0)
        if gate := GATES.get(arguments.get("gate")):
            await gate.wait()
        own = {**arguments, "policy": self.guard.options_for(self, connection.server).policy}
        return message.with_params({**message.params, "arguments": own})

    @hauberk.hookimpl
    def on_tool_call(self, call):
        policy = self.options.policy
        if call.arguments["policy"] != policy:
            return hauberk.Deny("rules.mixed", "judged by one policy and marked by another")
        if call.name in self.options.deny:
            return hauberk.Deny("rules.denied", "denied", rule=policy + " denies")
        return hauberk.Allow(policy + " allows") if call.name in self.options.allow else None

    @hauberk.hookimpl
    def on_audit(self, event):
        if self.options.fails == "record":
            raise ValueError("full")
        EVENTS.append((self.options.policy, event))
'''
WIRE = """
from __future__ import annotations
import hauberk

class Plugin:
    name = "wire"
    layer = hauberk.Layer.WIRE

    class Options(hauberk.Options):
        policy: str = ""

    def __init__(self, options, guard):
        self.policy = options.policy

    @hauberk.hookimpl
    def on_send(self, message, connection):
        if message.method == "tools/call" and f'"policy":"{self.policy}"'.encode() not in message.data:
            raise hauberk.Refused("wire.mixed", "judged by one policy and written by another")
"""
SLOW = """
from __future__ import annotations
import asyncio
import hauberk

LOG = []
GATE = asyncio.Event()

class Plugin:
    name = "slow"

    class Options(hauberk.Options):
        pass

    def __init__(self, options, guard):
        pass

    async def close(self):
        LOG.append("close")

    @hauberk.hookimpl
    async def on_audit(self, event):
        if not LOG:
            LOG.append("begins")
        await GATE.wait()
        LOG.append(event.code)
"""
LONG = "core.bounds.deadline = 3600.0\ncore.bounds.sink_deadline = 3600.0\n"
"""No test ends because the machine is slow."""
A = LONG + "[wire]\npolicy = 'A'\n[rules]\npolicy = 'A'\nallow = ['x', 'z']\ndeny = ['y']\n"
B = LONG + "[wire]\npolicy = 'B'\n[rules]\npolicy = 'B'\nallow = ['y', 'z']\ndeny = ['x']\n"


class Place:
    """A policy file, the module of the plugin that it configures, and what a test sees of both."""

    def __init__(self, folder: Path, module: str) -> None:
        self.path = folder / "hauberk.toml"
        self.write(A)
        self._module = importlib.import_module(module)

    def write(self, text: str) -> str:
        """Put another file in place in one step, and return its version."""
        beside = self.path.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.path)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    @property
    def log(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = self._module.LOG
        return found

    @property
    def recorded(self) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = self._module.EVENTS
        return found

    @property
    def gates(self) -> dict[str, asyncio.Event]:
        found: dict[str, asyncio.Event] = self._module.GATES
        return found

    def codes(self, policy: str) -> list[str]:
        """What the plugin object of one policy recorded."""
        return [event.code for name, event in self.recorded if name == policy]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return empty_house(tmp_path, monkeypatch)


@pytest.fixture
def place(house: House, tmp_path: Path) -> Place:
    """Return a policy file of a plugin that marks calls with the policy which it was made from."""
    house.install("wire", WIRE)
    return Place(tmp_path, house.install("rules", RULES))


@asynccontextmanager
async def standing(place: Place, *objects: Any) -> AsyncIterator[Rig]:
    """Open a guard of the file, with one session."""
    recorder = Recorder()
    guard = Guard.load(place.path, objects=(recorder, *objects))
    made = Rig(guard, Clock(), recorder, Port(), Port())
    async with guard:
        await made.start()
        yield made
        await made.session.close()


async def until(holds: Callable[[], object]) -> None:
    """Let everybody go on until something holds."""
    while not holds():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)


async def turns() -> None:
    """Let everything happen that waits for nothing but its turn."""
    for _ in range(20):
        await asyncio.sleep(0)


async def retired() -> None:
    """Wait until the old policies have been let go of."""
    if tasks := [task for task in asyncio.all_tasks() if task.get_name() == "hauberk-retire"]:
        await asyncio.wait(tasks)
    await asyncio.sleep(0)  # what is called when a task is done


# --- a good file ---


async def test_start_says_which_policy_holds(place: Place) -> None:
    """The start is an event with the name, the path and the SHA-256 of the bytes that are enforced (S3.17)."""
    version = place.write(A)
    async with standing(place) as r:
        await r.settle()
        (event,) = r.recorder.of("policy.loaded")
    assert (event.category, event.severity) == ("policy", "info")
    assert event.details == {
        "policy_name": "hauberk.toml",
        "policy_version": version,
        "policy_path": str(place.path),
        "loaded_by": "startup",
        "changed_by": f"file:{os.getuid()}",
    }


async def test_reload_puts_the_new_file_in_force(place: Place) -> None:
    """After a reload what was allowed is refused and what was refused passes, on a connection that was there before."""
    async with standing(place) as r:
        await r.call("y", {})
        assert r.codes == ["rules.denied"]
        version = place.write(B)
        done = await r.guard.reload()
        assert (done.new_version, r.guard.config.version) == (version, version)
        await r.call("x", {}, id=2)
        assert r.codes == ["rules.denied", "rules.denied"]
        await r.call("y", {}, id=3)
        (reached,) = r.reached
        assert reached["params"] == {"name": "y", "arguments": {"policy": "B"}}


async def test_change_is_an_event_that_names_each_rule(place: Place) -> None:
    """``policy.changed`` says who, from which version to which, and rule by rule what; a swap shows (S3.18)."""
    old = place.write(A)
    async with standing(place) as r:
        new = place.write(B)
        done = await r.guard.reload(changed_by="api:operator-123")
        await retired()
        (event,) = r.recorder.of("policy.changed")
        loaded = [event.details["loaded_by"] for event in r.recorder.of("policy.loaded")]
    assert (event.category, event.severity) == ("policy", "warning")
    assert event.details == {
        "policy_name": "hauberk.toml",
        "policy_path": str(place.path),
        "old_version": old,
        "new_version": new,
        "diff_summary": "+2 rules, -2 rules, ~2 modified",
        "diff": [
            "+ rules.allow: y",
            "+ rules.deny: x",
            "- rules.allow: x",
            "- rules.deny: y",
            "~ wire.policy: 'A' → 'B'",
            "~ rules.policy: 'A' → 'B'",
        ],
        "changed_by": "api:operator-123",
    }
    assert done.diff is not None
    assert done.diff.summary == event.details["diff_summary"]
    assert "rules, ~2 modified" in str(done)
    assert loaded == ["startup", "reload"]
    assert "policy.changed" in place.codes("A")  # the sinks that go hear of it
    assert place.codes("B")[:1] == ["policy.loaded"]  # and a new log begins with its policy


async def test_edited_file_is_changed_by_its_owner(place: Place) -> None:
    """A change that nobody put their name to is the owner's of the file."""
    async with standing(place) as r:
        place.write(B)
        await r.guard.reload()
        (event,) = r.recorder.of("policy.changed")
    assert event.details["changed_by"] == f"file:{os.getuid()}"


async def test_unchanged_file_makes_nothing_new(place: Place) -> None:
    """A file that is the same to the byte leaves the very policy in force, and the caller is told so."""
    async with standing(place) as r:
        before = r.guard.policy
        place.write(A)
        done = await r.guard.reload()
        assert r.guard.policy is before
        assert done.diff is None
        assert "has not changed" in str(done)
        assert r.recorder.of("policy.changed") == []


async def test_secrets_are_in_no_event(place: Place) -> None:
    """A diff names the place of a secret that changed, and of a server's environment, and no value."""
    secret = "[rules]\npolicy = 'A'\ntoken = 'hunter-{0}'\n[server.s]\ncommand = 'c'\nargs = ['--p={0}']\n"
    secret += "env = {{ KEY = 'env-{0}' }}\n[server.s.rules]\ntoken = 'own-{0}'\n"
    place.write(secret.format("one"))
    async with standing(place) as r:
        place.write(secret.format("two"))
        await r.guard.reload()
        (event,) = r.recorder.of("policy.changed")
    assert event.details["diff"] == [
        "+ server.s.args",
        "- server.s.args",
        "~ server.s.env.KEY",
        "~ rules.token",
        "~ server.s.rules.token",
    ]


async def test_diff_has_no_value_that_nobody_wrote(place: Place) -> None:
    """A server's table that goes is what stood in it, not each key that it could have; an order shows its items."""
    place.write("plugins.disable = ['q', 'z']\n[rules]\npolicy = 'A'\n[server.s]\ncommand = 'c'\n")
    async with standing(place) as r:
        place.write("plugins.disable = ['z', 'q']\n[rules]\npolicy = 'A'\n")
        await r.guard.reload()
        (event,) = r.recorder.of("policy.changed")
    assert event.details["diff"] == ["~ plugins.disable: [q, z] → [z, q]", "~ server.s.command"]


async def test_plugins_see_the_policy_that_they_were_made_from(place: Place) -> None:
    """A plugin that asks late for the options of a server gets those of its own policy, though another is in force."""
    async with standing(place) as r:
        gate = place.gates["late"] = asyncio.Event()
        task = r.post(r.from_client, request("tools/call", call_params("z", {"gate": "late"})))
        place.write(B)
        await r.guard.reload()
        gate.set()
        assert task is not None
        await task
        (reached,) = r.reached
        assert reached["params"]["arguments"]["policy"] == "A"
        (allowed,) = [event for name, event in place.recorded if event.code == "core.allowed"]
        assert allowed.rule == "A allows"
        assert ("A", allowed.id) in [(name, event.id) for name, event in place.recorded]


async def test_old_plugins_are_closed_once_no_message_needs_them(place: Place) -> None:
    """The old plugins stay open while a message that began in them is on its way, and are closed right after it."""
    async with standing(place) as r:
        gate = place.gates["late"] = asyncio.Event()
        task = r.post(r.from_client, request("tools/call", call_params("z", {"gate": "late"})))
        place.write(B)
        await r.guard.reload()
        await turns()
        assert ("A", "close") not in place.log
        gate.set()
        assert task is not None
        await task
        await until(lambda: ("A", "close") in place.log)
    assert place.log.count(("A", "close")) == 1
    assert place.log.count(("B", "close")) == 1


async def test_old_sinks_record_what_waits_for_them(place: Place, house: House) -> None:
    """A slow sink of the old policy has recorded every event that it was given before it is closed."""
    module = importlib.import_module(house.install("slow", SLOW))
    place.write(A + "[slow]\n")
    async with standing(place) as r:
        await until(lambda: module.LOG)
        place.write(B)
        await r.guard.reload()
        await turns()
        assert module.LOG == ["begins"]
        module.GATE.set()
        await retired()
    assert module.LOG == ["begins", "core.started", "policy.loaded", "core.connected", "policy.changed", "close"]


async def test_message_that_never_ends_does_not_keep_an_old_policy(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old policy is let go of after the longest that a message may take, though one of its messages hangs."""
    async with standing(place) as r:
        r.far.held = asyncio.Event()
        r.post(r.from_client, request("tools/call", call_params("z", {})))
        await until(lambda: r.reached)
        assert r.guard.policy.longest == 10 * 3600.0
        monkeypatch.setattr(Policy, "longest", 0.01)
        place.write(B)
        await r.guard.reload()
        await until(lambda: ("A", "close") in place.log)
        r.far.held.set()


async def test_state_is_carried_over(place: Place) -> None:
    """Each new plugin is given the running one of its name before it opens; one that is new is only opened."""
    async with standing(place) as r:
        assert place.log == [("A", "make"), ("A", "open")]
        place.write(B)
        await r.guard.reload()
        await retired()
    assert place.log[2:6] == [("B", "make"), ("B", "adopt"), ("B", "from A"), ("B", "open")]


async def test_objects_of_the_host_stay_as_they_are(place: Place) -> None:
    """A plugin object that the host made is in both policies, and is opened and closed once."""
    told: list[str] = []

    async def opened() -> None:
        told.append("open")

    async def closed() -> None:
        told.append("close")

    async with standing(place, ring("mine", on_send=None, open=opened, close=closed)) as r:
        place.write(B)
        await r.guard.reload()
        await retired()
        assert "mine" in r.guard.loaded
        assert told == ["open"]
    assert told == ["open", "close"]


async def test_local_policy_is_read_again(place: Place, tmp_path: Path) -> None:
    """``policy.py`` is read again, though the file that names it is the same; a broken one changes nothing."""
    local = tmp_path / "policy.py"
    text = source("policy", hook="def on_tool_call(self, call): return hauberk.Deny('policy.{}', 'no')")
    local.write_text(text.format("one"))
    local.chmod(0o600)
    place.write(A + "[plugins]\npolicy = 'policy.py'\n")
    async with standing(place) as r:
        await r.call("z", {})
        local.write_text(text.format("two"))
        done = await r.guard.reload()
        assert done.diff is not None
        assert "policy.py" in done.diff.lines[0]
        await r.call("z", {}, id=2)
        module = sys.modules["hauberk_policy"]
        local.write_text("raise RuntimeError('the password is swordfish')")
        with pytest.raises(PluginError):
            await r.guard.reload()
        assert sys.modules["hauberk_policy"] is module
        await r.call("z", {}, id=3)
        assert r.codes == ["policy.one", "policy.two", "policy.two"]
        assert "swordfish" not in str(r.recorder.of("policy.rejected"))


async def test_symbolic_link_that_is_swapped(place: Place, tmp_path: Path) -> None:
    """A directory swapped under the path gives one file or the other; a link as the file itself is refused (A73)."""
    for name, text in (("one", A), ("two", B)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hauberk.toml").write_text(text)
    (tmp_path / "now").symlink_to("one")
    place.path = tmp_path / "now" / "hauberk.toml"
    async with standing(place) as r:
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").replace(tmp_path / "now")
        done = await r.guard.reload()
        assert done.new_version == f"sha256:{hashlib.sha256(B.encode()).hexdigest()}"
        (tmp_path / "two" / "hauberk.toml").unlink()
        (tmp_path / "two" / "hauberk.toml").symlink_to(tmp_path / "one" / "hauberk.toml")
        with pytest.raises(ConfigError):
            await r.guard.reload()
        assert r.guard.config.version == done.new_version


# --- a bad one ---


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[rules]\npolicy = 'B'\nallow = ['y'", "unclosed array"),
        ("", "is required and does not run"),
        ("[rules]\npolicy = 3", "expected string, got 3"),
        ("[rulez]", "'rulez' is not installed"),
        ("[rules]\npolicy = 'B'\ntoken = 5", "expected string, got an integer"),
        ("[rules]\npolicy = 'B'\nfails = 'make'", "plugin 'rules' cannot start (ValueError)"),
        ("[rules]\npolicy = 'B'\nfails = 'adopt'", "plugin 'rules' cannot take over (ValueError)"),
        ("[rules]\npolicy = 'B'\nfails = 'open'", "plugin 'rules' cannot open (ValueError)"),
        ("[rules]\npolicy = 'B'\nfails = 'record'\nrequired = true", "the decision could not be recorded"),
        ("profile = 'production'\n[rules]\npolicy = 'B'", "there is no lock"),
        ("[core]\napprovers = ['rules']\n[rules]\npolicy = 'B'", "no active plugin that approves"),
    ],
)
async def test_bad_file_leaves_the_old_policy_in_force(place: Place, text: str, reason: str) -> None:
    """Whatever is wrong, the old policy stays as it is, nothing of the new one stays open, and it is said (S3.21)."""
    place.write(A + "[plugins]\nrequire = ['rules', 'recorder']\n")
    async with standing(place) as r:
        before, log = r.guard.policy, len(place.log)
        require = "" if text == "" else "\n[plugins]\nrequire = ['rules', 'recorder']"
        place.write(text + require if text else "[plugins]\nrequire = ['rules', 'recorder']\n[rules]\nmode = 'off'")
        with pytest.raises((ConfigError, PluginError, Refused)):
            await r.guard.reload()
        assert r.guard.policy is before
        (event,) = r.recorder.of("policy.rejected")
        assert (event.severity, event.action) == ("critical", "blocked")
        assert reason in event.details["reason"]
        assert event.details["version_in_force"] == before.config.version
        assert "swordfish" not in str(event)
        new = [what for name, what in place.log[log:] if name == "B"]
        assert new.count("adopt") == new.count("close")
        assert ("A", "close") not in place.log
        await r.call("x", {})
        assert r.reached[-1]["params"]["arguments"] == {"policy": "A"}
        assert r.codes == []


async def test_missing_file_leaves_the_old_policy_in_force(place: Place) -> None:
    """A file that has gone is no empty policy (S3.21)."""
    async with standing(place) as r:
        before = r.guard.policy
        place.path.unlink()
        with pytest.raises(ConfigError):
            await r.guard.reload()
        assert r.guard.policy is before
        assert len(r.recorder.of("policy.rejected")) == 1


async def test_flag_takes_nothing_out_of_production(place: Place) -> None:
    """A host that was started with ``-p no:NAME`` is not reloaded into production (X.5)."""
    guard = Guard.load(place.path, disable=["rules"])
    async with guard:
        before = guard.policy
        place.write("profile = 'production'\nplugins.require = ['rules']\n" + A)
        place.path.chmod(0o600)
        with pytest.raises(ConfigError, match="cannot be turned off by a flag"):
            await guard.reload()
        assert guard.policy is before


async def test_production_starts_anew_only_what_is_required(house: House, place: Place) -> None:
    """Every check of the start holds for a reload: in production what runs is what is required and locked (X.4)."""
    house.install("other", source("other"))
    async with Guard.load(place.path) as guard:
        for required, reason in ((["rules"], "'wire' runs and is not in"), (["rules", "wire"], "there is no lock")):
            place.write(f"profile = 'production'\nplugins.require = {required}\n{A}")
            place.path.chmod(0o600)
            with pytest.raises((ConfigError, PluginError), match=reason):
                await guard.reload()
            assert not guard.config.production


async def test_policy_of_another_host_is_refused(place: Place) -> None:
    """A guard works for one host; a configuration read for another is none of its own."""
    async with standing(place) as r:
        with pytest.raises(ConfigError, match="host 'other'"):
            await r.guard.reload(Config.from_toml(B, host="other"))


async def test_inline_policy_has_no_file_to_read_again(place: Place) -> None:
    """A configuration from text is changed by giving another; without one there is nothing to read."""
    async with Guard.load(Config.from_toml(A)) as guard:
        with pytest.raises(ConfigError, match="no file"):
            await guard.reload()
        done = await guard.reload(Config.from_toml(B))
        assert done.new_version == f"sha256:{hashlib.sha256(B.encode()).hexdigest()}"
    assert ("B", "close") in place.log


async def test_full_disk_does_not_keep_a_policy_in_force(place: Place) -> None:
    """A policy whose own log cannot be written is replaced all the same: the new one may be what repairs it."""
    place.write(A + "fails = 'record'\nrequired = true\n")
    guard = Guard.load(place.path)
    async with guard:
        place.write(B)
        await guard.reload()
        assert place.codes("B") == ["policy.loaded"]


# --- at the same time ---


async def test_two_reloads_at_once_are_one_after_the_other(place: Place) -> None:
    """The second reload reads the file when the first is done."""
    async with standing(place) as r:
        gate = place.gates["B"] = asyncio.Event()
        place.write(B)
        first = asyncio.ensure_future(r.guard.reload())
        await until(lambda: ("B", "waits") in place.log)
        second = asyncio.ensure_future(r.guard.reload())
        await asyncio.sleep(0)
        version = place.write(A + "limit = 7\n")
        gate.set()
        one, two = await asyncio.gather(first, second)
        assert (two.old_version, two.new_version) == (one.new_version, version)


async def test_reload_ends_with_the_guard(place: Place) -> None:
    """A guard that closes stops the reload that is under way, closes what that opened, and tells its caller."""
    async with standing(place) as r:
        place.gates["B"] = asyncio.Event()
        place.write(B)
        reload = asyncio.ensure_future(r.guard.reload())
        await until(lambda: ("B", "waits") in place.log)
        await r.guard.close()
        with pytest.raises(HauberkError, match="the guard was closed"):
            await reload
        assert place.log.count(("B", "close")) == 1
        assert place.log.count(("A", "close")) == 1


async def test_reload_whose_caller_gives_up(place: Place) -> None:
    """A cancelled reload leaves the old policy in force and nothing of the new one open."""
    async with standing(place) as r:
        before = r.guard.policy
        place.gates["B"] = asyncio.Event()
        place.write(B)
        reload = asyncio.ensure_future(r.guard.reload())
        await until(lambda: ("B", "waits") in place.log)
        reload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reload
        assert r.guard.policy is before
        assert place.log[-1] == ("B", "close")
        assert len(r.recorder.of("policy.rejected")) == 1


async def test_guard_that_is_not_open(place: Place) -> None:
    """Before its first use and after its last a guard takes a policy without opening anything."""
    guard = Guard.load(place.path)
    place.write(B)
    assert (await guard.reload()).diff is not None
    async with guard:
        assert guard.loaded["rules"].plugin.options.policy == "B"
    place.write(A)
    await guard.reload()
    assert place.log[-1] == ("A", "make")
    async with guard:
        assert guard.loaded["rules"].plugin.options.policy == "A"
    assert [what for what in place.log if what[1] in ("open", "close")] == [
        ("B", "open"),
        ("B", "close"),
        ("A", "open"),
        ("A", "close"),
    ]


async def test_reload_while_the_guard_opens(place: Place) -> None:
    """A reload waits until a guard that is being opened is open, and then replaces what is open."""
    gate = place.gates["A"] = asyncio.Event()
    guard = Guard.load(place.path)
    opening = asyncio.ensure_future(guard.open())
    await until(lambda: ("A", "waits") in place.log)
    place.write(B)
    reload = asyncio.ensure_future(guard.reload())
    await asyncio.sleep(0)
    gate.set()
    await opening
    assert (await reload).diff is not None
    await guard.close()
    assert [what for what in place.log if what[1] == "close"] == [("A", "close"), ("B", "close")]


async def test_reload_while_a_connection_is_made(place: Place) -> None:
    """A connection ends its ``on_connect`` in the policy in which it began; its messages meet the one in force."""
    gate, began = asyncio.Event(), asyncio.Event()

    async def connects(_: Any) -> None:
        began.set()
        await gate.wait()

    recorder = Recorder()
    guard = Guard.load(place.path, objects=(recorder, ring("slow", on_connect=connects)))
    made = Rig(guard, Clock(), recorder, Port(), Port())
    async with guard:
        starting = asyncio.ensure_future(made.start())
        await began.wait()
        place.write(B)
        await guard.reload()
        await turns()
        assert ("A", "close") not in place.log
        gate.set()
        await starting
        await until(lambda: ("A", "close") in place.log)
        await made.call("y", {})
        assert made.reached[-1]["params"]["arguments"] == {"policy": "B"}
        await made.session.close()


# --- what a connection keeps ---


async def test_connection_keeps_its_sizes(place: Place) -> None:
    """A connection keeps the sizes in ``[core.bounds]`` with which it began; one made after the reload has the new."""
    async with standing(place) as r:
        place.write("core.bounds.line_bytes = 1024\n" + B)
        await r.guard.reload()
        await r.call("y", {"text": "t" * 2000})
        assert r.codes == []
        other = Rig(r.guard, Clock(), r.recorder, Port(), Port())
        await other.start()
        await other.call("y", {"text": "t" * 2000})
        assert other.codes == ["core.line_too_long"]
        await other.session.close()


async def test_messages_take_what_is_about_messages(place: Place) -> None:
    """How a refusal is told, which methods may cross and how long an answer may take are those of the new policy."""
    async with standing(place) as r:
        core = "core.refuse_as = 'result'\ncore.request_timeout = 3600.0\n"
        method = "core.methods = [{ name = 'x/y', sender = 'client', kind = 'request' }]\n"
        place.write(core + method + B)
        await r.guard.reload()
        await r.call("x", {})
        assert r.replies[-1]["result"]["isError"] is True
        await r.send(r.from_client, request("x/y", id=2))
        assert r.reached[-1]["method"] == "x/y"
        (exchange,) = r.session.out.exchanges.flight.values()
        assert exchange.timer is not None


# --- lists ---


INITIALIZED: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}, "resources": {"subscribe": True}, "logging": {}},
    "serverInfo": {"name": "s", "version": "1"},
}


async def initialize(r: Rig) -> None:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    await r.send(r.from_client, request("initialize", params))
    await r.answer(INITIALIZED)


def told(r: Rig) -> list[dict[str, Any]]:
    return [message for message in r.replies if message.get("method", "").endswith("list_changed")]


@pytest.mark.parametrize("role", ["client", "server"])
async def test_clients_are_told_that_lists_changed(place: Place, role: Any) -> None:
    """When a reload returns, each client has been told of each kind of list that its server has."""
    recorder = Recorder()
    guard = Guard.load(place.path, objects=(recorder,))
    async with guard:
        r = Rig(guard, Clock(), recorder, Port(), Port())
        await r.start(role)
        await initialize(r)
        place.write(B)
        await guard.reload()
        assert [message["method"] for message in told(r)] == [
            "notifications/tools/list_changed",
            "notifications/resources/list_changed",
        ]
        await guard.reload()
        assert len(told(r)) == 2  # nothing has changed
        await r.session.close()


async def test_connection_without_a_handshake_is_told_nothing(place: Place) -> None:
    """Who has not initialised has no lists, and gets no word that it did not ask for."""
    async with standing(place) as r:
        place.write(B)
        await r.guard.reload()
        assert told(r) == []


async def test_open_streams_are_told_what_was_agreed(place: Place) -> None:
    """A client of 2026-07-28 is told in the streams that it opened, of the kinds that the server agreed to tell."""
    stream = "io.modelcontextprotocol/subscriptionId"
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    async with standing(place) as r:
        for id in ("open", "over", "silent"):
            wanted = {"toolsListChanged": True, "promptsListChanged": True}
            await r.send(
                r.from_client, request("subscriptions/listen", {"notifications": wanted, "_meta": meta}, id=id)
            )
        await r.send(r.from_client, request("tools/list", {"_meta": meta}, id="other"))
        for id in ("open", "over", "nobody", "other"):
            agreed = {"_meta": {stream: id}, "notifications": {"toolsListChanged": True}}
            await r.send(r.from_server, notification("notifications/subscriptions/acknowledged", agreed))
        await r.answer({"resultType": "complete", "_meta": {stream: "over"}}, id="over")
        place.write(B)
        await r.guard.reload()
        params = {"_meta": {stream: "open"}}
        assert told(r) == [{"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": params}]


async def test_word_comes_after_the_lists_before_it(place: Place) -> None:
    """A list that an older policy let pass reaches the client before the word that lists changed, never after it."""
    gate = asyncio.Event()

    async def slow(message: Any, _: Any) -> None:
        if message.method == "tools/list":
            await gate.wait()

    async with standing(place, ring("slow", on_receive=slow)) as r:
        await initialize(r)
        await r.send(r.from_client, request("tools/list", id=2))
        r.post(r.from_server, {"jsonrpc": "2.0", "id": 2, "result": {"tools": []}})
        place.write(B)
        reload = asyncio.ensure_future(r.guard.reload())
        await until(lambda: r.guard.loaded["rules"].plugin.options.policy == "B")
        assert told(r) == []
        gate.set()
        await reload
        kinds = [message.get("id", message.get("method")) for message in r.replies]
        assert kinds == [1, 2, "notifications/tools/list_changed", "notifications/resources/list_changed"]


class _Buffered(Port):
    """A port that keeps what is written until the client takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = asyncio.Event()

    async def flushed(self) -> None:
        await self.taken.wait()


async def test_reload_returns_when_the_word_has_been_taken(place: Place) -> None:
    """A reload waits until the client has taken the word out of the port, not only until it was written there."""
    recorder, near = Recorder(), _Buffered()
    guard = Guard.load(place.path, objects=(recorder,))
    async with guard:
        r = Rig(guard, Clock(), recorder, near, Port())
        await r.start()
        await initialize(r)
        place.write(B)
        reload = asyncio.ensure_future(guard.reload())
        await until(lambda: told(r))
        await turns()
        assert not reload.done()
        near.taken.set()
        await reload
        await r.session.close()


async def test_client_that_does_not_read_holds_up_no_reload(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes nothing keeps a reload waiting for a bounded time, and that it was not told is an event."""
    async with standing(place) as r:
        await initialize(r)
        r.near.held = asyncio.Event()
        monkeypatch.setattr(lists, "_PATIENCE", 0.01 / 3600.0)
        place.write(B)
        await r.guard.reload()
        assert len(r.recorder.of("policy.untold")) == 1
        r.near.held.set()


# --- under load (A72) ---


class Load:
    """Callers that never stop, and a server that answers at once; what became of each call is kept."""

    def __init__(self, r: Rig) -> None:
        self.rig = r
        self.over = False
        self.answered: dict[int, asyncio.Future[None]] = {}
        self.calls: dict[int, str] = {}
        self._count = 0
        r.far.on_deliver = self._serve
        r.near.on_deliver = self._take

    def _serve(self, raw: Any) -> None:
        asked = orjson.loads(raw)
        if "id" in asked:
            answer = orjson.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"content": []}})
            asyncio.get_running_loop().call_soon(self.rig.session.receive, self.rig.from_server, answer)

    def _take(self, raw: Any) -> None:
        waiting = self.answered.pop(orjson.loads(raw).get("id"), None)
        if waiting is not None:
            waiting.set_result(None)

    async def caller(self, turns: int) -> None:
        """Call and call, with so many turns of the event loop inside the first hook."""
        while not self.over:
            self._count += 1
            id, tool = self._count, "xyz"[self._count % 3]
            self.calls[id] = tool
            done = self.answered[id] = asyncio.get_running_loop().create_future()
            params = call_params(tool, {"turns": turns, "n": id})
            self.rig.session.receive(self.rig.from_client, orjson.dumps(request("tools/call", params, id=id)))
            await asyncio.wait_for(done, 60)


@pytest.mark.timeout(300)
async def test_a_thousand_reloads_under_load(place: Place) -> None:
    """Over 1,000 reloads each of many calls is marked, judged, recorded and sent by one policy, old or new (A72).

    Every tenth file is half written, names a plugin that is not there or is missing: the policy before it stays.
    """
    bad = (A[: len(A) // 2] + "'", "[nothing]\n", None)
    async with standing(place) as r:
        load = Load(r)
        callers = [asyncio.ensure_future(load.caller(turns)) for turns in (0, 1, 2, 3, 5, 8, 13, 40)]
        policies: list[weakref.ref[Policy]] = []
        in_force, rejected, versions = "A", 0, {A: "", B: ""}
        for number in range(1000):
            text = (B, A)[number % 2]
            if number % 10 == 9:
                broken = bad[number // 10 % 3]
                place.path.unlink() if broken is None else place.write(broken)
                with pytest.raises(ConfigError):
                    await r.guard.reload()
                rejected += 1
            else:
                versions[text] = place.write(text)
                done: Reloaded = await r.guard.reload()
                in_force = "AB"[text == B]
                assert done.new_version == versions[text]
                policies.append(weakref.ref(r.guard.policy))
            assert r.guard.loaded["rules"].plugin.options.policy == in_force
        load.over = True
        await asyncio.gather(*callers)
        await retired()
        gc.collect()
        assert sum(ref() is not None for ref in policies) == 1
        assert len(r.recorder.of("policy.rejected")) == rejected
        _check_load(place, load)


def _check_load(place: Place, load: Load) -> None:
    """Check each call: what reached the server, the verdict, and who recorded it, agree on one policy."""
    reached = {message["id"]: message["params"]["arguments"]["policy"] for message in load.rig.reached}
    refused = {reply["id"]: reply["error"]["data"]["rule"] for reply in load.rig.replies if "error" in reply}
    decided = {int(e.exchange.rpartition(".")[2]): (p, e.rule) for p, e in place.recorded if e.code == "core.allowed"}
    denied = {int(e.exchange.rpartition(".")[2]): (p, e.rule) for p, e in place.recorded if e.code == "rules.denied"}
    assert len(load.calls) > 2000
    assert {*reached.values()} == {"A", "B"}
    assert reached.keys() | refused.keys() == load.calls.keys()
    assert not reached.keys() & refused.keys()
    for id, tool in load.calls.items():
        if id in reached:
            policy = reached[id]
            assert tool in {"A": "xz", "B": "yz"}[policy]
            assert decided[id] == (policy, f"{policy} allows")
        else:
            policy, rule = denied[id]
            assert tool == {"A": "y", "B": "x"}[policy]
            assert refused[id] == rule == f"{policy} denies"
    assert len(decided) + len(denied) == len(load.calls)
