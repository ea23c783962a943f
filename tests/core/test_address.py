"""Addresses: what is one is read in one way, what is none is refused with what to write."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.carriers.address import PATH_BYTES, Address, authority, check_length, is_address, parse
from hauberk.refusals import ConfigError

LABEL = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last part that makes a host an IPv4 address, or nothing (WHATWG URL, 3.5)."""
NAME = (
    st.lists(LABEL, min_size=1, max_size=4).map(".".join).filter(lambda name: not NUMBER.fullmatch(name.split(".")[-1]))
)
PORT = st.integers(1, 65535)


@given(NAME, PORT)
def test_name_and_port(name: str, port: int) -> None:
    """A name and a port are read as they stand, in small letters, and written the same."""
    address = parse(f"TLS://{name.upper()}:{port}")
    assert address == Address("tls", host=name, port=port)
    assert parse(str(address)) == address


@given(st.ip_addresses(), PORT)
def test_ip_address(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    """An IP address is read in its one form; that of IPv6 has brackets in an address and none in the host."""
    address = parse(f"tls://{authority(str(ip), port)}")
    assert address == Address("tls", host=str(ip), port=port)
    assert parse(str(address)) == address


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0", categories=("L", "N", "P")), min_size=1))
def test_path(name: str) -> None:
    """A path is read as it stands, or is too long, or is refused; nothing of it is decoded."""
    text = f"unix:///run/{name}"
    try:
        address = parse(text)
    except ConfigError as error:
        assert len(f"/run/{name}".encode()) > PATH_BYTES or name.endswith("/"), error  # noqa: PT017
        return
    assert address.path == Path(f"/run/{name}")


@given(st.text())
def test_any_text(text: str) -> None:
    """Any text is an address that is written and read as itself, or an error with a hint."""
    for candidate in (text, f"tls://{text}", f"unix://{text}"):
        try:
            address = parse(candidate)
        except ConfigError as error:
            assert error.hint  # noqa: PT017
        else:
            assert parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tls",
        "tls://",
        "tls://host",
        "tls://host:",
        "tls://:8443",
        "tls://host:0",
        "tls://host:65536",
        "tls://host:-1",
        "tls://host:port",
        "tls://user@host:1",
        "tls://user:secret@host:1",
        "tls://host:1/path",
        "tls://host:1?query",
        "tls://host:1#fragment",
        "tls://-host:1",
        "tls://ho st:1",
        "tls://host\n:1",
        "tls://1.2.3.4.5:1",
        "tls://127.1:1",
        "tls://0x7f000001:1",
        "tls://*.example.org:1",
        "https://host:1",
        "tcp://host:1",
        "unix://",
        "unix://relative",
        "unix://host/path",
        "unix:///",
        "unix:///directory/",
        "unix:///with\0nul",
        "unix://@abstract",
        "unix:\0abstract",
        "unix:/one/slash",
    ],
)
def test_no_address(text: str) -> None:
    """What could be read in two ways, holds a secret, or is an abstract socket, is refused with what to write (A80)."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.hint


def test_no_address_is_told_without_its_secret() -> None:
    """A socket without an owner has no address: a name that begins with NUL is not spelt with '@' either (S4.8)."""
    for text in ("unix:@name", "unix://@name", "@name"):
        with pytest.raises(ConfigError):
            parse(text)


def test_free_port_is_for_listening() -> None:
    """Port 0 is any free one where it is listened, and none where it is dialled."""
    assert parse("tls://localhost:0", listening=True).port == 0


def test_international_name() -> None:
    """A name outside ASCII is read in the form that certificates have it in (IDNA)."""
    assert parse("tls://BÜCHER.example:1").host == "xn--bcher-kva.example"


@pytest.mark.parametrize("size", [PATH_BYTES, PATH_BYTES + 1])
def test_length_is_counted_in_bytes(size: int) -> None:
    """A path has up to 107 bytes, not characters (S4.8)."""
    path = Path("/" + "ü" * ((size - 1) // 2) + "x" * ((size - 1) % 2))
    assert len(bytes(path)) == size
    if size > PATH_BYTES:
        with pytest.raises(ConfigError, match="bytes"):
            check_length(path)
    else:
        check_length(path)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("tls://x:1", True), ("UNIX:///x", True), ("https://x", False), ("x", False), ("tls", False), ("tls:x", False)],
)
def test_is_address(text: str, is_one: bool) -> None:
    """A URL of HTTP is told from an address by its scheme."""
    assert is_address(text) is is_one


@pytest.mark.parametrize("name", ["faß.example", "βόλος.example", "bücher..example", "ü" * 64])
def test_name_that_would_become_another(name: str) -> None:
    """A name that the older IDNA folds into another one is refused: the other one has certificates, too."""
    with pytest.raises(ConfigError, match="no name and no address"):
        parse(f"tls://{name}:8443")


@pytest.mark.parametrize("text", ["unix:///.", "unix:////.", "unix:///./."])
def test_root_is_no_socket(text: str) -> None:
    """A path that comes to nothing but the root directory names no socket."""
    with pytest.raises(ConfigError, match="is no address"):
        parse(text)
