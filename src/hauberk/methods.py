"""Every MCP method of every protocol revision, and the checks that a message meets before any hook.

The rules:

1. A message is one JSON-RPC 2.0 request, notification, result or error (JSON-RPC 2.0 §§4, 5). What is two of these at
   once, or none, is refused.
2. An id is a string or an integer, never a boolean, a float or null; only an error may answer nothing (id null).
3. A member that a case-insensitive parser would take for one that is checked here (``Method``, ``ID``, an s that is
   U+017F) is refused, so that no peer reads another message than was judged. Other unknown members are carried.
4. A method of no revision is refused unless the configuration declares it; a known one cannot be declared anew. Kind,
   sender and the types of the known parameters must be right.

Sources are pages of the specification (``docs/specification/<revision>/<page>``), proposals (SEP-n) or extensions. The
parameters are those of ``schema/<revision>/schema.ts``; what is optional in one revision is optional here.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from hauberk._twins import fold
from hauberk.bounds import Bounds
from hauberk.refusals import INVALID_REQUEST, MEDIATION, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["request", "notification", "result", "error"]
Sender = Literal["client", "server", "both"]

REVISIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
"""Every released revision, oldest first; the last has no handshake and names itself in each request's ``_meta``."""

REVISION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
"""Where a request of 2026-07-28 or later names its revision, in ``_meta``."""

_NAME_CHARS: Final = 64
ABSENT: Final = object()
"""Stands for a member that is not there, which is not the same as one that is null."""


class Method(msgspec.Struct, frozen=True):
    """One method of the protocol.

    ``sender`` is the side that may send it in some revision of ``revisions``; what only travels inside an
    ``input_required`` result of 2026-07-28 has the side that asks. ``source`` says where it is defined.
    """

    name: str
    sender: Sender
    kind: Literal["request", "notification"]
    revisions: tuple[str, ...]
    source: str


class _Shape(NamedTuple):
    """What a parameter may be. ``filled`` must not be empty; ``counted`` is bounded by ``Bounds.id_chars``."""

    words: str
    types: tuple[type, ...]
    filled: bool = False
    counted: bool = False


_TEXT: Final = _Shape("a string", (str,))
_NAME: Final = _Shape("a string that is not empty", (str,), filled=True)
_OBJECT: Final = _Shape("an object", (dict,))
_ARRAY: Final = _Shape("an array", (list,))
_NUMBER: Final = _Shape("a number", (int, float))
_TOKEN: Final = _Shape("a string or an integer", (str, int), counted=True)
_TASK_ID: Final = _Shape("a string", (str,), counted=True)
_NONE: Final[Mapping[str, _Shape]] = MappingProxyType({})


class _Rule:
    """A method, with what its parameters must and may be, in the form that `check` reads fastest."""

    __slots__ = ("counted", "kind", "method", "must", "senders", "shapes", "twins", "types")

    def __init__(self, method: Method, must: Mapping[str, _Shape], may: Mapping[str, _Shape]) -> None:
        self.method = method
        self.kind = method.kind
        self.senders = ("client", "server") if method.sender == "both" else (method.sender,)
        self.must = tuple((name, shape.filled) for name, shape in must.items())
        self.shapes = {**must, **may, "_meta": _OBJECT}
        self.types = {name: shape.types for name, shape in self.shapes.items()}
        self.twins = {fold(name): name for name in self.shapes}
        self.counted = next((name for name, shape in self.shapes.items() if shape.counted), None)


_RULES: Final[dict[str, _Rule]] = {}


def _define(
    name: str,
    sender: Sender,
    revisions: tuple[str, ...],
    source: str,
    must: Mapping[str, _Shape] = _NONE,
    may: Mapping[str, _Shape] = _NONE,
) -> None:
    kind: Literal["request", "notification"] = "notification" if name.startswith("notifications/") else "request"
    _RULES[name] = _Rule(Method(name, sender, kind, revisions, source), must, may)


