"""tlsfuzzer's scripts for TLS 1.3: each conversation goes as it should or is known, and nobody is let in.

tlsfuzzer is in no registry: it is cloned, at one revision, or named by ``HAUBERK_TLSFUZZER``. Here the scripts
that are short play some of their conversations; ``make tls-scan`` has all of them play all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.alone import alone
from tests.tls_scan import tools
from tests.tls_scan.fuzzer import Playing, Script, judged, read
from tests.tls_scan.scanning import play
from tests.tls_scan.scripts import SCRIPTS
from tests.tls_scan.sides import Answering, Target, certificates, older, served

pytestmark = [pytest.mark.registry, pytest.mark.timeout(600)]
SHORT = [one for one in SCRIPTS if not one.long]


@pytest.fixture(scope="module")
def tlsfuzzer(pytestconfig: pytest.Config) -> tools.Tool:
    """Get tlsfuzzer, or say why it cannot be had."""
    assert pytestconfig.cache is not None
    folder = Path(pytestconfig.cache.mkdir("tls-scan"))
    try:
        with alone(folder / "tlsfuzzer"):
            return tools.tlsfuzzer(folder)
    except tools.MissingError as error:
        pytest.skip(f"no tlsfuzzer: {error}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzzed")
    certificates(made)
    return made


@pytest.fixture(scope="module")
def target(tlsfuzzer: tools.Tool, folder: Path) -> Iterator[Target]:
    with served(folder, "rsa") as made:
        yield made


@pytest.fixture(scope="module")
def answering(tlsfuzzer: tools.Tool, folder: Path) -> Iterator[Answering]:
    made = Answering(folder)
    yield made
    made.close()


@pytest.mark.parametrize("script", SHORT, ids=lambda one: "-".join((one.name, one.kind, *one.arguments[:1])))
def test_script(script: Script, tlsfuzzer: tools.Tool, folder: Path, target: Target, answering: Answering) -> None:
    """A81, A65: what should fail fails, and the server answers its client, and nobody else, after each script."""
    played = play(script, tlsfuzzer, folder, target, answering)
    assert played.unknown == ()
    assert played.conversations or script.unasked


def test_an_older_protocol_is_told(tlsfuzzer: tools.Tool, folder: Path) -> None:
    """A server that goes back to TLS 1.2 fails, where ours is let off for refusing that."""
    script = next(one for one in SCRIPTS if one.name == "version-negotiation" and one.arguments)
    with older(folder, "rsa") as port:
        found = read(Playing(script, tlsfuzzer, folder, port, "rsa", everything=False).said())
    unknown, _ = judged(script, found)
    assert any("it passes, and is not to" in text for text in unknown), unknown[:5]
