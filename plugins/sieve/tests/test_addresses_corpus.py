"""URIs that were made to be misread, each with the one rule that it breaks, and honest ones that break none."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from hauberk_sieve.addresses._policy import Policy, Use

POLICY = Policy(
    deny=("memcached",),
    origins=("http://localhost:3000", "https://10.0.0.7:443"),
    files=(PurePosixPath("/srv/notes"),),
)

SPACE = "it has white space at an end, or a character that nobody sees"
NO_SCHEME = "it names a host and no scheme"
BACKSLASH = "it has a backslash, which some read as a slash"
SLASHES = "no host stands after two slashes"
USER = "it has user information before its host"
ASCII = "its host is not written in plain ASCII"
PORT = "its port is no port"
NO_NAME = "its host is no name, and no address written in full"
LOOPBACK = "the address is loopback"
PRIVATE = "the address is private"
LINK_LOCAL = "the address is link-local"
EMBEDDED = "the address is an IPv4 address in IPv6"
LABEL = "the host is a name of one label"
LOCAL = "the name is kept for local use"
ECHO = "the name answers with an address of its choice"
MACHINE = "file: names another machine"
PATH = "file: has no plain path"
FOLDER = "a link to a file is under one of sieve.addresses.files"
ICON = "an icon is https, or data with an image"
SITE = "a web site is http or https"

LINKS: dict[str, tuple[str, ...]] = {
    LOOPBACK: (
        "http://127.0.0.1/",
        "http://127.0.0.1:8080/admin",
        "HTTP://127.0.0.1/",
        "https://127.255.255.254/",
        "http://127.1.2.3",
        "http://127.0.0.1?x=https://example.com/",
        "http://127.0.0.1#@example.com/",
        "ws://127.0.0.1:9229/",
        "wss://127.0.0.1/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]:80/",
        "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
    ),
    PRIVATE: (
        "http://10.0.0.1/",
        "http://10.255.255.255/",
        "http://172.16.0.1/",
        "http://172.31.255.254/",
        "http://192.168.0.1/",
        "https://192.168.1.1:8443/login",
        "http://[fc00::1]/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://[fd20:ce::254]/computeMetadata/v1/",
        "http://[FD12:3456:789A::1]/",
        "http://[64:ff9b::a00:1]/",
    ),
    LINK_LOCAL: (
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
        "http://169.254.169.254:80/",
        "http://169.254.170.2/v2/credentials",
        "http://169.254.0.1/",
        "http://[fe80::1]/",
        "http://[febf::1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
    ),
    "the address is shared by a carrier's customers": (
        "http://100.64.0.1/",
        "http://100.100.100.200/latest/meta-data/",
    ),
    "the address is this network": ("http://0.0.0.0/", "http://0.0.0.0:22/", "http://0.1.2.3/"),
    "the address is unspecified": ("http://[::]/", "http://[0::0]:8000/"),
    "the address is multicast": ("http://224.0.0.1/", "http://239.255.255.250:1900/", "http://[ff02::1]/"),
    "the address is reserved": (
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[4000::1]/",
        "http://[64:ff9b:2::1]/",
        "http://[100::1]/",
    ),
    "the address is for protocols": ("http://192.0.0.192/opc/v2/", "http://[2001::1]/", "http://[2001:0:7f00:1::]/"),
    "the address is for documentation": (
        "http://192.0.2.1/",
        "http://198.51.100.1/",
        "http://203.0.113.9/",
        "http://[2001:db8::1]/",
        "http://[3fff::1]/",
    ),
    "the address is for benchmarks": ("http://198.18.0.1/", "http://198.19.255.255/"),
    "the address is a 6to4 relay": ("http://192.88.99.1/",),
    "the address is a cloud's own": ("http://168.63.129.16/machine?comp=goalstate",),
    "the address is site-local": ("http://[fec0::1]/",),
    "the address is a local translation of IPv4": ("http://[64:ff9b:1::a00:1]/",),
    EMBEDDED: (
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
        "http://[::127.0.0.1]/",
        "http://[::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://[::ffff:8.8.8.8]/",
    ),
    NO_NAME: (
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0x7f.1/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://0177.0.0.01/",
        "http://127.1/",
        "http://127.0.1/",
        "http://127.000.000.001/",
        "http://00.0.0.0/",
        "http://127.0.0.1./",
        "http://127.0.0.1.1/",
        "http://256.0.0.1/",
        "http://4294967296/",
        "http://1.2.3/",
        "http://3232235521/",
        "http://2852039166/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://0xa9.0xfe.0xa9.0xfe/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "http://169.16689662/",
        "http://0/",
        "http://0x/",
        "http://1.1.1.0x1/",
        "http://example.0x7f/",
        "http://localhost./",
        "http://example.com./",
        "http://example..com/",
        "http://.example.com/",
        "http://-example.com/",
        "http://[::1::]/",
        "http://[127.0.0.1]/",
        "http://[]/".replace("[]", "[:]"),
        "http://" + "a" * 64 + ".com/",
        "http://" + "a." * 130 + "com/",
    ),
    USER: (
        "http://example.com@169.254.169.254/",
        "https://example.com:443@10.0.0.1/",
        "https://user:password@example.com/",
        "https://@example.com/",
        "https://:@example.com/",
        "http://1.1.1.1 &@127.0.0.1/",
        "https://example.com%2f@127.0.0.1/",
        "https://a@b@example.com/",
    ),
    BACKSLASH: (
        "https://example.com\\@169.254.169.254/",
        "https:\\\\169.254.169.254\\",
        "http:/\\127.0.0.1/",
        "https://127.0.0.1\\.example.com/",
        "https://example.com/a\\b",
    ),
    SLASHES: (
        "http:127.0.0.1",
        "http:/127.0.0.1/",
        "https:///127.0.0.1/",
        "http:////127.0.0.1/",
        "http:",
        "https://",
        "https://?127.0.0.1",
        "https://#127.0.0.1",
    ),
    ASCII: (
        "http://127。0。0。1/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://①②⑦.⓪.⓪.①/",
        "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "https://exámple.com/",
        "https://faß.de/",
        "http://127.0.0.1%2f.example.com/",
        "http://%31%32%37.0.0.1/",
        "http://127%2e0%2e0%2e1/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[::1/",
        "http://[::1]example.com/",
        "http://::1/",
        "http://127.0.0.1:80:80/",
        "http://127.0.0.1:/",
        "http://127.0.0.1:+80/",
        "http://127.0.0.1:\uff18\uff10/",
        "http://exam ple.com/",
        "http://example.com,127.0.0.1/",
        "http://example.com;127.0.0.1/",
        "http://(example.com)/",
        "http://*.example.com/",
    ),
    PORT: ("http://example.com:65536/", "http://example.com:99999/"),
    SPACE: (
        " http://example.com/",
        "http://example.com/ ",
        "\thttp://127.0.0.1/",
        "java\tscript:alert(1)",
        "java\nscript:alert(1)",
        "\x01javascript:alert(1)",
        "http://127.0.\t0.1/",
        "http://exa\u00admple.com/",
        "http://127.0.0.1\u200b/",
        "https://example.com/\u202egpj.exe",
        "http://example.com/\r\nHost: 127.0.0.1",
        "\u200bfile:///etc/passwd",
        "\ufeffhttp://127.0.0.1/",
        "https://example.com/\x00",
    ),
    NO_SCHEME: (
        "//169.254.169.254/",
        "\\\\attacker.example.com\\share\\x",
        "/\\127.0.0.1/",
        "\\/127.0.0.1/",
        "///etc/passwd",
    ),
    LABEL: ("http://localhost/", "http://LOCALHOST:5000/", "http://router/", "http://metadata/", "http://intranet/"),
    LOCAL: (
        "http://app.localhost/",
        "http://printer.local/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://localhost.localdomain/",
        "http://wiki.corp/",
        "http://nas.lan/",
        "http://nas.home.arpa/",
        "http://expyuzz4wqqyqhjn.onion/",
        "http://1.0.0.127.in-addr.arpa/",
    ),
    ECHO: (
        "http://127.0.0.1.nip.io/",
        "http://7f000001.nip.io/",
        "http://169-254-169-254.sslip.io/",
        "http://localtest.me/",
        "http://a.lvh.me:8080/",
    ),
    "javascript: is refused": ("javascript:alert(1)", "JaVaScRiPt:alert(1)", "javascript://example.com/%0aalert(1)"),
    "vbscript: is refused": ("vbscript:msgbox(1)",),
    "data: is refused": ("data:text/html,<script>alert(1)</script>", "data:text/html;base64,PHNjcmlwdD4=", "DATA:,x"),
    "blob: is refused": ("blob:https://example.com/9115d58c",),
    "about: is refused": ("about:blank",),
    "view-source: is refused": ("view-source:http://127.0.0.1/",),
    "filesystem: is refused": ("filesystem:https://example.com/temporary/x",),
    "jar: is refused": ("jar:http://127.0.0.1/x.jar!/",),
    "gopher: is refused": ("gopher://127.0.0.1:6379/_INFO",),
    "ftp: is refused": ("ftp://example.com/x",),
    "tftp: is refused": ("tftp://example.com/x",),
    "dict: is refused": ("dict://127.0.0.1:11211/stats",),
    "ldap: is refused": ("ldap://127.0.0.1/",),
    "smb: is refused": ("smb://attacker.example.com/share",),
    "ms-msdt: is refused": ("ms-msdt:/id PCWDiagnostic",),
    "search-ms: is refused": ("search-ms:query=x&crumb=location:\\\\attacker.example.com",),
    "cursor: is refused": ("cursor://anysphere.cursor-deeplink/mcp/install?name=x",),
    "vscode: is refused": ("vscode:mcp/install?%7B%7D",),
    "chrome: is refused": ("chrome://settings/",),
    "intent: is refused": ("intent://scan/#Intent;scheme=zxing;end",),
    "phar: is refused": ("phar:///srv/notes/x.phar",),
    "memcached: is refused": ("memcached://127.0.0.1/",),
    MACHINE: (
        "file://attacker.example.com/share/x",
        "file://127.0.0.1/c$/x",
        "file:////attacker.example.com/share",
        "file://///attacker.example.com/share",
        "file://localhost",
        "file://%6cocalhost/x",
        "file:%2f%2fattacker.example.com/share",
        "file:///%2fattacker.example.com/share",
    ),
    PATH: (
        "file:",
        "file:notes.txt",
        "file:///srv/notes/../../etc/passwd",
        "file:///srv/notes/%2e%2e/%2e%2e/etc/passwd",
        "file:///srv/notes/..%2f..%2fetc/passwd",
        "file:///srv/notes/%252e%252e/etc/passwd",
        "file:///srv/notes/%5c..%5cetc",
        "file:///srv/notes/x%00.txt",
        "file:\\\\attacker.example.com\\share",
    ),
    FOLDER: (
        "file:///etc/passwd",
        "file:/etc/passwd",
        "FILE:///etc/passwd",
        "file://localhost/etc/passwd",
        "file:///srv/notes2/x",
        "file:///srv",
        "file:///SRV/notes/x",
        "file:///C:/Windows/win.ini",
    ),
    "a URI has at most 8192 characters": ("https://example.com/" + "a" * 8192,),
}
"""By the rule that they break as links."""

HONEST = (
    "https://example.com/",
    "https://example.com",
    "http://example.com:8080/a?b=c#d",
    "HTTPS://EXAMPLE.COM/",
    "https://sub.domain.example.co.uk/path/with%20space",
    "https://xn--bcher-kva.example.com/",
    "https://my_host.example.com/",
    "https://example.com/@user/post",
    "https://example.com/?q=a@b.com",
    "https://example.com/#http://127.0.0.1/",
    "https://example.com/?next=http://127.0.0.1/",
    "https://8.8.8.8/",
    "https://[2606:4700:4700::1111]/",
    "https://[64:ff9b::808:808]/",
    "https://127.0.0.1.example.com/",
    "https://localhost.example.com/",
    "https://1.example.com/",
    "https://en.wikipedia.org/wiki/Ünïcode",
    "https://example.com/a b",
    "http://localhost:3000/preview",
    "https://10.0.0.7/status",
    "demo://resource/dynamic/text/1",
    "memo://insights",
    "memo:insights",
    "postgres://10.0.0.1/db/schema",
    "git://repo/main/README.md",
    "ui://widget/board.html",
    "resource://greeting",
    "data://config",
    "screenshot://latest",
    "urn:isbn:0451450523",
    "note",
    "notes/today.md",
    "/notes/today.md",
    "mailto:someone@example.com",
    "file:///srv/notes/today.md",
    "file:///srv/notes",
    "file:/srv/notes/a%20b.txt",
    "file://localhost/srv/notes/x",
    "file:///srv/notes/what%3f.txt",
)
"""Links that break none."""

ELSEWHERE: tuple[tuple[Use, str, str | None], ...] = (
    (Use.NAME, "file:///etc/passwd", None),
    (Use.NAME, "file:///C:/Users/x/notes.txt", None),
    (Use.READ, "file:///home/x/notes/today.md", None),
    (Use.READ, "file://attacker.example.com/share", MACHINE),
    (Use.NAME, "file:///a/../b", PATH),
    (Use.READ, "http://169.254.169.254/", LINK_LOCAL),
    (Use.READ, "javascript:alert(1)", "javascript: is refused"),
    (Use.NAME, "http://127.0.0.1/", LOOPBACK),
    (Use.NAME, "", None),
    (Use.ICON, "https://example.com/icon.png", None),
    (Use.ICON, "data:image/png;base64,iVBORw0KGgo=", None),
    (Use.ICON, "data:image/svg+xml;utf8,<svg/>", None),
    (Use.ICON, "DATA:image/png;base64,iVBORw0KGgo=", None),
    (Use.ICON, "data:image/png;base64," + "A" * 100_000, None),
    (Use.ICON, "data:text/html,<script>", "data: is refused"),
    (Use.ICON, "data:image,x", "data: is refused"),
    (Use.ICON, "http://example.com/icon.png", ICON),
    (Use.ICON, "file:///etc/passwd", ICON),
    (Use.ICON, "ws://example.com/icon.png", ICON),
    (Use.ICON, "icon.png", ICON),
    (Use.ICON, "https://169.254.169.254/icon.png", LINK_LOCAL),
    (Use.SITE, "https://example.com", None),
    (Use.SITE, "http://example.com", None),
    (Use.SITE, "memo://x", SITE),
    (Use.SITE, "http://192.168.0.1/", PRIVATE),
)


@pytest.mark.parametrize(
    ("uri", "rule"), [pytest.param(uri, rule, id=repr(uri[:60])) for rule, uris in LINKS.items() for uri in uris]
)
def test_link_that_misleads_is_refused(uri: str, rule: str) -> None:
    """A link that leads where none may, or that readers read in two ways, breaks the one rule that is named (A61)."""
    assert POLICY.fault(uri, Use.LINK) == rule


@pytest.mark.parametrize("uri", HONEST)
def test_honest_link_passes(uri: str) -> None:
    """What leads to the open internet, to a listed place, or is a word of the server's own, breaks no rule (A61)."""
    assert POLICY.fault(uri, Use.LINK) is None


@pytest.mark.parametrize(
    ("use", "uri", "rule"), [pytest.param(*one, id=f"{one[0].name} {one[1][:40]!r}") for one in ELSEWHERE]
)
def test_place_decides_what_may_stand_there(use: Use, uri: str, rule: str | None) -> None:
    """Names, reads, icons and sites have rules of their own beside those of links (A61, S1.39)."""
    assert POLICY.fault(uri, use) == rule


def test_corpus_is_large_and_has_no_double() -> None:
    """There are at least 150 links that mislead, each once."""
    links = [uri for uris in LINKS.values() for uri in uris]
    assert len(links) == len({*links}) >= 150
