"""Published servers: how each is started, what state it finds, and what a session asks it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

Call = tuple[str, dict[str, Any]]
Registry = Literal["npm", "PyPI"]
_PIXEL: Final = bytes.fromhex("89504e470d0a1a0a")
_WHO: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in {"NAME": "Anna", "EMAIL": "anna@example.org", "DATE": "1760000000 +0000"}.items()
}


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a session works."""

    folder: Path
    """Each session finds in it what `Published.prepare` makes."""
    web: str
    """The URL of a page."""


def nothing(_: Path) -> None:
    """Leave a folder empty, for a server that does not write."""


def empty(_: Path) -> None:
    """Leave a folder empty, for a server that writes."""


@dataclasses.dataclass(frozen=True)
class Published:
    """One server of a registry."""

    package: str
    version: str
    program: str
    registry: Registry
    calls: Callable[[Place], list[Call]]
    """Calls of all of its tools, in an order."""
    failing: tuple[int, ...] = ()
    """Which of the calls fail, since they are meant to."""
    new: tuple[str, ...] = ()
    """Items that a session makes: nobody can have pinned them."""
    prompts: Callable[[Place], list[tuple[str, dict[str, str]]]] = lambda _: []
    reads: tuple[str, ...] = ()
    """URIs of templates; what is listed is read as well."""
    completions: tuple[tuple[str, str, str], ...] = ()
    """Prompts, their arguments, and how these begin."""
    args: Callable[[Place], list[str]] = lambda _: []
    env: Callable[[Place], dict[str, str]] = lambda _: {}
    prepare: Callable[[Path], None] = nothing

    @property
    def name(self) -> str:
        return self.program.removeprefix("mcp-server-")

    @property
    def has_state(self) -> bool:
        """Whether a session leaves something behind for the next one."""
        return self.prepare is not nothing

    @property
    def spec(self) -> str:
        return f"{self.package}{'@' if self.registry == 'npm' else '=='}{self.version}"


# --- everything ---

ROOTS, FORM, URL, SAMPLE = (
    "get-roots-list",
    "trigger-elicitation-request",
    "trigger-url-elicitation",
    "trigger-sampling-request",
)
ASKING: Final[tuple[Call, ...]] = (
    (ROOTS, {}),
    (FORM, {}),
    (URL, {"url": "https://accounts.example.com/yes", "elicitationId": "e-1"}),
    (SAMPLE, {"prompt": "a poem about the sea", "maxTokens": 50}),
)
"""Calls of the tools of ``server-everything`` that ask back; it shows them to a client that can answer."""


def _everything(_: Place) -> list[Call]:
    file = {"data": "data:text/plain;base64,aGVsbG8=", "name": "hello.gz"}
    return [
        ("echo", {"message": "héllo \u2028 \U0001f600"}),
        ("get-annotated-message", {"messageType": "error", "includeImage": True}),
        ("get-annotated-message", {"messageType": "success"}),
        ("get-env", {}),
        ("get-resource-links", {"count": 4}),
        ("get-resource-reference", {"resourceType": "Text", "resourceId": 1}),
        ("get-resource-reference", {"resourceType": "Blob", "resourceId": 2}),
        ("get-structured-content", {"location": "Chicago"}),
        ("get-sum", {"a": 2, "b": 0.5}),
        ("get-tiny-image", {}),
        ("gzip-file-as-resource", {**file, "outputType": "resource"}),
        ("trigger-long-running-operation", {"duration": 0.02, "steps": 2}),
        ("simulate-research-query", {"topic": "whales"}),
        ("toggle-simulated-logging", {}),
        ("toggle-simulated-logging", {}),
        ("toggle-subscriber-updates", {}),
        ("toggle-subscriber-updates", {}),
    ]


