"""What most answers to calls are: texts, and nothing beside them. One look tells, and gathers the words.

The rules:

1. Such a result has ``content``, blocks of ``type`` and ``text`` alone, and perhaps ``isError`` and ``resultType``; its
   message has nothing but it. So it holds no link, no task and nothing that a schema is about, and each string and key
   that a model may read in it is known without a walk.
2. The words are the leaves of that walk (`hauberk_sieve.text._leaves`), joined as it joins them. What the protocol has
   for keys and types is there once, whether or not it came: it may be found where it is not, never the other way round.
3. Of whatever else, nothing is said here, and it goes the long way.
"""

from __future__ import annotations

from typing import Final

from hauberk.message import Message

BETWEEN: Final = "\n\n"
"""What stands between leaves that are scanned together; what matches in one of them matches in all."""
_MEMBERS: Final = 3
"""Those of a message that is a result: ``jsonrpc``, ``id``, ``result``."""
_BESIDE: Final = ("isError", "resultType")
_TOLD: Final = frozenset(("content", *_BESIDE))
_FRAME: Final = BETWEEN.join(("content", "type", "text", *_BESIDE))


def words(message: Message) -> str | None:
    """Return all that can be read in the answer to a call, where it is texts.

    Args:
        message: A message of ``tools/call``.
    """
    data = message.data
    if message.kind != "result" or message.toward != "client" or len(data) > _MEMBERS or message.embedded is not None:
        return None
    result = data["result"]
    blocks = result.get("content")
    if type(blocks) is not list or (len(result) > 1 and not result.keys() <= _TOLD):
        return None
    texts = [_FRAME]
    for block in blocks:
        if type(block) is not dict or len(block) != 2 or block.get("type") != "text":  # noqa: PLR2004 - type and text
            return None
        text = block.get("text")
        if type(text) is not str:
            return None
        texts.append(text)
    if len(result) > 1:
        for key in _BESIDE:
            value = result.get(key, "")
            if type(value) is str:
                texts.append(value)
            elif type(value) is not bool:
                return None
    return BETWEEN.join(texts)
