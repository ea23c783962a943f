"""The register of people: what the operator's file says of each principal.

The rules:

1. ``[person."ID"]`` is about the principal of this id that belongs to no tenant, ``[tenant.NAME.person."ID"]`` about
   one of a tenant. Two values are never joined: nobody of one tenant is taken for somebody of another.
2. An id in the file is plain (`hauberk_sieve._spelling`), and is compared exactly, case included, after normalization
   form C (S1.11).
3. What gives something is given to the very id alone. What takes away also meets an id that is not plain and looks like
   the one in the file: nobody escapes a suspension by a character that cannot be seen.
4. Whatever does not fit is an error of the whole file. An entry that is skipped in silence could be a suspension.
"""

from __future__ import annotations

import hashlib
import tomllib
from typing import Any, Final, Literal

import msgspec

from hauberk.principal import DOCTOR, Principal
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import fold, is_plain, nfc, shown, unfit
from hauberk_sieve.access._rules import Pattern
from hauberk_sieve.who._standing import Reason

PROBED: Final = "suspended"
"""A tool that the doctor calls in the name of somebody who is suspended in every register."""
_FIELDS: Final = ("person", "tenant")


class _Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    server: str
    tool: str


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One person, as the file has it."""

    status: Literal["active", "suspended", "disabled"] = "active"
    subscribed: bool = True
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] | None = None
    grants: tuple[str | _Pair, ...] = ()

    @property
    def reason(self) -> Reason | None:
        """The first reason to refuse, if there is one (S1.3)."""
        if self.status == "suspended":
            return "suspended"
        if not self.subscribed:
            return "not_subscribed"
        return "user_disabled" if self.status == "disabled" else None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One person. People who have the same share one object of it."""

    groups: frozenset[str] = frozenset()
    roles: frozenset[str] | None = None
    """None where the file says nothing of roles."""
    grants: tuple[Pattern, ...] | None = None
    reason: Reason | None = None


NOBODY: Final = Entry()
"""Of whom the file says nothing."""
_UNFIT: Final = Entry(reason="user_disabled")
SUSPENDED: Final = Entry(reason="suspended")
"""As whom the doctor calls."""
_People = dict[str | None, dict[str, Entry]]


class Register:
    """Everybody of whom one version of the file says something."""

    __slots__ = ("_alike", "_people", "version")

    def __init__(self, people: _People, version: str = "") -> None:
        self._people: Final = people
        self._alike: Final[_People] = {
            tenant: {fold(id): entry for id, entry in entries.items() if entry.reason is not None}
            for tenant, entries in people.items()
        }
        self.version: Final = version
        """``sha256:`` and the hash of the file."""

    def __len__(self) -> int:
        return sum(map(len, self._people.values()))

    def find(self, principal: Principal) -> Entry:
        """Return what is known of a principal."""
        entries = self._people.get(principal.tenant)
        found = None if entries is None else entries.get(principal.id)
        if found is not None:
            return found
        return NOBODY if principal.id.isascii() and is_plain(principal.id) else self._strange(principal)

    def _strange(self, principal: Principal) -> Entry:
        """Return what is known of an id that was not found as it stands (rules 2 and 3)."""
        id, tenant = principal.id, principal.tenant
        if unfit(id) is not None:
            return _UNFIT
        if is_plain(id):
            return NOBODY
        alike = self._people.get(tenant, {}).get(nfc(id)), self._alike.get(tenant, {}).get(fold(id))
        reason = next((entry.reason for entry in alike if entry is not None and entry.reason is not None), None)
        return NOBODY if reason is None else Entry(reason=reason)


def read(data: bytes) -> Register:
    """Read the file.

    Raises:
        ValueError: It says something that nothing reads; who it is about is named.
    """
    document = _parsed(data)
    if unknown := sorted(set(document) - set(_FIELDS)):
        raise ValueError(f"{shown(unknown[0])!r}: unknown key, expected one of: {', '.join(_FIELDS)}")
    shared: dict[Entry, Entry] = {}
    people: _People = {None: _entries(document.get("person", {}), "person", shared)}
    for tenant, table in _table(document.get("tenant", {}), "tenant").items():
        where = f"tenant {shown(tenant)!r}"
        if unknown := sorted(set(_table(table, where)) - {"person"}):
            raise ValueError(f"{where}: {shown(unknown[0])!r}: unknown key, expected 'person'")
        people[tenant] = _entries(table.get("person", {}), where, shared)
    return Register(people, f"sha256:{hashlib.sha256(data).hexdigest()}")


def is_probe(principal: Principal, tool: str) -> bool:
    """Whether this is the doctor's call in the name of somebody who is suspended."""
    return tool == PROBED and principal == DOCTOR


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start}: not UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    except tomllib.TOMLDecodeError as error:
        text = str(error)
        raise ValueError(f"{text[:1].lower()}{text[1:]}") from None


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a table")  # noqa: TRY004 - one error for all that the file can have wrong
    return value


def _entries(tables: Any, where: str, shared: dict[Entry, Entry]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for id, table in _table(tables, where).items():
        name = f"person {shown(id)!r}"
        if unfit(id) is not None or not id or not is_plain(id):
            raise ValueError(f"{name}: an id is plain: form C, nothing hidden in it, no white space at its ends")
        if id == DOCTOR.id:
            raise ValueError(f"{name}: it is the doctor's own")
        found[id] = _shared(_written(_table(table, name), name), name, shared)
        if len(found) > LIMITS.people:
            raise ValueError(f"{where}: there are more than {LIMITS.people} people")
    return found


def _written(table: dict[str, Any], name: str) -> _Written:
    try:
        return msgspec.convert(table, _Written)
    except msgspec.ValidationError as error:
        text = str(error).replace("`", "'")
        raise ValueError(f"{name}: {text[:1].lower()}{text[1:]}") from None


def _shared(written: _Written, name: str, shared: dict[Entry, Entry]) -> Entry:
    """Return the entry of one person: one object for all who have the same, so that many people take little room."""
    entry = Entry(
        _names(written.groups, f"{name}: groups"),
        None if written.roles is None else _names(written.roles, f"{name}: roles"),
        tuple(_pattern(item, name, place) for place, item in enumerate(written.grants)) or None,
        written.reason,
    )
    return shared.setdefault(entry, entry)


def _names(words: tuple[str, ...], where: str) -> frozenset[str]:
    if (bad := next((word for word in words if not word or unfit(word) or not is_plain(nfc(word))), None)) is not None:
        raise ValueError(f"{where}: {shown(bad)!r} is no plain name")
    return frozenset(map(nfc, words))


def _pattern(item: str | _Pair, name: str, place: int) -> Pattern:
    try:
        return Pattern.parse(item) if isinstance(item, str) else Pattern.pair(item.server, item.tool)
    except ValueError as error:
        raise ValueError(f"{name}: grants[{place}]: {error}") from None
