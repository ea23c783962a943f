"""The rules on what a server may ask back, and the forms that ask for secrets."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_sieve.asks._forms import secret_in_message, secret_in_schema, spread
from hauberk_sieve.asks._judge import ELICITATION, ROOTS, SAMPLING, Judge
from hauberk_sieve.asks._options import Asks
from hauberk_sieve.asks._pace import WINDOW, Pace
from hauberk_sieve.asks._roots import Roots

Json = dict[str, Any]

OPEN = Asks(sampling="allow", elicitation="allow", roots="allow", origins=("https://accounts.example.com",))
HELLO = {"role": "user", "content": {"type": "text", "text": "hello"}}


def sampling(**more: Any) -> Json:
    return {"messages": [HELLO], "maxTokens": 100, **more}


def form(name: str = "city", message: str = "where do you live?", **field: Any) -> Json:
    schema = {"type": "object", "properties": {name: {"type": "string", **field}}}
    return {"message": message, "requestedSchema": schema}


def url(text: Any, **more: Any) -> Json:
    return {"mode": "url", "message": "sign in", "url": text, "elicitationId": "1", **more}


@pytest.mark.parametrize(
    ("method", "params", "rule"),
    [
        (SAMPLING, sampling(), None),
        (SAMPLING, sampling(includeContext="none"), None),
        (SAMPLING, sampling(includeContext="thisServer"), 'context = "none"'),
        (SAMPLING, sampling(includeContext="allServers"), 'context = "none"'),
        (SAMPLING, sampling(includeContext="ALLSERVERS"), 'context = "none"'),
        (SAMPLING, sampling(includeContext=["none"]), 'context = "none"'),
        (SAMPLING, sampling(maxTokens=8192), None),
        (SAMPLING, sampling(maxTokens=8193), "tokens = 8192"),
        (SAMPLING, sampling(maxTokens="9" * 9), "tokens = 8192"),
        (SAMPLING, sampling(messages=[HELLO] * 33), "messages = 32"),
        (SAMPLING, sampling(tools=[{"name": "rm"}]), "tools = false"),
        (SAMPLING, sampling(toolChoice={"mode": "required"}), "tools = false"),
        (SAMPLING, sampling(messages=[{"role": "user", "content": [{"type": "tool_result"}]}]), "tools = false"),
        (SAMPLING, sampling(messages=[{"role": "assistant", "content": {"type": "tool_use"}}]), "tools = false"),
        (ELICITATION, form(), None),
        (ELICITATION, {**form(), "mode": "form"}, None),
        (ELICITATION, {**form(), "mode": "page"}, "mode is form or url"),
        (ELICITATION, {**form(), "mode": None}, "mode is form or url"),
        (ELICITATION, form("password"), "secrets = false: 'password'"),
        (ELICITATION, form(message="Enter your password"), "secrets = false: 'password'"),
        (ELICITATION, {**form("pin"), "mode": "url", "url": "https://accounts.example.com/"}, "secrets = false: 'pin'"),
        (ELICITATION, url("https://accounts.example.com/oauth?state=1"), None),
        (ELICITATION, url("https://ACCOUNTS.example.com:443/"), None),
        (ELICITATION, url("https://accounts.example.com:8443/"), "origins"),
        (ELICITATION, url("http://accounts.example.com/"), "origins"),
        (ELICITATION, url("https://example.com/"), "origins"),
        (ELICITATION, url("https://evil.accounts.example.com/"), "origins"),
        (ELICITATION, url("https://accounts.example.com.evil.net/"), "origins"),
        (ELICITATION, url("https://accounts.example.com@evil.net/"), "origins"),
        (ELICITATION, url("https://user@accounts.example.com/"), "origins"),
        (ELICITATION, url("https://accounts.example.com\\@evil.net/"), "origins"),
        (ELICITATION, url("https://accounts.example\u3002com/"), "origins"),
        (ELICITATION, url("https://\u0430ccounts.example.com/"), "origins"),
        (ELICITATION, url("javascript:alert(1)//https://accounts.example.com"), "origins"),
        (ELICITATION, url("data:text/html,x"), "origins"),
        (ELICITATION, url("file:///etc/passwd"), "origins"),
        (ELICITATION, url(None), "origins"),
        (ELICITATION, {**form(), "url": "https://evil.net/"}, "origins"),
        (ROOTS, {}, None),
    ],
)
def test_question_keeps_to_the_rules(method: str, params: Json, rule: str | None) -> None:
    """Each question is held to the rule that is named (A59, S3.47)."""
    assert Judge(OPEN).broken(method, params, 1000) == rule


@pytest.mark.parametrize(
    ("asks", "method", "params"),
    [
        (Asks(context="thisServer"), SAMPLING, sampling(includeContext="thisServer")),
        (Asks(context="allServers"), SAMPLING, sampling(includeContext="allServers")),
        (Asks(tools=True), SAMPLING, sampling(tools=[{"name": "rm"}])),
        (Asks(secrets=True), ELICITATION, form("password")),
        (Asks(messages=33), SAMPLING, sampling(messages=[HELLO] * 33)),
        (Asks(tokens=9000), SAMPLING, sampling(maxTokens=9000)),
    ],
)
def test_option_allows_what_it_says(asks: Asks, method: str, params: Json) -> None:
    """What is refused by default has an option."""
    assert Judge(asks).broken(method, params, 1000) is None


@pytest.mark.parametrize("method", [SAMPLING, ELICITATION, ROOTS])
def test_question_over_its_size_is_refused(method: str) -> None:
    """A question of any kind has a size (A59)."""
    judge = Judge(Asks(size=100))
    assert judge.broken(method, {}, 101) == "size = 100"
    assert judge.broken(method, {}, 100) is None


def test_everything_is_denied_by_default() -> None:
    """A table without a word of asks denies all three (A59, S3.47)."""
    judge = Judge(Asks())
    questions = [(SAMPLING, sampling()), (ELICITATION, form()), (ELICITATION, url("https://a.com")), (ROOTS, {})]
    assert {judge.stance(method, params) for method, params in questions} == {"deny"}


def test_listed_origin_opens_urls_alone() -> None:
    """Where an origin is listed an elicitation may lead there, and a form is denied all the same (A59)."""
    judge = Judge(Asks(origins=("https://a.com",)))
    assert judge.stance(ELICITATION, url("https://a.com/")) == "allow"
    assert judge.broken(ELICITATION, url("https://b.com/"), 1) == "origins"
    assert judge.stance(ELICITATION, form()) == "deny"
    assert judge.stance(ELICITATION, {**form(), "mode": "url", "url": "https://a.com/"}) == "deny"


# --- secrets ---


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "Password",
        "userPassword",
        "user_password",
        "user-password",
        "USERPASSWORD",
        "passwd",
        "pwd",
        "passphrase",
        "apiKey",
        "api_key",
        "APIKey",
        "openai_api_key",
        "accessToken",
        "access-token",
        "token",
        "github_token",
        "secret",
        "clientSecret",
        "privateKey",
        "sshKey",
        "otp",
        "otpCode",
        "totp",
        "mfaCode",
        "verification_code",
        "pin",
        "pinCode",
        "cvv",
        "cvc2",
        "cardNumber",
        "credit_card",
        "ssn",
        "seedPhrase",
        "mnemonic",
        "recovery_code",
        "credentials",
        "contraseña",
        "passwort",
        "пароль",
        "密码",
        "パスワード",
        "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44",
        "pass\u200bword",
        "pa\u0301ssword",
    ],
)
def test_field_for_a_secret_is_found(name: str) -> None:
    """A field is known by its name, and by its title and description (A59)."""
    assert secret_in_schema(form(name)["requestedSchema"]) is not None
    for key in ("title", "description", "placeholder"):
        assert secret_in_schema(form("value", **{key: f"Your {name} please"})["requestedSchema"]) is not None


@pytest.mark.parametrize(
    "name",
    [
        "city",
        "email",
        "username",
        "max_tokens",
        "tokens",
        "pinned",
        "spin",
        "keyword",
        "key",
        "code",
        "countryCode",
        "passenger",
        "compass",
        "hospital",
        "tokenizer",
        "cookies",
        "secretary",
        "desktop",
        "scarf",
        "caveat",
        "card_title",
    ],
)
def test_ordinary_field_passes(name: str) -> None:
    """A field that only sounds alike is none (A59)."""
    assert secret_in_schema(form(name, title=name, description=f"the {name}")["requestedSchema"]) is None


@pytest.mark.parametrize(
    "field",
    [
        {"format": "password"},
        {"format": "PassWord"},
        {"writeOnly": True},
        {"type": "object", "properties": {"password": {"type": "string"}}},
        {"items": {"type": "string", "title": "password"}},
        {"enum": [], "title": "password"},
        {"oneOf": [{"type": "string"}], "title": "password"},
        {"anyOf": [{"const": "a"}, {"title": "password", "type": "string"}]},
        {"type": "integer", "title": "PIN code"},
    ],
)
def test_field_that_takes_a_secret_by_another_way_is_found(field: Json) -> None:
    """Format, writeOnly, nested objects and choices that are none are looked at (A59)."""
    assert secret_in_schema(form("value", **field)["requestedSchema"]) is not None


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("Your favorite integer (do not give us your phone number, pin, or other sensitive info)", False),
        ("Don\u2019t send us tokens or a PIN", False),
        ("Never tell us your PIN. Your PIN", True),
        ("Do not give us your name: type your PIN", True),
        ("Do not forget your PIN", True),
        ("Do not give us your password", True),
    ],
)
def test_field_may_say_what_not_to_give(text: str, *, asks: bool) -> None:
    """A PIN that a field says not to give is not asked for; what can mean nothing else counts there too (A59)."""
    assert (secret_in_schema(form("value", description=text)["requestedSchema"]) is not None) is asks


@pytest.mark.parametrize(
    "field",
    [
        {"type": "boolean"},
        {"enum": ["yes", "no"]},
        {"oneOf": [{"const": "a", "title": "A"}]},
        {"type": "array", "items": {"enum": ["a"]}},
        {"type": "array", "items": {"anyOf": [{"const": "a"}]}},
    ],
)
def test_choice_takes_no_secret(field: Json) -> None:
    """A field of true or false, or of listed words, may be called as it likes."""
    assert secret_in_schema(form("resetPassword", **field)["requestedSchema"]) is None


def test_referred_field_is_looked_at() -> None:
    """What a schema refers to stands somewhere in it (A59)."""
    schema = {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "string", "title": "API key"}}}
    assert secret_in_schema(schema) is not None


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("Please enter your password to go on", True),
        ("Paste the API key here", True),
        ("What is the one-time code that we sent?", True),
        ("Gib dein Passwort ein", True),
        ("请输入密码", True),
        ("비밀번호를 입력하세요", True),
        ("Which city do you live in?", False),
        ("This will use about 300 tokens. Go on?", False),
        ("Pin this note to the top?", False),
    ],
)
def test_message_that_asks_for_a_secret_is_found(text: str, *, asks: bool) -> None:
    """A message counts too, but for words that mean many things (A59)."""
    assert (secret_in_message(text) is not None) is asks


@given(
    st.recursive(
        st.none() | st.text(max_size=8), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner)
    )
)
def test_any_schema_is_read(schema: Any) -> None:
    """Whatever stands for a schema, there is an answer."""
    assert secret_in_schema(schema) is None or secret_in_schema({"properties": schema}) is not None


def test_marks_without_end_are_dropped() -> None:
    """A row of combining marks is not brought into order, which takes for ever."""
    assert spread("pass" + "\u0301\u0316" * 50_000 + "word") == "password"


# --- roots, pace ---

HOME = {"uri": "file:///home/x", "name": "home"}
NOTES = {"uri": "file:///srv/notes", "name": "notes"}
BELOW = {"uri": "file:///srv/notes/2026", "name": "below"}


@pytest.mark.parametrize(
    ("asks", "shown"),
    [
        (Asks(roots="allow"), [HOME, NOTES, BELOW]),
        (Asks(roots="alert"), [HOME, NOTES, BELOW]),
        (Asks(), []),
        (Asks(roots="allow", roots_under=(PurePosixPath("/srv/notes"),)), [NOTES, BELOW]),  # type: ignore[arg-type]
        (Asks(roots="alert", roots_under=(PurePosixPath("/srv/notes/2026"),)), [BELOW]),  # type: ignore[arg-type]
    ],
)
def test_roots_are_those_under_the_folders(asks: Asks, shown: list[Json]) -> None:
    """A server sees the roots under the listed folders, and none where it may not ask (S3.47)."""
    assert Roots(asks).shown([HOME, NOTES, BELOW]) == shown


@pytest.mark.parametrize(
    "uri",
    [
        "file:///srv/notes/../../etc",
        "file:///srv/notes2",
        "file:///srv",
        "file://other/srv/notes",
        "https://example.com/srv/notes",
        "/srv/notes",
        "file:///srv/notes/%2e%2e/x",
        7,
        None,
    ],
)
def test_root_elsewhere_is_left_out(uri: Any) -> None:
    """What leads out of a folder, or is no file, is not under it."""
    asks = Asks(roots="allow", roots_under=(PurePosixPath("/srv/notes"),))  # type: ignore[arg-type]
    assert Roots(asks).shown([{"uri": uri}, "x"]) == []


def test_questions_of_a_minute_are_counted() -> None:
    """So many questions in any minute, and no more; what was refused does not count (A59)."""
    pace = Pace()
    assert [pace.wait(now, 3) for now in (0.0, 10.0, 20.0)] == [0.0, 0.0, 0.0]
    assert pace.wait(30.0, 3) == WINDOW - 30.0
    assert pace.wait(59.9, 3) > 0
    assert pace.wait(60.0, 3) == 0.0
    assert pace.wait(60.0, 3) == 10.0
    assert pace.wait(1e9, 0) == WINDOW


@given(st.lists(st.integers(0, 30 * 64), max_size=60), st.integers(0, 5))
def test_no_minute_has_more_questions(gaps: list[int], most: int) -> None:
    """In no window of a minute are there more than that (A59)."""
    pace, now, passed = Pace(), 0.0, []
    for gap in gaps:
        now += gap / 64  # which adds up without rounding
        if not pace.wait(now, most):
            passed.append(now)
    for start in passed:
        assert sum(1 for at in passed if start <= at < start + WINDOW) <= most
