"""What a plugin must be to be loaded; everything that pluggy would let through in silence is an error with a hint."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy
import pytest
from tests.core.harness import Recorder, rig, ring
from tests.core.house import House, empty_house, source

from hauberk.config import Options
from hauberk.hookspecs import PROJECT, hookimpl
from hauberk.layers import Layer, layer_of
from hauberk.loading import standing
from hauberk.plugins import Registry, Source, installed, load_class, policy_source
from hauberk.refusals import ConfigError, PluginError
from hauberk.verdict import Allow, Deny, Verdict

foreign: Any = pluggy.HookimplMarker(PROJECT)
"""pluggy's own marker, which takes options; `hauberk.hookimpl` takes none."""


def made(**members: Any) -> Any:
    """Return a plugin object with these members, just as they stand."""
    return type("Made", (), {"name": "made", "layer": Layer.POLICY, "Options": Options} | members)()


def refused(plugin: Any, **how: Any) -> PluginError:
    """Return the error of a plugin that may not be loaded; nothing of it stays behind."""
    registry = Registry()
    with pytest.raises(PluginError) as error:
        registry.add(plugin, **how)
    assert registry.loaded == {}
    assert error.value.hint
    first = error.value.message[0]
    assert first.islower()
    assert not error.value.message.endswith(".")
    return error.value


# --- the six traps of pluggy (style.md 4) ---


def judge() -> Any:
    """Return a method that denies, without a mark; a mark is set on the very function."""

    def on_tool_call(self: Any, call: Any, connection: Any) -> Verdict:
        return Deny("made.no", "no")

    return on_tool_call


@pytest.mark.parametrize("option", ["wrapper", "hookwrapper"])
def test_wrapper_is_refused_at_load(option: str) -> None:
    """Trap 1: a wrapper could swallow another plugin's refusal, so none is loaded (V11, A69)."""

    def on_tool_call(self: Any, call: Any, connection: Any) -> Any:
        yield
        return Allow()

    error = refused(made(on_tool_call=foreign(on_tool_call, **{option: True})))
    assert error.message == "plugin 'made' puts an option on on_tool_call"
    assert error.hint == "use hauberk.hookimpl, without options; order comes from the layer"


@pytest.mark.parametrize("waits", [False, True])
def test_generator_is_refused_at_load(waits: bool) -> None:
    """A hook that yields, as an old wrapper does, would answer a generator that nobody runs (V11)."""

    def wraps(self: Any, call: Any, connection: Any) -> Any:
        yield

    async def wraps_async(self: Any, call: Any, connection: Any) -> Any:
        yield

    error = refused(made(on_tool_call=hookimpl(wraps_async if waits else wraps)))
    assert error.message == "plugin 'made' has a generator for on_tool_call"


@pytest.mark.parametrize("option", [{"tryfirst": True}, {"trylast": True}])
def test_option_of_order_is_refused_at_load(option: dict[str, Any]) -> None:
    """Trap 2: tryfirst would outrun the others, so order is no option of a hook (A69)."""
    assert "puts an option on on_tool_call" in str(refused(made(on_tool_call=foreign(judge(), **option))))


@pytest.mark.parametrize("option", [{"optionalhook": True}, {"specname": "on_send"}])
def test_other_options_are_refused_at_load(option: dict[str, Any]) -> None:
    """No option at all: optionalhook hides a misspelt name, specname lets a method stand for another hook (V12)."""
    assert "puts an option on on_tool_call" in str(refused(made(on_tool_call=foreign(judge(), **option))))


def test_our_marker_takes_no_options() -> None:
    """`hauberk.hookimpl` has no parameter but the function."""
    with pytest.raises(TypeError):
        hookimpl(tryfirst=True)  # type: ignore[call-arg]


