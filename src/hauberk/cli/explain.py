"""``hauberk explain``: what every plugin says of a call that is not sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hauberk.cli._boundary import COULD_NOT_TELL
from hauberk.cli._run import read
from hauberk.cli.options import HELP, configured, print_json, printing, servers
from hauberk.refusals import ConfigError, HauberkError

if TYPE_CHECKING:
    from hauberk.bounds import Bounds
    from hauberk.config import Config
    from hauberk.explaining import Explanation, Opinion, Outcome, Verdict

_EPILOG: Final = """\b
Examples:
  hauberk explain files write_file
  hauberk explain files write_file arguments.json --config hauberk.toml
  echo '{"path": "/etc/passwd"}' | hauberk explain files read_file - --json

Exit status: 0 the call would pass, or somebody would be asked for approval; 1 it would be refused; 2 it could not be
told (the configuration, the arguments, a plugin that does not load or open, a plugin that is not run).
"""
_VERDICTS: Final[dict[Verdict, tuple[str, str]]] = {
    "allow": ("allow", "green"),
    "ask": ("ask", "yellow"),
    "deny": ("DENY", "red"),
    "failed": ("FAILED", "red"),
    "none": ("no opinion", "bright_black"),
    "not_asked": ("not asked", "bright_black"),
}
_OUTCOMES: Final[dict[Outcome, tuple[str, str]]] = {
    "passes": ("passes", "green"),
    "asks": ("asks", "yellow"),
    "refused": ("refused", "red"),
    "unknown": ("could not tell", "yellow"),
}
_WIDTH: Final = max(len(label) for label, _ in _VERDICTS.values())
_STDIN: Final = Path("-")


@click.command("explain", epilog=_EPILOG, context_settings=HELP)
@click.argument("server", shell_complete=servers)
@click.argument("tool")
@click.argument("args", metavar="[ARGS.json]", required=False, type=click.Path(path_type=Path, allow_dash=True))
@configured
@printing
@click.pass_context
def command(
    ctx: click.Context, /, *, server: str, tool: str, args: Path | None, config: Path | None, host: str, as_json: bool
) -> None:
    """Say what each plugin makes of a call that is not sent.

    ARGS.json holds the arguments, one JSON object; - is standard input, and without it there are none. No server is
    started, nobody is asked, nothing is counted or recorded.
    """
    try:
        found = read(config, host)
        explanation = _explained(found, server, tool, args)
    except HauberkError as error:
        if not as_json:
            raise
        print_json({"outcome": "unknown", "status": COULD_NOT_TELL, "error": error.message, "hint": error.hint})
        ctx.exit(COULD_NOT_TELL)
    if as_json:
        print_json(_plain(found, explanation))
    else:
        for line in _lines(found, explanation):
            click.echo(line)
    ctx.exit(explanation.status)


def _explained(config: Config, server: str, tool: str, args: Path | None) -> Explanation:
    import asyncio

    from hauberk import explaining
    from hauberk.guard import Guard

    bounds = config.core.bounds
    given = {} if args is None else explaining.arguments(_text(args, bounds), _source(args), bounds)
    return asyncio.run(explaining.explain(Guard.load(config), server, tool, given))


def _source(args: Path) -> str:
    return "standard input" if args == _STDIN else repr(str(args))


def _text(args: Path, bounds: Bounds) -> bytes:
    """Read the arguments, and no more of them than a message may have.

    Raises:
        ConfigError: They cannot be read.
    """
    try:
        with click.open_file(str(args), "rb") as file:
            text: bytes = file.read(bounds.line_bytes + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the arguments of {_source(args)}: {(error.strerror or '').lower()}",
            hint="give a file with one JSON object, or - for standard input",
        ) from None
    return text


def _lines(config: Config, found: Explanation) -> Iterator[str]:
    import json

    from hauberk.cli._text import printable

    width = max((len(one.plugin) for one in found.opinions), default=0)
    for one in found.opinions:
        label, colour = _VERDICTS[one.verdict]
        verdict = click.style(label.ljust(_WIDTH), fg=colour)
        yield f"{one.plugin.ljust(width)}  {verdict}  {printable(_said(one))}".rstrip()
        if one.hint:
            yield f"{' ' * (width + _WIDTH + 2)}  {click.style('hint:', fg='cyan')} {printable(one.hint)}"
    if found.rewritten_by:
        yield f"changed before it is judged, by: {', '.join(found.rewritten_by)}"
    if found.not_run:
        left = ", ".join(f"{name} ({', '.join(hooks)})" for name, hooks in found.not_run.items())
        yield f"not run, and may say otherwise: {left}"
    if found.answer is not None:
        said = found.answer.get("error") or found.answer.get("result")
        yield f"the host gets: {printable(json.dumps(said, ensure_ascii=False))}"
    if found.digest:
        yield f"digest: {found.digest}"
    yield _last(config, found)


def _said(one: Opinion) -> str:
    """Return the reason and the rule of a verdict, as far as it has them."""
    words = ": ".join(filter(None, (one.code, one.reason)))
    if one.observes:
        words = f"it only observes, and would refuse: {words}" if words else "it only observes"
    return f"{words} ({one.rule})".strip() if one.rule else words


def _last(config: Config, found: Explanation) -> str:
    from hauberk.cli._text import printable

    word, colour = _OUTCOMES[found.outcome]
    said = ", ".join(found.approvers) if found.outcome == "asks" else found.code
    what = printable(f"{found.server}/{found.tool}")
    head = click.style(word, fg=colour, bold=True)
    return f"{head}: {f'{said}; ' if said else ''}{what}; {config.name}, profile {config.profile}, host {config.host}"


def _plain(config: Config, found: Explanation) -> dict[str, Any]:
    import msgspec

    shown: dict[str, Any] = msgspec.to_builtins(found)
    where = {"file": config.name, "version": config.version, "host": config.host, "profile": config.profile}
    return where | shown | {"status": found.status}
