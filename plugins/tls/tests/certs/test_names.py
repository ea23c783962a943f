"""What a certificate may be for, and how it is read from a command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.tls.tests.certs.desk import Desk

from hauberk.refusals import ConfigError
from hauberk_tls.certs import _names
from hauberk_tls.certs._names import Name

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
DNS = st.lists(LABEL, min_size=1, max_size=3).map(".".join).filter(lambda text: not text.split(".")[-1].isdigit())
HOSTILE = [
    "",
    ".",
    "..",
    "../ca",
    "a/b",
    "/etc/passwd",
    "a\\b",
    "a b",
    " a",
    "a\n",
    "a\x00b",
    "\x1b[2J",
    "a..b",
    "a.",
    ".hidden",
    "-a",
    "a-",
    "a_b",
    "*",
    "*.example.org",
    "a.*.org",
    "f*o.example.org",
    "a" * 64,
    "a" * 65,
    "bücher.example",
    "ex\u0430mple.org",
    "☃.example",
    "1.2.3",
    "127.1",
    "0177.0.0.1",
    "1.2.3.4.5",
    "fe80::1%eth0",
    "[::1]",
    "a:b",
    "ann@example.org",
    "https://example.org",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_name_is_refused(text: str) -> None:
    """S0.17: what could leave its folder, deceive a reader or be no host name is no NAME, and is not shown raw."""
    with pytest.raises(ConfigError) as caught:
        _names.main(text)
    assert all(char.isprintable() or char == "\n" for char in str(caught.value))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("files", Name("dns", "files")),
        ("mcp-server-time", Name("dns", "mcp-server-time")),
        ("CodeExpert", Name("dns", "CodeExpert")),
        ("a.example.org", Name("dns", "a.example.org")),
        ("xn--bcher-kva.example", Name("dns", "xn--bcher-kva.example")),
        ("192.0.2.7", Name("ip", "192.0.2.7")),
        ("2001:DB8::0:1", Name("ip", "2001:db8::1")),
        ("a" * 63, Name("dns", "a" * 63)),
    ],
)
def test_good_name_is_taken(text: str, name: Name) -> None:
    """S0.17: host names and addresses are NAMEs; an address is written in one way."""
    assert _names.main(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("localhost", Name("dns", "localhost")),
        ("*.example.org", Name("dns", "*.example.org")),
        ("dns:1a", Name("dns", "1a")),
        ("::1", Name("ip", "::1")),
        ("ip:::1", Name("ip", "::1")),
        ("ip:10.0.0.1", Name("ip", "10.0.0.1")),
        ("spiffe://example.org/files", Name("uri", "spiffe://example.org/files")),
        ("uri:urn:hauberk:files", Name("uri", "urn:hauberk:files")),
        ("ann@example.org", Name("email", "ann@example.org")),
        ("email:ann+x@example.org", Name("email", "ann+x@example.org")),
    ],
)
def test_further_name_has_a_type(text: str, name: Name) -> None:
    """S0.17: --san takes DNS names, addresses, URIs and mail addresses, by their look or by a prefix."""
    assert _names.further(text) == name
    assert _names.further(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        *("dns:", "dns:*", "dns:*.org", "*.*.org", "x.*.example.org", "dns:a/b", "ip:localhost", "ip:1.2.3.4/8", "ip:"),
        *("uri:", "uri:nothing", "https://", "https:///path", "uri:https://a b", "uri:x:\x1b[0m", "https://é.org/"),
        *("email:", "@", "a@", "@example.org", "a b@example.org", "a@b@c d", "email:a@1.2", "é@example.org"),
        *("uri:x:" + "a" * 600, "dns:" + "a." * 130 + "a"),
    ],
)
def test_hostile_further_name_is_refused(text: str) -> None:
    """S0.17: what is no name of its type is refused, and control characters in it are not shown raw."""
    with pytest.raises(ConfigError) as caught:
        _names.further(text)
    assert all(char.isprintable() or char == "\n" for char in str(caught.value))


@given(st.text(max_size=80))
def test_a_name_is_a_folder_below(text: str) -> None:
    """S0.17: whatever is typed, what is taken for a NAME is one component of a path, ASCII, and not hidden."""
    try:
        name = _names.main(text)
    except ConfigError as error:
        told = str(error)
    else:
        told = name.value
        assert_plain(name.value)
    assert all(char.isprintable() or char == "\n" for char in told)


def assert_plain(name: str) -> None:
    assert name.isascii()
    assert name.isprintable()
    assert not name.startswith((".", "-"))
    assert not set(name) & set("/\\ *\0")
    assert len(name) <= 64


@given(
    st.text(max_size=300)
    | st.sampled_from(["dns:", "ip:", "uri:", "email:"]).flatmap(lambda p: st.text().map(p.__add__))
)
def test_any_text_is_a_name_or_refused(text: str) -> None:
    """S0.17: what --san takes can be put into a certificate and read back as it was."""
    try:
        name = _names.further(text)
    except ConfigError:
        return
    assert _names.decoded([_names.encoded(name)]) == (name,)
    assert _names.further(str(name)) == name


@given(DNS)
def test_every_host_name_is_taken(text: str) -> None:
    """S0.17: the names that hosts have are NAMEs."""
    if len(text) <= 64:
        assert _names.main(text) == Name("dns", text)


@given(st.ip_addresses())
def test_every_address_is_taken(address: object) -> None:
    """S0.17: each IPv4 and IPv6 address without a zone is a NAME."""
    if "%" not in str(address):
        assert _names.main(str(address)) == Name("ip", str(address))


def test_names_of_a_certificate_are_bounded() -> None:
    """X.6: a certificate has at most 100 names, each once."""
    name = _names.main("files")
    assert _names.together(name, [name, name]) == (name,)
    with pytest.raises(ConfigError, match="at most 100"):
        _names.together(name, [Name("dns", f"n{number}") for number in range(100)])


def test_a_wildcard_is_told_where_it_belongs() -> None:
    """S0.17: a wildcard as NAME, which other tools take, is answered with the option that takes it."""
    with pytest.raises(ConfigError) as caught:
        _names.main("*.example.org")
    assert caught.value.hint == "give a NAME, and --san '*.example.org'"


@pytest.mark.parametrize("name", ["ca", "CA", "mcp-servers"])
def test_a_client_cannot_have_the_name_of_a_folder(desk: Desk, name: str) -> None:
    """S0.17: a client is not called as the directory's own folders are; a server may be."""
    desk.ca()
    done = desk.run("issue", "--client", name)
    assert done.status == 2
    assert "the folder is the directory's own" in done.err
    desk.ok("issue", name)


def test_names_do_not_differ_in_case_only(desk: Desk) -> None:
    """S0.17: two names that one file system keeps apart and another one does not are refused."""
    desk.ca().ok("issue", "CodeExpert")
    done = desk.run("issue", "codeexpert")
    assert done.status == 2
    assert "in case only" in done.err
