"""Where keys come from: each source, what is refused, and what a package of somebody else may do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from plugins.audit.tests.conftest import Load
from plugins.audit.tests.logs import KEY, OTHER_KEY, chain
from plugins.audit.tests.test_commands import audit

from hauberk import keys
from hauberk.config import Config
from hauberk.refusals import ConfigError, HauberkError, PluginError
from hauberk_audit.sealing import _providers
from hauberk_audit.sealing._providers import LocalKey, Sources, is_source, parse
from hauberk_audit.verifying._verify import verify

DATA = bytes(range(40))


def sources(base: Path = Path("/nowhere"), *, production: bool = False, **environ: str) -> Sources:
    return Sources(lambda path: base / path, production, environ.get, lambda: frozenset({"?"}))


# --- a source ---


@pytest.mark.parametrize(
    "source", ["", "audit.key", "file:", ":x", "FILE:x", "c:\\key", "env:A-B", "env:1", "keyring:user", "keyring:/user"]
)
def test_what_is_no_source_is_an_error(source: str) -> None:
    """What names no key is refused, with the forms there are (X.9)."""
    with pytest.raises(ConfigError, match="key ") as error:
        parse(source)
    assert "file:PATH" in str(error.value.hint)


def test_source_is_told_from_a_path() -> None:
    """A plain path is no source, on any system."""
    assert [is_source(text) for text in ("file:a", "kms:b", "/etc/a:b", "C:\\a", "./a:b")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_file_is_a_key_file(tmp_path: Path) -> None:
    """``file:PATH`` is read as any key file is: relative to the configuration, private, in the one encoding (X.9)."""
    keys.create_key(tmp_path / "seal.key", random=lambda count: KEY[:count])
    assert sources(tmp_path).key("file:seal.key") == KEY
    assert sources().key(f"file:{tmp_path}/seal.key") == KEY
    (tmp_path / "seal.key").chmod(0o644)
    with pytest.raises(ConfigError, match="lets others in"):
        sources(tmp_path).key("file:seal.key")


def test_variable_holds_the_line_of_a_key_file() -> None:
    """``env:NAME`` holds what stands in a key file, and nothing looser (X.9, S3.8)."""
    assert sources(SEAL=keys.key_line(KEY)).key("env:SEAL") == KEY
    for text in (KEY.hex(), f" {keys.key_line(KEY)}", keys.key_line(KEY)[:-1], ""):
        with pytest.raises(ConfigError, match="'env:SEAL'") as error:
            sources(SEAL=text).key("env:SEAL")
        assert text == "" or text.strip() not in str(error.value)
    with pytest.raises(ConfigError, match="no variable"):
        sources().key("env:SEAL")


def test_environment_is_for_development() -> None:
    """Production takes no key from the environment (S3.8)."""
    for ask in (Sources.check, Sources.key, Sources.provider, Sources.make):
        with pytest.raises(ConfigError, match="development only"):
            ask(sources(production=True, SEAL=keys.key_line(KEY)), "env:SEAL")


def test_local_key_wraps_with_a_key_of_its_own(tmp_path: Path) -> None:
    """What wraps is derived from the key, and is not the key; another key opens nothing (X.10)."""
    local = sources(SEAL=keys.key_line(KEY)).provider("env:SEAL")
    assert local.key_id == keys.key_id(KEY)
    assert local.unwrap(local.wrap(DATA)) == DATA
    assert DATA not in local.wrap(DATA)
    with pytest.raises(HauberkError, match="another key"):
        LocalKey(OTHER_KEY).unwrap(local.wrap(DATA))


@pytest.mark.parametrize("count", [0, 8, 23, 24, 39, 47])
def test_truncated_wrapped_key_is_an_error(count: int) -> None:
    """A wrapped key that was cut short opens as nothing (M31)."""
    local = LocalKey(KEY)
    with pytest.raises(HauberkError):
        local.unwrap(local.wrap(DATA)[:count])


def test_key_is_made_where_there_is_none(tmp_path: Path) -> None:
    """A key file is made once, private; what is made elsewhere is not made here."""
    made = sources(tmp_path).make("file:keys/seal.key")
    assert sources(tmp_path).key("file:keys/seal.key") == made
    assert (tmp_path / "keys" / "seal.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="exists"):
        sources(tmp_path).make("file:keys/seal.key")
    with pytest.raises(ConfigError, match="only those of"):
        sources().make("env:SEAL")


# --- the keyring of the system ---


class Keyring(ModuleType):
    """A keyring that stands in for the package's."""

    def __init__(self) -> None:
        super().__init__("keyring")
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, user: str) -> str | None:
        return self.kept.get((service, user))

    def set_password(self, service: str, user: str, password: str) -> None:
        self.kept[service, user] = password


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Keyring:
    fake = Keyring()
    monkeypatch.setitem(sys.modules, "keyring", fake)
    return fake


