"""Refuse functions and modules that are too long to be read in one go.

usage: python contrib/shape.py [FOLDER ...]

A function's lines are counted from `def` on, without its docstring; a module's are all its lines. Test folders are not
looked at. Exit status: 0 nothing is over a limit, 1 something is, 2 nothing was found to measure.
"""

from __future__ import annotations

import ast
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FUNCTION_LINES = 60
MODULE_LINES = 400


class Measure(NamedTuple):
    """The length of one function or module, in lines."""

    lines: int
    limit: int
    where: str


def span(node: ast.stmt | ast.expr) -> int:
    """Return how many lines a node covers."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without its docstring."""
    first = node.body[0]
    return span(node) - (span(first) if ast.get_docstring(node, clean=False) is not None else 0)


def functions(path: Path, text: str) -> Iterator[Measure]:
    """Yield the measure of each function of a module."""
    for node in ast.walk(ast.parse(text, path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Measure(function_lines(node), FUNCTION_LINES, f"{path}:{node.lineno} function {node.name}")


def sources(folders: Iterable[str]) -> list[Path]:
    """Return the modules under the folders that are no tests."""
    return sorted(path for folder in folders for path in Path(folder).rglob("*.py") if "tests" not in path.parts)


def main(folders: list[str]) -> int:
    """Measure, print one line of summary and one for each that is over its limit."""
    modules: list[Measure] = []
    found: list[Measure] = []
    for path in sources(folders):
        text = path.read_text(encoding="utf-8")
        modules.append(Measure(len(text.splitlines()), MODULE_LINES, f"{path} module"))
        found.extend(functions(path, text))
    if not found:
        print(f"shape: no function found in {', '.join(folders)}")
        return 2
    median = statistics.median(measure.lines for measure in found)
    print(
        f"shape: {len(modules)} modules, longest {max(modules).lines} lines; "
        f"{len(found)} functions, median {median:g} lines, longest {max(found).lines}"
    )
    over = [measure for measure in found + modules if measure.lines > measure.limit]
    for lines, limit, where in over:
        print(f"{where}: {lines} lines, the limit is {limit}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["src", "plugins"]))
