"""What a shell completes: texts that stand in the index of the log, if there is one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hauberk.cli.options import servers
from hauberk.refusals import HauberkError
from hauberk_audit._paths import log_set
from hauberk_audit._places import places
from hauberk_audit.queries import _index_files

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_MOST: Final = 1000
_WORDS: Final = """WITH RECURSIVE seen(id) AS (SELECT min({name}) FROM entries
    UNION ALL SELECT (SELECT min({name}) FROM entries WHERE {name} > seen.id) FROM seen WHERE seen.id IS NOT NULL)
    SELECT words.text FROM seen JOIN words ON words.id = seen.id LIMIT ?"""
"""Each number once, without reading those between two of them."""


def known(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the texts of the member that an option is about, as far as an index holds them; no index is made."""
    from click.shell_completion import CompletionItem

    name = str(param.name)
    found = {text for text in _of_logs(ctx, name) if text.startswith(incomplete) and text.isprintable()}
    if name == "server":
        found |= {item.value for item in servers(ctx, param, incomplete)}
    return [CompletionItem(text) for text in sorted(found)]


def _of_logs(ctx: click.Context, name: str) -> Iterator[str]:
    try:
        config, host = ctx.params.get("config"), ctx.params.get("host") or "default"
        named = ctx.params.get("paths") or ctx.args  # where an option has no value yet, click leaves the paths there
        for path in named or (places(config, host)[0],):
            for log in log_set(Path(path)):
                yield from _of_log(log, name)
    except (HauberkError, OSError, sqlite3.Error):
        return  # nobody wants to read of it between two words


def _of_log(log: Path, name: str) -> list[str]:
    if not _index_files.index_path(log).is_file() or (lock := _index_files.take(log)) is None:
        return []
    try:
        with closing(sqlite3.connect(_index_files.index_path(log))) as db:
            return [text for (text,) in db.execute(_WORDS.format(name=name), (_MOST,))]
    finally:
        _index_files.release(lock)
