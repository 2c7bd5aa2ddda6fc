"""What the Slack app must be allowed to do, and what it gains by more. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from connector.sink import Finding

REQUIRED = ("chat:write",)
RECOMMENDED: Mapping[str, str] = {
    "chat:write.public": "post to public channels without being invited",
    "channels:history": "see whether a message whose answer was lost stands in a public channel, instead of sending it "
    "twice",
    "groups:history": "the same in private channels",
    "channels:read": "let `check --online` look at public channels",
    "groups:read": "let `check --online` look at private channels",
}


def judge(granted: Collection[str]) -> list[Finding]:
    """One finding for each scope that is missing, or a single good one."""
    fix = "add the bot scope {} under OAuth & Permissions, then reinstall the app"
    missing = [Finding("problem", f"scope {one} is missing", fix.format(one)) for one in REQUIRED if one not in granted]
    wanted = [
        Finding("warning", f"without the scope {one} the app cannot {gain}", fix.format(one))
        for one, gain in RECOMMENDED.items()
        if one not in granted
    ]
    return missing + wanted or [Finding("ok", "all scopes are granted")]
