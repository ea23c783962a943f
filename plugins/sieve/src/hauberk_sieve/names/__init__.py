"""Names: tools that are called, or look as if they were called, like others."""

from __future__ import annotations

from hauberk_sieve.names._mesh import Names
from hauberk_sieve.names._options import ALERT
from hauberk_sieve.names._spelled import Spelled

__all__ = ["ALERT", "Names", "Spelled"]
