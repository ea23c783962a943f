"""The hosts of URLs, each in one spelling."""

from __future__ import annotations

import ipaddress
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hauberk_ratelimit._domains import UnclearHostError, glob, host_of, hosts_in, normal
from hauberk_ratelimit._options import Options
from hauberk_ratelimit._patterns import pattern

LABELS = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://API.OpenAI.com/v1", "api.openai.com"),
        ("HTTPS://api.openai.com.:443", "api.openai.com"),
        ("http://user:pa%40ss@api.openai.com?x", "api.openai.com"),
        ("  https://api.openai.com#f", "api.openai.com"),
        ("https:api.openai.com/x", "api.openai.com"),
        ("https://bücher.example", "xn--bcher-kva.example"),
        ("https://BÜCHER.example", "xn--bcher-kva.example"),
        ("https://xn--BCHER-kva.example", "xn--bcher-kva.example"),
        ("https://api。openai。com", "api.openai.com"),
        ("http://127.0.0.1", "127.0.0.1"),
        ("http://2130706433", "127.0.0.1"),
        ("http://0x7f.0.0.1", "127.0.0.1"),
        ("http://0177.1", "127.0.0.1"),
        ("http://[::1]:80", "::1"),
        ("http://[0:0::0:1]", "::1"),
        ("http://[::ffff:127.0.0.1]", "127.0.0.1"),
        ("postgres://u:p@db_1.internal:5432/x", "db_1.internal"),
        ("wss://a.b", "a.b"),
        ("file:///etc/passwd", None),
        ("mailto:a@b.example", None),
        ("http: what it is", None),
        ("note: remember", None),
        ("// a remark: of a program", None),
        ("//TODO(me)", None),
        ("ht\ttps\n://api.openai.com/\nx", "api.openai.com"),
        ("\u3000\ufeff<https://api.openai.com/>", "api.openai.com"),
        ("view-source:https://api.openai.com/", "api.openai.com"),
        ("//api.openai.com/v1", "api.openai.com"),
        ("http://[::127.0.0.1]", "127.0.0.1"),
        ("http://[64:ff9b::7f00:1]", "127.0.0.1"),
        ("http://[::ffff:0:127.0.0.1]", "127.0.0.1"),
        ("C:\\files", None),
        ("", None),
    ],
)
def test_a_host_has_one_spelling(url: str, host: str | None) -> None:
    """Case, the dot at the end, IDNA, port, user and the forms of addresses are one host (S3.44)."""
    assert host_of(url) == host


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com\\@b.example",
        "https://a@b@c.example",
        "https://a%2eb.example",
        "https:\\\\api.openai.com",
        "https:/api.openai.com",
        "https:///api.openai.com",
        "ht\ttps://x".replace("\t", "") + "\ny.example",
        "https://a b.example",
        "https://[::1",
        "https://[::1]x",
        "https://[fe80::1%25eth0]",
        "http://256.1.1.1",
        "http://1.2.3.4.5",
        "http://09.1",
        "https://" + "a" * 64 + ".example",
        "https://" + "a." * 200 + "example",
        "https://a..b",
        "https://℀.example",
        "https://\ud800.example",
        "https://faß.de",
        "https://ς.example",
        "https://a\u200db.example",
        "git+https://x@@api.openai.com/",
        "custom://{name}/x",
        "https:x@@api.openai.com",
        "https://x\ny.example/xy.example",
        "https://" + "a" * 300,
        "https://" + "u" * 3000 + "@a.example",
    ],
)
def test_a_host_that_can_be_read_in_two_ways_is_none(url: str) -> None:
    """What programs read differently, or what is no name, cannot be told (S3.44)."""
    with pytest.raises(UnclearHostError):
        host_of(url)


@given(NAMES, st.integers(0, 65535), st.data())
def test_any_spelling_of_a_name_is_that_name(name: str, port: int, data: st.DataObject) -> None:
    """A name in other case, with a dot, a port and a user is the same; as the standard library reads it, too."""
    spelled = "".join(data.draw(st.sampled_from((letter, letter.upper()))) for letter in name)
    user, dot = data.draw(st.sampled_from(("", "u@", "u:p@"))), data.draw(st.sampled_from(("", ".")))
    url = f"http://{user}{spelled}{dot}:{port}/"
    assert host_of(url) == normal(name) == (urlsplit(url).hostname or "").rstrip(".")


