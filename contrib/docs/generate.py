"""Renew the parts of the documentation that are made from the code, or say which are out of date.

usage: python -m contrib.docs.generate [--write]

Exit status: 0 all is up to date, or was written; 1 something is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from contrib.docs import attacks, commands, decisions, events, hooks, options, refusals
from contrib.docs.pages import DOCS, ROOT

from hauberk_audit import _entry_schema


def pages() -> dict[Path, str]:
    """Return each page that is made from the code, or has parts that are, as it should be."""
    configuration, codes, catalogue = DOCS / "configuration.md", DOCS / "refusals.md", DOCS / "events.md"
    matrix = DOCS / "attacks.md"
    written, entry = codes.read_text(encoding="utf-8"), _entry_schema.document()
    return {
        DOCS / "hooks.md": hooks.page(),
        DOCS / "decisions.md": decisions.page(),
        DOCS / "cli.md": commands.page(),
        configuration: options.page(configuration.read_text(encoding="utf-8")),
        codes: refusals.index(written),
        catalogue: events.page(catalogue.read_text(encoding="utf-8"), written),
        matrix: attacks.page(matrix.read_text(encoding="utf-8")),
        **refusals.pages(written),
        DOCS / "audit-entry.schema.json": entry,
        ROOT / "plugins/audit/src/hauberk_audit" / _entry_schema.FILE: entry,
    }


def left_over() -> list[Path]:
    """Return the pages of codes that are no more."""
    return sorted(set(refusals.FOLDER.glob("*.md")) - set(pages()))


def stale() -> dict[Path, str]:
    """Return the pages that are not as they should be, as they should be."""
    made = pages().items()
    return {path: text for path, text in made if not path.exists() or path.read_text(encoding="utf-8") != text}


def main(args: list[str]) -> int:
    """Write what is out of date, or name it."""
    found = stale()
    for path, text in found.items():
        print(path.relative_to(DOCS.parent))
        if "--write" in args:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return int(bool(found) and "--write" not in args)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
