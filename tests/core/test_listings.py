"""The table of lists is that of the protocol, as the SDK reads it."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from mcp_types import methods as sdk
from pydantic import BaseModel, ValidationError

from hauberk.contents import KEPT
from hauberk.listings import LISTS, Kind, Listing
from hauberk.methods import METHODS

ROWS = [(method, revision) for method, revision in sdk.SERVER_RESULTS if method.endswith("/list")]
# One item that would do in each of the lists.
ITEM = {"name": "n", "uri": "a:b", "uriTemplate": "a:{b}", "inputSchema": {"type": "object"}}
USES = {"tool": "tools/call", "prompt": "prompts/get", "resource": "resources/read"}
HEAD = {"jsonrpc": "2.0", "id": 1}


def read(method: str, revision: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return what the SDK reads in an answer, by the names of the protocol."""
    model = sdk.SERVER_RESULTS[(method, revision)]
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    more = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if revision >= "2026" else {}
    return model.model_validate(result | more, by_name=False).model_dump(by_alias=True)


def test_lists_are_the_sdks() -> None:
    """What a server lists in any revision is here, and what the client or nobody but the asker has is not (A57)."""
    assert set(LISTS) == {method for method, _ in ROWS}
    assert {name for name in METHODS if name.endswith("/list")} - set(LISTS) == {"tasks/list", "roots/list"}
    assert [listing.kind for listing in LISTS.values()] == list(get_args(Kind))


@pytest.mark.parametrize(("method", "revision"), ROWS)
def test_items_stand_where_the_sdk_reads_them(method: str, revision: str) -> None:
    """In each revision the items are in the member that is named here, and each has to have its key."""
    listing = LISTS[method]
    assert read(method, revision, {listing.member: [ITEM]})[listing.member][0][listing.key] == ITEM[listing.key]
    with pytest.raises(ValidationError, match=listing.member):
        read(method, revision, {})
    with pytest.raises(ValidationError, match=listing.key):
        read(method, revision, {listing.member: [{key: ITEM[key] for key in ITEM if key != listing.key}]})


@pytest.mark.parametrize("listing", LISTS.values(), ids=lambda listing: listing.kind)
def test_key_is_what_an_item_is_used_by(listing: Listing) -> None:
    """What names an item in its list names it where it is used; a template names URIs that are not listed."""
    if listing.kind == "template":
        assert listing.key == "uriTemplate"
        return
    use = sdk.CLIENT_REQUESTS[(USES[listing.kind], "2025-11-25")]
    frame = {**HEAD, "method": USES[listing.kind]}
    assert use.model_validate({**frame, "params": {listing.key: ITEM[listing.key]}}, by_name=False) is not None
    with pytest.raises(ValidationError, match=listing.key):
        use.model_validate({**frame, "params": {}}, by_name=False)


def test_digests_are_kept_of_these_lists() -> None:
    """A list that comes again unchanged is known, whichever it is."""
    assert set(LISTS) == KEPT


def test_table_cannot_be_changed() -> None:
    """No plugin can take a list from another, or move its items."""
    with pytest.raises(TypeError):
        del LISTS["tools/list"]  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        LISTS["tools/list"].member = "other"  # type: ignore[misc]
