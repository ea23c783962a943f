"""In production nothing is imported but what was locked, file by file."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.house import House, empty_house, locked, record, source

from hauberk import _installed, loading, lock, locking
from hauberk.cli import main
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.lock import Lock, Package
from hauberk.plugins import installed
from hauberk.refusals import ConfigError, PluginError

TOML = "profile = 'production'\n[core]\nstate_dir = 'state'\n[plugins]\nrequire = ['ring']\n"


class Site:
    """A host in production with one plugin, a package of two modules."""

    def __init__(self, house: House, module: str) -> None:
        self.house = house
        self.module = module
        self.folder = house.folder / module
        self.config = house.folder / "host" / "hauberk.toml"
        self.config.parent.mkdir()
        self.write(TOML)
        self.install()

    def write(self, text: str) -> None:
        self.config.write_text(text)

    def install(self, text: str = "", *, version: str = "1.0", distribution: str = "hauberk-ring") -> Path:
        """Install the package, or another build of it; return its metadata."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "__init__.py").write_text(f"from {self.module}.inner import Plugin\n{text}")
        (self.folder / "inner.py").write_text(source("ring"))
        name = distribution.replace("-", "_")
        for old in self.house.folder.glob(f"{name}-*.dist-info"):
            shutil.rmtree(old)
        info = self.house.folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[hauberk.plugins]\nring = {self.module}:Plugin\n")
        record(info, [*self.folder.glob("*.py"), info / "METADATA", info / "entry_points.txt"])
        return info

    @property
    def info(self) -> Path:
        (found,) = self.house.folder.glob("hauberk_ring-*.dist-info")
        return found

    @property
    def lock(self) -> Path:
        return self.config.parent / "hauberk-plugins.lock"

    def read(self) -> Config:
        return Config.read(self.config)

    def lock_it(self) -> None:
        locked(self.read())

    def start(self) -> Guard:
        return Guard.load(self.config)

    def stops(self, kind: type[ConfigError | PluginError] = PluginError) -> str:
        """Return why the host does not start; nothing of the plugin was imported."""
        with pytest.raises(kind) as error:
            self.start()
        assert error.value.hint
        assert not [name for name in sys.modules if name.partition(".")[0] == self.module]
        return error.value.message


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a host whose plugin is installed and not locked."""
    return Site(empty_house(tmp_path, monkeypatch), f"ring_{tmp_path.name}")


# --- the start of a host ---


def test_locked_host_starts(site: Site) -> None:
    """What is as it was locked starts."""
    site.lock_it()
    assert set(site.start().loaded) == {"ring"}


def test_no_lock_stops_the_start(site: Site) -> None:
    """In production a host without a lock does not start; the error says how to make one."""
    assert site.stops(ConfigError) == f"there is no lock {str(site.lock)!r}"
    with pytest.raises(ConfigError) as error:
        site.start()
    assert error.value.hint == f"hauberk plugins lock --config {site.config} writes it"


def test_development_needs_no_lock(site: Site) -> None:
    """Outside production nothing is compared with a lock."""
    site.write("[plugins]\nrequire = ['ring']\n")
    assert set(site.start().loaded) == {"ring"}


def test_configuration_that_is_no_file_has_no_lock(site: Site) -> None:
    """The lock is beside the configuration file; text without a place has none, and does not start."""
    with pytest.raises(ConfigError, match="this configuration is no file"):
        Guard.load(Config.from_toml(TOML))


def edited(site: Site) -> None:
    with (site.folder / "inner.py").open("a") as file:
        file.write("\nrules = None\n")


def other_build(site: Site) -> None:
    site.install("rules = None\n")


def other_version(site: Site) -> None:
    site.install(version="1.1")


def removed(site: Site) -> None:
    (site.folder / "inner.py").unlink()


def added_module(site: Site) -> None:
    (site.folder / "added.py").write_text("")


def added_package(site: Site) -> None:
    (site.folder / "deep" / "er").mkdir(parents=True)
    (site.folder / "deep" / "er" / "__init__.py").write_text("")


def linked_folder(site: Site) -> None:
    (site.house.folder / "elsewhere").mkdir()
    (site.folder / "linked").symlink_to(site.house.folder / "elsewhere")


def byte_code_without_source(site: Site) -> None:
    (site.folder / "added.pyc").write_bytes(b"")


def shadowed(site: Site) -> None:
    first = site.house.folder / "first" / site.module
    first.mkdir(parents=True)
    (first / "__init__.py").write_text("")
    sys.path.insert(0, str(first.parent))


def weak_record(site: Site) -> None:
    path = site.info / "RECORD"
    path.write_text(path.read_text().replace("sha256=", "md5="))


def other_entry_point(site: Site) -> None:
    path = site.info / "entry_points.txt"
    path.write_text(path.read_text().replace(":Plugin", ".inner:Plugin"))


def other_distribution(site: Site) -> None:
    shutil.rmtree(site.info)
    site.install(distribution="hauberk-rings")


def without_record(site: Site) -> None:
    (site.info / "RECORD").unlink()


TAMPERED: dict[Callable[[Site], None], str] = {
    edited: "inner.py' is not what its RECORD says",
    other_build: "record 'sha256:",
    other_version: "version '1.0' is locked, '1.1' is installed",
    removed: "inner.py' cannot be read (no such file or directory)",
    added_module: "added.py' is not listed in its RECORD",
    added_package: "deep/er/__init__.py' is not listed in its RECORD",
    linked_folder: "linked' is not listed in its RECORD",
    byte_code_without_source: "added.pyc' is not listed in its RECORD",
    shadowed: "__init__.py', which its RECORD does not list",
    weak_record: "has no hash in its RECORD, or a weak one ('md5')",
    other_entry_point: "entry_points.txt' is not what its RECORD says",
    other_distribution: "distribution 'hauberk-ring' is locked, 'hauberk-rings' is installed",
    without_record: "none is installed",
}


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_change_stops_the_start(site: Site, monkeypatch: pytest.MonkeyPatch, tamper: Callable[[Site], None]) -> None:
    """A plugin whose files, metadata or place are not those that were locked is not imported (A71)."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    site.lock_it()
    tamper(site)
    text = site.stops()
    assert text.startswith(f"plugin 'ring' is not what {str(site.lock)!r} names: ")
    assert TAMPERED[tamper].replace("record 'sha256:", "record sha256:") in text


