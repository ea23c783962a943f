"""What stands beside the package: the template of a secure configuration, and the scripts."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plugins.tls.tests.certs.desk import Desk
from plugins.tls.tests.shaking import Party, Told, party, shake

from hauberk import Config
from hauberk_tls import Tls
from hauberk_tls._options import Options

ROOT = Path(__file__).resolve().parents[4]
TEMPLATE = ROOT / "contrib" / "config-secure.toml"
SHELL = ROOT / "contrib" / "certs.sh"
POWERSHELL = ROOT / "contrib" / "certs.ps1"


@pytest.fixture
def home(tmp_path: Path) -> Desk:
    """Return a folder with the template as hauberk.toml, and what its comment says to make."""
    desk = Desk(tmp_path / "certs").ca()
    said = re.findall(r"(?m)^#   hauberk certs (issue .*)$", TEMPLATE.read_text(encoding="utf-8"))
    assert len(said) == 2
    for line in said:
        desk.ok(*line.split())
    (tmp_path / "hauberk.toml").write_text(TEMPLATE.read_text(encoding="utf-8"))
    return desk


async def both(home: Desk) -> tuple[Party, Told]:
    """Let the two halves of the template meet, as their carriers do."""
    made = await party(TEMPLATE.read_text(encoding="utf-8"), home.base.parent, at=time.time())
    offered = await made.admit("server", target="", server="files")
    called = await made.admit("client", target="tls://localhost:8443", server="remote-files")
    mine, theirs = made.end(called), made.end(offered)
    shake(mine, theirs, reading=False)
    told = made.judged(called, mine, theirs, lambda: shake(mine, theirs))
    if not told.code:
        at_server = made.judged(offered, theirs, mine, lambda: None)
        assert (at_server.code, at_server.principal.id) == ("", "laptop")
    return made, told


def test_template_names_what_the_commands_make(home: Desk) -> None:
    """S0.7: the template is a configuration without a fault; each file that it names was made by its own commands."""
    config = Config.read(home.base.parent / "hauberk.toml")
    assert config.features.mcp_tls_enabled
    for server in ("files", "remote-files"):
        options = config.options("tls", Options, server)
        assert len(options.files) == 4
        assert [path for path in options.files if not path.is_file()] == []
        assert all(path.is_relative_to(home.base) for path in options.files)
    assert config.options("tls", Options, "files").clients == "required"


async def test_template_makes_a_handshake(home: Desk) -> None:
    """S0.7, S0.11, S0.14, S0.16: with the template both sides show certificates, and each knows who the other is."""
    made, told = await both(home)
    assert (told.code, told.principal.id) == ("", "files")
    assert Tls.name in made.guard.loaded
    await made.guard.close()


async def test_template_refuses_who_is_revoked(home: Desk) -> None:
    """S0.7, S0.19: with the template a server that was revoked is refused by the agent's side."""
    home.ok("revoke", "files")
    made, told = await both(home)
    assert told.code == "tls.revoked"
    await made.guard.close()


async def test_running_host_takes_a_new_pair(home: Desk) -> None:
    """S0.18, A84: after `renew --new-key` the next connection of a running host has the new certificate."""
    made = await party(TEMPLATE.read_text(encoding="utf-8"), home.base.parent, at=time.time())
    serials = []
    for _ in range(2):
        offered = await made.admit("server", target="", server="files")
        called = await made.admit("client", target="tls://localhost:8443", server="remote-files")
        mine, theirs = made.end(called), made.end(offered)
        shake(mine, theirs)
        found = mine.tls.getpeercert()
        assert found
        serials.append(int(str(found["serialNumber"]), 16))
        home.ok("renew", "files", "laptop", "--new-key")
        made.clock.turn(3600)
    assert serials[0] != serials[1]
    await made.guard.close()


def script_env(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which ``hauberk`` is this one."""
    program = tmp_path / "bin" / "hauberk"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hauberk "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_shell_script_makes_all(desk: Desk, passphrase: str, tmp_path: Path) -> None:
    """S0.17: certs.sh makes a CA, a server and a client; run again it keeps them."""
    line = [str(SHELL), "files", "laptop", "--dir", str(desk.base), "--passphrase-file", passphrase]
    env = script_env(tmp_path)
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert desk.ok("check").out == "all is well\n"
    assert desk.folder("files").pair.exists()
    assert desk.folder("laptop", "client").pair.exists()
    before = desk.tree()
    again = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
    assert again.stdout.count("kept") == 3
    assert desk.tree() == before


@pytest.mark.parametrize("args", [[], ["files"], ["../x", "laptop"], ["files", "la/ptop"], ["-x", "laptop"]])
def test_shell_script_hides_no_error(desk: Desk, passphrase: str, tmp_path: Path, args: list[str]) -> None:
    """S0.17: certs.sh stops at the first error, says it, and ends with a status that is not 0."""
    line = [str(SHELL), *args, *(["--dir", str(desk.base), "--passphrase-file", passphrase] if args else [])]
    done = subprocess.run(line, env=script_env(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr != ""
    assert not desk.folder("laptop", "client").pair.exists()


def test_shell_script_is_a_plain_one() -> None:
    """S0.17: certs.sh is executable, stops at errors and unset variables, and sends no error away."""
    text = SHELL.read_text(encoding="utf-8")
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -eu\n" in text
    assert "/dev/null" not in text
    assert SHELL.stat().st_mode & stat.S_IXUSR
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(SHELL)], check=True)


def test_both_scripts_run_the_same_commands() -> None:
    """S0.17: certs.ps1 runs the commands of certs.sh with their options, and stops where one fails.

    It is compared as text: there is no PowerShell here to run it.
    """
    shell = re.findall(r"(?m)^hauberk certs (\w+)(.*)$", SHELL.read_text(encoding="utf-8"))
    text = POWERSHELL.read_text(encoding="utf-8")
    power = re.findall(r"(?m)^& hauberk certs (\w+)(.*)\n(.*)$", text)

    def options(rest: str) -> list[str]:
        return re.findall(r"(?<= )--[a-z]+(?: [a-z0-9.:]+)?", rest)

    assert [(word, options(rest)) for word, rest in shell] == [(word, options(rest)) for word, rest, _ in power]
    assert {after for *_, after in power} == {"if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }"}
    assert all("@Options" in rest for _, rest, _ in power)
    assert "$ErrorActionPreference = 'Stop'" in text
    assert "$null" not in text
    if (program := shutil.which("pwsh")) is not None:
        check = f"[void][scriptblock]::Create((Get-Content -Raw '{POWERSHELL}'))"
        subprocess.run([program, "-NoProfile", "-Command", check], check=True)
