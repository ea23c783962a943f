"""Settings for the tests of the core and of every plugin."""

from __future__ import annotations

from hypothesis import settings

# A deadline for each example measures the machine, and a busy one fails; each test has a time limit as it is.
settings.register_profile("hauberk", parent=settings(), deadline=None)
settings.load_profile("hauberk")
