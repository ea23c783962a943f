"""What every plugin promises, as checks that it cannot edit.

``python -m hauberk.conformance NAME`` runs them on an installed plugin; `Suite` is the same as a class of tests.
"""

from __future__ import annotations

from hauberk.conformance._checks import CHECKS, Check, Result, run
from hauberk.conformance._subject import Fault, Limits, Subject
from hauberk.conformance._suite import Suite

__all__ = ["CHECKS", "Check", "Fault", "Limits", "Result", "Subject", "Suite", "run"]
