"""Checks of a Slack app for `connector check --online`, its manifest and scopes, and the fix of each error.

The app's manifest is to be pasted at "Create New App, From a manifest" (Slack, App manifest reference); deploy/ holds
both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from connector.sink import Finding, SinkBroken
from sinks.chat.service import CallResult, Status
from sinks.slack.client import AppClient, BotClient, SlackResult
from sinks.slack.config import Decisions, SlackConfig

REQUIRED = ("chat:write",)
RECOMMENDED: Mapping[str, str] = {
    "chat:write.public": "post to public channels without being invited",
    "channels:history": "find a message whose answer was lost in a public channel, instead of posting it twice",
    "groups:history": "the same in private channels",
    "channels:read": "let `check --online` look at public channels",
    "groups:read": "let `check --online` look at private channels",
}

_NOT_NOW = frozenset({Status.THROTTLED, Status.TRANSIENT, Status.UNCLEAR})
"""Results after which the same call may work later."""
GROUPS = "usergroups:read"
"""The scope that user groups among the deciders need."""


def scope_findings(granted: Collection[str]) -> list[Finding]:
    """Returns one finding per missing scope, or one that all are granted."""
    fix = "add the bot scope {} under OAuth & Permissions, then reinstall the app"
    missing = [Finding("problem", f"scope {one} is missing", fix.format(one)) for one in REQUIRED if one not in granted]
    wanted = [
        Finding("warning", f"without the scope {one} the app cannot {gain}", fix.format(one))
        for one, gain in RECOMMENDED.items()
        if one not in granted
    ]
    return missing + wanted or [Finding("ok", "all scopes are granted")]


_MANIFEST_START = """\
_metadata:
  major_version: 1
  minor_version: 1
display_information:
  name: Hireflix notifier
  description: Posts to a channel what happens to Hireflix interviews
  background_color: "#2f3b52"
features:
  bot_user:
    display_name: hireflix
    always_online: true
oauth_config:
  scopes:
    bot:
"""
_MANIFEST_END = """\
settings:
  interactivity:
    is_enabled: {decides}
  org_deploy_enabled: false
  socket_mode_enabled: {decides}
  token_rotation_enabled: false
