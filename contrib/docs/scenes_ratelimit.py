"""How each code of `hauberk-ratelimit` comes about."""

from __future__ import annotations

from typing import Final

from contrib.docs.scene import Scene, call

_ONE: Final = '[ratelimit]\nglobal = "1/minute"\n'
_CREDITS: Final = '[ratelimit]\nglobal = "3 credits/month"\n\n[ratelimit.prices]\nread_note = 4\n'
_DOMAINS: Final = '[ratelimit.domains]\n"api.openai.com" = "60/minute burst 10"\n'
REFUSALS: Final = {
    "ratelimit.exceeded": Scene((call("read_note", name="milk"), call("read_note", 2, name="eggs")), _ONE),
    "ratelimit.insufficient_credits": Scene((call("read_note", name="milk"),), _CREDITS),
    "ratelimit.host": Scene((call("fetch", url="https://api.openai.com\\@example.com/"),), _DOMAINS),
}
UNPLAYED_REFUSALS: Final = {"ratelimit.store_down": (-32005, "warning")}
"""Number and severity of what needs a store that is lost; plugins/ratelimit/tests loses one."""
UNPLAYED_EVENTS: Final = {
    "ratelimit.store_lost": ("system", "critical", "logged", "`store`, `on_store_failure`, `reason`"),
    "ratelimit.store_found": ("system", "info", "logged", "`store`, `on_store_failure`"),
    "ratelimit.reset": ("system", "warning", "logged", "`limit`, `of`"),
    "ratelimit.credited": ("system", "info", "logged", "`limit`, `of`, `tenant`, `count`, `bought`, `by`"),
}
"""Category, severity, action and details of those that need one, or an operator."""
