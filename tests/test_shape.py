"""The limits on the size of functions and modules, and the script that holds the code to them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "contrib" / "shape.py"


def shape(folder: Path) -> tuple[int, str]:
    """Run the script on a folder; return its exit status and output."""
    done = subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def function(lines: int, *, docstring: int = 0) -> str:
    """Return a function of so many lines, with a docstring of so many more."""
    words = '    """' + "\n    x" * (docstring - 1) + '"""\n' if docstring else ""
    return f"def f():\n{words}" + "    pass\n" * (lines - 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose name holds no word that the script leaves out."""
    return tmp_path


def test_function_at_the_limit_passes(folder: Path) -> None:
    """A function of 60 lines passes, and its docstring does not count."""
    (folder / "m.py").write_text(function(60, docstring=20))
    assert shape(folder)[0] == 0


def test_long_function_is_named(folder: Path) -> None:
    """A function of 61 lines fails, with its place and its length."""
    (folder / "m.py").write_text("\n" + function(61))
    status, output = shape(folder)
    assert status == 1
    assert "m.py:2 function f: 61 lines, the limit is 60" in output


def test_long_method_of_an_inner_class_is_named(folder: Path) -> None:
    """A function is measured wherever it stands, an asynchronous one too."""
    body = function(61).replace("def f", "async def g").replace("\n", "\n        ")
    (folder / "m.py").write_text(f"def outer():\n    class Inner:\n        {body}\n")
    assert "function g: 61 lines" in shape(folder)[1]


def test_long_module_is_named(folder: Path) -> None:
    """A module of 401 lines fails; one of 400 does not."""
    (folder / "m.py").write_text(function(3) + "\n" * 397)
    assert shape(folder)[0] == 0
    (folder / "m.py").write_text(function(3) + "\n" * 398)
    status, output = shape(folder)
    assert status == 1
    assert "m.py module: 401 lines, the limit is 400" in output


def test_nothing_to_measure_is_no_pass(folder: Path) -> None:
    """A folder without functions is an error, not a pass."""
    assert shape(folder)[0] == 2
