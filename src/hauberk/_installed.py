"""Installed distributions: what their files should be, and whether they are.

RECORD (PyPA, "Recording installed projects") has a row for each file: path, hash, size. Its hashes alone say what was
installed; that the files still are that, each of them is read and compared. Looked at is what the wheel brought: not
the files that the installer adds (scripts, INSTALLER, ``direct_url.json``, byte code), which differ between machines.

A package can also be outdone without touching its files: by one of the same name that comes first on ``sys.path``, or
by a module that was put into its folder. So the modules of a distribution must be found where its RECORD says, each one
of a namespace for itself, and its packages hold no module that RECORD does not list.

Byte code in ``__pycache__`` is not looked at: the lock finds what has changed, it is no wall against somebody who can
write there, and so into the core, which does the looking.
"""

from __future__ import annotations

import binascii
import csv
import hashlib
import importlib.machinery
import importlib.util
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from hauberk.lock import Package, digest

_SUFFIXES: Final = tuple(importlib.machinery.all_suffixes())
_CACHE: Final = "__pycache__"
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
"""What the wheel format allows: SHA-256 or better."""
_OF_THE_WHEEL: Final = frozenset({"METADATA", "WHEEL", "entry_points.txt"})
"""In ``.dist-info``, what the wheel brought and not the installer."""
_MAX_FAULTS: Final = 32


class Examined(NamedTuple):
    """A distribution as it is."""

    package: Package
    faults: tuple[str, ...]
    """How its files are not what its RECORD says."""


def examine(distribution: Distribution, module: str) -> Examined:
    """Read a distribution and all of its files.

    Args:
        distribution: Metadata, as `importlib.metadata` has it.
        module: The dotted name of the module that is to be imported; nothing is imported here.
    """
    name, version = distribution.name, distribution.version
    rows = _rows(distribution)
    top = module.partition(".")[0]
    if top in _tops(rows):
        said = digest((path, value) for path, value in rows.items() if _is_of_the_wheel(path))
        faults = tuple(_faults(distribution, rows, module))[:_MAX_FAULTS]
        return Examined(Package(name, version, record=said), faults)
    files, faults = _files_of(module)
    files["entry_points.txt"] = hashlib.sha256((distribution.read_text("entry_points.txt") or "").encode()).hexdigest()
    return Examined(Package(name, version, editable=digest(files.items())), faults)


# --- what RECORD says ---


def _rows(distribution: Distribution) -> Mapping[str, str]:
    """Return path and hash of each file that RECORD lists inside the folder of packages."""
    text = distribution.read_text("RECORD") or ""
    rows = (row for row in csv.reader(text.splitlines()) if len(row) == 3)  # noqa: PLR2004 - path, hash, size
    return {path: value for path, value, _ in rows if not path.startswith(("../", "/"))}


def _is_module(path: str) -> bool:
    return path.endswith(_SUFFIXES) and _CACHE not in PurePosixPath(path).parts


def _tops(rows: Mapping[str, str]) -> frozenset[str]:
    """Return the names of top-level modules and packages."""
    firsts = (PurePosixPath(path).parts[0] for path in rows if _is_module(path))
    return frozenset(first.partition(".")[0] for first in firsts)


def _packages(rows: Mapping[str, str]) -> frozenset[str]:
    """Return the folders that are packages of their own, and no part of a namespace."""
    modules = (PurePosixPath(path) for path in rows if _is_module(path))
    return frozenset(str(path.parent) for path in modules if path.name.partition(".")[0] == "__init__")


def _found_first(rows: Mapping[str, str], packages: frozenset[str]) -> frozenset[str]:
    """Return the names by which the path is searched: of packages, and of modules that are in none."""
    return frozenset(_outermost(PurePosixPath(path).parts, packages) for path in rows if _is_module(path))


def _outermost(parts: tuple[str, ...], packages: frozenset[str]) -> str:
    for end in range(1, len(parts)):
        if "/".join(parts[:end]) in packages:
            return ".".join(parts[:end])
    return ".".join((*parts[:-1], parts[-1].partition(".")[0]))


def _is_of_the_wheel(path: str) -> bool:
    parts = PurePosixPath(path).parts
    if parts[0].endswith(".dist-info"):
        return parts[-1] in _OF_THE_WHEEL
    return _CACHE not in parts


# --- whether the files are what it says ---


def _faults(distribution: Distribution, rows: Mapping[str, str], module: str) -> Iterator[str]:
    root = Path(str(distribution.locate_file("")))
    for path, value in rows.items():
        if _is_of_the_wheel(path) and (fault := _fault(root / path, value)):
            yield f"{path!r} {fault}"
    listed = {os.path.realpath(root / path) for path in rows if _is_module(path)}
    packages = _packages(rows)
    for name in sorted({*_found_first(rows, packages), module}):
        origin = _origin(name)
        if origin is not None and os.path.realpath(origin) not in listed:
            yield f"module {name!r} is found at {origin!r}, which its RECORD does not list"
    folders = {root / package for package in packages} - {root}
    for module_file in _modules_in(_topmost(folders)):
        if os.path.realpath(module_file) not in listed:
            yield f"{module_file.relative_to(root).as_posix()!r} is not listed in its RECORD"


def _fault(path: Path, value: str) -> str:
    kind, _, wanted = value.partition("=")
    if kind not in _HASHES:
        return f"has no hash in its RECORD, or a weak one ({kind!r})"
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({(error.strerror or type(error).__name__).lower()})"
    found = binascii.b2a_base64(hashlib.new(kind, data).digest(), newline=False)
    is_same = found.translate(bytes.maketrans(b"+/", b"-_")).rstrip(b"=") == wanted.encode()
    return "" if is_same else "is not what its RECORD says"


def _origin(module: str) -> str | None:
    """Return the file that importing a module would run first, without running it; a namespace has none."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    name = first
    for part in rest:
        if spec is None or spec.has_location:
            break
        name = f"{name}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(name, spec.submodule_search_locations)
    return spec.origin if spec is not None and spec.has_location else None


def _topmost(folders: set[Path]) -> list[Path]:
    return sorted(folder for folder in folders if folders.isdisjoint(folder.parents))


def _modules_in(folders: list[Path]) -> Iterator[Path]:
    """Give the files under some folders that can be imported, and links to folders, in order."""
    for folder in folders:
        for at, names, files in os.walk(folder):
            names[:] = sorted(name for name in names if name != _CACHE)
            found = [name for name in names if Path(at, name).is_symlink()]
            found += [name for name in files if name.endswith(_SUFFIXES)]
            yield from (Path(at, name) for name in sorted(found))


# --- without a RECORD ---


def _files_of(module: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return path and SHA-256 of each file of a package, or of a module that is one file; and what cannot be read."""
    origin = _origin(module)
    if origin is None:
        return {}, (f"module {module!r} is not found",)
    start = Path(origin)
    files, faults = {}, []
    is_alone = start.stem != "__init__" and "." not in module  # in a namespace it has the others beside it
    for path in iter([start]) if is_alone else _modules_in([start.parent]):
        name = path.relative_to(start.parent).as_posix()
        try:
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            faults.append(f"{name!r} cannot be read ({(error.strerror or type(error).__name__).lower()})")
    return files, tuple(faults[:_MAX_FAULTS])