async def test_async_refusal_is_awaited() -> None:
    """Trap 3: pluggy would return an async hook's coroutine, which is truthy and no refusal; it is awaited (V14)."""

    async def on_tool_call(call: Any, connection: Any) -> Verdict:
        await asyncio.sleep(0)
        return Deny("p.no", "no")

    async with rig(ring("p", on_tool_call=on_tool_call)) as r:
        await r.call()
        assert (r.reached, r.codes) == ([], ["p.no"])


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("wrap", [lambda f: f, staticmethod, classmethod])
@pytest.mark.parametrize("name", ["on_tool_cal", "on_recieve", "on_tool_calls"])
def test_misspelt_hook_is_refused_at_load(name: str, wrap: Callable[[Any], Any], marked: bool) -> None:
    """Trap 4: pluggy registers a hook of an unknown name and never calls it; here it is an error that knows what was
    meant (V12).
    """
    if wrap is classmethod and not marked:
        return  # a class method without a mark is nobody's hook
    error = refused(made(**{name: wrap(hookimpl(judge()) if marked else judge())}))
    assert "'made'" in error.message
    assert name in error.message
    meant = {"on_tool_cal": "on_tool_call", "on_recieve": "on_receive", "on_tool_calls": "on_tool_call"}[name]
    assert error.hint in {f"did you mean {meant!r}?", "see the hook reference"}


async def test_order_is_the_list_s_and_not_the_last_registered_first() -> None:
    """Trap 5: pluggy calls the last registered first, and entry points come in directory order; here the list says."""
    order: list[str] = []
    names = ["zeta", "alpha", "mid"]
    plugins = [ring(name, on_send=lambda *_, name=name: order.append(name)) for name in names]
    async with rig(*plugins) as r:
        await r.call()
    assert order == names


def test_rejected_plugin_leaves_nothing_behind() -> None:
    """Trap 6: a plugin that is refused is not half registered: none of its hooks runs, and its name is free."""
    registry = Registry()
    bad = made(on_send=hookimpl(lambda self, message, connection: None), on_tool_cal=hookimpl(judge()))
    for _ in range(2):
        with pytest.raises(PluginError):
            registry.add(bad)
    assert registry.loaded == {}
    good = registry.add(made(on_tool_call=hookimpl(judge())))
    assert [step.hook for step in good.steps] == ["on_tool_call"]
    assert [impl.plugin for impl in registry._manager.hook.on_send.get_hookimpls()] == []


# --- signatures ---


def signature(text: str) -> Any:
    """Return a method of this signature, marked as a hook."""
    scope: dict[str, Any] = {}
    exec(f"def method({text}): return None", scope)  # noqa: S102 - the text of a test
    return hookimpl(scope["method"])


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        ("on_tool_call", "self, connection, call"),
        ("on_send", "self, connection"),
        ("on_send", "self, msg, connection"),
        ("on_send", "self, message, y=None"),
        ("on_send", "self, message, connection, more=None"),
        ("on_send", "self, message, connection, more"),
        ("on_send", "self, *args"),
        ("on_send", "self, message, *args"),
        ("on_send", "self, message, **kwargs"),
        ("on_send", "self, message, *, connection"),
        ("on_send", "self, message, *, connection=None"),
        ("on_connect", "self, message"),
        ("on_audit", "self, connection"),
        ("on_audit", "self, event, connection"),
    ],
)
def test_wrong_signature_is_refused_at_load(hook: str, text: str) -> None:
    """Argument names, their order, defaults for names that do not exist, *args and **kwargs: each is an error that says
    what to write; pluggy passes by name, a frozen chain by position (V13).
    """
    error = refused(made(**{hook: signature(text)}))
    assert "'made'" in error.message
    assert hook in error.message
    assert error.hint is not None
    assert error.hint.startswith(f"write {hook}(self, ")


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        ("on_tool_call", "self"),
        ("on_tool_call", "self, call"),
        ("on_tool_call", "self, call, connection"),
        ("on_tool_call", "self, call, connection=None"),
        ("on_tool_call", "self, call, connection, /"),
        ("on_audit", "self"),
    ],
)
def test_shorter_signature_is_adapted(hook: str, text: str) -> None:
    """A hook takes the arguments it needs, in the order of the hook's own, and later ones may be left out."""
    (step,) = Registry().add(made(**{hook: signature(text)})).steps
    assert step.call(*("item", "connection")[: 1 if hook == "on_audit" else 2]) is None


