"""Forms that ask a user for secrets. A server that needs one has a sign-in of its own, or is given a key by its owner.

The rules:

1. A field that only takes true or false, or one of listed words, takes no secret.
2. Any other field is judged by its name, title, description and placeholder, its ``format`` (``password``) and
   ``writeOnly``. Names are split where their case changes, and compared as they look (`hauberk_sieve._spelling.fold`).
3. The message of a form is judged by what can hardly mean anything else; *token* and *pin* alone do not count there,
   nor in what a field says not to give.
4. Whatever is nested, or referred to, is looked at as well: every object in the schema is.

This finds what calls a secret by a name. A form that says "type the word that you told nobody" is not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

from hauberk_sieve._spelling import fold

_BETWEEN: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_APART: Final = re.compile(r"[\W_]+")
_STRONG: Final = re.compile(
    # anywhere in a word: names are run together, and some scripts put no space between words
    r"pass ?words?|passwd|pass ?phrases?|pass ?codes?|api ?keys?|private ?keys?|secret ?keys?|credit ?cards?"
    r"|密码|密碼|口令|パスワード|暗証番号|비밀번호|암호|пароль|парол|passw[oö]rt|contrase[nñ]a"
    r"|\b(?:"
    r"pwd|access ?keys?|ssh ?keys?|signing ?keys?|encryption ?keys?|credentials?|client ?secrets?"
    r"|(?:access|api|auth|bearer|refresh|session|security|id) ?tokens?"
    r"|t?otp|2fa|mfa|two factor|one time (?:code|pass\w*|pin)"
    r"|(?:verification|authentication|auth|security|recovery|backup|login|sms) ?codes?|cvv2?|cvc2?|card ?numbers?"
    r"|(?:debit|bank) ?cards?|pin ?(?:codes?|numbers?)|iban|social security|ssn|(?:seed|recovery) ?phrases?|mnemonics?"
    r"|session ?cookies?|kennwort|mot de passe|senha|wachtwoord|l[oö]senord|has[lł]o|heslo|[sş]ifre"
    r")\b"
)
_WEAK: Final = re.compile(r"\b(?:pin|token|secrets?|jwt|bearer|cookie)\b")
_UNWANTED: Final = re.compile(r"\b(?:do not|don['\u2019]?t|never) (?:give|send|tell) us\b[^.:;!?()\n]*", re.IGNORECASE)
_TEXTS: Final = ("title", "description", "placeholder")


def secret_in_message(text: str) -> str | None:
    """Return the word of a message that asks for a secret, or None."""
    found = _STRONG.search(spread(text))
    return None if found is None else found[0]


def secret_in_schema(schema: Any) -> str | None:
    """Return the word of a form's schema that asks for a secret, or None."""
    for name, field in _fields(schema):
        if _is_chosen(field):
            continue
        if str(field.get("format", "")).casefold() == "password" or field.get("writeOnly") is True:
            return "password"
        for text in (name, *(field[key] for key in _TEXTS if type(field.get(key)) is str)):
            found = _STRONG.search(spread(text)) or _WEAK.search(spread(_UNWANTED.sub("", text)))
            if found is not None:
                return found[0]
    return None


def spread(text: str) -> str:
    """Return the words of a text or a name, as they look, one space apart."""
    if not text.isascii():  # without marks: bringing a long row of them into order takes for ever
        text = "".join(char for char in text if not unicodedata.combining(char))
    return _APART.sub(" ", fold(_BETWEEN.sub(" ", text)))


def _is_chosen(field: dict[str, Any]) -> bool:
    """Whether a field takes true or false, or one of listed words (rule 1)."""
    if field.get("type") == "boolean":
        return True
    if type(items := field.get("items")) is dict and field.get("type") == "array":
        return _is_chosen(items)
    if type(words := field.get("enum")) is list and words:
        return True
    options = field.get("oneOf") or field.get("anyOf")
    return type(options) is list and all(type(option) is dict and "const" in option for option in options)


def _fields(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object of a schema that may describe a field, with its name where it has one."""
    waiting: list[tuple[str, Any]] = [("", schema)]
    while waiting:
        name, value = waiting.pop()
        if type(value) is list:
            waiting.extend((name, item) for item in value)
        elif type(value) is dict:
            if name:
                yield name, value
            waiting.extend(value.items())
