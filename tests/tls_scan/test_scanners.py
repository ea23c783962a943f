"""What sslyze and testssl find of ``hauberk serve``: TLS 1.3 alone, and nothing that has no reason.

``make tls-scan`` has testssl look for all that it knows; here it is what is about protocols and known weaknesses.
sslyze comes from PyPI, testssl from the system; without them the tests say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.alone import alone
from tests.tls_scan import tools
from tests.tls_scan.scanners import LISTED, judged_sslyze, judged_testssl, run_sslyze, run_testssl, unlisted
from tests.tls_scan.sides import Target, certificates, older, served

pytestmark = [pytest.mark.registry, pytest.mark.timeout(600)]
PARTS = ("-p", "-U", "-s")


@pytest.fixture(scope="module")
def sslyze(pytestconfig: pytest.Config) -> tools.Tool:
    """Install sslyze, or say why it cannot be had."""
    assert pytestconfig.cache is not None
    folder = Path(pytestconfig.cache.mkdir("tls-scan"))
    try:
        with alone(folder / "sslyze"):
            return tools.sslyze(folder)
    except tools.MissingError as error:
        pytest.skip(f"no sslyze: {error}")


@pytest.fixture(scope="module")
def testssl() -> tools.Tool:
    """Find testssl, or say why it cannot be had."""
    try:
        return tools.testssl()
    except tools.MissingError as error:
        pytest.skip(f"no testssl: {error}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("scanned")
    certificates(made)
    return made


@pytest.fixture(scope="module")
def target(folder: Path) -> Iterator[Target]:
    with served(folder) as made:
        yield made


def pair(folder: Path) -> tuple[Path, Path]:
    return folder / "ec" / "scanner-ec.pem", folder / "ec" / "scanner-ec.key"


def test_sslyze(sslyze: tools.Tool, target: Target, folder: Path) -> None:
    """A81: no suite of SSL 2.0 to TLS 1.2 is taken, nothing is compressed, renegotiated or sent early."""
    found = judged_sslyze(run_sslyze(sslyze, target.port, *pair(folder)))
    assert unlisted(found) == []
    target.check_alive()


def test_testssl(testssl: tools.Tool, target: Target, folder: Path) -> None:
    """A81: no protocol before TLS 1.3 is offered, and none of the known weaknesses is there."""
    found = judged_testssl(run_testssl(testssl, target.port, folder / "ec" / "ca.pem", *PARTS))
    assert unlisted(found) == []
    target.check_alive()


def test_sslyze_tells_of_an_older_protocol(sslyze: tools.Tool, folder: Path) -> None:
    """A server that speaks TLS 1.2 as well has findings, and none of them has a reason."""
    with older(folder, "ec") as port:
        found = unlisted(judged_sslyze(run_sslyze(sslyze, port, *pair(folder))))
    assert "sslyze: TLS 1.2 is offered" in found


def test_testssl_tells_of_an_older_protocol(testssl: tools.Tool, folder: Path) -> None:
    """As above, for testssl."""
    with older(folder, "ec") as port:
        found = unlisted(judged_testssl(run_testssl(testssl, port, folder / "ec" / "ca.pem", "-p")))
    assert "testssl: TLS1_2 is offered" in found


def test_what_is_listed_has_its_reason() -> None:
    """A finding is listed once, of one of the tools, and with a reason."""
    assert all(text.startswith(("sslyze: ", "testssl: ")) for text in LISTED)
    assert all(LISTED.values())
