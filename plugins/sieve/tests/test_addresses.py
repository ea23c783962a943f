"""How URLs are read: beside another reader, and beside another table of addresses."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

import ada_url
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from hauberk_sieve.addresses import _nets
from hauberk_sieve.addresses._places import template
from hauberk_sieve.addresses._policy import Policy, Use, file_path, under
from hauberk_sieve.addresses._url import PORTS, Unreadable, origin, read, scheme_of

POLICY = Policy()
SPECIAL_V4 = [
    IPv4Address(int(net.network_address) + offset)
    for net, _ in _nets._V4
    for offset in (0, 1, net.num_addresses // 2, net.num_addresses - 1)
    if offset < net.num_addresses
]
V4 = st.one_of(st.sampled_from(SPECIAL_V4), st.integers(0, 2**32 - 1).map(IPv4Address))
V6 = st.one_of(
    st.integers(0, 2**128 - 1).map(IPv6Address),
    V4.map(lambda address: IPv6Address((0xFFFF << 32) + int(address))),
    V4.map(lambda address: IPv6Address((0x64FF9B << 96) + int(address))),
    V4.map(lambda address: IPv6Address((0x2002 << 112) + (int(address) << 80))),
)
HOSTLIKE = st.text("0123456789abcdefxX.:[]@%/\\?#-_ 。\uff0e①\uff12\u00ad\u200bé\t\n", min_size=1, max_size=24)


def _numbers(address: IPv4Address, forms: list[str], fewer: int) -> str:
    """Return an address as `inet_aton` takes it: some parts in hexadecimal or octal, the last of several bytes."""
    packed = address.packed
    head, tail = packed[: 3 - fewer], int.from_bytes(packed[3 - fewer :])
    spelled = {"d": "{:d}", "x": "0x{:x}", "X": "0X{:X}", "o": "0{:o}"}
    return ".".join(spelled[form].format(part) for form, part in zip(forms, [*head, tail], strict=False))


@st.composite
def spelled(draw: st.DrawFn) -> tuple[IPv4Address, str]:
    """Draw an IPv4 address, and one of the ways to write it."""
    address = draw(V4)
    forms = draw(st.lists(st.sampled_from("dxXo"), min_size=4, max_size=4))
    text = _numbers(address, forms, draw(st.integers(0, 3)))
    text = draw(st.sampled_from([text, text, text + "."]))
    if draw(st.booleans()):
        text = "".join(chr(ord(char) + 0xFEE0) if char.isdigit() else char for char in text)
    if draw(st.booleans()):
        text = text.replace(".", draw(st.sampled_from(["。", "\uff0e", "｡", "%2e"])))
    if draw(st.booleans()):
        text = "".join(f"%{ord(char):02x}" if char.isdigit() else char for char in text)
    return address, draw(st.sampled_from(["{}", "{}", "a@{}", "example.com:80@{}", "@{}"])).format(text)


def _ada(url: str) -> str | None:
    try:
        return ada_url.URL(url).hostname
    except ValueError:
        return None


def _address(host: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address((host or "").strip("[]"))
    except ValueError:
        return None


@given(spelled(), st.sampled_from([*PORTS]), st.sampled_from(["", "/", "/x", ":8080/", "?x", "#x"]))
def test_special_address_is_refused_however_it_is_spelled(
    spelled: tuple[IPv4Address, str], scheme: str, rest: str
) -> None:
    """What a browser reads as an address that is not the open internet's is refused in any spelling (A61, S1.39)."""
    address, text = spelled
    url = f"{scheme}://{text}{rest}"
    seen = _address(_ada(url))
    assert seen in (address, None)
    if not address.is_global or address.is_multicast:
        assert POLICY.fault(url, Use.LINK) is not None


@given(V6, st.sampled_from(["compressed", "exploded", "upper", "dotted"]))
def test_special_ipv6_address_is_refused(address: IPv6Address, form: str) -> None:
    """So is an IPv6 address, and an IPv4 address within one (A61)."""
    text = {"compressed": address.compressed, "exploded": address.exploded, "upper": address.exploded.upper()}.get(form)
    if text is None:
        text = f"{address.exploded[:29]}:{IPv4Address(int(address) & 0xFFFFFFFF)}"
    assert IPv6Address(text) == address
    within = IPv4Address(int(address) & 0xFFFFFFFF)
    embeds = address in ipaddress.IPv6Network("64:ff9b::/96") or address.ipv4_mapped or address.sixtofour
    inner = address.sixtofour or within
    if not address.is_global or (embeds and not inner.is_global):
        assume(not (address in ipaddress.IPv6Network("64:ff9b::/96") and within.is_global))
        assert POLICY.fault(f"http://[{text}]/", Use.LINK) is not None