def test_keyring_holds_the_line_of_a_key_file(keyring: Keyring) -> None:
    """``keyring:SERVICE/USER`` is read from the keyring of the system, and made there (S3.8)."""
    with pytest.raises(ConfigError, match="holds none"):
        sources().key("keyring:hauberk/audit/seal")
    made = sources(production=True).make("keyring:hauberk/audit/seal")
    assert keyring.kept == {("hauberk/audit", "seal"): keys.key_line(made)}
    assert sources(production=True).key("keyring:hauberk/audit/seal") == made
    with pytest.raises(ConfigError, match="exists"):
        sources().make("keyring:hauberk/audit/seal")


def test_keyring_that_keeps_nothing_makes_no_key(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that cannot be read again is not taken for one that was made."""
    monkeypatch.setattr(keyring, "set_password", lambda *_: None)
    with pytest.raises(ConfigError, match="holds none"):
        sources().make("keyring:hauberk/seal")


def test_keyring_that_fails_is_an_error_without_its_text(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyring that is locked is an error that says nothing of what was raised (X.14)."""

    def locked(*_: str) -> str:
        raise RuntimeError("canary")

    monkeypatch.setattr(keyring, "get_password", locked)
    with pytest.raises(ConfigError, match=r"\(RuntimeError\)") as error:
        sources().provider("keyring:hauberk/seal")
    assert "canary" not in str(error.value)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the hint says what to install."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigError) as error:
        sources().provider("keyring:hauberk/seal")
    assert error.value.hint == "pip install 'hauberk-audit[keyring]'"


# --- packages of others ---


class Kms:
    """A provider as a package would bring it."""

    key_id = "kms/1"

    def __init__(self, rest: str = "") -> None:
        self.rest = rest

    def wrap(self, data_key: bytes) -> bytes:
        return LocalKey(KEY).wrap(data_key)

    def unwrap(self, wrapped: bytes) -> bytes:
        return LocalKey(KEY).unwrap(wrapped)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that installs providers under one scheme."""

    def installed(*makes: Callable[[str], Any], scheme: str = "kms") -> None:
        class Entry:
            dist = None

            def __init__(self, make: Callable[[str], Any]) -> None:
                self.load = lambda: make

        def entry_points(*, group: str, name: str) -> Iterator[Entry]:
            assert group == "hauberk.key_providers"
            return iter([Entry(make) for make in makes] if name == scheme else [])

        monkeypatch.setattr(metadata, "entry_points", entry_points)

    return installed


def test_package_gives_a_provider(install: Callable[..., None]) -> None:
    """A scheme that is none of ours is an entry point; it is given what follows the colon (S3.8)."""
    made: list[Kms] = []

    def make(rest: str) -> Kms:
        made.append(Kms(rest))
        return made[0]

    install(make)
    provider = sources(production=True).provider("kms:arn:aws:kms:eu/key")
    assert [one.rest for one in made] == ["arn:aws:kms:eu/key"]
    assert provider.key_id == "kms/1"
    assert provider.unwrap(provider.wrap(DATA)) == DATA


def test_package_gives_no_key_away(install: Callable[..., None]) -> None:
    """Where a key itself is needed, a provider is refused."""
    install(Kms)
    with pytest.raises(ConfigError, match="gives none away"):
        sources().key("kms:x")


def test_scheme_of_nobody_or_of_two_is_an_error(install: Callable[..., None]) -> None:
    """A scheme that no package brings, or two do, stops the start; ours cannot be replaced (fail closed)."""
    install()
    with pytest.raises(PluginError, match="no key provider 'kms'"):
        sources().provider("kms:x")
    install(Kms, Kms)
    with pytest.raises(PluginError, match="declared by"):
        sources().provider("kms:x")
    install(Kms, scheme="env")
    with pytest.raises(ConfigError, match="no variable"):
        sources().provider("env:SEAL")


def test_production_takes_locked_packages_alone(install: Callable[..., None]) -> None:
    """A package that is no plugin which is required, and so is in no lock, is not imported in production (X.5)."""

    def make(_: str) -> Kms:
        raise AssertionError

    install(make)
    found = sources(production=True)._replace(packages=frozenset)
    with pytest.raises(PluginError, match="no plugin that is required") as error:
        found.provider("kms:x")
    assert "plugins.require" in str(error.value.hint)
    install(Kms)
    assert found._replace(production=False).provider("kms:x").key_id == "kms/1"


class Broken(Kms):
    """A provider that fails as it is told."""

    def __init__(self, wrapped: Any = b"x" * 48, opened: Any = None, key_id: Any = "kms/1") -> None:
        super().__init__()
        self.wrapped, self.opened, self.key_id = wrapped, opened, key_id

    def wrap(self, data_key: bytes) -> Any:
        if self.wrapped is Exception:
            raise RuntimeError("canary")
        return data_key if self.wrapped == "same" else self.wrapped

    def unwrap(self, wrapped: bytes) -> Any:
        return self.opened


@pytest.mark.parametrize("wrapped", [None, "text", b"", b"short", b"x" * 20_000, "same", Exception])
def test_provider_that_wraps_nothing_is_an_error(install: Callable[..., None], wrapped: Any) -> None:
    """What cannot be a wrapped key, the data key itself above all, is refused; what was raised is not said (X.14)."""
    install(lambda _: Broken(wrapped))
    with pytest.raises(PluginError, match="key provider 'kms'") as error:
        sources().provider("kms:x").wrap(DATA)
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("key_id", [None, 7, "", "a\nb", "é", "x" * 257])
def test_provider_without_a_name_is_an_error(install: Callable[..., None], key_id: Any) -> None:
    """A provider has a key id that can be written down."""
    install(lambda _: Broken(key_id=key_id))
    with pytest.raises(PluginError, match="key_id"):
        sources().provider("kms:x")


def test_provider_that_does_not_start_is_an_error(install: Callable[..., None]) -> None:
    """A provider that cannot be made is named, and what it raised is not shown (X.14)."""

    def make(_: str) -> Kms:
        raise OSError("canary")

    install(make)
    with pytest.raises(PluginError, match=r"failed to start \(OSError\)") as error:
        sources().provider("kms:x")
    assert "canary" not in str(error.value)


def test_nothing_of_others_is_imported_before_it_is_asked_for() -> None:
    """Importing the module imports neither the keyring's package nor one for cryptography (S0.42)."""
    import subprocess

    code = (
        "import sys, hauberk_audit, hauberk_audit.sealing._providers, hauberk_audit.sealing._sealer; "
        "print([name for name in ('keyring', 'cryptography', 'sqlcipher3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]"
    assert _providers.GROUP == "hauberk.key_providers"


# --- the key that signs the log ---


async def test_key_of_the_chain_may_be_in_no_file(load: Load, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``[audit] key`` signs the log with a key from a variable, also over a reload, and no key file is made (S3.8)."""
    monkeypatch.setenv("CHAIN", keys.key_line(KEY))
    text = '[audit]\nkey = "env:CHAIN"\n'
    async with load(f"---{text}") as guard:
        await guard.reload(Config.from_toml(f'[core]\nstate_dir = "{state}"\n{text}# new\n', base=state))
    assert verify([state / "audit"], KEY).status == 0
    assert sorted(path.name for path in (state / "audit").glob("*.jsonl")) == ["audit.jsonl"]
    assert not (state / "audit.key").exists()
    monkeypatch.setenv("CHAIN", keys.key_line(OTHER_KEY))
    with pytest.raises(PluginError, match="was written with key"):
        async with load(f"---{text}"):
            pass


def test_commands_use_the_key_of_the_configuration(
    capsys: pytest.CaptureFixture[str], keyring: Keyring, tmp_path: Path, only_audit: None
) -> None:
    """``init`` makes the key where ``[audit] key`` says, and the other commands find it there."""
    config = tmp_path / "hauberk.toml"
    config.write_text(f'[core]\nstate_dir = "{tmp_path}/state"\n[audit]\nkey = "keyring:hauberk/chain"\n')
    assert audit(capsys, "init", "--config", config).status == 0
    made = keys.parse_key(keyring.kept["hauberk", "chain"].encode(), "it")
    log = tmp_path / "state" / "audit" / "audit.jsonl"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"".join(line + b"\n" for line in chain(3, made)))
    assert audit(capsys, "verify", log, "--config", config).status == 0
    refused = audit(capsys, "init", "--escrow", tmp_path / "escrow.key", "--config", config)
    assert (refused.status, "cannot go forward" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('key = "env:A"\nkey_file = "a.key"', "one key signs the log"),
        ('key = "kms:x"', "gives none away"),
        ('key = "audit.key"', "no source of a key"),
    ],
)
def test_key_of_the_chain_is_checked(load: Load, text: str, match: str) -> None:
    """Two keys, one that a KMS keeps, and what is no source, are errors when the configuration is read."""
    with pytest.raises(ConfigError, match=match):
        load(f"---\n[audit]\n{text}\n")


def test_production_takes_the_key_of_the_chain_from_no_variable(load: Load) -> None:
    """Nor does the key that signs come from the environment in production (S3.8)."""
    with pytest.raises(ConfigError, match="development only"):
        load('profile = "production"\nplugins.require = ["audit"]\n---\n[audit]\nkey = "env:A"\n')
