"""The page of the plugin, and its README: what they show is loaded, and works with what the commands make."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from plugins.tls.tests.shaking import End, shake

from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.testing._loading import unnamed
from hauberk_tls._options import Options
from hauberk_tls._refusals import REASONS
from hauberk_tls.certs import certs

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "tls.md").read_text(encoding="utf-8")
README = (ROOT / "plugins" / "tls" / "README.md").read_text(encoding="utf-8")


def tables(text: str) -> list[str]:
    return re.findall(r"(?s)```toml\n(.*?)```", text)


def guard(toml: str, folder: Path) -> Guard:
    config = Config.from_toml(f'core.state_dir = "{folder}/state"\n{toml}', base=folder)
    return Guard.load(config, disable=unnamed(config))


async def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S0.7, S0.11, S0.16: whoever follows the page has two ends that know each other."""
    for line in re.findall(r"(?m)^\$ hauberk certs (.*)$", PAGE):
        word, *rest = shlex.split(line)
        made = ["--no-passphrase"] if word == "init" else []
        done = CliRunner().invoke(certs, [word, *rest, *made, "--dir", str(tmp_path / "certs")])
        assert done.exit_code == 0, done.output
    called, caller = (guard(toml, tmp_path) for toml in tables(PAGE))
    theirs = await called.admit("files", "server", carrier="tls", target="tls://0.0.0.0:8443", peer="192.0.2.7:1")
    mine = await caller.admit("files", "client", carrier="tls", target="tls://files.example:8443")
    assert mine.tls is not None
    assert theirs.tls is not None
    client = End(mine.tls.context, server=False, name=mine.tls.server_name)
    server = End(theirs.tls.context, server=True)
    shake(client, server, reading=False)
    assert (client.error, server.error) == (None, None)
    from hauberk.connection import Peer

    mine.proved(Peer("tls", "", tls=client.tls))
    theirs.proved(Peer("tls", "", tls=server.tls))
    assert (mine.principal.id, theirs.principal.id) == ("files", "laptop")
    await called.close()
    await caller.close()


def test_the_readme_is_a_configuration(tmp_path: Path) -> None:
    """S4.2: the table of the README is one that is read."""
    [table] = tables(README)
    assert Config.from_toml(table, base=tmp_path).options("tls", Options).key is not None


@pytest.mark.parametrize("code", REASONS)
def test_each_refusal_has_a_text_and_a_hint(code: str) -> None:
    """S4.6: no two refusals have one text or one meaning, and each says what to do."""
    text, hint = REASONS[code]
    assert "{who}" in text or code == "tls.ca_unusable"
    assert hint
    assert [other for other, reason in REASONS.items() if reason.text == text] == [code]