@given(
    HOSTLIKE, st.sampled_from(["http://", "https://", "https:/", "http:", "//", ""]), st.sampled_from(["", "/", "/x@y"])
)
@example("127.0.0.1\\@example.com", "http://", "/")
@example("example.com#@127.0.0.1", "http://", "/")
def test_what_is_readable_is_read_alike(host: str, start: str, rest: str) -> None:
    """Where a URL is read at all, a browser's reader and the standard library read the same host (A61)."""
    text = f"{start}{host}{rest}"
    try:
        url = read(text)
    except Unreadable:
        return
    seen = _ada(text)
    if seen is not None:
        assert seen.strip("[]") == url.host
    split = urlsplit(text)
    assert (split.hostname or "") in (url.host, url.host if url.address is None else split.hostname)
    assert (split.username, split.password) == (None, None)
    assert _address(split.hostname) == url.address


@given(V4)
def test_table_of_ipv4_is_no_looser_than_the_library(address: IPv4Address) -> None:
    """No address passes that the standard library takes for private, reserved, local or of a group."""
    if address.is_private or address.is_reserved or address.is_multicast or address.is_link_local:
        assert _nets.special(address) is not None


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_table_of_ipv6_is_no_looser_than_the_library(address: IPv6Address) -> None:
    """Nor an IPv6 address."""
    if not address.is_global or address.is_multicast:
        assert _nets.special(address) is not None or address in ipaddress.IPv6Network("64:ff9b::/96")


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "223.255.255.255", "2606:4700::1", "2a00:1450:4001::1"])
def test_open_internet_is_open(address: str) -> None:
    """A public address has no rule against it."""
    assert _nets.special_text(address) is None


@pytest.mark.parametrize(
    ("text", "what"),
    [("fe80::1%eth0", "link-local"), ("10.0.0.1", "private"), ("", "no address"), ("localhost", "no address")],
)
def test_address_of_a_resolver_is_judged(text: str, what: str) -> None:
    """An address with a zone is judged without it, and what is no address is none."""
    assert _nets.special_text(text) == what


@given(st.text(max_size=80))
def test_any_text_has_a_verdict(text: str) -> None:
    """Whatever stands where a URI should, there is a verdict and no error."""
    for use in Use:
        fault = POLICY.fault(text, use)
        assert fault is None or fault


@given(st.text(max_size=40))
def test_scheme_is_a_browsers(text: str) -> None:
    """A text that a browser reads with a scheme that is acted on never passes for one without."""
    try:
        seen = ada_url.URL(text).protocol
    except ValueError:
        return
    try:
        assert f"{scheme_of(text)}:" == seen
    except Unreadable:
        return


@given(
    st.lists(st.sampled_from(["..", ".", "a", "srv", "notes", "%2e%2e", "%2e.", "..%2f", "%5c", "", "C:"]), max_size=7)
)
def test_file_link_never_leaves_its_folder(parts: list[str]) -> None:
    """A path that a browser reads as one outside the folder is not taken for one inside (A61)."""
    uri = "file:///srv/notes/" + "/".join(parts)
    try:
        inside = under(file_path(uri), [("srv", "notes")])
    except Unreadable:
        return
    assert not inside or ada_url.URL(uri).pathname.startswith("/srv/notes")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\\%"), min_size=1, max_size=20))
def test_file_path_is_decoded_once(name: str) -> None:
    """What is quoted comes out as it was."""
    assume(name not in (".", "..") and "/" not in name and name.strip() == name)
    assert file_path(f"file:///{quote(name)}") == f"/{name}"


def test_file_link_under_a_folder_of_windows() -> None:
    """A drive is the first part of a path (RFC 8089, appendix E)."""
    policy = Policy(files=(PurePosixPath("C:/notes"),))
    assert policy.fault("file:///C:/notes/today.md", Use.LINK) is None
    assert policy.fault("file:///D:/notes/today.md", Use.LINK) is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://example.com", "https://example.com:443"),
        ("HTTP://Example.COM:80", "http://example.com:80"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_origin_has_its_port(text: str, found: str) -> None:
    """An origin is scheme, host and port, the scheme's own where none is written (RFC 6454)."""
    assert origin(text) == found


@pytest.mark.parametrize(
    "text", ["https://example.com/", "https://example.com?", "example.com", "https://a@b.com", "*"]
)
def test_origin_is_nothing_more(text: str) -> None:
    """An origin with a path, a user or a pattern is none."""
    with pytest.raises(ValueError, match=r"\w"):
        origin(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("file:///{path}", "file:///path"),
        ("https://{host}/x", ""),
        ("{scheme}://x", ""),
        ("https://example.com/{+path}", "https://example.com/+path"),
        ("http://127.0.0.1/{x}", "http://127.0.0.1/x"),
    ],
)
def test_template_is_judged_by_what_is_settled(text: str, found: str) -> None:
    """Of a template its settled host is judged; what is still open is judged when it is read (RFC 6570)."""
    assert template(text) == found
