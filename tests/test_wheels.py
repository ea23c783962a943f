"""What a user installs, made and installed with pip alone: uv has no part in it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import hauberk

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))

pytestmark = [pytest.mark.wheels, pytest.mark.timeout(300)]


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a program; return its output, or fail with all that it said."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(folder: Path) -> Path:
    """Make a virtual environment with pip in it; return the folder of its programs."""
    run(sys.executable, "-m", "venv", folder)
    return folder / "bin"


def pip(programs: Path, *arguments: str | Path) -> None:
    run(programs / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build source distribution and wheel of each package; return their folder."""
    target = tmp_path_factory.mktemp("dist")
    programs = environment(tmp_path_factory.mktemp("builder") / "venv")
    pip(programs, "install", "hatchling")
    for folder in (ROOT, *PLUGINS):
        run(programs / "python", "-m", "hatchling", "build", "-d", target, cwd=folder)
    return target


def commands_answer(programs: Path, home: Path) -> None:
    """Check that the installed program gives its version and finds its plugins, for a user without configuration."""
    user = {"HOME": str(home), "PATH": os.defpath}
    assert hauberk.__version__ in run(programs / "hauberk", "--version", cwd=home, env=user)
    listed = run(programs / "hauberk", "plugins", cwd=home, env=user)
    for folder in PLUGINS:
        assert folder.name in listed
        assert f"hauberk-{folder.name}" in listed


def test_wheels_install_and_run(dist: Path, tmp_path: Path) -> None:
    """The built wheels install into a fresh environment, and the program finds the plugins."""
    programs = environment(tmp_path / "venv")
    pip(programs, "install", *dist.glob("*.whl"))
    commands_answer(programs, tmp_path)


def test_source_installs_with_pip_alone(tmp_path: Path) -> None:
    """``pip install . ./plugins/*`` works on a machine without uv."""
    programs = environment(tmp_path / "venv")
    pip(programs, "install", ROOT, *PLUGINS)
    commands_answer(programs, tmp_path)


def locked(programs: Path, home: Path, *words: str) -> str:
    """Run ``hauberk plugins`` on a production host of this home; return what it says, or fail."""
    home.mkdir(exist_ok=True)
    (home / "hauberk.toml").write_text('profile = "production"\nplugins.require = ["audit", "sieve"]\n')
    user = {"HOME": str(home), "PATH": os.defpath}
    return run(programs / "hauberk", "plugins", *words, "--config", "hauberk.toml", cwd=home, env=user)


def test_lock_is_of_the_wheels_and_of_no_machine(dist: Path, tmp_path: Path) -> None:
    """Wheels that are installed in two places have one lock, which finds a file that was edited after that (A71)."""
    homes = [tmp_path / "one", tmp_path / "other"]
    for home in homes:
        pip(environment(home / "venv"), "install", *dist.glob("*.whl"))
        locked(home / "venv" / "bin", home, "lock")
    one, other = ((home / "hauberk-plugins.lock").read_text() for home in homes)
    assert one == other
    assert "editable" not in one
    programs = homes[0] / "venv" / "bin"
    assert locked(programs, homes[0], "verify").startswith("ok: ")
    (module,) = homes[0].glob("venv/lib/*/site-packages/hauberk_sieve/_plugin.py")
    module.write_text(module.read_text() + "\n")
    with pytest.raises(
        AssertionError, match=r"differs: sieve: 'hauberk_sieve/_plugin\.py' is not what its RECORD says"
    ):
        locked(programs, homes[0], "verify")
    with pytest.raises(AssertionError, match="plugin 'sieve' is not what"):
        locked(programs, homes[0])


def test_wheels_hold_one_typed_module_each(dist: Path) -> None:
    """A wheel holds its own module with ``py.typed``, its metadata, and nothing else."""
    wheels = list(dist.glob("*.whl"))
    assert len(wheels) == 1 + len(PLUGINS)
    for wheel in wheels:
        module = wheel.name.partition("-")[0]
        names = zipfile.ZipFile(wheel).namelist()
        assert f"{module}/py.typed" in names
        assert {name.partition("/")[0] for name in names} == {module, f"{module}-{hauberk.__version__}.dist-info"}


def test_core_source_distribution_holds_the_core_alone(dist: Path) -> None:
    """The core's source distribution holds its own source: no plugin, no test, no lock file."""
    with tarfile.open(dist / f"hauberk-{hauberk.__version__}.tar.gz") as archive:
        tops = {Path(name).parts[1] for name in archive.getnames()}
    assert tops == {"src", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}
