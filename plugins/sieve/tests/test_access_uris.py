"""URIs of resources: their normal form, what is plain, and what a deny rule reads in them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.access._rule import Entry, read
from hauberk_sieve.access._rules import Rules
from hauberk_sieve.access._uris import is_plain_uri, normal, readings, shown_uri

NOTES = Rules("deny", [read("allow", Entry(server="*", resource="file:///srv/notes/*"))])
NO_ETC = Rules("allow", [], [read("deny", Entry(server="*", resource="file:///etc/*"))])

segments = st.sampled_from(
    ["a", "b%41", "..", ".", "%2e%2e", "%2E.", "..%2f..", "", "c d", "%c3%a9", "%252e%252e", "\\.."]
)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///srv/notes/a", "file:///srv/notes/a"),
        ("FILE:///srv/a", "file:///srv/a"),
        ("file:/srv/a", "file:///srv/a"),
        ("file://localhost/srv/a", "file:///srv/a"),
        ("http://Example.COM:/%7euser", "http://example.com/~user"),
        ("http://User@Example.com/", "http://User@example.com/"),
        ("http://h/%c3%a9", "http://h/%C3%A9"),
        ("http://h/a/./b/../c", "http://h/a/c"),
        ("http://h/a/b/..", "http://h/a/"),
        ("http://h/../../a", "http://h/a"),
        ("http://h/a?x=../y#../z", "http://h/a?x=../y#../z"),
        ("memo:insights", "memo:insights"),
        ("Users://AnnB:/x", "users://AnnB:/x"),
        ("https://{Host}/x", "https://{Host}/x"),
        ("memo:a/../b", "memo:b"),
        ("not a uri", "not a uri"),
    ],
)
def test_normal_form_is_that_of_the_rfc(uri: str, expected: str) -> None:
    """Scheme, host, escapes and dot segments have one spelling (RFC 3986, section 6.2.2; RFC 8089)."""
    assert normal(uri) == expected


@given(st.lists(segments, max_size=6), st.sampled_from(["file:///", "http://h/", "x:", "File://LOCALHOST/"]))
def test_normal_form_is_stable(parts: list[str], start: str) -> None:
    """The normal form of a normal form is itself."""
    once = normal(start + "/".join(parts))
    assert normal(once) == once


@pytest.mark.parametrize(
    "uri",
    [
        "file:///srv/notes/../../etc/passwd",
        "file:///srv/notes/%2e%2e/%2e%2e/etc/passwd",
        "file:///srv/notes/.%2e/x",
        "file:///srv/notes/..%2f..%2fetc%2fpasswd",
        "file:///srv/notes/%2e%2e%2fetc",
        "file:///srv/notes/%252e%252e/etc",
        "file:///srv/notes/%25252e%25252e/etc",
        "file:///srv/notes/..\\..\\etc",
        "file:///srv/notes/..%5cetc",
        "file:///srv/notes/./a",
        "file:///srv/notes/a/.",
        "file:///srv/notes/%61",
        "file:///srv/notes/%c3%a9",
        "file:///srv/notes/a%00.txt",
        "file:///srv/notes/a%0a",
        "file:///srv/notes/%c0%ae%c0%ae/etc",
        "file:///srv/notes/%zz",
        "file:///srv/notes/100%",
        "file:///srv/notes/a\u200d",
        "file:///srv/notes/e\u0301",
        "file:///srv/notes/a ",
        "file:///srv/notes/?/../../../etc/passwd",
        "FILE:///srv/notes/a",
        "file://localhost/srv/notes/a",
        "file:/srv/notes/a",
        " file:///srv/notes/a",
    ],
)
def test_detour_is_matched_by_no_allow_rule(uri: str) -> None:
    """A URI that is not in normal form, or is not what it says once decoded, passes no allow rule."""
    assert not is_plain_uri(uri)
    assert not NOTES.decide("s", "resource", uri).allowed


@pytest.mark.parametrize(
    "uri",
    [
        "file:///srv/notes/a.txt",
        "file:///srv/notes/a/b...c/..d",
        "file:///srv/notes/%C3%A9",
        "file:///srv/notes/é",
        "file:///srv/notes/my%20notes",
        "file:///srv/notes/50%25",
        "file:///srv/notes/a?b=c#d",
        "file:///srv/notes/a%2Fb",
    ],
)
def test_plain_uri_is_matched_by_an_allow_rule(uri: str) -> None:
    """What is in normal form passes the rule that allows it."""
    assert NOTES.decide("s", "resource", uri).allowed


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "file:/etc/passwd",
        "file://localhost/etc/passwd",
        "file://user@localhost/etc/passwd",
        "file:////etc/passwd",
        "file:///srv//..//etc/passwd",
        "file:///srv/../etc/passwd",
        "file:///srv/%2e%2e/etc/passwd",
        "file:///srv/..%2fetc%2fpasswd",
        "file:///srv/%252e%252e/etc/passwd",
        "file:///srv/..\\etc\\passwd",
        "file:\\\\\\etc\\passwd",
        "file:///%65tc/passwd",
        "file:///e%74c/passwd",
        "file:///ETC/passwd\u200d",
        "file:///etc/passwd#x",
        "file:///etc/passwd?x",
        "file:///./etc/passwd",
    ],
)
def test_detour_slips_past_no_deny_rule(uri: str) -> None:
    """A deny rule is matched with every reading of a URI that a lenient server may have."""
    assert not NO_ETC.decide("s", "resource", uri).allowed


@pytest.mark.parametrize(
    "uri", ["file:///srv/etc", "file:///srv/etc/passwd", "file:///ETC/x", "http://etc/x", "memo:etc"]
)
def test_deny_rule_leaves_the_others_alone(uri: str) -> None:
    """What no reading of a URI leads to is not denied."""
    assert NO_ETC.decide("s", "resource", uri).allowed


@pytest.mark.parametrize(
    ("pattern", "uri"),
    [
        ("https://evil.example/*", "https://user:pw@EVIL.example.:443/x"),
        ("https://evil.example/*", "https://evil.example/"),
        ("https://evil.example/a b", "https://evil.example/a%20b"),
        ("https://evil.example/a%20b", "https://evil.example/a b"),
        ("https://evil.example/caf\u00e9", "https://evil.example/caf%C3%A9"),
        ("https://evil.example/a%2Fb", "https://evil.example/a%2fb"),
        ("memo:secret*", "memo:%73ecret-1"),
        ("users://AnnB/*", "users://annb/x"),
        ("users://AnnB/*", "users://AnnB/x"),
        ("users://annb/*", "users://AnnB/x"),
        ("https://x/*", "https://x"),
        ("https://x/*", "https://x?secret"),
        ("https://x/*", "https:x/secret"),
        ("https://x/*", "https:///x/secret"),
        ("https://x:8443/*", "https://x.:08443/a"),
        ("https://x/a", "https://x/a/"),
        ("secret://*", "secret:x"),
        ("secret://*", "secret:/x"),
        ("file:///etc/passwd", "/etc/passwd"),
        ("file:///etc/passwd", "//etc/passwd"),
        ("file:///etc/passwd", " /srv/../etc/passwd"),
        ("file:///etc/passwd", "file://127.0.0.1/etc/passwd"),
        ("file:///etc/passwd", "file://[::1]/etc/passwd"),
        ("file:///etc/passwd", "file://host/etc/passwd"),
        ("file:///etc/passwd", "file:///etc/passwd/"),
        ("file:///etc/passwd", "file:///etc/passwd%20"),
        ("file:///etc/passwd", "file:///etc/passwd%20/?x"),
        ("file://host/*", "file://host/share"),
        ("file:///a%20", "file:///a%20"),
    ],
)
def test_deny_pattern_matches_other_spellings(pattern: str, uri: str) -> None:
    """Escapes, ports, user information and case of the host are no way round a deny rule."""
    found = Rules("allow", [], [read("deny", Entry(server="*", resource=pattern))])
    assert not found.decide("s", "resource", uri).allowed


@pytest.mark.parametrize(
    ("pattern", "better"),
    [
        ("https://x:443/*", "https://x/*"),
        ("http://x:080/*", "http://x/*"),
        ("https://me@x/*", "https://x/*"),
        ("*://*@x/*", "*://x/*"),
        ("*://X/*", "*://x/*"),
        ("https://x./*", "https://x/*"),
        ("https://x.:8443/*", "https://x:8443/*"),
        ("file://127.0.0.1/*", "file:///*"),
        ("db://h//a/*", "db://h/a/*"),
    ],
)
def test_deny_pattern_that_misses_other_spellings_is_an_error(pattern: str, better: str) -> None:
    """What a server may leave out of a URI stands in no deny rule; an allow rule may ask for one spelling."""
    with pytest.raises(ValueError, match=re.escape(f"write '{better}'")):
        read("deny", Entry(server="*", resource=pattern))
    read("deny", Entry(server="*", resource=better))
    read("allow", Entry(server="*", resource=pattern))


def test_escape_in_a_pattern_stands_for_no_star_or_slash() -> None:
    """A pattern with an escaped slash denies that escape, and not everything."""
    found = Rules("allow", [], [read("deny", Entry(server="*", resource="file:///a/*%2F*"))])
    assert not found.decide("s", "resource", "file:///a/b%2Fc").allowed
    assert found.decide("s", "resource", "file:///a/b/c").allowed


@given(st.lists(segments, min_size=1, max_size=6))
def test_what_an_allow_rule_lets_pass_stays_inside(parts: list[str]) -> None:
    """No URI that passes ``file:///srv/notes/*`` has a reading outside of it."""
    uri = "file:///srv/notes/" + "/".join(parts)
    if NOTES.decide("s", "resource", uri).allowed:
        assert all(reading.startswith("file:///srv/notes") for reading in readings(uri))