@given(st.integers(0, 2**32 - 1), st.data())
def test_any_spelling_of_an_address_is_that_address(number: int, data: st.DataObject) -> None:
    """An IPv4 address in decimal, octal or hexadecimal parts, of one to four, is itself."""
    address = ipaddress.IPv4Address(number)
    cut = data.draw(st.integers(0, 3))
    octets = list(address.packed)
    parts = [*octets[:cut], int.from_bytes(bytes(octets[cut:]))]
    written = ".".join(data.draw(st.sampled_from((f"{part}", f"{part:#x}", f"0{part:o}"))) for part in parts)
    assert host_of(f"http://{written}/") == str(address)


@given(st.text(max_size=60) | st.text("htps:/\\@.[]%#? \t\nab01", max_size=30).map(lambda rest: f"http:{rest}"))
def test_any_text_has_a_host_or_none_or_is_unclear(text: str) -> None:
    """No text does anything else; and a host is one that reads as itself."""
    try:
        host = host_of(text)
    except UnclearHostError:
        return
    if host is not None:
        assert host_of(f"http://[{host}]/" if ":" in host else f"http://{host}/") == host


@settings(max_examples=30)
@pytest.mark.timeout(180)
@given(
    st.recursive(
        NAMES.map(lambda name: f"https://{name}/"), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)
    )
)
def test_hosts_are_found_at_any_depth(arguments: Any) -> None:
    """Each URL of the arguments is found, in objects and arrays alike, each host once, or there are too many."""

    def urls(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        return [url for inner in (value.values() if isinstance(value, dict) else value) for url in urls(inner)]

    wanted = {host_of(url) for url in urls(arguments)}
    if len(wanted) > 16:
        with pytest.raises(UnclearHostError):
            hosts_in(arguments)
        return
    assert set(hosts_in(arguments)) == wanted


def test_names_of_arguments_are_read_too() -> None:
    """A URL that is the name of a member, and not its value, names a host."""
    found = hosts_in({"urls": {"https://a.example/": {"https://b.example": 1}}})
    assert sorted(found) == ["a.example", "b.example"]


@pytest.mark.parametrize(
    "arguments",
    [
        "https://" + "é" * 1_000_000,
        ["https://é.example/" + "x" * 100] * 20_000,
        [f"https://h{number}.example" for number in range(100_000)],
        [f"https://u{number}@é.example" for number in range(100_000)],
        "a:" * 500_000,
        "https:" + "\n" * 1_000_000,
        "[::" + "1" * 1_000_000 + "]",
    ],
)
def test_hosts_take_little_time(arguments: Any) -> None:
    """A host without end, and hosts without number, hold nobody up: what is too long or too many is refused first."""
    start = time.process_time()
    with suppress(UnclearHostError):
        hosts_in(arguments)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("*.bücher.DE", "*.xn--bcher-kva.de"),
        ("*.example.com.", "*.example.com"),
        ("*", "*"),
        ("192.168.*", "192.168.*"),
        ("2001:DB8:*", "2001:db8:*"),
        ("bücher.de.", "xn--bcher-kva.de"),
    ],
)
def test_a_pattern_of_hosts_is_spelled_as_hosts_are(text: str, spelled: str) -> None:
    """Case, the dot at the end and IDNA make no difference in a pattern either."""
    assert glob(text) == spelled


@pytest.mark.parametrize("text", ["*ü.de", "https://*.example", "*.example:443", "*..example", "*.faß.de", "a b.*"])
def test_a_pattern_that_no_host_matches_is_an_error(text: str) -> None:
    """What would limit nobody, silently, is refused when it is loaded."""
    with pytest.raises(UnclearHostError):
        glob(text)
    with pytest.raises(ValueError, match="is no host"):
        Options(domains={text: "1/hour"})


@given(st.text("ab*", min_size=1, max_size=8), st.text("ab", max_size=12))
def test_a_pattern_matches_as_its_stars_say(text: str, name: str) -> None:
    """A star stands for any characters; everything else for itself."""
    import re

    expected = re.fullmatch(".*".join(map(re.escape, text.split("*"))), name) is not None
    assert pattern(text).matches(name) == expected


def test_a_pattern_takes_time_by_its_length() -> None:
    """Many stars and a long name are done at once: nothing is tried again."""
    assert not pattern("*a" * 200 + "b").matches("a" * 100_000)
