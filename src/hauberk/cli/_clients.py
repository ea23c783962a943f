"""Where known clients keep their servers, for a user who has not named a file.

The clients' own pages say so: modelcontextprotocol.io/quickstart/user, code.claude.com/docs/en/mcp,
docs.cursor.com/context/mcp, code.visualstudio.com/docs/copilot/reference/mcp-configuration,
docs.windsurf.com/windsurf/cascade/mcp, docs.cline.bot/mcp, geminicli.com/docs/tools/mcp-server,
lmstudio.ai/docs/app/mcp, docs.github.com/en/copilot/how-tos/copilot-cli, zed.dev/docs/ai/mcp. Files that a project
brings (``.mcp.json``, ``.cursor/mcp.json``, ``.vscode/mcp.json``) are not looked for: the working directory may be
anybody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from hauberk import files
from hauberk._entries import Entry, Server
from hauberk.cli._rewriting import MAX_BYTES, decoded
from hauberk.refusals import ConfigError

_Base = Literal["home", "config"]
_CLINE: Final = "saoudrizwan.claude-dev/settings/cline_mcp_settings.json"
_FILES: Final[tuple[tuple[str, _Base, str], ...]] = (
    ("Claude Desktop", "config", "Claude/claude_desktop_config.json"),
    ("Claude Code", "home", ".claude.json"),
    ("Cursor", "home", ".cursor/mcp.json"),
    ("VS Code", "config", "Code/User/mcp.json"),
    ("VS Code, older", "config", "Code/User/settings.json"),
    ("Cline in VS Code", "config", f"Code/User/globalStorage/{_CLINE}"),
    ("Windsurf", "home", ".codeium/windsurf/mcp_config.json"),
    ("Gemini CLI", "home", ".gemini/settings.json"),
    ("Copilot CLI", "home", ".copilot/mcp-config.json"),
    ("LM Studio", "home", ".lmstudio/mcp.json"),
    ("Zed", "home", ".config/zed/settings.json"),
)


class Client(NamedTuple):
    """A client, and its file on this machine."""

    name: str
    path: Path


class Found(NamedTuple):
    """What a client's file holds."""

    client: Client
    servers: tuple[tuple[Entry, Server], ...] = ()
    fault: str | None = None
    """Why it cannot be used, if it is there."""
    exists: bool = True


def known() -> Iterator[Client]:
    """Give the clients that are known, with the files of this user."""
    import platformdirs

    bases = {"home": Path.home(), "config": platformdirs.user_config_path(roaming=True)}
    for name, base, path in _FILES:
        yield Client(name, bases[base] / path)


def look(client: Client) -> Found:
    """Read a client's file, if there is one."""
    from hauberk import wrapping

    if not client.path.exists():
        return Found(client, exists=False)
    try:
        data, _ = files.read_judged(client.path.resolve(), max_bytes=MAX_BYTES)
        text = decoded(data, str(client.path))
        return Found(client, tuple(wrapping.entries_of(text, name=str(client.path))))
    except ConfigError as error:
        return Found(client, fault=error.message)


def told(found: Found) -> str:
    """Return what to say of a client's file."""
    if not found.exists:
        return "not there"
    if found.fault:
        return "cannot be read"
    guarded = sum(server.state == "guarded" for _, server in found.servers)
    return f"servers: {len(found.servers)}, guarded: {guarded}"


def facts(found: Found) -> dict[str, Any]:
    """Return the same as JSON."""
    return {
        "client": found.client.name,
        "file": str(found.client.path),
        "exists": found.exists,
        "servers": len(found.servers),
        "guarded": sum(server.state == "guarded" for _, server in found.servers),
        "fault": found.fault,
    }
