"""A server that does all that the SDK's servers can. As a program: the same over standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, cast

import mcp_types as mt
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.message import ServerMessageMetadata

Ctx = ServerRequestContext[Any]
WHO: Final[ContextVar[str]] = ContextVar("WHO", default="nobody")
"""Set by whoever sends; read where the request is handled."""
MODERN: Final = "2026-07-28"
NUMBERS: Final = {
    "safe+1": 2**53 + 1,
    "least": -(2**63),
    "most": 2**64 - 1,
    "int": 1,
    "float": 1.0,
    "tenth": 0.1,
    "small": 5e-324,
    "big": 1.7976931348623157e308,
    "minus": -0.0,
}
"""Numbers that a careless parser changes."""
OBJECT: Final[dict[str, Any]] = {"type": "object"}
PAGES: Final = 3


class Everything:
    """One server and what it saw."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self.listening = ListenHandler(self.bus)
        self.calls: list[tuple[str, Any]] = []
        """Each tool call that reached the server: name and arguments."""
        self.methods: list[str] = []
        """Each notification that a handler saw."""
        self.asked: list[Any] = []
        """What came back for each request that the server made."""
        self.who: list[str] = []
        self.release = asyncio.Event()
        """Lets the tool ``wait`` end."""
        self.entered = asyncio.Event()
        """Set when the tool ``wait`` runs."""
        self.cancelled = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            self.server: Server[Any] = Server(
                "everything",
                version="1.2.3",
                instructions="use it",
                on_list_tools=self._tools,
                on_call_tool=self._call,
                on_list_prompts=self._prompts,
                on_get_prompt=self._prompt,
                on_list_resources=self._resources,
                on_list_resource_templates=self._templates,
                on_read_resource=self._read,
                on_subscribe_resource=self._subscribe,
                on_unsubscribe_resource=self._unsubscribe,
                on_subscriptions_listen=self.listening,
                on_completion=self._complete,
                on_set_logging_level=self._level,
                on_roots_list_changed=self._roots_changed,
                on_progress=self._progress,
            )

    # --- lists ---

    async def _tools(self, ctx: Ctx, params: mt.PaginatedRequestParams | None) -> mt.ListToolsResult:
        names = [name.removeprefix("_tool_") for name in dir(self) if name.startswith("_tool_")]
        page = int(params.cursor) if params is not None and params.cursor is not None else 0
        tools = [
            mt.Tool(name=name, description=f"the tool {name}", input_schema=OBJECT, _meta={"numbers": NUMBERS})
            for name in names[page::PAGES]
        ]
        after = None if page == PAGES - 1 else str(page + 1)
        return mt.ListToolsResult(tools=tools, next_cursor=after)

    async def _prompts(self, ctx: Ctx, params: mt.PaginatedRequestParams | None) -> mt.ListPromptsResult:
        argument = mt.PromptArgument(name="city", required=True)
        return mt.ListPromptsResult(prompts=[mt.Prompt(name="hello", title="Hello", arguments=[argument])])

    async def _prompt(self, ctx: Ctx, params: mt.GetPromptRequestParams) -> mt.GetPromptResult | mt.InputRequiredResult:
        if params.name == "ask":
            return cast("mt.GetPromptResult", self._asking(params, _prompted))
        text = mt.TextContent(type="text", text=f"in {params.arguments}")
        return mt.GetPromptResult(description="d", messages=[mt.PromptMessage(role="user", content=text)])

    async def _resources(self, ctx: Ctx, params: mt.PaginatedRequestParams | None) -> mt.ListResourcesResult:
        return mt.ListResourcesResult(
            resources=[mt.Resource(name="a", uri="x://a", mime_type="text/plain", size=2**53 + 1)]
        )

    async def _templates(self, ctx: Ctx, params: mt.PaginatedRequestParams | None) -> mt.ListResourceTemplatesResult:
        return mt.ListResourceTemplatesResult(
            resource_templates=[mt.ResourceTemplate(name="t", uri_template="x://{name}")]
        )

    async def _read(
        self, ctx: Ctx, params: mt.ReadResourceRequestParams
    ) -> mt.ReadResourceResult | mt.InputRequiredResult:
        if params.uri == "x://ask":
            return cast("mt.ReadResourceResult", self._asking(params, _read))
        return mt.ReadResourceResult(
            contents=[
                mt.TextResourceContents(uri=params.uri, text="é\u2028\u0085\x7f \U0001f600"),
                mt.BlobResourceContents(uri=params.uri, blob="AAEC"),
            ]
        )

    async def _subscribe(self, ctx: Ctx, params: mt.SubscribeRequestParams) -> mt.EmptyResult:
        updated = mt.ResourceUpdatedNotificationParams(uri=params.uri)
        await ctx.session.send_notification(mt.ResourceUpdatedNotification(params=updated), ctx.request_id)
        return mt.EmptyResult()

    async def _unsubscribe(self, ctx: Ctx, params: mt.UnsubscribeRequestParams) -> mt.EmptyResult:
        return mt.EmptyResult()

    async def _complete(self, ctx: Ctx, params: mt.CompleteRequestParams) -> mt.CompleteResult:
        found = mt.Completion(values=[f"{params.argument.value}1", "x2"], total=2, has_more=False)
        return mt.CompleteResult(completion=found)

    async def _level(self, ctx: Ctx, params: mt.SetLevelRequestParams) -> mt.EmptyResult:
        return mt.EmptyResult()

    async def _roots_changed(self, ctx: Ctx, params: mt.NotificationParams | None) -> None:
        self.methods.append("notifications/roots/list_changed")

    async def _progress(self, ctx: Ctx, params: mt.ProgressNotificationParams) -> None:
        self.methods.append("notifications/progress")

    # --- tools ---

    async def _call(self, ctx: Ctx, params: mt.CallToolRequestParams) -> mt.CallToolResult | mt.InputRequiredResult:
        self.calls.append((params.name, params.arguments))
        self.who.append(WHO.get())
        tool = getattr(self, f"_tool_{params.name}", None)
        if tool is None:
            raise MCPError(mt.INVALID_PARAMS, f"no tool {params.name}", {"tool": params.name})
        result: mt.CallToolResult | mt.InputRequiredResult = await tool(ctx, params)
        return result

    async def _tool_echo(self, ctx: Ctx, params: mt.CallToolRequestParams) -> mt.CallToolResult:
        """Give everything back that came in."""
        return _said("echo", {"got": params.arguments, "numbers": NUMBERS})

    async def _tool_contents(self, ctx: Ctx, params: mt.CallToolRequestParams) -> mt.CallToolResult:
        """Answer with content of each kind."""
        marks = mt.Annotations(audience=["user"], priority=0.5)
        inner = mt.TextResourceContents(uri="x://b", text="t", mime_type="text/plain")
        return mt.CallToolResult(
            content=[
                mt.TextContent(type="text", text="t", annotations=marks, _meta={"k": 2**64 - 1}),
                mt.ImageContent(type="image", data="AAEC", mime_type="image/png"),
                mt.AudioContent(type="audio", data="AAEC", mime_type="audio/wav"),
                mt.ResourceLink(type="resource_link", name="l", uri="x://l", size=7),
                mt.EmbeddedResource(type="resource", resource=inner),
            ],
            is_error=True,
        )

    async def _tool_wrong(self, ctx: Ctx, params: mt.CallToolRequestParams) -> mt.CallToolResult:
        """Fail with an error of its own."""
        raise MCPError(-32042, "wrong", {"numbers": NUMBERS, "list": [None, True]})

    async def _tool_steps(self, ctx: Ctx, params: mt.CallToolRequestParams) -> mt.CallToolResult:
        """Report progress."""
        for step in range(3):
            await ctx.session.report_progress(step, 3, f"step {step}")
        return _said("done")

    async def _tool_log(self, ctx: Ctx, params: mt.CallToolRequestParams) -> mt.CallToolResult:
        """Log something."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            for data in ("one", {"two": NUMBERS}):
                await ctx.session.send_log_message("warning", data, "test", related_request_id=ctx.request_id)
        return _said("logged")

    async def _tool_changed(self, ctx: Ctx, params: mt.CallToolRequestParams) -> mt.CallToolResult:
        """Say that lists have changed, to whoever listens."""
        if ctx.protocol_version == MODERN:
            await self.bus.publish(ToolsListChanged())
            await self.bus.publish(ResourceUpdated(uri="x://a"))
        else:
            await ctx.session.send_notification(mt.ToolListChangedNotification(), ctx.request_id)
            await ctx.session.send_notification(mt.PromptListChangedNotification(), ctx.request_id)
            await ctx.session.send_notification(mt.ResourceListChangedNotification(), ctx.request_id)
        return _said("changed")

    async def _tool_close(self, ctx: Ctx, params: mt.CallToolRequestParams) -> mt.CallToolResult:
        """End every subscription."""
        self.listening.close()
        return _said("closed")

    async def _tool_wait(self, ctx: Ctx, params: mt.CallToolRequestParams) -> mt.CallToolResult:
        """Wait until the test lets it go on."""
        self.entered.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return _said("waited")

    async def _tool_ask(self, ctx: Ctx, params: mt.CallToolRequestParams) -> mt.CallToolResult | mt.InputRequiredResult:
        """Ask the client for a sample, a form and the roots, as its era has it."""
        if ctx.protocol_version == MODERN:
            return cast("mt.CallToolResult", self._asking(params, _said))
        got = [await _ask_back(ctx, kind) for kind in ("sample", "form", "roots", "ping")]
        self.asked.append(got)
        return _said("asked", {"got": got})

    def _asking(self, params: mt.InputResponseRequestParams, done: Callable[[str, dict[str, Any]], Any]) -> Any:
        if params.input_responses is None:
            return mt.InputRequiredResult(input_requests=_requests(), request_state="state 1")
        got = {key: answer.model_dump(mode="json", by_alias=True) for key, answer in params.input_responses.items()}
        self.asked.append(got)
        return done(f"asked, {params.request_state}", {"got": dict(sorted(got.items()))})


def _said(text: str, structured: dict[str, Any] | None = None) -> mt.CallToolResult:
    return mt.CallToolResult(content=[mt.TextContent(type="text", text=text)], structured_content=structured)


def _prompted(text: str, structured: dict[str, Any]) -> mt.GetPromptResult:
    content = mt.TextContent(type="text", text=text)
    return mt.GetPromptResult(messages=[mt.PromptMessage(role="user", content=content)], _meta=structured)


def _read(text: str, structured: dict[str, Any]) -> mt.ReadResourceResult:
    return mt.ReadResourceResult(contents=[mt.TextResourceContents(uri="x://ask", text=text)], _meta=structured)


def sampling() -> mt.CreateMessageRequestParams:
    """Return what the server asks a model."""
    content = mt.TextContent(type="text", text="question")
    return mt.CreateMessageRequestParams(
        messages=[mt.SamplingMessage(role="user", content=content)], max_tokens=2**53 + 1, temperature=0.1
    )


def form() -> mt.ElicitRequestFormParams:
    """Return what the server asks a person."""
    schema: dict[str, Any] = {"type": "object", "properties": {"age": {"type": "integer"}}}
    return mt.ElicitRequestFormParams(message="how old?", requested_schema=schema)


def _requests() -> mt.InputRequests:
    return {
        "sample": mt.CreateMessageRequest(params=sampling()),
        "form": mt.ElicitRequest(params=form()),
        "roots": mt.ListRootsRequest(),
    }


_ANSWERS: Final[dict[str, tuple[mt.ServerRequest, type[mt.Result]]]] = {
    "sample": (mt.CreateMessageRequest(params=sampling()), mt.CreateMessageResult),
    "form": (mt.ElicitRequest(params=form()), mt.ElicitResult),
    "roots": (mt.ListRootsRequest(), mt.ListRootsResult),
    "ping": (mt.PingRequest(), mt.EmptyResult),
}


async def _ask_back(ctx: Ctx, kind: str) -> Any:
    """Ask the client something; return its answer, or the error."""
    request, result = _ANSWERS[kind]
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    try:
        answer = await ctx.session.send_request(request, result, metadata=related)
    except MCPError as error:
        return {"error": error.error.model_dump(mode="json")}
    return answer.model_dump(mode="json", by_alias=True)


def small() -> MCPServer:
    """Return a server made with the SDK's decorators."""
    server = MCPServer("small", instructions="small")

    @server.tool()
    async def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    async def numbers() -> dict[str, int | float]:
        return dict(NUMBERS)

    @server.tool()
    async def steps(ctx: Context) -> str:
        for step in range(3):
            await ctx.report_progress(step, 3)
        return "done"

    @server.tool()
    async def fails() -> str:
        raise ValueError("no")

    @server.prompt()
    def hello(city: str) -> str:
        return f"hello {city}"

    @server.resource("x://a")
    def a() -> str:
        return "é"

    @server.resource("x://by/{name}")
    def by(name: str) -> str:
        return name

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def completing(ref: Any, argument: Any, context: Any) -> mt.Completion:
        return mt.Completion(values=[argument.value + "!"])

    return server


async def main() -> None:
    """Serve over standard input and output."""
    server = Everything().server
    with contextlib.suppress(KeyboardInterrupt):
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main())
