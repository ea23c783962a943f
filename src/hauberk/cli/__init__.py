"""The command line. Each command is a module of its own, imported only when it is called.

Exit status: 0 fine, 1 the answer is no, 2 could not tell (usage, configuration, input and output). ``hauberk run``
ends with the status of the server that it started; 125 is a failure of its own, 126 and 127 are a command that cannot
be started. ``hauberk connect`` ends with 0 once the client has ended, and with 125 where there is no connection.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status.

    Args:
        args: What stands after the program's name; None for the arguments of this process.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] == ["run"]:
        from hauberk.cli import _boundary, _run

        request = _run.plain(words[1:])
        if request is not None:
            return _boundary.bounded(lambda: _run.run(request), _boundary.Manner(_run.FAILED))
    if words[:1] == ["connect"]:
        from hauberk.cli import _boundary, _connect

        asked = _connect.plain(words[1:])
        if asked is not None:
            return _boundary.bounded(lambda: _connect.run(asked), _boundary.Manner(_connect.FAILED))
    from hauberk.cli._app import App

    return App().start(words)
