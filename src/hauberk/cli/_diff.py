"""What a change of a client's file looks like, without the secrets in it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Final

from hauberk import _spans
from hauberk._entries import items_of, read
from hauberk._options import MASK
from hauberk._servers import shown_args
from hauberk._spans import Edit, Node, Tree
from hauberk.cli._text import printable

_NUMBERS: Final = "-0123456789"


def lines(before: str, after: str, name: str) -> Iterator[str]:
    """Give the lines of a unified diff of two texts, each as it may be shown.

    Of the values only commands and arguments are shown, and what there looks like a secret is not.
    """
    old, new = (shown(text, name).splitlines() for text in (before, after))
    for line in difflib.unified_diff(old, new, name, name, lineterm=""):
        yield "\t".join(map(printable, line.split("\t")))


def shown(text: str, name: str) -> str:
    """Return a client's configuration with every value hidden but commands and arguments; comments too.

    Raises:
        ConfigError: It is none.
    """
    tree, entries = read(text, name)
    edits: dict[int, Edit] = {start: (start, end, _comment(text, start)) for start, end in tree.comments}
    for node in _spans.walk(tree.root):
        if node.text is not None or tree.raw(node)[0] in _NUMBERS:
            edits[node.start] = (node.start, node.end, json.dumps(MASK))
    for entry in entries:
        nodes = [node for node in (entry.command, *items_of(entry.args)) if node is not None and node.text is not None]
        edits |= {node.start: edit for node, edit in zip(nodes, _command(tree, nodes), strict=True)}
    return _spans.replaced(text, edits.values())


def _command(tree: Tree, nodes: list[Node]) -> Iterator[Edit]:
    words = tuple(str(node.text) for node in nodes)
    for node, word, masked in zip(nodes, words, shown_args(words), strict=True):
        yield node.start, node.end, tree.raw(node) if masked == word else json.dumps(masked, ensure_ascii=False)


def _comment(text: str, start: int) -> str:
    return "// …" if text.startswith("//", start) else "/* … */"