_SHAKEN: Final = REVISIONS[:4]
"""The revisions that begin with a handshake."""
_NEW: Final = REVISIONS[4:]
_2025: Final = REVISIONS[3:4]

_HELLO: Final = {"protocolVersion": _TEXT, "capabilities": _OBJECT, "clientInfo": _OBJECT}
_define("initialize", "client", _SHAKEN, "basic/lifecycle", _HELLO)
_define("notifications/initialized", "client", _SHAKEN, "basic/lifecycle")
_define("server/discover", "client", _NEW, "server/discover (SEP-2575)")
_define("ping", "both", _SHAKEN, "basic/utilities/ping")
_STEP: Final = {"progressToken": _TOKEN, "progress": _NUMBER}
_define("notifications/progress", "both", REVISIONS, "basic/utilities/progress", _STEP)
# Optional since 2025-11-25, where a task is cancelled by a request of its own.
_define("notifications/cancelled", "both", REVISIONS, "basic/utilities/cancellation", may={"requestId": _TOKEN})

_PAGE: Final = {"cursor": _TEXT}
_URI: Final = {"uri": _TEXT}
_RETRY: Final = {"inputResponses": _OBJECT, "requestState": _TEXT}
_ARGUMENTS: Final = {"arguments": _OBJECT, **_RETRY}
_LEVEL: Final = {"level": _TEXT}
_define("tools/list", "client", REVISIONS, "server/tools", may=_PAGE)
_define("tools/call", "client", REVISIONS, "server/tools", {"name": _NAME}, _ARGUMENTS)
_define("notifications/tools/list_changed", "server", REVISIONS, "server/tools")
_define("prompts/list", "client", REVISIONS, "server/prompts", may=_PAGE)
_define("prompts/get", "client", REVISIONS, "server/prompts", {"name": _TEXT}, _ARGUMENTS)
_define("notifications/prompts/list_changed", "server", REVISIONS, "server/prompts")
_define("resources/list", "client", REVISIONS, "server/resources", may=_PAGE)
_define("resources/templates/list", "client", REVISIONS, "server/resources", may=_PAGE)
_define("resources/read", "client", REVISIONS, "server/resources", _URI, _RETRY)
_define("resources/subscribe", "client", _SHAKEN, "server/resources", _URI)
_define("resources/unsubscribe", "client", _SHAKEN, "server/resources", _URI)
_define("notifications/resources/list_changed", "server", REVISIONS, "server/resources")
_define("notifications/resources/updated", "server", REVISIONS, "server/resources", _URI)
_SOUGHT: Final = {"ref": _OBJECT, "argument": _OBJECT}
_define("completion/complete", "client", REVISIONS, "server/utilities/completion", _SOUGHT)
_define("logging/setLevel", "client", _SHAKEN, "server/utilities/logging", _LEVEL)
_define("notifications/message", "server", REVISIONS, "server/utilities/logging", _LEVEL)

_STREAM: Final = "basic/patterns/subscriptions (SEP-2575)"
_FILTER: Final = {"notifications": _OBJECT}
_define("subscriptions/listen", "client", _NEW, _STREAM, _FILTER)
_define("notifications/subscriptions/acknowledged", "server", _NEW, _STREAM, _FILTER)

_MRTR: Final = "since 2026-07-28 embedded in results (SEP-2322)"
_define("sampling/createMessage", "server", REVISIONS, f"client/sampling; {_MRTR}", {"messages": _ARRAY})
_define("elicitation/create", "server", REVISIONS[2:], f"client/elicitation; {_MRTR}", {"message": _TEXT})
_DONE: Final = {"elicitationId": _TEXT}
_define("notifications/elicitation/complete", "server", _2025, "client/elicitation (SEP-1036)", _DONE)
_define("roots/list", "server", REVISIONS, f"client/roots; {_MRTR}")
_define("notifications/roots/list_changed", "client", _SHAKEN, "client/roots")

