"""A policy of one's own, in one file: nothing is called when nobody is there to see it.

In the configuration::

    [plugins]
    policy = "business_hours.py"

    [policy]
    opens = 8
"""

from __future__ import annotations

import time

import hauberk


class Hours(hauberk.Options, frozen=True):
    """The table ``[policy]``: hours of the day, in local time."""

    opens: int = 9
    closes: int = 17


class BusinessHours:
    """Deny every call outside business hours."""

    name = "policy"
    layer = hauberk.Layer.POLICY
    Options = Hours

    def __init__(self, options: Hours, guard: hauberk.Guard) -> None:
        self.options, self.now = options, guard.now

    @hauberk.hookimpl
    def on_tool_call(self, call: hauberk.ToolCall, connection: hauberk.Connection) -> hauberk.Deny | None:
        """Deny, or have no opinion."""
        opens, closes = self.options.opens, self.options.closes
        if opens <= time.localtime(self.now()).tm_hour < closes:
            return None
        reason = f"{call.name} of {connection.server} is called out of hours"
        return hauberk.Deny("policy.closed", reason, rule=f"from {opens}:00 to {closes}:00")
