"""Which meshes look at a message, by its method and direction; and at what most messages are, text, fewer of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from hauberk.chains import Toward
from hauberk.connection import Connection
from hauberk.message import Message
from hauberk_sieve._mesh import Mesh

Look = Callable[[Message, Connection], Message | None]
_WAYS: Final[tuple[Toward, ...]] = ("client", "server")
_LISTS: Final = ("tools/list",)
"""Methods of what comes to the client that the sieve itself has to see."""
_TEXT_MEMBERS: Final = frozenset({"content", "isError", "structuredContent", "_meta", "resultType"})


class Routes:
    """The looks of some meshes, in their order."""

    def __init__(self, meshes: Iterable[Mesh]) -> None:
        self._meshes: Final = tuple(meshes)
        self._looks: Final = {way: self._looks_at(way) for way in _WAYS}
        self._other: Final = {way: self._those(way, "") for way in _WAYS}
        hearing = [mesh for mesh in self._meshes if _meets(mesh, "client", "tools/call") and not mesh.passes_text]
        self._texts: Final = tuple(mesh.look for mesh in hearing)
        self.hears: Final = tuple(mesh.hear for mesh in hearing)
        """What hears the words of an answer to a call that is texts (`hauberk_sieve._words`)."""

    @property
    def toward(self) -> Mapping[Toward, tuple[str, ...]]:
        """Return the methods that any mesh looks at, of each direction in which not all are looked at."""
        return {way: tuple(looks) for way, looks in self._looks.items() if not self._other[way]}

    def of(self, message: Message) -> tuple[Look, ...]:
        """Return what looks at a message."""
        if is_text(message):
            return self._texts
        return self._looks[message.toward].get(message.method, self._other[message.toward])

    def _looks_at(self, way: Toward) -> dict[str, tuple[Look, ...]]:
        named = (method for mesh in self._meshes for method in _named(mesh, way))
        methods = dict.fromkeys((*_LISTS, *named) if way == "client" else named)
        return {method: self._those(way, method) for method in methods}

    def _those(self, way: Toward, method: str) -> tuple[Look, ...]:
        return tuple(mesh.look for mesh in self._meshes if _meets(mesh, way, method))


def _named(mesh: Mesh, way: Toward) -> tuple[str, ...]:
    return mesh.methods if way == "client" or mesh.toward_server is None else mesh.toward_server


def _meets(mesh: Mesh, way: Toward, method: str) -> bool:
    everything = mesh.everything and (way == "client" or mesh.toward_server is None)
    return everything or method in _named(mesh, way)


def is_text(message: Message) -> bool:
    """Whether a message is the result of a call that is text and nothing else, as most are: it holds no link."""
    if message.method != "tools/call" or message.kind != "result" or message.toward != "client":
        return False
    result = message.data["result"]
    items = result.get("content")
    if type(items) is not list or not result.keys() <= _TEXT_MEMBERS:
        return False
    for item in items:  # noqa: SIM110 - a generator costs more than the loop, and most messages come here
        if type(item) is not dict or item.get("type") != "text":
            return False
    return True
