"""Where a user's own directories are, and whether the environment has moved them.

In production nothing of the environment does: the directory of pins, logs and locks lies in the home that the system
has for the user, or where the configuration says (X.5, S3.43).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from hauberk.refusals import ConfigError


def user_dir(kind: Literal["config", "state"]) -> Path:
    """Return the directory of the user for this program.

    Raises:
        ConfigError: It is not absolute.
    """
    import platformdirs  # importing it takes longer than reading the file, and often it is not needed

    find: Callable[..., Path] = getattr(platformdirs, f"user_{kind}_path")
    path = find("hauberk", appauthor=False)
    if not path.is_absolute():  # a relative one would lie in the working directory, which may be a cloned repository
        raise ConfigError(
            f"the user's {kind} directory {str(path)!r} is not absolute", hint=f"unset XDG_{kind.upper()}_HOME"
        )
    return path


def runtime_dir() -> Path:
    """Return the user's directory for sockets, which does not outlive the login or the machine.

    Raises:
        ConfigError: There is none that is the user's alone, or it is not absolute.
    """
    import platformdirs  # as above

    try:
        path = platformdirs.user_runtime_path("hauberk", appauthor=False)
    except OSError as error:
        raise ConfigError(f"there is no directory for sockets: {error}", hint="name one: unix:///PATH") from error
    if not path.is_absolute():
        raise ConfigError(f"the directory for sockets {str(path)!r} is not absolute", hint="unset XDG_RUNTIME_DIR")
    return path


def fixed_dir(kind: Literal["config", "state"]) -> Path | None:
    """Return the directory of the user for this program where no variable of the environment moves it.

    Returns:
        It is that of `user_dir` where the environment says nothing; None where the system has no home for the user.
    """
    if os.name != "posix":
        return user_dir(kind)
    if (home := system_home()) is None:
        return None
    if sys.platform == "darwin":
        return Path(home, "Library", "Application Support", "hauberk")
    return Path(home, *{"config": (".config",), "state": (".local", "state")}[kind], "hauberk")


def check_state(name: str, path: Path, environ: Mapping[str, str]) -> None:
    """Check that a state directory is where it is without any variable of the environment.

    Args:
        name: What the configuration is called.
        path: The directory.
        environ: The environment.

    Raises:
        ConfigError: A variable has moved it; it is named.
    """
    check_home(name, path, environ)
    home, state = system_home(), environ.get("XDG_STATE_HOME")
    if home is not None and state and Path(state) != Path(home, ".local", "state"):
        raise _moved("XDG_STATE_HOME", name, path)


def check_home(name: str, path: Path, environ: Mapping[str, str]) -> None:
    """Check that ``~`` is the home that the system has for the user.

    Raises:
        ConfigError: It is another.
    """
    home = system_home()
    if os.name == "posix" and (home is None or environ.get("HOME", home) != home):
        raise _moved("HOME", name, path)


def system_home() -> str | None:
    """Return the home that the system has for the user; None where it has none."""
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_dir
    except (ImportError, KeyError):
        return None


def is_missing(path: Path) -> bool:
    """Whether there is no file. One that cannot be looked at is not missing: its rules must not be left out."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError as exc:
        raise ConfigError(f"cannot read {str(path)!r}: {(exc.strerror or '').lower()}") from exc
    return False


def _moved(variable: str, name: str, path: Path) -> ConfigError:
    return ConfigError(
        f"{name}: {variable} leads to {str(path)!r}, and nothing of the environment does in production",
        hint="write the directory into the file, as [core] state_dir or in the place of '~'",
    )