async def test_shorter_async_signature_is_adapted() -> None:
    """An async hook may be shorter too, and is awaited all the same."""

    class Short:
        name = "short"
        Options = Options

        @hookimpl
        async def on_tool_call(self, call: Any) -> Verdict:
            await asyncio.sleep(0)
            return Deny("short.no", call.name)

    async with rig(Short()) as r:
        await r.call("ls")
        assert r.codes == ["short.no"]


# --- what a plugin is ---


@pytest.mark.parametrize("name", ["", "Sieve", "my-plugin", "1st", "a b", "a.b", "é", "_x", "x\n"])
def test_name_is_a_plain_word(name: str) -> None:
    """A name is a plain word: it stands in codes, tables and package names."""
    assert "is not a plain word" in refused(made(name=name, on_tool_call=hookimpl(judge()))).message


@pytest.mark.parametrize("name", ["core", "plugins", "features", "host", "server", "profile"])
def test_words_of_the_core_are_no_names(name: str) -> None:
    """No plugin takes a word of the configuration's own, or speaks with codes of the core."""
    assert "is a word of the core's own" in refused(made(name=name, on_tool_call=hookimpl(judge()))).message


def test_two_plugins_of_one_name_are_refused() -> None:
    """Of two plugins with one name neither silently wins."""
    registry = Registry()
    registry.add(ring("twice", on_send=None))
    with pytest.raises(PluginError, match="plugin 'twice' is there twice"):
        registry.add(ring("twice", on_receive=None))


def test_hook_without_its_mark_is_refused() -> None:
    """A method with a hook's name and no mark would never run, so it is an error."""
    error = refused(made(on_tool_call=judge()))
    assert error.message == "plugin 'made' has on_tool_call without @hookimpl"


@pytest.mark.parametrize("marked", [True, False])
def test_hook_in_the_object_is_refused(marked: bool) -> None:
    """A hook that an object carries, and not its class, escapes the checks of signatures and options, so it is none."""

    def on_tool_call(call: Any, connection: Any) -> Verdict:
        return Allow()

    plugin = made(on_send=hookimpl(lambda self, message, connection: None))
    plugin.on_tool_call = foreign(on_tool_call, wrapper=False) if marked else on_tool_call
    assert refused(plugin).message == "plugin 'made' has on_tool_call in the object"


def test_module_is_no_plugin() -> None:
    """A module with hooks at its top is refused; a plugin is an object of a class."""
    module = type(sys)("made")
    vars(module).update(name="made", on_tool_call=hookimpl(judge()))
    assert "'made'" in refused(module).message


def test_subclass_that_forgets_the_mark_is_refused() -> None:
    """A class that overrides a hook without marking it would turn the check off, so it is an error."""
    base = type(made(on_tool_call=hookimpl(judge())))
    assert "without @hookimpl" in refused(type("Derived", (base,), {"on_tool_call": judge()})()).message


def test_layer_of_an_unknown_hook_is_refused() -> None:
    """A misspelt hook in ``layers`` would leave the real one in another layer, so it is an error."""
    error = refused(made(layers={"on_recieve": Layer.GATE}, on_receive=signature("self, message")))
    assert error.message == "plugin 'made' gives 'on_recieve' a layer, which is no hook"
    assert error.hint == "did you mean 'on_receive'?"


@pytest.mark.parametrize("layer", [0, 8, "POLICY", None])
def test_unknown_layer_is_refused(layer: Any) -> None:
    """A layer is one of the seven."""
    assert f"in layer {layer!r}" in refused(made(layer=layer, on_tool_call=hookimpl(judge()))).message