def test_long_uri_is_denied_before_any_rule() -> None:
    """A URI over the bound is denied, and decoding it costs nothing."""
    found = Rules("allow")
    assert found.decide("s", "resource", "x:" + "a" * (LIMITS.uri_chars - 2)).allowed
    decision = found.decide("s", "resource", "x:" + "%" * LIMITS.uri_chars)
    assert (decision.allowed, decision.by) == (False, "name")


def test_record_holds_no_secret_of_a_uri() -> None:
    """User information, query and fragment are shown nowhere."""
    text = shown_uri("https://ada:hunter2@h/a?token=hunter2#hunter2")
    assert "hunter2" not in text
    assert text == "https://h/a?…"
    assert shown_uri("no uri\u202e") == "no uri\\u{202e}"


@pytest.mark.parametrize("text", ["users://{userId}/profile", "repo://Owner/Repo{?branch}", "https://h/{+path}#{Id}"])
def test_template_may_be_allowed_whatever_its_variables_are_called(text: str) -> None:
    """The case of a variable, or of a name that a server gave, keeps no template from a rule that allows it."""
    found = Rules("deny", [read("allow", Entry(server="*", resource=f"{text[:7]}*"))])
    assert found.decide("s", "template", text).allowed


@given(st.text(max_size=40) | st.text("a:/.%2eE5c\\?#@{*", max_size=30))
def test_any_text_has_readings(text: str) -> None:
    """No text of a server makes reading it fail, and each text is one of its own readings."""
    assert text in readings(text)
    assert normal(normal(text)) == normal(text)
    assert not is_plain_uri(text) or normal(text) == text
