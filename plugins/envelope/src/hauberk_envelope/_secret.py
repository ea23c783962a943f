"""A provisioned secret: what agents were given in advance, in place of an agreement (S0.25).

With one, several agents can read one message (``to`` is None). Who sent it is still proved by the signature; that it
was read by one of them only is not.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, final

from hauberk import keys
from hauberk_envelope import _canonical

_ID_PREFIX: Final = "hbs1_"
_ID_LABEL: Final = _canonical.DOMAIN + "secret-id/v1"


@final
class ProvisionedSecret:
    """32 random bytes that several agents have."""

    __slots__ = ("_secret", "secret_id")

    def __init__(self, secret: bytes) -> None:
        """Take a secret (32 bytes).

        Raises:
            ValueError: It has another length.
        """
        if len(secret) != keys.KEY_BYTES:
            raise ValueError(f"a provisioned secret has {keys.KEY_BYTES} bytes")
        self._secret: Final = keys.derive(secret, "envelope-provisioned")
        named = hashlib.sha256(_canonical.encode(_ID_LABEL, keys.derive(secret, "envelope-provisioned-id"))).digest()
        self.secret_id: Final = _ID_PREFIX + base64.b32encode(named).decode().rstrip("=").lower()

    @classmethod
    def read(cls, path: Path) -> ProvisionedSecret:
        """Return the secret of a key file (`hauberk.keys`).

        Raises:
            ConfigError: The file is not private, or holds no key.
        """
        return cls(keys.load_key(path))

    @classmethod
    def create(cls, path: Path, *, random: Callable[[int], bytes] = os.urandom) -> ProvisionedSecret:
        """Make the file of a new secret, of mode 0600, to be given to all who shall have it.

        Raises:
            ConfigError: The path exists, or its directory cannot hold a private file.
        """
        return cls(keys.create_key(path, random=random))

    def material(self) -> bytes:
        """Return what content keys are made from (32 bytes)."""
        return self._secret

    def __repr__(self) -> str:
        return f"<ProvisionedSecret {self.secret_id}>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a provisioned secret is not pickled or copied")
