"""``python -m hauberk``."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # Python put the working directory here. It may be a cloned repository: nothing is to be imported from it.
        sys.path.pop(0)

    from hauberk.cli import main

    sys.exit(main())
