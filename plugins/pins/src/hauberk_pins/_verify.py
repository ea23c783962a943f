"""What ``hauberk pins verify`` finds, as lines, as JSON, and as SARIF 2.1.0 for code scanning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from hauberk_pins import _lock
from hauberk_pins._compare import label
from hauberk_pins._desk import Desk, Row
from hauberk_pins._items import Lock

_RULES: Final = {
    "lock_missing": "the file for review is missing",
    "unseen": "nobody has seen what a server of the lock shows",
    "lock_differs": "the file for review does not say what is trusted",
    "unpinned": "a server shows an item that is not pinned",
    "changed": "a server shows an item that is not what was pinned",
    "renamed": "a server shows a pinned item under another name",
    "gone": "a server no longer shows an item that is pinned",
}
_NOTES: Final = ("gone", "unseen")
"""What is told and is no failure: what is not shown can do nothing."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it should be."""

    rule: str
    text: str
    server: str = ""
    item: str = ""
    fields: list[str] = []

    @property
    def fails(self) -> bool:
        """Whether it makes the check fail."""
        return self.rule not in _NOTES

    def data(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"rule": self.rule, "text": self.text, "server": self.server, "item": self.item, "fields": self.fields}


def verify(desk: Desk, server: str | None = None, tool: str | None = None) -> list[Finding]:
    """Compare the file for review, what is trusted here, and what servers showed: all of them, or one, or one tool.

    Raises:
        ConfigError: One of them cannot be used.
        HauberkError: There is nothing to verify.
    """
    return list(_findings(desk, server, tool))


def _findings(desk: Desk, server: str | None, tool: str | None) -> Iterator[Finding]:
    trusted, written = desk.trusted(), desk.written()
    if not trusted.generation and written is not None:
        trusted = written  # a machine that has trusted nothing: what was reviewed is what is to be shown
    elif written is None and desk.lock_path is not None and trusted.generation:
        yield _finding("lock_missing", f"{desk.lock_path.name} is missing")
    elif written is not None and _lock.write(written) != _lock.write(trusted):
        yield _finding("lock_differs", _generations(written, trusted))
    for name in sorted(trusted.servers.keys() - desk.seen().keys()):
        if server in {None, name}:
            yield Finding("unseen", f"{_RULES['unseen']}: {name}", name)
    for row in desk.rows(trusted, server, tool):
        if row.status != "pinned":
            yield _of_row(row)


def _generations(written: Lock, trusted: Lock) -> str:
    return f"it is of generation {written.generation}, and generation {trusted.generation} is trusted here"


def _finding(rule: str, detail: str) -> Finding:
    return Finding(rule, f"{_RULES[rule]}: {detail}")


def _of_row(row: Row) -> Finding:
    rule = row.status
    name = label(row.item)
    before = row.change.before if row.change is not None else None
    detail = f"{row.server}: {name}"
    if row.status == "renamed" and before is not None:
        detail += f", pinned as {label(before)}"
    fields = row.change.fields if row.status == "changed" and row.change is not None else []
    if fields:
        detail += f" ({', '.join(fields)})"
    return Finding(rule, f"{_RULES[rule]}: {detail}", row.server, name, fields)


def _line(places: dict[tuple[str, str], int], one: Finding) -> int:
    """Return where the file for review speaks of it: of the item, else of the server, else its first line."""
    return places.get((one.server, one.item)) or places.get((one.server, "")) or 1


def sarif(findings: list[Finding], desk: Desk, version: str) -> dict[str, Any]:
    """Return the findings as SARIF 2.1.0."""
    uri = "hauberk.lock" if desk.lock_path is None else desk.lock_path.name
    places = _lock.places((desk.lock_bytes() or b"").decode(errors="replace"))
    rules = [{"id": rule, "shortDescription": {"text": text}} for rule, text in _RULES.items()]
    results = [
        {
            "ruleId": one.rule,
            "level": "error" if one.fails else "note",
            "message": {"text": one.text},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": uri},
                        "region": {"startLine": _line(places, one)},
                    }
                }
            ],
            "partialFingerprints": {"item/v1": f"{one.server}/{one.item}"},
        }
        for one in findings
    ]
    driver = {"name": "hauberk-pins", "version": version, "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
