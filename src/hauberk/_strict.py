"""What the strict edge refuses, each rule with its code; `hauberk.edge` and `hauberk._depth` say when."""

from __future__ import annotations

from typing import Final, NamedTuple

from hauberk.refusals import MEDIATION, PARSE_ERROR, Refused

MAX_DEPTH: Final = 128
"""Arrays and objects inside each other, the outermost counted."""


class Rule(NamedTuple):
    code: str
    problem: str
    text: str
    jsonrpc: int = MEDIATION
    hint: str | None = None

    def refused(self) -> Refused:
        return Refused(
            self.code, f"message refused: {self.problem}", rule=self.text, hint=self.hint, jsonrpc=self.jsonrpc
        )


LINE: Final = Rule(
    "core.line_too_long",
    "the line is longer than the bound",
    "a line is at most core.bounds.line_bytes long",
    hint="raise line_bytes in [core.bounds] if this peer may send that much",
)
NOT_JSON: Final = Rule("core.not_json", "it does not parse", "a line is one JSON text (RFC 8259)", PARSE_ERROR)
BOM: Final = Rule("core.not_json", "a byte order mark stands before it", "no byte order mark", PARSE_ERROR)
UTF8: Final = Rule("core.not_json", "it holds bytes that are not UTF-8", "JSON text is valid UTF-8", PARSE_ERROR)
SURROGATE: Final = Rule("core.not_json", "it holds half a surrogate pair", "no lone surrogates (RFC 7493)", PARSE_ERROR)
DISAGREE: Final = Rule("core.not_json", "it has two readings", "a line means one thing", PARSE_ERROR)
FOREIGN: Final = Rule("core.not_json", "it holds what JSON does not carry", "a message is made of JSON values")
BATCH: Final = Rule("core.batch", "it is an array", "a line is one message; a batch is refused whole")
NOT_OBJECT: Final = Rule("core.not_an_object", "it is no JSON object", "a message is a JSON object")
DUPLICATE: Final = Rule("core.duplicate_key", "an object names a key twice", "keys are unique in their object")
NUMBER: Final = Rule(
    "core.number", "a number is out of range", "integers lie within -2**63 and 2**64-1, other numbers are finite"
)
VALUES: Final = Rule(
    "core.values",
    "it holds more values than the bound",
    "a long line holds at most core.bounds.values values",
    hint="raise values in [core.bounds] if this peer may send that many",
)
DEPTH: Final = Rule("core.depth", "it is nested too deep", f"arrays and objects nest at most {MAX_DEPTH} deep")