def test_layer_of_each_hook() -> None:
    """``layers`` says the layer hook by hook, ``layer`` that of the others, and POLICY is where neither says."""
    plugin = made(layer=Layer.ADMIT, layers={"on_receive": Layer.GATE})
    assert layer_of(plugin, "on_receive") is Layer.GATE
    assert layer_of(plugin, "on_send") is Layer.ADMIT
    assert layer_of(object(), "on_send") is Layer.POLICY


async def test_hook_in_two_layers_meets_a_message_twice() -> None:
    """It gets the frame before anything in it is read, then the message; ``methods`` are those of messages alone."""
    seen: list[str] = []

    def see(self: Any, message: Any) -> None:
        seen.append(type(message).__name__)

    plugin = made(
        layers={"on_receive": (Layer.GATE, Layer.ADMIT)},
        methods={"on_receive": ("tools/list",)},
        on_receive=hookimpl(see),
    )
    async with rig(plugin, role="server") as opened:
        await opened.request("tools/list")
        await opened.request("ping")
        loaded = opened.guard.loaded["made"]
    assert seen == ["Frame", "Message", "Frame"]
    source = Source("made", "made", "1", lambda: None)
    assert standing(source, "", loaded).layers == {"on_receive": "GATE and ADMIT"}


@pytest.mark.parametrize(
    ("hook", "layers"),
    [
        ("on_receive", (Layer.ADMIT, Layer.GATE)),
        ("on_receive", (Layer.GATE, Layer.SEAL)),
        ("on_receive", (Layer.GATE, Layer.ADMIT, Layer.POLICY)),
        ("on_receive", ()),
        ("on_tool_call", (Layer.GATE, Layer.ADMIT)),
    ],
)
def test_two_layers_are_one_of_frames_and_one_of_messages(hook: str, layers: Any) -> None:
    """In any other pair a hook would see one message twice in one form, so it is an error."""
    members = {"on_receive": signature("self, message"), "on_tool_call": hookimpl(judge())}
    assert f"has {hook} in layers {layers!r}" in refused(made(layers={hook: layers}, **members)).message


@pytest.mark.parametrize("layer", [Layer.WIRE, Layer.GATE, Layer.SEAL, Layer.REPLAY])
def test_judges_stand_in_admit_and_inwards(layer: Layer) -> None:
    """A judge nearer the wire than ADMIT would never be asked, so it is an error."""
    assert "judges calls in layer" in refused(made(layer=layer, on_tool_call=hookimpl(judge()))).message


@pytest.mark.parametrize(
    ("hook", "named", "layer"),
    [
        ("on_recieve", ("tools/list",), Layer.POLICY),
        ("on_receive", ("tools/lists",), Layer.POLICY),
        ("on_receive", "tools/list", Layer.POLICY),
        ("on_receive", (), Layer.POLICY),
        ("on_receive", ("tools/list",), Layer.GATE),
        ("on_tool_call", ("tools/call",), Layer.POLICY),
    ],
)
def test_methods_that_no_hook_can_meet(hook: str, named: Any, layer: Layer) -> None:
    """A slip in ``methods`` would leave a hook uncalled and be seen by nobody, so it is an error."""
    members = {"on_receive": signature("self, message"), "on_tool_call": hookimpl(judge())}
    if layer is Layer.GATE:
        del members["on_tool_call"]
    assert "methods" in refused(made(layer=layer, methods={hook: named}, **members)).message


def test_must_judge_needs_a_judge() -> None:
    """A plugin that says it must judge and has no on_tool_call is an error, not a promise that nobody keeps."""
    error = refused(made(must_judge=True, on_send=signature("self, message")))
    assert "must judge and has no on_tool_call" in error.message


@pytest.mark.parametrize(
    ("layer", "hook"),
    [
        (Layer.WIRE, "on_send"),
        (Layer.WIRE, "on_receive"),
        (Layer.GATE, "on_send"),
        (Layer.SEAL, "on_send"),
        (Layer.SEAL, "on_receive"),
    ],
)
def test_frames_are_written_by_plain_hooks(layer: Layer, hook: str) -> None:
    """In WIRE and SEAL, and in GATE on the way out, a hook is plain: sealing and writing are one step."""

    async def method(self: Any, message: Any, connection: Any) -> None:
        pass

    assert (
        f"has an async {hook} in layer {layer.name}" in refused(made(layer=layer, **{hook: hookimpl(method)})).message
    )


