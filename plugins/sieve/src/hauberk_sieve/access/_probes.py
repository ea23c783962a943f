"""What shows that the sieve is live: things that every table denies, and one of each kind that no table names."""

from __future__ import annotations

from typing import Any, Final

from hauberk.probe import SERVER, Probe, Sent, call, client, request, result, server
from hauberk_sieve._options import PROBED, PROBED_URI
from hauberk_sieve.access._rule import Kind

_UNLISTED: Final = "unlisted"
_UNLISTED_URI: Final = "hauberk-doctor:unlisted"


def probes(guard: Any, plugin: Any) -> list[Probe]:
    """Return the probes of the table that holds for the doctor's server."""
    rules = guard.options_for(plugin, SERVER).rules()
    unlisted: tuple[tuple[Kind, str, str, Sent], ...] = (
        ("tool", _UNLISTED, "call of a tool", client(call(_UNLISTED))),
        ("prompt", _UNLISTED, "prompts/get of a prompt", client(request("prompts/get", {"name": _UNLISTED}))),
        (
            "resource",
            _UNLISTED_URI,
            "resources/read of a resource",
            client(request("resources/read", {"uri": _UNLISTED_URI})),
        ),
    )
    # A list that allows everything of every server leaves nothing that is unlisted.
    named = [one for one in unlisted if rules.decide(SERVER, one[0], one[1]).by == "default"]
    refused = [(kind, what, sent) for kind, name, what, sent in named if not rules.decide(SERVER, kind, name).allowed]
    return [
        *_of_denied(),
        *(
            Probe(
                f"sieve.refuses_unlisted_{'call' if kind == 'tool' else kind}",
                f"a {what} that no rule names is refused",
                (sent,),
                refused="sieve.denied",
            )
            for kind, what, sent in refused
        ),
    ]


def _of_denied() -> list[Probe]:
    tools = {"tools": [{"name": PROBED.tool, "inputSchema": {"type": "object"}}]}
    prompts = {"prompts": [{"name": PROBED.tool}]}
    resources = {"resources": [{"uri": PROBED_URI, "name": "a"}]}
    templates = {"resourceTemplates": [{"uriTemplate": PROBED_URI, "name": "a"}]}
    return [
        _refuses("call", "a call of a tool", call(PROBED.tool)),
        _hides("tool", PROBED.tool, "tools/list", tools),
        _refuses("prompt", "a prompts/get of a prompt", request("prompts/get", {"name": PROBED.tool})),
        _hides("prompt", PROBED.tool, "prompts/list", prompts),
        _refuses("resource", "a resources/read of a resource", request("resources/read", {"uri": PROBED_URI})),
        _hides("resource", PROBED_URI, "resources/list", resources),
        _hides("template", PROBED_URI, "resources/templates/list", templates),
    ]


def _refuses(word: str, what: str, message: dict[str, Any]) -> Probe:
    name, control = f"sieve.refuses_denied_{word}", f"{what} that a rule denies is refused"
    return Probe(name, control, (client(message),), refused="sieve.denied")


def _hides(word: str, name: str, method: str, listed: dict[str, Any]) -> Probe:
    return Probe(
        f"sieve.hides_denied_{word}",
        f"a {word} that a rule denies is gone from a list",
        (client(request(method)), server(result(listed))),
        hidden=name,
    )
