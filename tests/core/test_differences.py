"""Two configurations compared by what they say, as a reload compares them and as they are compared later."""

from __future__ import annotations

from typing import Annotated

import pytest

from hauberk import differences
from hauberk.config import SECRET, Config, Options
from hauberk.refusals import ConfigError


class Rules(Options, frozen=True):
    """The options of a plugin."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    pin: Annotated[str, SECRET] = ""


KINDS = {"rules": Rules}


def config(text: str) -> Config:
    return Config.from_toml(text)


def lines(old: str, new: str, kinds: differences.Kinds = KINDS, local: tuple[str, str] = ("", "")) -> tuple[str, ...]:
    return differences.between(config(old), config(new), kinds, local=local).lines


def test_swap_of_an_allow_for_a_deny_shows() -> None:
    """Rules are compared by what they say and where they stand, not counted (S3.18)."""
    old, new = "[rules]\nallow = ['a']\ndeny = ['b']\n", "[rules]\nallow = ['b']\ndeny = ['a']\n"
    assert set(lines(old, new)) == {"+ rules.allow: b", "- rules.allow: a", "+ rules.deny: a", "- rules.deny: b"}


def test_values_of_plugins_that_are_not_known_are_not_shown() -> None:
    """What no type says is no secret is named by its place alone (X.14)."""
    old, new = "[rules]\npin = 'a'\nallow = ['x']\n", "[rules]\npin = 'b'\nallow = ['y']\n"
    assert lines(old, new) == ("+ rules.allow: y", "- rules.allow: x", "~ rules.pin")
    assert lines(old, new, {}) == ("+ rules.allow", "- rules.allow", "~ rules.pin")
    assert lines(old, new, {"rules": None}) == ("+ rules.allow", "- rules.allow", "~ rules.pin")


def test_program_is_part_of_a_policy() -> None:
    """Another ``policy.py`` beside the same text is a difference."""
    assert lines("", "", local=("", "")) == ()
    assert lines("", "", local=("sha256:a", "sha256:b")) == ("~ policy.py: 'sha256:a' → 'sha256:b'",)


def test_other_bytes_in_the_place_of_a_configuration() -> None:
    """What another content would say is read as the file itself would be, and checked as that."""
    base = Config.from_toml("", name="x.toml", host="desktop", profile_default="production")
    other = differences.like(base, b"[plugins]\ndisable = ['a']\n")
    assert (other.name, other.host, other.profile) == ("x.toml", "desktop", "production")
    assert other.content == b"[plugins]\ndisable = ['a']\n"
    with pytest.raises(ConfigError, match=r"x\.toml"):
        differences.like(base, b"[plugins\n")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("[rules]\nallow = ['x']\n", []),
        ("[rules]\npin = 'x'\n", ["rules.pin"]),
        ("[server.a.rules]\npin = 'x'\n", ["server.a.rules.pin"]),
        ("[host.other.rules]\npin = 'x'\n", ["host.other.rules.pin"]),
        ("[unknown]\nx = 1\n", ["unknown.x"]),
        ("[server.a]\ncommand = 'x'\nargs = ['y']\n", []),
        ("[server.a]\ncommand = 'x'\nenv = { A = 'b' }\n", ["server.a"]),
        ("[server.a]\ncommand = 'x'\nargs = ['--token=abc']\n", ["server.a"]),
        ("[server.a]\nurl = 'https://user:word@example.org/'\n", ["server.a"]),
        ("[server.a]\nurl = 'https://example.org/'\nheaders = { X = 'y' }\n", ["server.a"]),
    ],
)
def test_what_may_be_secret_is_named(text: str, places: list[str]) -> None:
    """Each place that holds a secret, or of which nobody knows, is found, for whichever host or server (X.14)."""
    assert differences.hidden(config(text), KINDS) == places
