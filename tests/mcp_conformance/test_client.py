"""The official conformance suite through the SDK's client: the same checks pass behind a guard as without one.

Some scenarios of each kind; ``make mcp-conformance`` plays them all. Needs the npm and PyPI registries; what comes from
there stays in pytest's cache folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from tests.mcp_conformance.client import SCENARIOS
from tests.mcp_conformance.compare import both
from tests.mcp_conformance.suite import REVISIONS, Suite, install

pytestmark = [pytest.mark.registry, pytest.mark.timeout(900)]

_OLD, _NEW = REVISIONS
_AUTHORISED: Final = ((_OLD, "auth/scope-step-up"), (_NEW, "auth/authorization-server-migration"))
_CHOSEN: Final = (
    (_OLD, "initialize"),
    (_OLD, "tools_call"),
    (_OLD, "elicitation-sep1034-client-defaults"),
    (_OLD, "sse-retry"),
    (_OLD, "json-schema-2020-12-preservation"),
    (_NEW, "tools_call"),
    (_NEW, "request-metadata"),
    (_NEW, "sep-2322-client-request-state"),
    (_NEW, "http-standard-headers"),
    (_NEW, "http-custom-headers"),
    (_NEW, "http-invalid-tool-headers"),
    (_NEW, "json-schema-ref-no-deref"),
    (_NEW, "json-schema-2020-12-preservation"),
)
"""Every scenario that is not about getting a token, of both revisions."""


@pytest.fixture(scope="module")
def suite(pytestconfig: pytest.Config) -> Suite:
    """Return the suite, installed into a folder of its own."""
    assert pytestconfig.cache is not None
    return install(Path(pytestconfig.cache.mkdir("registry")) / "mcp-conformance")


def test_all_scenarios_have_a_client(suite: Suite) -> None:
    """The client knows what each scenario of both revisions wants; all but those of OAuth are played here."""
    for revision in REVISIONS:
        plain = {name for name in suite.scenarios(revision) if not name.startswith("auth/")}
        assert plain <= SCENARIOS.keys()
        assert plain == {name for of, name in _CHOSEN if of == revision}


@pytest.mark.parametrize(("revision", "scenario"), [*_CHOSEN, *_AUTHORISED])
def test_same_checks_pass_behind_a_guard(suite: Suite, revision: str, scenario: str) -> None:
    """Each check of a scenario comes out behind a guard that allows everything as it does without one."""
    found = both(suite, scenario, revision)
    assert found.guarding, found.guarded.said
    assert found.bare.passed, found.bare.said
    if not found.same:  # some scenarios have times to keep, which a busy machine may miss
        found = both(suite, scenario, revision)
    assert not found.differences, found.guarded.said


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_refusal_is_a_difference(suite: Suite, revision: str) -> None:
    """Behind a guard that denies the tool the suite finds the call missing: what it finds is what the guard lets by."""
    found = both(suite, "tools_call", revision, rule='deny = ["conformance/add_numbers"]')
    assert found.bare.failed == 0
    assert found.guarded.failed > 0
    assert not found.same
    assert "sieve.denied" in found.codes
