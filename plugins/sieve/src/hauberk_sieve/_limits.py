"""Every bound of this package. Servers choose the names of their tools, so whatever grows with names has a bound."""

from __future__ import annotations

from typing import Final

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds, each with its unit."""

    memo: int = 4096
    """Decisions that one set of rules remembers, the oldest goes first (pairs of server and tool)."""
    memo_chars: int = 256
    """A server and tool whose names are longer together are not remembered (characters)."""
    name_chars: int = 1024
    """A longer name of a tool is hidden and refused, whatever the rules (characters)."""
    marks: int = 30
    """Combining marks in a row; no language has more (UAX #15, stream-safe text), and sorting them takes for ever."""
    servers: int = 256
    """Servers whose merged rules are kept, the oldest goes first (servers)."""
    seen_tools: int = 65_536
    """Definitions of tools that are kept of one connection (tools)."""
    telling: int = 64
    """Lists that wait until other guards are told of them (lists)."""
    shown_names: int = 32
    """Names of hidden tools in one event (names)."""
    shown_chars: int = 128
    """One name in an event, a reason or a hint (characters)."""
    uri_chars: int = 8192
    """A longer URI is refused, but for an image in an icon (characters)."""
    hosts: int = 16
    """Names of hosts that are looked up for one message; what leads to further ones is refused (names)."""
    streams: int = 1024
    """Kinds of news that are told apart of one connection: a list, or one resource, in one stream (kinds)."""
    findings: int = 1000
    """Findings in one message; more are counted as if each rule had found the worst (pairs of a rule and a leaf)."""
    spans: int = 256
    """Places that one pattern finds in one leaf; where there are more, nothing is cut out and all is refused (places)."""


LIMITS: Final = Limits()
