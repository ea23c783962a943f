"""Addresses inside a schema: what ``$id``, ``$anchor`` and references name.

An address is read here and again by the validator. Where the two might differ, the schema is unusable: plain ASCII, no
escapes, no ``..``, no user, one place for each address.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from hauberk_sieve._limits import LIMITS

_PLAIN: Final = re.compile(r"[A-Za-z0-9._~:/?=+&,;!*'()$-]*")
_RELATIVE: Final = {"", "http", "https", "file"}


class Unusable(Exception):
    """A schema that nothing can be checked with."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason


class Addresses:
    """The addresses of one document."""

    def __init__(self, dialect: str) -> None:
        self._old: Final = dialect == "draft-07"
        self.resources: Final[dict[str, int]] = {}
        """The place of each base URI."""
        self.dynamic: Final[dict[str, list[int]]] = {}
        """The places that a dynamic reference of a name may lead to."""
        self._anchors: Final[dict[tuple[str, str], int]] = {}

    def enter(self, value: dict[str, Any], base: str, index: int) -> str:
        """Keep the addresses of a schema.

        Returns:
            The base URI that holds in it.

        Raises:
            Unusable: One of them is taken, or may be read in two ways.
        """
        name = value.get("$id")
        if index == 0 and not (type(name) is str and name.partition("#")[0]):
            self.resources[""] = 0
        if type(name) is str and not (self._old and "$ref" in value):
            address, _, fragment = name.partition("#")
            if address:
                base = _joined(base, address)
                self._set(self.resources, base, index)
            if fragment:
                self._set(self._anchors, (base, fragment), index)
        for keyword in ("$anchor", "$dynamicAnchor"):
            anchor = value.get(keyword)
            if type(anchor) is str and not self._old:
                self._set(self._anchors, (base, anchor), index)
                if keyword == "$dynamicAnchor":
                    self.dynamic.setdefault(anchor, []).append(index)
        return base

    def find(self, base: str, text: str) -> tuple[str, str]:
        """Return the resource and the fragment that a reference names.

        Raises:
            Unusable: It leads out of the document.
        """
        address, _, fragment = text.partition("#")
        resource = _joined(base, address) if address else base
        if resource not in self.resources:
            raise Unusable("reference", "a reference leads out of the document")
        return resource, fragment

    def anchor(self, resource: str, name: str) -> int:
        """Return the place of an anchor.

        Raises:
            Unusable: There is none.
        """
        found = self._anchors.get((resource, name))
        if found is None:
            raise Unusable("reference", "a reference leads nowhere")
        return found

    def _set(self, table: dict[Any, int], key: Any, index: int) -> None:
        if table.setdefault(key, index) != index:
            raise Unusable("reference", "two places have one address")


def _joined(base: str, address: str) -> str:
    """Return an address as an absolute URI, or as it stands where there is nothing that it is relative to."""
    if not _PLAIN.fullmatch(address) or len(address) > LIMITS.name_chars:
        raise Unusable("reference", "an address in it may be read in two ways")
    is_whole = urlsplit(base).scheme not in _RELATIVE or urlsplit(address).scheme
    found = address if is_whole else urljoin(base, address)
    if "/." in found or not _PLAIN.fullmatch(found):
        raise Unusable("reference", "an address in it may be read in two ways")
    return found
