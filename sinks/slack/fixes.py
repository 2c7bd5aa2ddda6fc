"""What a person has to do when Slack refuses token or channel: one sentence per error string. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from connector.sink import SinkBroken
from sinks.slack.answers import Reply

_REINSTALL = (
    "in your Slack app open Install App, install it again and copy the Bot User OAuth Token (xoxb-…) into `token`"
)
_INVITE = (
    "in Slack open the channel and type /invite @ and the app's name; then check that `channel` is this channel's id"
)
_ADMIN = "ask an administrator of the Slack workspace to let this app post there"
_NEW_WEBHOOK = "make a new incoming webhook in your Slack app and put its address into webhook_url"

_BY_WORD: Mapping[str, tuple[str, str]] = {
    "channel_not_found": ("Slack knows no such channel, or it is private and the app is not in it", _INVITE),
    "not_in_channel": ("the app is not in the channel", _INVITE),
    "is_archived": ("the channel is archived", "unarchive it in Slack, or set another `channel`"),
    "channel_is_archived": ("the channel is archived", "unarchive it in Slack, or make a webhook for another channel"),
    "is_inactive": ("the channel is archived", "unarchive it in Slack, or set another `channel`"),
    "invalid_auth": ("Slack does not know the token", _REINSTALL),
    "not_authed": ("Slack got no token", _REINSTALL),
    "account_inactive": ("the app was removed from the workspace", _REINSTALL),
    "token_revoked": ("the token was revoked", _REINSTALL),
    "token_expired": (
        "the token has expired, because token rotation is on",
        "create the app again from the manifest, which leaves rotation off, and copy its Bot User OAuth Token",
    ),
    "not_allowed_token_type": ("this is not a bot token", _REINSTALL),
    "messages_tab_disabled": (
        "the app takes no direct messages",
        "switch its Messages tab on under App Home, or set a channel's id",
    ),
    "restricted_action_thread_only_channel": ("the channel takes replies only", "set another `channel`"),
    "unknown_method": ("the address does not answer like Slack", "check `api_url`: https://slack.com/api/"),
    "no_service": ("Slack knows no such webhook", _NEW_WEBHOOK),
    "no_service_id": ("Slack knows no such webhook", _NEW_WEBHOOK),
    "no_team": ("the webhook's workspace is gone", _NEW_WEBHOOK),
    "team_disabled": ("the webhook's workspace is switched off", _NEW_WEBHOOK),
    "no_active_hooks": ("the webhook was switched off", _NEW_WEBHOOK),
    "invalid_token": ("the webhook's address is not complete", _NEW_WEBHOOK),
    "redirect": (
        "the address answers with a redirect, which is never followed with a token",
        "check `api_url` and the proxy between here and Slack",
    ),
}


def broken(reply: Reply, place: str) -> SinkBroken:
    """The exception for a `Kind.BROKEN` reply about `place` (a channel's id or a host)."""
    what, fix = explain(reply)
    return SinkBroken(f"{place}: {what} ({reply.error})", fix)


def explain(reply: Reply) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    if reply.error == "missing_scope":
        return _missing_scope(reply)
    if reply.error.startswith("http "):
        return "the address does not answer like Slack", "check `api_url` or `webhook_url`, and proxies on the way"
    return _BY_WORD.get(reply.error, ("Slack does not let the app post", _ADMIN))


def _missing_scope(reply: Reply) -> tuple[str, str]:
    needed = str(reply.data.get("needed", "chat:write"))[:40]
    provided = str(reply.data.get("provided", "none"))[:400]
    fix = f"add the bot scope {needed} under OAuth & Permissions, then reinstall the app (it has: {provided})"
    return f"the app lacks the scope {needed}", fix
