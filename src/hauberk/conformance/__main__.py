"""``python -m hauberk.conformance NAME``."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # Python put the working directory here: a plugin is tested as it is installed, not as it lies about.
        sys.path.pop(0)

    from hauberk.conformance._cli import command

    command(prog_name="python -m hauberk.conformance")