@pytest.mark.parametrize("layer", [Layer.WIRE, Layer.SEAL])
@pytest.mark.parametrize("hook", ["on_send", "on_receive", "on_connect"])
def test_sealers_have_no_mode_audit(layer: Layer, hook: str) -> None:
    """A plugin in WIRE or SEAL that let its checks pass would send what it could not seal: it refuses mode audit."""
    error = refused(ring("seal", layer, **{hook: None}), mode="audit")
    assert error.message == "plugin 'seal' cannot run in mode 'audit'"


def test_plugin_may_refuse_mode_audit() -> None:
    """A plugin in any layer that says ``observable = False`` refuses mode audit at load (auth, vault)."""
    assert "cannot run in mode 'audit'" in refused(ring("auth", on_send=None, observable=False), mode="audit").message


@pytest.mark.parametrize("mode", ["off", "Audit", "", "permissive", None])
def test_unknown_mode_is_refused(mode: Any) -> None:
    """A mode that the core does not know is an error; a plugin that is off is not registered at all."""
    assert f"has mode {mode!r}" in refused(ring("p", on_send=None), mode=mode).message


# --- what is installed ---


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Return a house with nothing installed."""
    return empty_house(tmp_path, monkeypatch)


def test_installed_plugins_are_found_and_not_imported(house: House) -> None:
    """Discovery reads names, distributions and versions, and runs nothing."""
    module = house.install("sieve", "raise SystemExit('imported')")
    found = installed()
    assert [(s.name, s.distribution, s.version) for s in found.values()] == [("sieve", "hauberk-sieve", "1.2")]
    assert module not in sys.modules


def test_two_packages_of_one_name_are_refused(house: House) -> None:
    """Two packages that declare one plugin are an error that names both."""
    house.install("sieve", source("sieve"))
    house.install("sieve", source("sieve"), distribution="other-sieve")
    with pytest.raises(PluginError, match="plugin 'sieve' is declared twice") as error:
        installed()
    assert "'hauberk-sieve'" in str(error.value)
    assert "'other-sieve'" in str(error.value)


@pytest.mark.parametrize("name", ["Sieve", "my-plugin", "core"])
def test_declared_name_is_a_plain_word(house: House, name: str) -> None:
    """A package that declares a plugin under no usable name is an error that names the package."""
    house.install(name, source("sieve"), distribution="hauberk-odd")
    with pytest.raises(PluginError, match=f"plugin name '{name}' of 'hauberk-odd' is"):
        installed()


BROKEN = {
    "import error": ("import nowhere_to_be_found", "does not import .ModuleNotFoundError"),
    "syntax error": ("def (", "does not import .SyntaxError"),
    "no such class": ("x = 1", "does not import .AttributeError"),
    "raises": ("raise RuntimeError('no')", "does not import .RuntimeError"),
    "exits": ("raise SystemExit(0)", "does not import .SystemExit"),
    "no class": ("Plugin = object()", "is object, not a class"),
    "another name": (source("other"), "calls itself 'other'"),
    "no name": (source("p").replace("name = 'p'", "pass"), "calls itself None"),
    "no options": (source("p").replace("class Options(hauberk.Options)", "class Other(hauberk.Options)"), "no Options"),
    "foreign options": (source("p").replace("class Options(hauberk.Options)", "class Options"), "no Options"),
    "no hook": (source("p").replace("@hauberk.hookimpl", ""), "implements no hook"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_package_that_is_broken_is_refused(house: House, fault: str) -> None:
    """A package whose plugin does not import, or is none, is an error that names it; a host does not start without it
    (A70, X.4).
    """
    text, expected = BROKEN[fault]
    house.install("p", text)
    with pytest.raises(PluginError, match=expected) as error:
        load_class(installed()["p"])
    assert "plugin 'p'" in error.value.message
    assert error.value.hint


# --- policy.py ---


def policy(folder: Path, text: str | None = None) -> Path:
    """Write a local policy that nobody else may change."""
    path = folder / "policy.py"
    path.write_text(source("policy") if text is None else text)
    path.chmod(0o600)
    folder.chmod(0o700)
    return path


def test_policy_file_is_a_plugin(tmp_path: Path) -> None:
    """A local policy.py is the plugin ``policy``; its version is the hash of the very bytes that run (A73)."""
    path = policy(tmp_path)
    found = policy_source(path)
    path.write_text("raise SystemExit")
    assert load_class(found).name == "policy"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found.version)
    assert found.distribution == str(path)


def test_policy_file_may_be_written_like_any_module(tmp_path: Path) -> None:
    """Annotations of options and dataclasses are found though they are text, as in an installed package."""
    text = source("policy") + textwrap.dedent("""
        import dataclasses
        from typing import ClassVar, Literal
        Word = Literal["a", "b"]
        @dataclasses.dataclass
        class Rule:
            kind: ClassVar[str] = "rule"
            word: Word = "a"
        class More(Plugin.Options):
            word: Word = "a"
        Plugin.Options = More
    """)
    cls = load_class(policy_source(policy(tmp_path, text)))
    assert cls.Options(word="b").word == "b"


@pytest.mark.parametrize("count", [0, 2])
def test_policy_file_defines_one_plugin(tmp_path: Path, count: int) -> None:
    """A policy.py without a plugin, or with two, is an error that says what to write."""
    text = "\n".join(["import hauberk", *(f"class P{n}:\n    name = 'policy'" for n in range(count))])
    with pytest.raises(PluginError, match=f"defines {count} plugins named 'policy'") as error:
        load_class(policy_source(policy(tmp_path, text)))
    assert error.value.hint == "define one class with name = 'policy' and @hookimpl methods"


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_policy_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    """A policy that others may change would run their code (A73)."""
    path = policy(tmp_path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=r"policy\.py"):
        policy_source(path)


def test_policy_file_in_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    """Who may write the folder may swap the file (A73)."""
    path = policy(tmp_path)
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match=r"policy|directory"):
        policy_source(path)


def test_policy_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """A link may lead anywhere, and elsewhere tomorrow (A73)."""
    target = policy(tmp_path)
    link = tmp_path / "link.py"
    link.symlink_to(target)
    with pytest.raises(ConfigError, match="link"):
        policy_source(link)


def test_policy_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that belongs to another user is not ours to run; the open file is asked, not its name (A73)."""
    path, real = policy(tmp_path), os.fstat

    def another(fd: int) -> os.stat_result:
        found = list(real(fd))
        found[4] = os.getuid() + 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", another)
    with pytest.raises(ConfigError, match=r"policy\.py"):
        policy_source(path)


def test_policy_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was checked is what runs: the file is opened once, and swapping it afterwards changes nothing (A73)."""
    path, opened, real = policy(tmp_path), [], os.open

    def counting(file: Any, *args: Any, **kwargs: Any) -> int:
        opened.append(str(file))
        return real(file, *args, **kwargs)

    monkeypatch.setattr(os, "open", counting)
    found = policy_source(path)
    load_class(found)
    assert [file for file in opened if file.endswith("policy.py")] in ([str(path)], ["policy.py"])


def test_missing_policy_file_is_refused(tmp_path: Path) -> None:
    """A policy that the configuration names and that is not there stops the start (A70)."""
    with pytest.raises(ConfigError, match=r"policy\.py"):
        policy_source(tmp_path / "policy.py")


def test_recorder_of_the_tests_is_a_plugin_itself() -> None:
    """The harness keeps the same contract as everybody."""
    assert [step.hook for step in Registry().add(Recorder()).steps] == ["on_audit"]
