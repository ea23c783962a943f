"""What every memory of nonces does, wherever it keeps them: one suite over all."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest
from plugins.replay.tests.conftest import KINDS, Makes, all_of, said

from hauberk_replay import Window

pytestmark = pytest.mark.parametrize("makes", KINDS, indirect=True)


async def test_a_nonce_is_taken_once(makes: Makes) -> None:
    """S0.33: the second time, a nonce of a key is refused, and so is the third."""
    nonces = await makes()
    assert [await said(nonces, b"n" * 12) for _ in range(3)] == ["taken", "replay.detected", "replay.detected"]


async def test_a_nonce_is_one_keys(makes: Makes) -> None:
    """Nonces are remembered by key: what one key has used, another may use once."""
    nonces = await makes()
    answers = [await said(nonces, b"n" * 12, key=key) for key in ("a", "b", "a:n", "b", "a")]
    assert answers == ["taken", "taken", "taken", "replay.detected", "replay.detected"]


async def test_keys_and_nonces_are_not_mixed_up(makes: Makes) -> None:
    """However a key and a nonce are cut, two pairs that differ are two."""
    nonces = await makes()
    pairs = [
        ("a", b"\0b"),
        ("a\0", b"b"),
        ("a:00", b"b"),
        ("a", b"\0"),
        ("", b"a"),
        ("a", b"a"),
        ("é", b"a"),
        ("k", b"\0"),
    ]
    assert [await said(nonces, nonce, key=key) for key, nonce in pairs] == ["taken"] * len(pairs)
    assert [await said(nonces, nonce, key=key) for key, nonce in pairs] == ["replay.detected"] * len(pairs)


async def test_another_time_does_not_make_it_another_message(makes: Makes) -> None:
    """S0.33: a nonce is remembered by key alone: with any other time in the window it is refused too."""
    nonces = await makes(window=Window(3000, 2000))
    now = time.time()
    assert await said(nonces, b"n" * 16, issued=now + 1900) == "taken"
    for seconds in (1900, 1000, 60, 1):
        assert await said(nonces, b"n" * 16, issued=now + seconds) == "replay.detected"


async def test_one_of_many_at_once_is_taken(makes: Makes) -> None:
    """A15: of the same nonce in a hundred tasks at once exactly one is taken; of a hundred others, each."""
    nonces = await makes()
    for number in range(10):
        answers = await all_of(nonces, *[b"%d" % number] * 100)
        assert sorted(answers) == ["replay.detected"] * 99 + ["taken"]
    assert await all_of(nonces, *(b"other %d" % number for number in range(100))) == ["taken"] * 100


async def test_full_refuses_and_forgets_nothing(makes: Makes) -> None:
    """S0.34, A14: what has no room is refused, and everything that was taken is still known."""
    nonces = await makes(most=50)
    many = [b"%d" % number for number in range(200)]
    answers = [await said(nonces, nonce) for nonce in many]
    assert set(answers) == {"taken", "replay.full"}
    taken = answers.count("taken")
    assert taken == 40, "a sender alone may hold four fifths"
    assert await all_of(nonces, *many[:taken]) == ["replay.detected"] * taken
    assert await said(nonces, b"once more") == "replay.full"


async def test_one_that_floods_leaves_room_for_others(makes: Makes) -> None:
    """S0.34: a sender has a share; who floods is refused while the others are served, and all together are bounded."""
    nonces = await makes(most=100)
    for number in range(150):
        await said(nonces, b"%d" % number, key="flood")
    assert await said(nonces, b"new", key="flood") == "replay.full"
    assert [await said(nonces, b"%d" % number, key="quiet") for number in range(10)] == ["taken"] * 10
    taken = 0
    for number in range(400):
        taken += await said(nonces, b"x%d" % number, key=f"k{number % 40}") == "taken"
    assert taken <= 100 - 80 - 10


async def test_no_nonce_is_none(makes: Makes) -> None:
    """What is no nonce is an error of the plugin that seals, and takes nothing."""
    nonces = await makes()
    bad: Any
    for bad in (b"", b"n" * 65, "text", None):
        with pytest.raises(ValueError, match="1 to 64"):
            await said(nonces, bad)
    assert await said(nonces, b"n" * 64) == "taken"


async def test_from_before_memory_begins_is_refused(makes: Makes) -> None:
    """S0.34: a new memory cannot know what came before it, so what was made before it is refused."""
    before = time.time()
    nonces = await makes()
    assert await said(nonces, b"old", issued=before - 5) == "replay.not_remembered"
    assert await said(nonces, b"old") == "taken"


async def test_any_order_of_anything_is_taken_once(makes: Makes) -> None:
    """Whatever is sent again, at whatever moment, over whatever keys: each pair is taken exactly once."""
    nonces = await makes()
    rnd = random.Random(7)
    sent = [(f"k{rnd.randrange(5)}", rnd.randbytes(1)) for _ in range(1500)]
    answers = []
    for at in range(0, len(sent), 50):
        answers += await asyncio.gather(*(said(nonces, nonce, key=key) for key, nonce in sent[at : at + 50]))
    assert answers.count("taken") == len(set(sent))
    assert set(answers) == {"taken", "replay.detected"}
