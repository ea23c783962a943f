"""What becomes of a message in which something was found.

The rules:

1. Of a list, only the items in which something was found are touched: hidden where a rule blocks or cannot cut, else
   cut. They are judged as the server sent them; what others hid or rewrote before stays hidden or rewritten.
2. Of ``initialize`` and ``server/discover``, ``instructions`` that may not be read are left out.
3. Anything else in which a rule blocks, or cannot cut, is refused whole, and the leaf is named.
4. Text in ``structuredContent`` of a tool with an ``outputSchema`` is not cut: it may no longer be what was promised.
5. More findings than the bound are taken for the worst that the rules in question could do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from hauberk.listings import LISTS
from hauberk.refusals import Refused
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import shown
from hauberk_sieve.text._hidden import Item
from hauberk_sieve.text._leaves import Leaf, Path
from hauberk_sieve.text._rewrite import can_cut, cut, replaced
from hauberk_sieve.text._scan import Finding, Found, Scanner

_INSTRUCTIONS: Final = ("result", "instructions")
_STRUCTURED: Final = ("result", "structuredContent")
_ITEM_DEPTH: Final = 3


class Outcome(NamedTuple):
    """What becomes of a message."""

    data: dict[str, Any]
    """The message without what was cut; what is hidden still stands in it."""
    done: dict[Path, str]
    """What was done at each leaf: ``redacted``, ``hidden`` or ``removed``."""
    hidden: dict[Item, str]
    """The items that are to be hidden, and because of which rule."""

    @property
    def places(self) -> set[Any]:
        """Return where in the list the items stand that are to be hidden."""
        return {path[2] for path, what in self.done.items() if what == "hidden"}

    @property
    def names(self) -> set[str]:
        """Return what they are called."""
        return {name for _, name in self.hidden}


def judge(scanner: Scanner, found: Found, data: dict[str, Any], method: str, *, promised: bool) -> Outcome:
    """Return what becomes of a message.

    Args:
        scanner: What found it.
        found: What was found in the message as it stands in ``data``.
        data: The message; it is not changed.
        method: Its method, or that of the request that it answers.
        promised: Whether the tool that answers has an ``outputSchema``.

    Raises:
        Refused: It may not pass.
    """
    if worst := next((rule for rule in found.more if rule.where[scanner.place] != "alert"), None):
        raise refused(worst.id, f"it holds more than {LIMITS.findings} findings")
    texts: dict[Path, str] = {}
    done: dict[Path, str] = {}
    hidden: dict[Item, str] = {}
    for leaf, findings in _by_leaf(found.findings):
        text = cut(scanner, leaf, findings) if _is_cuttable(leaf, promised=promised) else None
        if text is not None:
            texts[leaf.path] = text
            done.setdefault(leaf.path, "redacted")  # a key that hides the item has the path of its value
        elif (item := item_of(leaf.path, data, method)) is not None:
            hidden.setdefault(item, findings[0].rule.id)
            done[leaf.path] = "hidden"
        elif leaf.path == _INSTRUCTIONS:
            done[leaf.path] = "removed"
        else:
            raise refused(findings[0].rule.id, f"the text at '{shown(leaf.pointer)}' may not be read")
    return Outcome(_applied(data, texts, done), done, hidden)


def refused(rule: str, reason: str) -> Refused:
    """Return the refusal of a message."""
    return Refused(
        "sieve.text",
        f"a rule for what the model reads refuses this message: {reason}",
        rule=rule,
        hint=f"if it is benign, suppress {rule} for this server in [sieve.text] until a day",
    )


def item_of(path: Path, data: dict[str, Any], method: str) -> Item | None:
    """Return the item of a list that a path leads into, or None where it leads elsewhere."""
    if method not in LISTS:
        return None
    _, member, called = LISTS[method]
    if path[:2] != ("result", member) or len(path) < _ITEM_DEPTH:
        return None
    items, place = data["result"][member], path[2]
    if not isinstance(items, list) or not isinstance(place, int):
        return None
    name = _name(items[place], called)
    return member, name if isinstance(name, str) else ""


def _by_leaf(findings: Iterable[Finding]) -> list[tuple[Leaf, list[Finding]]]:
    """Return the leaves in which a rule wants more than an event, and what was found in each."""
    leaves: dict[tuple[Path, str], tuple[Leaf, list[Finding]]] = {}
    for finding in findings:
        if finding.action != "alert":
            key = finding.leaf.path, finding.leaf.kind
            leaves.setdefault(key, (finding.leaf, []))[1].append(finding)
    return list(leaves.values())


def _is_cuttable(leaf: Leaf, *, promised: bool) -> bool:
    return can_cut(leaf) and not (promised and leaf.path[:2] == _STRUCTURED)


def _applied(data: dict[str, Any], texts: dict[Path, str], done: dict[Path, str]) -> dict[str, Any]:
    data = replaced(data, texts)
    if done.get(_INSTRUCTIONS) == "removed":
        return {**data, "result": {key: value for key, value in data["result"].items() if key != "instructions"}}
    return data


def carried(outcome: Outcome, original: dict[str, Any], current: dict[str, Any], method: str) -> dict[str, Any]:
    """Return what is left of a list, of which others hid or rewrote something before (rule 1)."""
    _, member, called = LISTS[method]
    before, after = original["result"], outcome.data["result"]
    listed = before.get(member)
    fates: dict[int, tuple[Any, bool]] = {}
    if isinstance(listed, list):
        fates = {id(item): (after[member][place], place in outcome.places) for place, item in enumerate(listed)}
    kept = []
    for item in current["result"].get(member) or ():
        new, is_hidden = fates.get(id(item), (item, _name(item, called) in outcome.names))
        if not is_hidden:
            kept.append(new)
    result = {
        key: kept if key == member and fates else (after[key] if value is before.get(key) else value)
        for key, value in current["result"].items()
    }
    members = {key: outcome.data.get(key) if value is original.get(key) else value for key, value in current.items()}
    return {**members, "result": result}


def clean_items(data: dict[str, Any], method: str, hidden: dict[Item, str]) -> Iterator[Item]:
    """Yield the items of a list that are not to be hidden."""
    _, member, called = LISTS[method]
    items = data["result"].get(member)
    for item in items if isinstance(items, list) else ():
        name = _name(item, called)
        if isinstance(name, str) and (member, name) not in hidden:
            yield member, name


def _name(item: Any, called: str) -> Any:
    return item.get(called) if isinstance(item, dict) else None