# The SDK's tables leave tasks out. In 2025-11-25 either side may own one, in the extension only the server.
_OLD_TASKS: Final = "2025-11-25 basic/utilities/tasks (SEP-1686)"
_TASKS: Final = "extension io.modelcontextprotocol/tasks (SEP-2663)"
_TASK: Final = {"taskId": _TASK_ID}
_define("tasks/get", "both", _2025 + _NEW, f"{_OLD_TASKS}; {_TASKS}", _TASK)
_define("tasks/cancel", "both", _2025 + _NEW, f"{_OLD_TASKS}; {_TASKS}", _TASK)
_define("tasks/result", "both", _2025, _OLD_TASKS, _TASK)
_define("tasks/list", "both", _2025, _OLD_TASKS, may=_PAGE)
_define("notifications/tasks/status", "both", _2025, _OLD_TASKS, {**_TASK, "status": _TEXT})
_define("tasks/update", "client", _NEW, _TASKS, {**_TASK, "inputResponses": _OBJECT})
_define("notifications/tasks", "server", _NEW, _TASKS, {**_TASK, "status": _TEXT})

METHODS: Final[Mapping[str, Method]] = MappingProxyType({name: rule.method for name, rule in _RULES.items()})
"""Every method by its name."""

CACHEABLE_METHODS: Final = frozenset(
    {"prompts/list", "resources/list", "resources/read", "resources/templates/list", "server/discover", "tools/list"}
)
"""Methods whose results carry ``ttlMs`` and ``cacheScope`` (2026-07-28 server/utilities/caching, SEP-2549)."""

INPUT_REQUESTS: Final = frozenset({"sampling/createMessage", "elicitation/create", "roots/list"})
"""Requests that an ``input_required`` result may embed; in 2026-07-28 they travel in no other way (SEP-2322)."""