def test_required_and_not_locked_stops_the_start(site: Site) -> None:
    """A plugin that was required after the lock was written is not imported."""
    site.write("profile = 'production'\n")
    site.lock_it()
    site.write(TOML)
    assert site.stops().endswith("is required and not locked")


def test_locked_and_not_required_stops_the_start(site: Site) -> None:
    """A plugin that is locked and no longer required stops the start: the two say different things."""
    site.house.install("other", source("other"))
    site.write(TOML.replace("'ring'", "'ring', 'other'"))
    site.lock_it()
    site.write(TOML)
    assert site.stops().startswith("plugin 'other' is not what")


def test_object_does_not_stand_for_a_locked_package(site: Site) -> None:
    """A program's own object of the name of a locked package that is gone does not take its place."""
    site.lock_it()
    shutil.rmtree(site.info)
    site.house.install("other", source("other"))
    site.write(TOML.replace("'ring'", "'ring', 'other'"))
    thing = type("Thing", (), {"name": "ring"})()
    with pytest.raises(PluginError, match=r"plugin 'other' is not what .*is required and not locked \(and 1 more\)"):
        Guard.load(site.config, objects=[thing])


def test_changed_core_stops_the_start(site: Site) -> None:
    """The core is locked as its plugins are."""
    site.lock_it()
    text = site.lock.read_text()
    version = metadata.version("hauberk")
    site.lock.write_text(text.replace(f'version = "{version}"', 'version = "0.0.1"', 1))
    assert site.stops() == (
        f"the core is not what {str(site.lock)!r} names: version '0.0.1' is locked, {version!r} is installed"
    )


def test_policy_is_locked_by_its_bytes(site: Site) -> None:
    """A ``policy.py`` that has changed since it was locked is not run (A73)."""
    policy = site.config.with_name("policy.py")
    policy.write_text(source("policy"))
    site.write("profile = 'production'\n[plugins]\nrequire = ['policy']\npolicy = 'policy.py'\n")
    site.lock_it()
    assert set(site.start().loaded) == {"policy"}
    policy.write_text(source("policy") + "raise SystemExit\n")
    assert site.stops().startswith(f"the local policy is not what {str(site.lock)!r} names: sha256:")


