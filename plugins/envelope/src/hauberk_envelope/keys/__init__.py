"""``hauberk keys``: an agent's own keys, and those that it trusts.

`_places` says where they lie, `_desk` does the work on files and a time, `_commands` asks and prints.
"""

from __future__ import annotations

from hauberk_envelope.keys._commands import keys

__all__ = ["keys"]