"""


def manifest(kind: Literal["minimal", "full", "decisions"]) -> str:
    """Returns the manifest as YAML: with the required scopes, also with the optional ones, or also for decisions."""
    scopes = {"minimal": REQUIRED, "full": (*REQUIRED, *RECOMMENDED), "decisions": (*REQUIRED, *RECOMMENDED, GROUPS)}
    decides = "true" if kind == "decisions" else "false"
    lines = "".join(f"      - {scope}\n" for scope in scopes[kind])
    return _MANIFEST_START + lines + _MANIFEST_END.format(decides=decides)


async def check_bot(client: BotClient, config: SlackConfig) -> list[Finding]:
    """Checks token, team, scopes and channel."""
    identity = await client.whoami()
    if identity.status is not Status.OK:
        return [_failed("the token cannot be used", identity)]
    granted = _scopes(identity)
    data = identity.data
    who = f"signed in to {data.get('team', '?')} ({data.get('team_id', '?')}) as @{data.get('user', '?')}"
    scopes = f"granted scopes: {', '.join(sorted(granted)) or 'none that Slack names'}"
    channel = await client.channel_info()
    findings = [Finding("ok", who), Finding("ok", scopes), *scope_findings(granted), _channel(client, channel, granted)]
    return findings + _privacy(config, channel)


async def check_app(app: AppClient, client: BotClient, decisions: Decisions) -> list[Finding]:
    """The app-level token, and the user groups that may decide."""
    opened = await app.open_connection()
    if opened.status is Status.OK:
        findings = [Finding("ok", "the app-level token works, so decisions are received")]
    elif opened.status in _NOT_NOW:
        findings = [_failed("the app-level token was not checked", opened)]
    else:
        why, fix = reason_and_fix_of_app(opened)
        findings = [Finding("problem", f"decisions are not received: {why} ({opened.error})", fix)]
    for group in decisions.groups:
        result = await client.group_members(group)
        users = result.data.get("users")
        if result.status is not Status.OK:
            findings.append(_failed(f"the members of the user group {group} are not known", result))
        elif not users:
            findings.append(Finding("warning", f"the user group {group} has no members", "check `deciders`"))
    return findings


def check_webhook(config: SlackConfig, place: str) -> list[Finding]:
    """Returns the limits of an incoming webhook, and the settings that have no effect with it."""
    fix = "use a bot token and a channel instead (docs/slack.md, Set up)"
    lacks = "it cannot edit, result in threads, take names back after a deletion, or look for lost messages"
    findings = [
        Finding("warning", f"{place}: a webhook cannot be tried without posting", "send a sample"),
        Finding("warning", f"{place}: each announcement is a message of its own: {lacks}", fix),
    ]
    if config.privacy == "auto":
        said = f"{place}: a webhook does not learn whether its channel is private, so names are shown by initials"
        findings.append(Finding("warning", said, "set `privacy` to full, initials or none"))
    return findings


def _privacy(config: SlackConfig, channel: SlackResult) -> list[Finding]:
    if config.privacy != "auto":
        return []
    fix = "set `privacy` yourself, or make the channel private; reading that needs channels:read and groups:read"
    if privacy_of(channel) == "full":
        return [Finding("ok", "Slack says that the channel is private: names are shown in full")]
    return [Finding("warning", "Slack does not say that the channel is private: names are shown by initials", fix)]


def privacy_of(channel: SlackResult) -> str:
    """Returns what `privacy = "auto"` means in this channel: only a private one shows names in full."""
    found = channel.data.get("channel") if channel.status is Status.OK else None
    return "full" if isinstance(found, dict) and found.get("is_private") is True else "initials"


def _channel(client: BotClient, result: SlackResult, granted: frozenset[str]) -> Finding:
    if result.error == "missing_scope":
        return Finding(
            "warning", f"channel {client.channel} was not checked: {result.error}", reason_and_fix(result)[1]
        )
    if result.status is not Status.OK:
        return _failed(f"channel {client.channel} cannot be used", result)
    channel = result.data.get("channel")
    return _channel_state(client.channel, channel if isinstance(channel, dict) else {}, granted)


def _channel_state(place: str, channel: dict[str, object], granted: frozenset[str]) -> Finding:
    name = f"channel {place} (#{channel.get('name', '?')})"
    if channel.get("is_archived"):
        return Finding("problem", f"{name} is archived", "unarchive it in Slack, or set another `channel`")
    if channel.get("is_member"):
        return Finding("ok", f"{name} is there and the app is in it")
    invite = "type /invite @ and the app's name in the channel"
    if "chat:write.public" not in granted or channel.get("is_private"):
        return Finding("problem", f"the app is not in {name}", invite)
    return Finding("warning", f"the app may post to {name}, but is not in it and cannot look for lost messages", invite)


def _failed(what: str, result: SlackResult) -> Finding:
    if result.status is Status.BROKEN:
        why, fix = reason_and_fix(result)
        return Finding("problem", f"{what}: {why} ({result.error})", fix)
    if result.status is Status.THROTTLED:
        return Finding("warning", f"{what}: Slack asks to come back later", "try again in a minute")
    return Finding("problem", f"{what}: no usable answer ({result.error})", "check `api_url`, network and proxy")


def _scopes(result: SlackResult) -> frozenset[str]:
    text = next((value for name, value in result.headers.items() if name.lower() == "x-oauth-scopes"), "")
    return frozenset(one.strip() for one in text.split(",") if one.strip())


_REINSTALL = (
    "in your Slack app open Install App, install it again and copy the Bot User OAuth Token (xoxb-…) into `token`"
)
_INVITE = (
    "in Slack open the channel and type /invite @ and the app's name; then check that `channel` is this channel's id"
)
_ADMIN = "ask an administrator of the Slack workspace to let this app post there"
_NEW_WEBHOOK = "create a new incoming webhook in your Slack app and set its address as `webhook_url`"

_GENERATE = (
    "in your Slack app open Basic Information, App-Level Tokens, generate one with the scope connections:write, and "
    "copy it (xapp-…) into `app_token`"
)
_SOCKET_MODE = "in your Slack app open Socket Mode and enable it; then check that `app_token` is a token of this app"
_BY_APP_WORD: Mapping[str, tuple[str, str]] = {
    "invalid_auth": ("the app-level token is not valid", _GENERATE),
    "not_authed": ("the request had no app-level token", _GENERATE),
    "token_revoked": ("the app-level token was revoked", _GENERATE),
    "token_expired": ("the app-level token has expired", _GENERATE),
    "account_inactive": ("the app was removed from the workspace", _GENERATE),
    "not_allowed_token_type": ("this is not an app-level token", _GENERATE),
}
_BY_WORD: Mapping[str, tuple[str, str]] = {
    "channel_not_found": ("the channel does not exist, or it is private and the app is not in it", _INVITE),
    "not_in_channel": ("the app is not in the channel", _INVITE),
    "is_archived": ("the channel is archived", "unarchive it in Slack, or set another `channel`"),
    "channel_is_archived": ("the channel is archived", "unarchive it in Slack, or make a webhook for another channel"),
    "is_inactive": ("the channel is archived", "unarchive it in Slack, or set another `channel`"),
    "invalid_auth": ("the token is not valid", _REINSTALL),
    "not_authed": ("the request had no token", _REINSTALL),
    "account_inactive": ("the app was removed from the workspace", _REINSTALL),
    "token_revoked": ("the token was revoked", _REINSTALL),
    "token_expired": (
        "the token has expired, because token rotation is on",
        "create the app again from the manifest, which leaves rotation off, and copy its Bot User OAuth Token",
    ),
    "not_allowed_token_type": ("this is not a bot token", _REINSTALL),
    "no_such_subteam": ("the user group does not exist", "check `deciders`: the ids of user groups start with S"),
    "messages_tab_disabled": (
        "the app accepts no direct messages",
        "switch its Messages tab on under App Home, or set a channel's id",
    ),
    "restricted_action_thread_only_channel": ("the channel takes replies only", "set another `channel`"),
    "unknown_method": ("the address does not answer like Slack", "check `api_url`: https://slack.com/api/"),
    "no_service": ("the webhook does not exist", _NEW_WEBHOOK),
    "no_service_id": ("the webhook does not exist", _NEW_WEBHOOK),
    "no_team": ("the webhook's workspace is gone", _NEW_WEBHOOK),
    "team_disabled": ("the webhook's workspace is disabled", _NEW_WEBHOOK),
    "no_active_hooks": ("the webhook is disabled", _NEW_WEBHOOK),
    "invalid_token": ("the webhook's address is not complete", _NEW_WEBHOOK),
    "redirect": (
        "the address answers with a redirect, which is never followed with a token",
        "check `api_url` and the proxy between here and Slack",
    ),
}


def broken(result: CallResult, place: str) -> SinkBroken:
    """Returns the exception for a result with `Status.BROKEN`. `place` is a channel's id or a host."""
    what, fix = reason_and_fix(result)
    return SinkBroken(f"{place}: {what} ({result.error})", fix)