def test_policy_that_is_named_later_is_not_run(site: Site) -> None:
    """A policy without a lock does not run, nor does a host whose locked policy is gone."""
    site.lock_it()
    site.config.with_name("policy.py").write_text("raise SystemExit\n")
    site.write(TOML.replace("'ring'", "'ring', 'policy'") + "policy = 'policy.py'\n")
    assert site.stops().endswith("is named in plugins.policy and not locked")
    site.lock_it()
    site.write(TOML)
    assert site.stops().endswith("is locked and not named in plugins.policy")


def test_each_reason_is_counted(site: Site) -> None:
    """The error names the first difference, and how many more there are."""
    site.lock_it()
    edited(site)
    added_module(site)
    assert site.stops().endswith("(and 1 more)")


# --- the file of the lock ---


def test_lock_that_others_can_change_is_no_lock(site: Site) -> None:
    """A lock that somebody else may write, or that is a link, stops the start."""
    site.lock_it()
    site.lock.chmod(0o666)
    assert "0666 lets others change it" in site.stops(ConfigError)
    site.lock.chmod(0o644)
    site.lock.rename(site.lock.with_name("real"))
    site.lock.symlink_to(site.lock.with_name("real"))
    assert "it is a symbolic link" in site.stops(ConfigError)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "format: required, and missing"),
        ("format = 2\n[core]", "format: expected 1, got 2"),
        ("format = 1", "core: required, and missing"),
        ("format = 1\n[core]\ndistribution = 'h'\nversion = '1'", "[core]: expected one of record and editable"),
        ("format = 1\n[core]\ndistribution = 'h'\nrecord = 'x'", "[core] version: required, and missing"),
        ("format = 1\nplugin = 3", "plugin: unknown key"),
        ("<<<<<<< ours", "line 1, column 1"),
    ],
)
def test_what_is_no_lock_stops_the_start(site: Site, text: str, said: str) -> None:
    """A lock that cannot be read in full is an error that says where, never one that is passed over."""
    site.lock.write_text(text)
    message = site.stops(ConfigError)
    assert message.startswith(str(site.lock))
    assert said in message


def test_lock_reads_well_as_a_difference(site: Site) -> None:
    """The lock is text, one line for a fact, sorted, and written the same each time."""
    site.house.install("alpha", source("alpha"))
    site.write(TOML.replace("'ring'", "'ring', 'alpha'"))
    site.lock_it()
    text = site.lock.read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("record", "editable"))]
    assert lines[1:] == [
        "format = 1",
        "",
        "[core]",
        'distribution = "hauberk"',
        f'version = "{metadata.version("hauberk")}"',
        "",
        "[plugins.alpha]",
        'distribution = "hauberk-alpha"',
        'version = "1.2"',
        "",
        "[plugins.ring]",
        'distribution = "hauberk-ring"',
        'version = "1.0"',
    ]
    site.lock_it()
    assert site.lock.read_text() == text


PACKAGES = st.builds(
    lambda name, version, value, editable: Package(name, version, **{"editable" if editable else "record": value}),
    st.text(max_size=8),
    st.text(max_size=8),
    st.text(min_size=1, max_size=8),
    st.booleans(),
)
LOCKS = st.builds(Lock, PACKAGES, st.dictionaries(st.from_regex("[a-z][a-z0-9_]*", fullmatch=True), PACKAGES))


@given(LOCKS, st.text(max_size=5))
def test_lock_is_read_as_it_was_written(made: Lock, policy: str) -> None:
    """Whatever is locked comes back as it was, and differs in nothing from itself."""
    made = Lock(made.core, made.plugins, policy)
    read = lock.parse(lock.render(made), "x")
    assert read == made
    assert lock.differences(read, made) == []


@given(LOCKS, LOCKS)
def test_locks_that_are_not_equal_differ(one: Lock, other: Lock) -> None:
    """There is no difference that is not found."""
    assert bool(lock.differences(one, other)) is (one != other)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_text_breaks_the_reader(data: bytes) -> None:
    """Reading what is no lock ends in a ConfigError and in nothing else."""
    with pytest.raises(ConfigError):
        lock.parse(data, "x")


# --- what the digest is over ---


def examined(site: Site) -> _installed.Examined:
    return _installed.examine(metadata.PathDistribution(site.info), site.module)


