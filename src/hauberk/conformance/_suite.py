"""The checks as a class of tests, to subclass in a plugin's own tests."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from hauberk.conformance._checks import check_named, run
from hauberk.conformance._subject import Limits, Subject


class Suite:
    r"""One test for each check; pytest collects a subclass whose name begins with ``Test``.

    ::

        class TestConformance(hauberk.conformance.Suite):
            name = "curfew"
            config = "[curfew]\nbegins = 22"
    """

    name: ClassVar[str]
    """The plugin's word."""
    config: ClassVar[str] = ""
    """A configuration under which it runs (TOML); without a table for it, it gets an empty one."""
    base: ClassVar[Path | None] = None
    """Where relative paths of the configuration start."""
    limits: ClassVar[Limits] = Limits()

    def check(self, name: str) -> None:
        """Run one check.

        Raises:
            AssertionError: The plugin does not pass; the text says why and where.
        """
        subject = Subject(self.name, self.config, base=self.base, limits=self.limits)
        for result in run(subject, [check_named(name)]):
            if result.faults is None:
                raise AssertionError(f"{name} was not run: {self.name!r} does not pass {result.check.needs}")
            if result.faults:
                lines = [f"{fault.reason}  [{fault.where}]" if fault.where else fault.reason for fault in result.faults]
                raise AssertionError("\n".join([f"{self.name!r} does not pass {name}: {result.check.claim}", *lines]))

    def test_imports(self) -> None:
        """The entry point leads to a plugin of that name."""
        self.check("imports")

    def test_loads(self) -> None:
        """A guard with it loads, opens and closes."""
        self.check("loads")

    def test_hook_options(self) -> None:
        """No hook has options."""
        self.check("hook-options")

    def test_declared_hooks(self) -> None:
        """Every method that looks like a hook is one."""
        self.check("declared-hooks")

    def test_unknown_option(self) -> None:
        """An option that nobody knows is an error."""
        self.check("unknown-option")

    def test_quiet_import(self) -> None:
        """Its import connects, writes and starts nothing."""
        self.check("quiet-import")

    def test_guards_clock(self) -> None:
        """It asks the guard for the time, and nobody else."""
        self.check("guards-clock")

    def test_no_mutation(self) -> None:
        """What it receives stays as it was."""
        self.check("no-mutation")

    def test_own_prefix(self) -> None:
        """Its codes begin with its name."""
        self.check("own-prefix")

    def test_no_canary(self) -> None:
        """No secret gets into errors, events, the log or its files."""
        self.check("no-canary")

    def test_survives(self) -> None:
        """Unknown fields and methods do not make it fail."""
        self.check("survives")

    def test_bounded_memory(self) -> None:
        """Many peers do not fill the memory."""
        self.check("bounded-memory")

    def test_cancellation(self) -> None:
        """It may be cancelled, and a request may end in any way."""
        self.check("cancellation")