def broken_app(result: CallResult) -> Exception:
    """The exception for a connection that Slack does not open."""
    if result.status in _NOT_NOW:
        return ConnectionError(result.error)
    why, fix = reason_and_fix_of_app(result)
    return SinkBroken(f"{why} ({result.error})", fix)


def reason_and_fix_of_app(result: CallResult) -> tuple[str, str]:
    """What is wrong with the app-level token, and what to do about it."""
    if result.error == "missing_scope":
        return "the app-level token lacks the scope connections:write", _GENERATE
    return _BY_APP_WORD.get(result.error, ("Slack does not open a connection for the app", _SOCKET_MODE))


def reason_and_fix(result: CallResult) -> tuple[str, str]:
    """Returns the reason and the fix."""
    if result.error == "missing_scope":
        return _missing_scope(result)
    if isinstance(result, SlackResult) and result.is_foreign:
        return "the address does not answer like Slack", "check `api_url` or `webhook_url`, and proxies on the way"
    return _BY_WORD.get(result.error, ("Slack does not let the app post", _ADMIN))


def _missing_scope(result: CallResult) -> tuple[str, str]:
    data = result.data if isinstance(result, SlackResult) else {}
    needed = str(data.get("needed", "chat:write"))[:40]
    provided = str(data.get("provided", "none"))[:400]
    fix = f"add the bot scope {needed} under OAuth & Permissions, then reinstall the app (it has: {provided})"
    return f"the app lacks the scope {needed}", fix
