"""Lists, and what may be used: the decisions of `hauberk_pins._decide`, applied to what a connection was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hauberk.event import Event
from hauberk.listings import Listing
from hauberk.refusals import ConfigError
from hauberk.verdict import Deny
from hauberk_pins import _decide, _items
from hauberk_pins._book import Book, Whole
from hauberk_pins._decide import CHANGED, UNPINNED, Stance, Standing
from hauberk_pins._items import INFO_META, TWINS, Item, Key
from hauberk_pins._limits import LIMITS
from hauberk_pins._sight import Page, Sight
from hauberk_pins._uses import NOBODY
from hauberk_pins._visible import shown

if TYPE_CHECKING:
    from hauberk_pins._compare import Change

UNLISTED: Final = "pins.unlisted"
_UNRECORDED: Final = "pins.unrecorded"
_PLUGIN: Final = "pins"


class Outcome(msgspec.Struct, frozen=True):
    """What was decided on a page."""

    hidden: frozenset[str]
    """Names of which nothing is shown."""
    events: tuple[Event, ...]
    """For each time that the page comes."""
    once: tuple[Event, ...] = ()
    """For the first time."""


class Judge:
    """The decisions of one guard about one server."""

    def __init__(self, book: Book, server: str, stance: Stance, *, enforces: bool) -> None:
        self._book: Final = book
        self._server: Final = server
        self.stance: Final = stance
        self._action: Final = "blocked" if enforces else "logged"
        self._named: tuple[object, Mapping[tuple[str, str], str]] = (None, {})
        """The version of the pins, and their names by kind and body."""

    # --- lists ---

    def page(self, sight: Sight, listing: Listing, entries: list[Any], digest: bytes, *, last: bool) -> Outcome:
        """Decide on one page of a list, as the server sent it."""
        page, items = sight.page(listing, entries, digest, self._book.version)
        keys = sight.gathered(listing.kind, page, last=last)
        if items is None:
            outcome: Outcome = page.outcome
            return outcome
        outcome = self._decided(page, items, None if keys is None else (listing.kind, keys))
        page.version, page.outcome = self._book.version, msgspec.structs.replace(outcome, once=())
        if any(event.code == _UNRECORDED for event in outcome.once):
            page.version = None  # try again the next time
        return outcome

    def _decided(self, page: Page, items: Mapping[Key, Item], whole: Whole) -> Outcome:
        trouble = self._recorded(page.hashes, items, whole)
        pins = self._book.pins(self._server)
        found = {key: _decide.standing(key, digest, pins) for key, digest in page.hashes.items()}
        hidden = {key for key, how in found.items() if not self._passes(how, page.hashes[key])}
        odd = [key for key, how in found.items() if how != "pinned" or key in hidden]
        drifted = [key for key in odd if key not in hidden and found[key] == "changed"]
        gone = [key for key in odd if key in hidden]
        events = [self._hidden(gone, found, items, page)] if hidden or page.malformed else []
        once = [self._drifted(drifted, items)] if drifted else []
        return Outcome(frozenset(name for _, name in hidden), tuple(events), (*once, *trouble))

    def _passes(self, how: Standing, digest: str) -> bool:
        """Whether an item may pass; where a first sight is a pin, one that is none could not be recorded."""
        if self.stance.lenient:
            return True
        return bool(digest) and how != "unpinned" and _decide.may_pass(how, self.stance)

    def _recorded(self, hashes: Mapping[Key, str], items: Mapping[Key, Item], whole: Whole) -> list[Event]:
        """Record what was shown, and as a pin what is pinned by first sight; return the events of it."""
        pins = self._book.pins(self._server)
        first = (
            [key for key, digest in hashes.items() if digest and key not in pins and TWINS.get(key) not in pins]
            if self.stance.auto_trust_first
            else []
        )
        try:
            self._book.see(self._server, items.values(), whole=whole, first=first)
        except (ConfigError, OSError) as error:
            reason = error.message if isinstance(error, ConfigError) else (error.strerror or "").lower()
            return [self._event(_UNRECORDED, "warning", "logged", 1, {"reason": reason})]
        if not first or self._book.is_fixed(self._server):
            return []
        return [self._event("pins.first_sight", "info", "logged", len(first), {"items": _names(first)})]

    def _hidden(self, keys: list[Key], found: Mapping[Key, str], items: Mapping[Key, Item], page: Page) -> Event:
        from hauberk_pins._compare import Change, renamed_from  # a start does not wait for what is rare

        pins = self._book.pins(self._server)
        changed = [key for key in keys if found[key] == "changed"]
        details: dict[str, Any] = {
            "unpinned": _names(key for key in keys if found[key] == "unpinned"),
            "changed": [_told(Change("changed", pins.get(key), items[key])) for key in changed[: LIMITS.shown_items]],
        }
        new = [key for key in keys[: LIMITS.shown_items] if found[key] == "unpinned"]
        bodies = self._bodies() if new else {}
        names = {key: renamed_from(items[key], bodies) for key in new}
        if renamed := {shown(key[1]): shown(old) for key, old in names.items() if old is not None}:
            details["renamed_from"] = renamed
        if page.malformed:
            details["malformed"] = page.malformed
        severity = "warning" if changed or renamed or page.malformed else "info"
        return self._event("pins.hidden", severity, self._action, len(keys) + page.malformed, details)

    def _bodies(self) -> Mapping[tuple[str, str], str]:
        """Return the names of the pins by their bodies; made anew when pins change."""
        from hauberk_pins._compare import by_body  # as above

        if self._named[0] is not self._book.version:
            self._named = self._book.version, by_body(self._book.pins(self._server))
        return self._named[1]

    def _drifted(self, keys: list[Key], items: Mapping[Key, Item]) -> Event:
        from hauberk_pins._compare import Change  # as above

        pins = self._book.pins(self._server)
        told = [_told(Change("changed", pins.get(key), items[key])) for key in keys[: LIMITS.shown_items]]
        severity = "warning" if self.stance.on_change == "alert" else "info"
        return self._event("pins.drifted", severity, "logged", len(keys), {"changed": told})

    def _event(self, code: str, severity: Any, action: Any, count: int, details: dict[str, Any]) -> Event:
        return Event(
            code=code,
            severity=severity,
            action=action,
            plugin=_PLUGIN,
            server=self._server,
            count=count,
            details=details,
        )

    # --- the server itself ---

    def introduced(self, sight: Sight, result: Mapping[str, Any]) -> tuple[set[str], list[Event]]:
        """Decide on what a server says of itself; return what is not to be shown."""
        said = {key: result[key[1]] for key in (_items.SERVER_INFO, _items.INSTRUCTIONS) if key[1] in result}
        meta = result.get("_meta")
        if isinstance(meta, dict) and INFO_META in meta:
            said[_items.META_INFO] = meta[INFO_META]
        items = {key: _items.item(*key, value) for key, value in said.items()}
        page = Page({key: one.hash for key, one in items.items()}, 0)
        # What it said in the other revision's place stands: nobody has said anything else since.
        twins = [TWINS[key] for key in items if key in TWINS and self._book.was_shown(self._server, TWINS[key])]
        outcome = self._decided(page, items, ("server", frozenset({*items, *twins})))
        sight.said = page.hashes
        return set(outcome.hidden), [*outcome.events, *outcome.once]

    def told(self, sight: Sight, info: Any) -> tuple[bool, list[Event]]:
        """Decide on who a server says it is in a list; return whether that is not to be shown."""
        one = _items.item(*_items.META_INFO, info)
        outcome = self._decided(Page({one.key: one.hash}, 0), {one.key: one}, None)
        once = outcome.once if sight.said.get(one.key) != one.hash else ()
        sight.said = {**sight.said, one.key: one.hash}
        return bool(outcome.hidden), [*outcome.events, *once]

    # --- how it is reached ---

    def reached(self, items: Mapping[Key, Item]) -> tuple[Deny | None, list[Event]]:
        """Decide on how a server is reached, before it is; return why it may not be, if it may not."""
        known = bool(self._book.pins(self._server))
        page = Page({key: one.hash for key, one in items.items()}, 0)
        trouble = self._recorded(page.hashes, items, (_items.ORIGIN, frozenset(items)))
        pins = self._book.pins(self._server)
        found = {key: _decide.standing(key, one.hash, pins) for key, one in items.items()}
        odd = [key for key, how in found.items() if how != "pinned" and (known or how == "changed")]
        refused = [key for key in odd if not self._passes(found[key], page.hashes[key])]
        drifted = [key for key in odd if found[key] == "changed" and key not in refused]
        if not refused:
            return None, [*trouble, *([self._drifted(drifted, items)] if drifted else [])]
        key = refused[-1]
        why = "is not what was pinned" if found[key] == "changed" else "is not pinned, and other things of it are"
        return self._deny(_decide.code(found[key], key), key, why), [*trouble, self._not_reached(refused, items)]

    def _not_reached(self, keys: list[Key], items: Mapping[Key, Item]) -> Event:
        from hauberk_pins._compare import Change  # as above

        pins = self._book.pins(self._server)
        told = [_told(Change("changed" if key in pins else "added", pins.get(key), items[key])) for key in keys]
        return self._event("pins.not_reached", "warning", self._action, len(keys), {"changed": told})

    # --- what may be used ---

    def refusal(self, sight: Sight, key: Key, *, dry: bool = False, stale: bool = False) -> Deny | None:
        """Return why an item may not be used, if it may not.

        Args:
            sight: What the connection was shown.
            key: The item.
            dry: Whether what the server showed last, to whomever, stands for what it has not shown here.
            stale: Whether what the connection was shown stands though it may have changed since: a notification tells
                of it, and no list is asked for.
        """
        if self.stance.lenient:
            return None
        if (refused := self._distrusted(sight)) is not None:
            return refused
        if key == NOBODY:
            return self._nobody()
        digest, seen = sight.hash(key, stale=stale), ""
        if digest is None and dry and (last := self._book.last(self._server).get(key)) is not None:
            digest, seen = last.hash, ", as last seen"
        if digest is None:
            return self._unlisted(sight, key, dry=dry)
        how = _decide.standing(key, digest, self._book.pins(self._server))
        if self._passes(how, digest):
            return None
        why = "is not pinned" if how == "unpinned" else "is not what was pinned"
        return self._deny(_decide.code(how, key), key, why + seen)

    def _distrusted(self, sight: Sight) -> Deny | None:
        """Return why nothing of the server may be used: what it said of itself is not pinned, or not any more."""
        pins = self._book.pins(self._server)
        for key, digest in sight.said.items():
            if not self._passes(_decide.standing(key, digest, pins), digest):
                known = any(kind == key[0] for kind, _ in pins)
                code, why = (CHANGED, "is not what was pinned") if known else (UNPINNED, "is not pinned")
                return self._deny(code, key, f"{why}, so nothing of the server may be used")
        return None

    def _unlisted(self, sight: Sight, key: Key, *, dry: bool) -> Deny:
        if sight.is_complete(key[0]):
            return self._deny(UNPINNED, key, "is in no list that the server has sent")
        if dry and self._book.was_listed(self._server, key[0]):
            return self._deny(UNPINNED, key, "is in no list that the server has sent, as last seen")
        return self._deny(
            UNLISTED, key, "cannot be compared with its pin: the server has sent no list since it changed"
        )

    def read_refusal(self, sight: Sight, uris: Sequence[str], *, stale: bool = False) -> Deny | None:
        """Return why resources may not be read: of one, neither it nor a template that it is of may be used."""
        from hauberk_pins import _templates  # as above

        templates: list[str] | None = None
        budget = _templates.Budget()
        for uri in uris:
            refused = self.refusal(sight, ("resource", uri), stale=stale)
            if refused is None:
                continue
            if refused.code == CHANGED or self._distrusted(sight) is not None:
                return refused
            if templates is None:
                templates = self._templates(sight, stale=stale)
            if not _templates.is_of(templates, uri, budget):
                return self._too_costly() if budget.left < 0 else self._unless_listed(sight, refused, uri)
        return None

    def _templates(self, sight: Sight, *, stale: bool) -> list[str]:
        """Return the templates that may be used.

        An unpinned one is not compared: the server chooses how many there are, and how long each takes.
        """
        pins = self._book.pins(self._server)
        keys = [("template", name) for name in sight.names("template")]
        known = [key for key in keys if key in pins and sight.hash(key, stale=stale)]
        return [key[1] for key in known if self.refusal(sight, key, stale=stale) is None]

    def _unless_listed(self, sight: Sight, refused: Deny, uri: str) -> Deny:
        """Return why a URI that is of no template may not be read."""
        if refused.code == UNPINNED and not sight.is_complete("template"):
            return self._deny(UNLISTED, ("resource", uri), "may be of a template that the server has not listed yet")
        return refused

    def _too_costly(self) -> Deny:
        return Deny(
            UNPINNED,
            f"nobody can tell whether a resource of server '{shown(self._server)}' is of a pinned template",
            rule=f"at most {LIMITS.template_steps} steps compare what a request names with templates",
            hint="let the server list the resource, or have fewer templates",
        )

    def _nobody(self) -> Deny:
        return Deny(
            UNPINNED,
            f"nobody can tell what is used of server '{shown(self._server)}'",
            rule="what is used is named by a string",
            hint="send what the protocol asks for",
        )

    def _deny(self, code: str, key: Key, why: str) -> Deny:
        kind, server = key[0], shown(self._server)
        name = "" if kind == "resource" else shown(key[1])  # a URI that a host makes may hold a secret
        hint = f"hauberk pins diff --server {server}" + (f" --tool {name}" if kind == "tool" else "")
        if code == UNLISTED:
            hint = f"try again once the server has listed its {kind}s"
        what, rule = (f"{kind} '{name}'", f"{server}/{kind}/{name}") if name else (f"a {kind}", f"{server}/{kind}")
        if kind == _items.ORIGIN:
            what = f"the {name}"
        return Deny(code, f"{what} of server '{server}' {why}", rule=rule, hint=hint)


def _names(keys: Any) -> list[str]:
    return [f"{kind} {shown(name)}" for kind, name in list(keys)[: LIMITS.shown_items]]


def _told(change: Change) -> dict[str, Any]:
    """Return a change as an event says it: hashes and paths, never the text that may be poison."""
    before = change.before.hash if change.before else ""
    return {
        "item": f"{change.item.kind} {shown(change.item.name)}",
        "old": before,
        "new": change.after.hash if change.after else "",
        "fields": change.fields,
    }