def test_digest_is_of_the_wheel_and_not_of_the_machine(site: Site) -> None:
    """Who installed a wheel, where, in which order and with what byte code makes no difference to its digest."""
    before = examined(site)
    assert before.faults == ()
    (site.folder / "__pycache__").mkdir()
    (site.folder / "__pycache__" / "inner.cpython-311.pyc").write_bytes(b"")
    (site.info / "INSTALLER").write_text("pip\n")
    path = site.info / "RECORD"
    rows = path.read_text().splitlines()
    more = [
        f"{site.info.name}/INSTALLER,sha256=x,4",
        f"{site.module}/__pycache__/inner.cpython-311.pyc,,",
        "../../../bin/ring,sha256=y,300",
    ]
    path.write_text("\n".join([*more, *reversed(rows)]) + "\n")
    assert examined(site) == before


def test_package_in_a_namespace_has_neighbours(site: Site) -> None:
    """In a folder that distributions share, another one's modules are not taken for additions to this one."""
    inner = site.house.folder / f"shared_{site.module}" / "ring"
    inner.mkdir(parents=True)
    (inner / "__init__.py").write_text("")
    neighbour = inner.with_name("neighbour")
    neighbour.mkdir()
    (neighbour / "__init__.py").write_text("")
    record(site.info, [inner / "__init__.py"])
    module = f"shared_{site.module}.ring"
    assert _installed.examine(metadata.PathDistribution(site.info), module).faults == ()
    (inner / "__init__.py").with_name("more.py").write_text("")
    assert len(_installed.examine(metadata.PathDistribution(site.info), module).faults) == 1


