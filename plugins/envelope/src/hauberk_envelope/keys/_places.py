"""Where keys are.

::

    keys/                       0700  beside hauberk.toml, or --dir
        own/                    0700
            KEY-ID.key          0600  the secret keys of an agent of this machine
        agents/                 0700  who is trusted: [envelope] keys_directory
            KEY-ID.toml         0600  the public keys of an agent
            KEY-ID.revoked      0600  says that they count no longer
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hauberk import files
from hauberk.config import default_path


class Places(NamedTuple):
    """The two directories."""

    own: Path
    agents: Path

    @classmethod
    def of(cls, base: Path | None) -> Places:
        """Return the directories under ``base``, or where they are by default."""
        at = base or default_path().parent / "keys"
        return cls(at / "own", at / "agents")

    def make(self) -> None:
        """Make both, where they are missing.

        Raises:
            ConfigError: One is somebody else's, or lets others in.
        """
        files.private_dir(self.own)
        files.private_dir(self.agents)