EVERYTHING: Final = Published(
    package="@modelcontextprotocol/server-everything",
    version="2026.8.31",
    program="mcp-server-everything",
    registry="npm",
    calls=_everything,
    failing=(12,),
    new=("resource demo://resource/session/hello.gz",),
    prompts=lambda _: [
        ("simple-prompt", {}),
        ("args-prompt", {"city": "Oslo", "state": "x"}),
        ("completable-prompt", {"department": "Engineering", "name": "Alice"}),
        ("resource-prompt", {"resourceType": "Text", "resourceId": "1"}),
    ],
    reads=("demo://resource/dynamic/text/1", "demo://resource/dynamic/blob/2"),
    completions=(("completable-prompt", "department", "E"), ("resource-prompt", "resourceType", "")),
)


# --- files ---


def _notes(folder: Path) -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.txt").write_text("first\nsecond\u2028still the second\nthird é \U0001f600\n", encoding="utf-8")
    (folder / "deep" / "b.json").write_text(json.dumps({"n": 2**53 + 1}), encoding="utf-8")
    (folder / "deep" / "er" / "pixel.png").write_bytes(_PIXEL)
    written = time.time() - 3600
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (written, written))


def _files(place: Place) -> list[Call]:
    folder = place.folder
    a, b, new, none = (str(folder / name) for name in ("a.txt", "deep/b.json", "new.txt", "none"))
    edits = [{"oldText": "two", "newText": "zwei"}]
    return [
        ("list_allowed_directories", {}),
        ("read_file", {"path": a}),
        ("read_file", {"path": "/etc/passwd"}),
        ("read_text_file", {"path": a, "head": 2}),
        ("read_text_file", {"path": none}),
        ("read_media_file", {"path": str(folder / "deep" / "er" / "pixel.png")}),
        ("read_multiple_files", {"paths": [a, none, b]}),
        ("list_directory", {"path": str(folder)}),
        ("list_directory_with_sizes", {"path": str(folder), "sortBy": "size"}),
        ("directory_tree", {"path": str(folder)}),
        ("search_files", {"path": str(folder), "pattern": "**/*.json"}),
        ("get_file_info", {"path": a}),
        ("create_directory", {"path": str(folder / "made")}),
        ("write_file", {"path": new, "content": "one\ntwo\nthree\n"}),
        ("edit_file", {"path": new, "edits": edits, "dryRun": True}),
        ("edit_file", {"path": new, "edits": edits}),
        ("move_file", {"source": new, "destination": str(folder / "made" / "moved.txt")}),
        ("read_text_file", {"path": str(folder / "made" / "moved.txt")}),
    ]


FILES: Final = Published(
    package="@modelcontextprotocol/server-filesystem",
    version="2026.8.31",
    program="mcp-server-filesystem",
    registry="npm",
    calls=_files,
    failing=(2, 4),
    args=lambda place: [str(place.folder)],
    prepare=_notes,
)


# --- memory, thinking, time ---


def _memory(_: Place) -> list[Call]:
    anna = {"name": "Anna", "entityType": "person", "observations": ["likes tea", "speaks Norwegian"]}
    oslo = {"name": "Oslo", "entityType": "city", "observations": []}
    lives = {"from": "Anna", "to": "Oslo", "relationType": "lives in"}
    return [
        ("read_graph", {}),
        ("create_entities", {"entities": [anna, oslo]}),
        ("create_relations", {"relations": [lives]}),
        ("add_observations", {"observations": [{"entityName": "Oslo", "contents": ["is cold"]}]}),
        ("add_observations", {"observations": [{"entityName": "Nobody", "contents": ["is nowhere"]}]}),
        ("search_nodes", {"query": "tea"}),
        ("open_nodes", {"names": ["Oslo"]}),
        ("read_graph", {}),
        ("delete_observations", {"deletions": [{"entityName": "Anna", "observations": ["likes tea"]}]}),
        ("delete_relations", {"relations": [lives]}),
        ("delete_entities", {"entityNames": ["Oslo"]}),
        ("read_graph", {}),
    ]


MEMORY: Final = Published(
    package="@modelcontextprotocol/server-memory",
    version="2026.8.31",
    program="mcp-server-memory",
    registry="npm",
    calls=_memory,
    failing=(4,),
    env=lambda place: {"MEMORY_FILE_PATH": str(place.folder / "memory.jsonl")},
    prepare=empty,
)