INPUT_REQUIRED_METHODS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Methods that may be answered ``input_required`` (2026-07-28 basic/patterns/mrtr, SEP-2322)."""

_MEMBERS: Final = {fold(name): name for name in ("jsonrpc", "id", "method", "params", "result", "error")}
_RESPONSE_MEMBERS: Final = 3
_KINDS: Final = {str: "a string", bool: "a boolean", int: "an integer", float: "a float"}
_BOUNDS: Final = Bounds()


def classify(data: dict[str, Any], bounds: Bounds) -> tuple[Kind, str | None, str | int | None]:
    """Tell what one JSON-RPC message is.

    Args:
        data: The message, as a JSON parser gave it. It is not changed.
        bounds: ``id_chars`` bounds an id that is a string (characters).

    Returns:
        Kind, method (None of a result or an error) and id. The id is None of a notification, and of an error that
        answers nothing.

    Raises:
        Refused: ``core.envelope`` or ``core.id``. With a well-formed id in the message, ``details["id"]`` is that id
            and the code on the wire is -32006; without one it is -32600. ``details["kind"]`` is ``"request"`` if the
            message names a method (an answer goes to its sender), else ``"response"`` (it stood for an answer).
    """
    if data.get("jsonrpc") != "2.0":
        raise _envelope(data, bounds, "jsonrpc is '2.0'", "jsonrpc is another version or none")
    if "method" not in data:
        return _classify_response(data, bounds)
    method = data["method"]
    if type(method) is not str:
        raise _envelope(data, bounds, "method is a string", f"method is {_kind_of(method)}")
    if "id" not in data:
        if len(data) != 2 + ("params" in data):
            _check_members(data, bounds)
        return "notification", method, None
    id_ = data["id"]
    if type(id_) is not int and not _usable(id_, bounds):
        raise _bad_id(data, bounds)
    if len(data) != 3 + ("params" in data):
        _check_members(data, bounds)
    return "request", method, id_


def _usable(id_: Any, bounds: Bounds) -> bool:
    """Whether an id that is no integer may stand for one."""
    return type(id_) is str and len(id_) <= bounds.id_chars


def _classify_response(data: dict[str, Any], bounds: Bounds) -> tuple[Kind, None, str | int | None]:
    id_ = data.get("id")
    if type(id_) is not int and not _usable(id_, bounds) and (id_ is not None or "error" not in data):
        raise _bad_id(data, bounds)
    if len(data) != _RESPONSE_MEMBERS or "id" not in data:
        _check_members(data, bounds)
    if "result" in data:
        if type(data["result"]) is not dict:
            raise _envelope(data, bounds, "result is an object", f"result is {_kind_of(data['result'])}")
        return "result", None, id_
    if "error" not in data:
        raise _envelope(data, bounds, "method, result or error", "none of method, result and error is there")
    error = data["error"]
    if type(error) is not dict or type(error.get("code")) is not int or type(error.get("message")) is not str:
        raise _envelope(data, bounds, "error is an object with code and message", "error is not such an object")
    return "error", None, id_


def _check_members(data: dict[str, Any], bounds: Bounds) -> None:
    """Refuse two kinds in one message, and look-alike members; carry the others."""
    parts = [name for name in ("method", "result", "error") if name in data]
    if len(parts) > 1:
        raise _envelope(data, bounds, "one of method, result, error", f"{' and '.join(parts)} are there together")
    for name in data:
        twin = _MEMBERS.get(fold(name))
        if twin is not None and twin != name:
            raise _envelope(data, bounds, "no look-alike members", f"{_shown(name)} looks like {twin!r}")


def check(
    method: str, kind: str, sender: str, params: Any, extra: Mapping[str, Method], bounds: Bounds = _BOUNDS
) -> None:
    """Check a request or notification against what the protocol says of its method.

    Args:
        method: As `classify` returned it.
        kind: ``"request"`` or ``"notification"``; an embedded request is a request.
        sender: ``"client"`` or ``"server"``, whichever wrote it.
        params: ``data.get("params", ABSENT)``: null is not the same as absent.
        extra: Methods that the configuration declares; of these only kind, sender and ``_meta`` are checked.
        bounds: ``id_chars`` bounds progress tokens, task ids and the ids of cancelled requests (characters).

    Raises:
        Refused: ``core.method_unknown``, ``core.kind``, ``core.direction`` or ``core.params``, each -32006.
    """
    rule = _RULES.get(method) or _declared(method, extra)
    if rule.kind != kind:
        raise _refused("core.kind", f"{method} is a {rule.kind}", f"{method!r} came as a {kind} from the {sender}")
    if sender not in rule.senders:
        raise _refused("core.direction", f"{method} is the {rule.senders[0]}'s", f"{method!r} came from the {sender}")
    if type(params) is dict:
        _check_params(rule, params, bounds)
    elif params is not ABSENT or rule.must:
        raise _params(rule, "params is an object", f"params is {_kind_of(params)}")


def _check_params(rule: _Rule, params: dict[str, Any], bounds: Bounds) -> None:
    types = rule.types
    for name, value in params.items():
        allowed = types.get(name)
        if allowed is None:
            if (twin := rule.twins.get(fold(name))) is not None:
                raise _params(rule, "no look-alike parameters", f"{_shown(name)} looks like {twin!r}")
        elif type(value) not in allowed:
            raise _params(rule, f"{name} is {rule.shapes[name].words}", f"{name!r} is {_kind_of(value)}")
    for name, filled in rule.must:
        value = params.get(name, ABSENT)
        if value is ABSENT or (filled and not value):
            raise _params(rule, f"{name} is {rule.shapes[name].words}", f"{name!r} is missing or empty")
    if rule.counted is not None:
        _count(rule, rule.counted, params.get(rule.counted), bounds)
    if "_meta" in params:
        _check_meta(rule, params["_meta"], bounds)


def _check_meta(rule: _Rule, meta: dict[str, Any], bounds: Bounds) -> None:
    token = meta.get("progressToken", 0)
    if type(token) is not int:
        if type(token) is not str:
            raise _params(rule, f"_meta.progressToken is {_TOKEN.words}", f"'progressToken' is {_kind_of(token)}")
        _count(rule, "_meta.progressToken", token, bounds)
    if type(meta.get(REVISION_KEY, "")) is not str:
        raise _params(
            rule, "_meta names the revision by a string", f"{REVISION_KEY!r} is {_kind_of(meta[REVISION_KEY])}"
        )


def _count(rule: _Rule, name: str, value: Any, bounds: Bounds) -> None:
    if type(value) is str and len(value) > bounds.id_chars:
        raise _params(rule, f"{name} has at most {bounds.id_chars} characters", f"{name!r} has {len(value)} characters")


def _declared(method: str, extra: Mapping[str, Method]) -> _Rule:
    declared = extra.get(method)
    if declared is None:
        hint = "if this peer needs it, declare the method in the configuration"
        raise _refused("core.method_unknown", "known methods", f"no revision has {_shown(method)}", hint=hint)
    return _open_rule(declared)


@cache  # grows with the configuration only
def _open_rule(method: Method) -> _Rule:
    return _Rule(method, _NONE, _NONE)


def correlation_key(id: str | int) -> str | int:
    """Return what an id is matched by, so that ids which a peer may take for one are one.

    A string that Python's ``int()`` reads (``"7"``, ``"+7"``, ``" 7"``, ``"07"``, ``"7_0"``, digits of any script) is
    that integer: in this domain the SDK matches answers to requests. Python's limit on the digits of an integer holds:
    a longer string is itself.
    """
    # A string with a cased letter is no number; most string ids are UUIDs, and an exception costs more than this test.
    if type(id) is not str or id.islower() or id.isupper():
        return id
    try:
        return int(id)
    except ValueError:
        return id


def revision_of(params: Any) -> str | None:
    """Return the revision that a request names in ``_meta`` (2026-07-28 and later), or None where it names none."""
    if type(params) is not dict:
        return None
    meta = params.get("_meta")
    revision = meta.get(REVISION_KEY) if type(meta) is dict else None
    return revision if type(revision) is str else None


def _envelope(data: dict[str, Any], bounds: Bounds, rule: str, detail: str, code: str = "core.envelope") -> Refused:
    details: dict[str, Any] = {"kind": "request" if "method" in data else "response"}
    id_ = data.get("id")
    if type(id_) is int or _usable(id_, bounds):
        details["id"] = id_
    number = MEDIATION if "id" in details else INVALID_REQUEST
    return Refused(code, f"not a JSON-RPC 2.0 message: {detail}", rule=rule, jsonrpc=number, details=details)


def _bad_id(data: dict[str, Any], bounds: Bounds) -> Refused:
    id_ = data.get("id", ABSENT)
    detail = f"id has {len(id_)} characters" if type(id_) is str else f"id is {_kind_of(id_)}"
    rule = f"id is an integer or a string of at most {bounds.id_chars} characters"
    return _envelope(data, bounds, rule, detail, "core.id")


def _params(rule: _Rule, text: str, detail: str) -> Refused:
    return _refused("core.params", text, f"malformed params of {rule.method.name!r}: {detail}")


def _refused(code: str, rule: str, message: str, *, hint: str | None = None) -> Refused:
    return Refused(code, message, rule=rule, hint=hint, jsonrpc=MEDIATION)


def _kind_of(value: Any) -> str:
    """Name the JSON type of a value; the value itself may be a secret."""
    if value is None or value is ABSENT:
        return "missing" if value is ABSENT else "null"
    return _KINDS.get(type(value), "an object or an array")


def _shown(name: str) -> str:
    """Return a name that a peer chose, short enough for an error."""
    return repr(name if len(name) <= _NAME_CHARS else name[:_NAME_CHARS] + "…")
