"""One session with a server, the same each time: all that it has is listed, called, got, read and completed."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable
from typing import Any, Final

from mcp import Client, MCPError
from mcp_types import PromptReference
from tests.registry.servers import Call, Place, Published
from tests.sdk.kit import plain

LISTS: Final = ("tools", "prompts", "resources", "resource_templates")
_PAGES: Final = 10
_VOLATILE: Final = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(\.\d+)?([+-]\d\d:?\d\d|Z)?"), "<moment>"),
    (re.compile(r"\b\d{1,2}:\d\d:\d\d\s?[AP]M\b"), "<time>"),
    (re.compile(r"\b(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"), "<day>"),
    (re.compile(r"(?m)^(created|modified|accessed): .*$"), r"\1: <moment>"),
)
"""What is another at each session."""
Record = dict[str, Any]


async def listed(client: Client, kind: str) -> list[Any] | None:
    """Return all pages of a list; None where the server has none of the kind."""
    found: list[Any] = []
    cursor = None
    for _ in range(_PAGES):
        try:
            page = await getattr(client, f"list_{kind}")(cursor=cursor)
        except MCPError as error:
            if error.error.code == -32601:
                return None
            raise
        found += getattr(page, kind)
        if (cursor := page.next_cursor) is None:
            return found
    raise AssertionError(f"{kind}: more than {_PAGES} pages")


async def session(client: Client, published: Published, place: Place, asking: tuple[Call, ...] = ()) -> Record:
    """Ask a server for all that it has, and use each thing; return what was said of each."""
    info = client.server_info
    record: Record = {
        "revision": client.protocol_version,
        "instructions": client.instructions,
        "info": info and plain(info),
        "capabilities": plain(client.server_capabilities),
    }
    for kind in LISTS:
        items = await listed(client, kind)
        record[kind] = items and [plain(item) for item in items]
    steps: list[Any] = []

    async def step(progress: float, total: float | None, message: str | None) -> None:
        steps.append([progress, total, message])

    for place_in, (tool, arguments) in enumerate((*published.calls(place), *asking)):
        called = client.call_tool(tool, arguments, progress_callback=step)
        record[f"call {place_in}: {tool}"] = await _said(called)
    record["progress"] = steps
    for prompt, given in published.prompts(place):
        record[f"prompt {prompt}"] = await _said(client.get_prompt(prompt, given))
    for uri in (*(item["uri"] for item in record["resources"] or ()), *published.reads):
        record[f"resource {uri}"] = await _said(client.read_resource(uri))
    for prompt, name, value in published.completions:
        reference = PromptReference(type="ref/prompt", name=prompt)
        record[f"completion {prompt}"] = await _said(client.complete(reference, {"name": name, "value": value}))
    same: Record = stable(record)
    return same


async def _said(asked: Awaitable[Any]) -> Any:
    """Return the result of a request, or its error, as JSON values."""
    try:
        return plain(await asked)
    except MCPError as error:
        return {"error": plain(error.error)}


def stable(value: Any) -> Any:
    """Return JSON values without what is another at each session."""
    if isinstance(value, dict):
        return {
            key: stable(_text_of(one) if key == "blob" and isinstance(one, str) else one) for key, one in value.items()
        }
    if isinstance(value, list):
        return [stable(one) for one in value]
    if isinstance(value, str):
        for pattern, instead in _VOLATILE:
            value = pattern.sub(instead, value)
    return value


def _text_of(blob: str) -> str:
    """Return the text in a blob; another blob as it is."""
    try:
        return base64.b64decode(blob, validate=True).decode()
    except ValueError:
        return blob
