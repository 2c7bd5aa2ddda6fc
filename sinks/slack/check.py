"""`connector check --online` for Slack: asks, writes nothing."""

from __future__ import annotations

from connector.sink import Finding
from sinks.slack.answers import Kind, Reply
from sinks.slack.calls import WebApi
from sinks.slack.config import SlackConfig
from sinks.slack.desk import privacy_of
from sinks.slack.fixes import explain
from sinks.slack.scopes import judge


async def examine(gateway: WebApi, config: SlackConfig) -> list[Finding]:
    """Token, team, scopes and channel, each with what to do about it."""
    identity = await gateway.whoami()
    if identity.kind is not Kind.OK:
        return [_failed("the token cannot be used", identity)]
    granted = _scopes(identity)
    data = identity.data
    who = f"signed in to {data.get('team', '?')} ({data.get('team_id', '?')}) as @{data.get('user', '?')}"
    has = f"granted scopes: {', '.join(sorted(granted)) or 'none that Slack names'}"
    channel = await gateway.look()
    findings = [Finding("ok", who), Finding("ok", has), *judge(granted), _channel(gateway, channel, granted)]
    return findings + _privacy(config, channel)


def examine_webhook(config: SlackConfig, place: str) -> list[Finding]:
    """What an incoming webhook cannot do, and what in the settings has no effect with it."""
    fix = "use a bot token and a channel instead (docs/slack.md, Set up)"
    lacks = "it cannot edit, reply in threads, take names back after a deletion, or look for lost messages"
    findings = [
        Finding("warning", f"{place}: a webhook cannot be tried without posting", "send a sample"),
        Finding("warning", f"{place}: each piece of news is a message of its own: {lacks}", fix),
    ]
    if config.privacy == "auto":
        said = f"{place}: a webhook does not learn whether its channel is private, so names are shown by initials"
        findings.append(Finding("warning", said, "set `privacy` to full, initials or none"))
    return findings


def _privacy(config: SlackConfig, channel: Reply) -> list[Finding]:
    if config.privacy != "auto":
        return []
    fix = "set `privacy` yourself, or make the channel private; reading that needs channels:read and groups:read"
    if privacy_of(channel) == "full":
        return [Finding("ok", "Slack says that the channel is private: names are shown in full")]
    return [Finding("warning", "Slack does not say that the channel is private: names are shown by initials", fix)]


def _channel(gateway: WebApi, reply: Reply, granted: frozenset[str]) -> Finding:
    if reply.error == "missing_scope":
        return Finding("warning", f"channel {gateway.channel} was not looked at: {reply.error}", explain(reply)[1])
    if reply.kind is not Kind.OK:
        return _failed(f"channel {gateway.channel} cannot be used", reply)
    channel = reply.data.get("channel")
    return _judge(gateway.channel, channel if isinstance(channel, dict) else {}, granted)


def _judge(place: str, channel: dict[str, object], granted: frozenset[str]) -> Finding:
    name = f"channel {place} (#{channel.get('name', '?')})"
    if channel.get("is_archived"):
        return Finding("problem", f"{name} is archived", "unarchive it in Slack, or set another `channel`")
    if channel.get("is_member"):
        return Finding("ok", f"{name} is there and the app is in it")
    invite = "type /invite @ and the app's name in the channel"
    if "chat:write.public" not in granted or channel.get("is_private"):
        return Finding("problem", f"the app is not in {name}", invite)
    return Finding("warning", f"the app may post to {name}, but is not in it and cannot look for lost messages", invite)


def _failed(what: str, reply: Reply) -> Finding:
    if reply.kind is Kind.BROKEN:
        why, fix = explain(reply)
        return Finding("problem", f"{what}: {why} ({reply.error})", fix)
    if reply.kind is Kind.THROTTLED:
        return Finding("warning", f"{what}: Slack asks to come back later", "try again in a minute")
    return Finding("problem", f"{what}: no usable answer ({reply.error})", "check `api_url`, network and proxy")


def _scopes(reply: Reply) -> frozenset[str]:
    text = next((value for name, value in reply.headers.items() if name.lower() == "x-oauth-scopes"), "")
    return frozenset(one.strip() for one in text.split(",") if one.strip())