def _thinking(_: Place) -> list[Call]:
    said: dict[str, Any] = {"totalThoughts": 3, "nextThoughtNeeded": True}
    return [
        ("sequentialthinking", {**said, "thought": "Which way is north?", "thoughtNumber": 1}),
        (
            "sequentialthinking",
            {**said, "thought": "Not that way.", "thoughtNumber": 2, "branchFromThought": 1, "branchId": "b"},
        ),
        ("sequentialthinking", {**said, "thought": "Up.", "thoughtNumber": 3, "isRevision": True, "revisesThought": 1}),
        (
            "sequentialthinking",
            {"thought": "Done.", "thoughtNumber": 4, "totalThoughts": 3, "nextThoughtNeeded": False},
        ),
    ]


THINKING: Final = Published(
    package="@modelcontextprotocol/server-sequential-thinking",
    version="2026.8.31",
    program="mcp-server-sequential-thinking",
    registry="npm",
    calls=_thinking,
)


def _time(_: Place) -> list[Call]:
    return [
        ("get_current_time", {"timezone": "Asia/Kathmandu"}),
        ("get_current_time", {"timezone": "Nowhere"}),
        ("convert_time", {"source_timezone": "UTC", "time": "10:30", "target_timezone": "Asia/Tokyo"}),
        ("convert_time", {"source_timezone": "UTC", "time": "25:00", "target_timezone": "Asia/Tokyo"}),
    ]


TIME: Final = Published(
    package="mcp-server-time",
    version="2026.10.19",
    program="mcp-server-time",
    registry="PyPI",
    calls=_time,
    failing=(1, 3),
)


# --- git, fetch ---


def _repository(folder: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=folder, env=os.environ | _WHO, check=True, capture_output=True)

    (folder / "a.txt").write_text("first\n", encoding="utf-8")
    git("init", "--quiet", "--initial-branch=main")
    git("add", "a.txt")
    git("commit", "--quiet", "--no-gpg-sign", "--message", "Begin")
    (folder / "a.txt").write_text("first\nsecond\n", encoding="utf-8")


def _git(place: Place) -> list[Call]:
    repo = {"repo_path": str(place.folder)}
    return [
        ("git_status", repo),
        ("git_diff_unstaged", repo),
        ("git_add", {**repo, "files": ["a.txt"]}),
        ("git_diff_staged", {**repo, "context_lines": 1}),
        ("git_reset", repo),
        ("git_add", {**repo, "files": ["a.txt"]}),
        ("git_commit", {**repo, "message": "Go on"}),
        ("git_create_branch", {**repo, "branch_name": "side", "base_branch": "main"}),
        ("git_checkout", {**repo, "branch_name": "side"}),
        ("git_branch", {**repo, "branch_type": "local"}),
        ("git_diff", {**repo, "target": "main"}),
        ("git_log", {**repo, "max_count": 5}),
        ("git_show", {**repo, "revision": "HEAD"}),
        ("git_show", {**repo, "revision": "nothing"}),
    ]


GIT: Final = Published(
    package="mcp-server-git",
    version="2026.10.19",
    program="mcp-server-git",
    registry="PyPI",
    calls=_git,
    failing=(13,),
    args=lambda place: ["--repository", str(place.folder)],
    env=lambda _: _WHO,
    prepare=_repository,
)


def _fetch(place: Place) -> list[Call]:
    return [
        ("fetch", {"url": place.web}),
        ("fetch", {"url": place.web, "raw": True, "max_length": 60, "start_index": 5}),
        ("fetch", {"url": f"{place.web}none"}),
    ]


FETCH: Final = Published(
    package="mcp-server-fetch",
    version="2026.10.24",
    program="mcp-server-fetch",
    registry="PyPI",
    calls=_fetch,
    failing=(2,),
    args=lambda _: ["--allow-private-ips"],
    prompts=lambda place: [("fetch", {"url": f"{place.web}none"})],
)


ALL: Final = (EVERYTHING, FILES, MEMORY, THINKING, TIME, GIT, FETCH)


def anew(published: Published, place: Place) -> None:
    """Let the next session find what the one before it found."""
    shutil.rmtree(place.folder, ignore_errors=True)
    place.folder.mkdir()
    published.prepare(place.folder)
