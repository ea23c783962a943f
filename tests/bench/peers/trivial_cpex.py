"""Ten trivial plugins of CPEX before and after a call. Runs in CPEX's own environment, driven by `dispatch`."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml  # type: ignore[import-untyped, import-not-found, unused-ignore]
from cpex.framework import (  # type: ignore[import-not-found, unused-ignore]
    GlobalContext,
    Plugin,
    PluginManager,
    ToolPostInvokePayload,
    ToolPostInvokeResult,
    ToolPreInvokePayload,
    ToolPreInvokeResult,
)


class Trivial(Plugin):  # type: ignore[misc, unused-ignore]
    """A plugin that looks and has nothing to say."""

    async def tool_pre_invoke(self, payload: Any, context: Any) -> Any:
        """Let it pass."""
        return ToolPreInvokeResult(continue_processing=True)

    async def tool_post_invoke(self, payload: Any, context: Any) -> Any:
        """Let it pass."""
        return ToolPostInvokeResult(continue_processing=True)


async def manager(count: int) -> PluginManager:
    """Return the manager of so many plugins, loaded from a file as its documentation says."""
    hooks = ["tool_pre_invoke", "tool_post_invoke"]
    kind = {"kind": "trivial_cpex.Trivial", "version": "1", "hooks": hooks, "mode": "sequential"}
    plugins = [{"name": f"trivial-{number}", "priority": number} | kind for number in range(count)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump({"plugins": plugins, "plugin_dirs": []}))
        made = PluginManager(str(path))
        await made.initialize()
    if made.plugin_count != count:
        raise SystemExit(f"{made.plugin_count} of {count} plugins were loaded")
    return made


async def main() -> None:
    """Answer each number with the nanoseconds of CPU that so many calls took."""
    made = await manager(int(sys.argv[1]))
    text = "The quick brown fox jumps over the lazy dog. "
    call = ToolPreInvokePayload(name="echo", args={"text": text})
    result = ToolPostInvokePayload(name="echo", result={"content": [{"type": "text", "text": text}]})
    context = GlobalContext(request_id="1")
    for line in sys.stdin:
        start = time.thread_time_ns()
        for _ in range(int(line)):
            before, contexts = await made.invoke_hook("tool_pre_invoke", call, context)
            after, _contexts = await made.invoke_hook("tool_post_invoke", result, context, local_contexts=contexts)
        spent = time.thread_time_ns() - start
        met = len(before.executions), len(after.executions)
        print(spent, *met, before.continue_processing and after.continue_processing, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
