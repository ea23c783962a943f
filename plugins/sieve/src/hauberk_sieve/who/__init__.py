"""People: who may do anything at all, and what each belongs to."""

from __future__ import annotations

from hauberk_sieve.who._mesh import Who
from hauberk_sieve.who._standing import Refusal, Standing

__all__ = ["Refusal", "Standing", "Who"]