def test_package_in_a_namespace_is_found_where_its_record_says(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a namespace that comes first on the path is not taken for the one that is locked."""
    inner = site.house.folder / f"shared_{site.module}" / "ring"
    first = site.house.folder / "first" / inner.parent.name / "ring"
    for folder in (inner, first):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    record(site.info, [inner / "__init__.py"])
    monkeypatch.syspath_prepend(str(first.parents[1]))
    (fault,) = _installed.examine(metadata.PathDistribution(site.info), f"shared_{site.module}.ring").faults
    assert "which its RECORD does not list" in fault


def test_module_is_not_outdone_by_a_package_of_its_name(site: Site) -> None:
    """A folder beside a plugin that is one file would be imported in its place; it is found."""
    site.house.install("flat", source("flat"))
    site.write(TOML.replace("'ring'", "'flat'"))
    site.lock_it()
    (found,) = site.house.folder.glob("installed_hauberk_flat_flat_*.py")
    found.with_suffix("").mkdir()
    (found.with_suffix("") / "__init__.py").write_text("")
    assert "which its RECORD does not list" in site.stops()


def test_package_without_record_is_locked_by_its_files(site: Site) -> None:
    """A package that is installed editable has no RECORD of its files; locked as such, a change of one is found."""
    without_record(site)
    site.lock_it()
    assert "editable = " in site.lock.read_text()
    assert set(site.start().loaded) == {"ring"}
    for name in [name for name in sys.modules if name.partition(".")[0] == site.module]:
        del sys.modules[name]
    edited(site)
    assert "editable sha256:" in site.stops()


@pytest.mark.parametrize("tamper", [added_module, removed, other_entry_point], ids=lambda tamper: tamper.__name__)
def test_change_of_an_editable_package_is_found(site: Site, tamper: Callable[[Site], None]) -> None:
    """Each module of a package without RECORD is in its digest, and so is what its entry point names."""
    without_record(site)
    site.lock_it()
    tamper(site)
    assert "editable sha256:" in site.stops()


def test_editable_package_never_stands_for_a_wheel(site: Site) -> None:
    """The digest of files is under a key of its own: the same files without RECORD are not what was locked."""
    site.lock_it()
    without_record(site)
    assert "; editable none is locked" in site.stops()


# --- names that look alike ---


@pytest.mark.parametrize("name", ["s1eve", "si_eve", "sleve", "audlt", "rate_limit", "enve_lope"])
def test_name_that_looks_like_one_of_ours_is_refused(site: Site, name: str) -> None:
    """A package whose plugin can be taken for one of hauberk's own is an error, though ours is not installed (A71)."""
    site.house.install(name, source(name), distribution="helper-tools")
    with pytest.raises(PluginError, match=rf"plugin '{name}' of 'helper-tools' looks like .*, one of hauberk's own"):
        installed()


@pytest.mark.parametrize(
    ("one", "other"), [("curfew", "cur_few"), ("morn", "mom"), ("web1", "webl"), ("wave", "vvave")]
)
def test_names_that_look_alike_are_refused(site: Site, one: str, other: str) -> None:
    """Two plugins that can be taken for each other are an error that names both packages (A71)."""
    site.house.install(one, source(one), distribution="a-package")
    site.house.install(other, source(other), distribution="b-package")
    with pytest.raises(PluginError, match="looks like") as error:
        installed()
    assert {repr(word) in error.value.message for word in (one, other, "a-package", "b-package")} == {True}


@pytest.mark.parametrize("name", ["Ring", "r\u0456ng", "\uff52ing", "rin\u0261", "ring\u200b", "ri-ng"])
def test_name_in_other_letters_is_refused(site: Site, name: str) -> None:
    """Capitals, other scripts, compatibility forms and hidden characters make no name of a plugin (A71)."""
    site.house.install(name, source("ring"), distribution="helper-tools")
    with pytest.raises(PluginError, match="is not a plain word"):
        installed()


def test_one_package_declares_a_name_once(site: Site) -> None:
    """A package that declares one name for two modules is ambiguous, and an error."""
    with (site.info / "entry_points.txt").open("a") as file:
        file.write("ring = somewhere_else:Plugin\n")
    with pytest.raises(PluginError, match="'ring' is declared twice"):
        installed()


# --- the commands ---


class Done:
    """What a command printed."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def line(site: Site, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Return a function that runs ``hauberk plugins …`` on the host."""

    def call(*words: str) -> Done:
        return Done(main(["plugins", *words, "--config", str(site.config)]), *capsys.readouterr())

    return call


def test_lock_then_verify(site: Site, line: Callable[..., Done]) -> None:
    """``lock`` writes what ``verify`` then agrees with, and the host starts."""
    done = line("lock", "--editable")
    assert (done.status, done.err) == (0, "")
    assert done.out == f"written: {site.lock}: hauberk {metadata.version('hauberk')}, ring 1.0\n"
    assert line("verify").out == f"ok: {site.lock}\n"
    assert line("verify", "--json").json == {"lock": str(site.lock), "differences": [], "ok": True}
    assert set(site.start().loaded) == {"ring"}


def test_lock_again_shows_what_changed(site: Site, line: Callable[..., Done]) -> None:
    """``lock`` tells what is not as it was; what is the same is not written again."""
    line("lock", "--editable")
    before = site.lock.stat().st_mtime_ns, site.lock.stat().st_ino
    assert line("lock", "--editable").out.startswith(f"unchanged: {site.lock}")
    assert (site.lock.stat().st_mtime_ns, site.lock.stat().st_ino) == before
    other_version(site)
    done = line("lock", "--editable")
    assert done.out.startswith("ring: version '1.0' is locked, '1.1' is installed; record sha256:")
    other_version(site)
    shown = line("lock", "--editable", "--json").json
    assert shown == {"lock": str(site.lock), "differences": [], "ok": True, "written": False}


def test_verify_tells_what_differs(site: Site, line: Callable[..., Done]) -> None:
    """``verify`` ends with 1 and names each difference: files, versions, what is missing."""
    line("lock", "--editable")
    edited(site)
    added_module(site)
    done = line("verify")
    assert done.status == 1
    assert [text.split(": ")[:2] for text in done.out.splitlines()] == [["differs", "ring"]] * 2
    shown = line("verify", "--json")
    assert (shown.status, shown.json["ok"], len(shown.json["differences"])) == (1, False, 2)


def test_verify_tells_what_is_missing(site: Site, line: Callable[..., Done]) -> None:
    """A required plugin that is not installed differs from whatever was locked (X.4)."""
    line("lock", "--editable")
    shutil.rmtree(site.info)
    assert line("verify").status == 1
    assert "is required and not installed" in line("verify").out


def test_verify_without_a_lock_cannot_tell(site: Site, line: Callable[..., Done]) -> None:
    """Without a lock, or with one that cannot be trusted, ``verify`` ends with 2."""
    assert line("verify").status == 2
    assert line("verify", "--json").json["hint"].startswith("hauberk plugins lock")
    line("lock", "--editable")
    site.lock.chmod(0o666)
    assert (line("verify").status, line("verify", "--json").status) == (2, 2)


def test_lock_refuses_what_was_edited(site: Site, line: Callable[..., Done]) -> None:
    """A package that is not what its RECORD says is not locked, and the old lock stands."""
    line("lock", "--editable")
    before = site.lock.read_bytes()
    edited(site)
    done = line("lock", "--editable")
    assert done.status == 2
    assert "ring cannot be locked" in done.err
    assert "hint: install it again: pip install --force-reinstall hauberk-ring" in done.err
    assert site.lock.read_bytes() == before


def test_lock_takes_editable_packages_only_when_told(site: Site, line: Callable[..., Done]) -> None:
    """A package without RECORD of its files is locked only with ``--editable``."""
    without_record(site)
    done = line("lock")
    assert done.status == 2
    assert "has no RECORD of its files" in done.err
    assert "--editable" in done.err
    assert not site.lock.exists()
    assert line("lock", "--editable").status == 0


def test_lock_needs_what_is_required(site: Site, line: Callable[..., Done]) -> None:
    """A required plugin that is not installed cannot be locked (X.4)."""
    shutil.rmtree(site.info)
    done = line("lock", "--editable")
    assert done.status == 2
    assert "plugin 'ring' is not installed" in done.err


def test_lock_replaces_what_is_no_lock(site: Site, line: Callable[..., Done]) -> None:
    """A lock with a merge conflict in it is written anew, and that is told; one that others can change is not."""
    site.lock.write_text("<<<<<<< ours\n")
    done = line("lock", "--editable")
    assert done.status == 0
    assert done.err.startswith("replaced, as it is no lock: ")
    site.lock.chmod(0o666)
    assert line("lock", "--editable").status == 2


def test_failing_disk_leaves_the_old_lock(
    site: Site, line: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that cannot be written leaves the one that was there, and nothing beside it (X.12)."""
    line("lock", "--editable")
    before = site.lock.read_bytes()
    other_version(site)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    assert line("lock", "--editable").status == 2
    assert site.lock.read_bytes() == before
    assert sorted(path.name for path in site.config.parent.iterdir()) == ["hauberk-plugins.lock", "hauberk.toml"]


def test_list_says_what_is_as_locked(site: Site, line: Callable[..., Done]) -> None:
    """``hauberk plugins`` tells of each plugin whether it is as it was locked, where there is a lock."""
    site.write("[plugins]\nrequire = ['ring']\n")
    assert "lock" not in line("--json").json[0]
    line("lock", "--editable")
    assert line("--json").json[0]["lock"] == "as locked"
    assert "active, as locked" in line().out
    added_module(site)
    assert line("--json").json[0]["lock"] == "differs"


def test_list_imports_only_what_production_does(site: Site, line: Callable[..., Done]) -> None:
    """``hauberk plugins`` in production imports no plugin that is not required (A71)."""
    module = site.house.install("later", "raise SystemExit('imported')")
    line("lock", "--editable")
    done = line()
    assert "idle: not in plugins.require" in done.out
    assert module not in sys.modules


def test_show_imports_only_what_production_does(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """``hauberk config show`` in production imports no plugin that is not required (A71)."""
    module = site.house.install("later", "raise SystemExit('imported')")
    site.lock_it()
    assert main(["config", "show", "--config", str(site.config)]) == 0
    assert "[ring]" in capsys.readouterr().out
    assert module not in sys.modules


def test_options_of_the_list_are_not_for_its_words(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """``plugins --config FILE lock`` would lock another file than it seems; it is a mistake."""
    assert main(["plugins", "--config", str(site.config), "lock"]) == 2
    assert "options stand after 'lock'" in capsys.readouterr().err


def test_nothing_is_imported_by_the_commands(site: Site, line: Callable[..., Done]) -> None:
    """Locking and verifying read a plugin's files and run none of them."""
    line("lock", "--editable")
    line("verify")
    assert site.module not in sys.modules


def test_lock_of_nothing_names_the_core(site: Site, line: Callable[..., Done]) -> None:
    """Where no plugin is required the lock names the core alone."""
    site.write("")
    line("lock", "--editable")
    assert "[plugins" not in site.lock.read_text()
    assert "[core]" in site.lock.read_text()


def test_core_that_is_no_package_is_an_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that runs from a folder on the path, and is no installed package, cannot be locked."""

    def nowhere(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", nowhere)
    with pytest.raises(PluginError, match="hauberk is not installed as a package"):
        locking.there(site.read(), loading.sources(site.read(), discover=True))
