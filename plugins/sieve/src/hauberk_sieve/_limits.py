"""Every bound of this package. Servers choose the names of their tools, so whatever grows with names has a bound."""

from __future__ import annotations

from typing import Final

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds, each with its unit."""

    spelled: int = 2048
    """Names of which is known how they are written, the oldest goes first (names)."""
    memo: int = 4096
    """Decisions that one set of rules remembers, the oldest goes first (pairs of server and tool)."""
    memo_chars: int = 256
    """A server and tool whose names are longer together are not remembered (characters)."""
    name_chars: int = 1024
    """A longer name of a tool is hidden and refused, whatever the rules (characters)."""
    marks: int = 30
    """Combining marks in a row; no language has more (UAX #15, stream-safe text), and sorting them takes for ever."""
    askers: int = 1024
    """People whose grants are kept ready, the oldest goes first (lists of grants)."""
    pages: int = 64
    """Pages of lists of which is remembered what was hidden, the oldest goes first (pages)."""
    page_entries: int = 65_536
    """A page of more is not remembered (entries)."""
    servers: int = 256
    """Servers whose merged rules are kept, the oldest goes first (servers)."""
    people: int = 16_384
    """People of one tenant in a register (people)."""
    people_retry: float = 1.0
    """How long a register that could not be read, and did not change, is not read again (seconds)."""
    people_settle: float = 2.0
    """After so long a change of a file shows in its mark, whatever its file system counts in (seconds)."""
    watched: int = 1024
    """Principals whose refusals are counted, the one that was refused longest ago goes first (principals)."""
    inner_calls: int = 1000
    """The most calls in one argument that ``[sieve.inner]`` may allow (calls)."""
    inner_steps: int = 16
    """Members and arrays in one path of ``[sieve.inner]`` (steps)."""
    seen_tools: int = 65_536
    """Definitions of tools that are kept of one connection (tools)."""
    telling: int = 64
    """Lists that wait until other guards are told of them (lists)."""
    near_chars: int = 64
    """A longer name has no look-alike but what looks the same (characters)."""
    near_counts: int = 50_000
    """Names of which the edits to those of one list are counted (pairs of names)."""
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
    known_lists: int = 64
    """Lists of which is known what was found in them, the oldest goes first (lists)."""
    spans: int = 256
    """Places that one pattern finds in one leaf; of more nothing is cut out, and all is refused (places)."""
    schemas: int = 1024
    """Schemas that are kept compiled, those that were not used for longest go first (schemas)."""
    schemas_bytes: int = 16 * 1024 * 1024
    """All schemas that are kept compiled together; compiled they take some times as much (bytes, as compact JSON)."""
    settled: int = 4096
    """Calls of which is known what need not be asked again, of all connections (pairs of connection and tool)."""
    schema_bytes: int = 256 * 1024
    """A larger schema is unusable (bytes, as compact JSON)."""
    schema_places: int = 4096
    """Schemas inside one schema (schemas)."""
    schema_depth: int = 64
    """Schemas inside one another (schemas)."""
    schema_chain: int = 32
    """Schemas that look at one value one after the other; the stack of the validator is as deep (schemas)."""
    schema_branches: int = 10_000
    """Times that schemas look at one value, all branches together (times)."""
    schema_inspected: int = 64
    """Tools of one list whose schemas are looked at when it passes; the others are when they are called (tools)."""
    inspected_bytes: int = 64 * 1024
    """All schemas of one list together that are looked at when it passes (bytes, as compact JSON)."""
    tasks: int = 1024
    """Tasks of one connection of which the tool is remembered, the oldest goes first (tasks)."""
    pattern_chars: int = 1024
    """A regular expression in a schema (characters)."""
    pattern_states: int = 16_384
    """States of all regular expressions of a schema, repetitions written out (states)."""
    pattern_bytes: int = 1024 * 1024
    """A regular expression once it is compiled (bytes)."""
    depth: int = 128
    """How deep a value may be nested; the core lets nothing deeper pass."""
    work: float = 10_000_000
    """Work that checking one value may make (units of about 15 ns)."""
    work_located: float = 10_000
    """Work beyond which a fault is told without its place (units; finding it takes up to a thousand times as long)."""
    located_depth: int = 1024
    """Depth of a value times the longest chain, beyond which likewise: finding the place takes a stack (schemas)."""
    work_states: int = 16_384
    """States of the estimate of one schema's work (states)."""
    work_explored: int = 50_000
    """Places in the states of one estimate, those of all states together; and of all schemas of a list (places)."""
    work_steps: int = 100_000
    """Values that the estimate looks at (values)."""


LIMITS: Final = Limits()
