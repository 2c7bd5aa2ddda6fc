"""The Web API methods on the workspace, without HTTP: permissions, pages and bounds.

(Slack, Web API methods; errors as each page lists them.)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from connector.emulators.slack.blocks import check_blocks
from connector.emulators.slack.errors import SlackError
from connector.emulators.slack.socket import check_view
from connector.emulators.slack.workspace import Bot, Channel, Ephemeral, Message, Workspace

Args = dict[str, Any]
ResponseBody = dict[str, Any]
PAGE_MOST = 999
"""Most messages of a page."""
TEXT_MOST = 40_000
"""Characters of a text; more are cut."""
METADATA_MOST = 8_000
"""Characters of metadata as JSON."""


def info(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    channel = visible(workspace, bot, str(args.get("channel", "")))
    need(bot, of_channel(channel, "read"))
    shown = {
        "id": channel.id,
        "name": channel.name,
        "is_private": channel.private,
        "is_archived": channel.archived,
        "is_member": bot.bot_id in channel.members,
    }
    return {"ok": True, "channel": shown}


def history(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    channel = _readable(workspace, bot, args)
    found = [each for each in channel.messages.values() if not each.is_reply or each.broadcast]
    return _page([each for each in found if _inside(each, args)][::-1], args)


def replies(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    channel = _readable(workspace, bot, args)
    parent = channel.messages.get(str(args.get("ts", "")))
    if parent is None:
        raise SlackError("thread_not_found")
    thread = [
        each
        for each in channel.messages.values()
        if each.is_reply and each.thread_ts == parent.ts and _inside(each, args)
    ]
    return _page([parent, *thread], args)


def _readable(workspace: Workspace, bot: Bot, args: Args) -> Channel:
    channel = visible(workspace, bot, str(args.get("channel", "")))
    need(bot, of_channel(channel, "history"))
    if bot.bot_id not in channel.members:
        raise SlackError("not_in_channel")
    return channel


def _inside(message: Message, args: Args) -> bool:
    at = _micros(message.ts)
    lower, upper = _micros(str(args.get("oldest") or "0")), _micros(str(args.get("latest") or "9999999999"))
    if str(args.get("inclusive", "")).lower() in {"1", "true"}:
        return lower <= at <= upper
    return lower < at < upper


def _micros(ts: str) -> int:
    """Returns a timestamp as a whole number of microseconds; a float would lose digits."""
    seconds, _, rest = ts.partition(".")
    if not seconds.isdecimal() or (rest and not rest.isdecimal()):
        raise SlackError("invalid_arguments")
    return int(seconds) * 1_000_000 + int(rest[:6].ljust(6, "0"))


def _page(messages: list[Message], args: Args) -> ResponseBody:
    limit = int(args.get("limit") or 100)
    if not 1 <= limit <= PAGE_MOST:
        raise SlackError("invalid_limit")
    cursor = str(args.get("cursor") or "0")
    if not cursor.isdecimal():
        raise SlackError("invalid_cursor")
    start = int(cursor)
    more = start + limit < len(messages)
    metadata = str(args.get("include_all_metadata", "")).lower() in {"1", "true"}
    return {
        "ok": True,
        "messages": [message.wire(metadata=metadata) for message in messages[start : start + limit]],
        "has_more": more,
        "response_metadata": {"next_cursor": str(start + limit) if more else ""},
    }


def need(bot: Bot, scope: str) -> None:
    if scope not in bot.scopes:
        raise SlackError("missing_scope", needed=scope, provided=",".join(bot.scopes))


def of_channel(channel: Channel, what: str) -> str:
    """Returns the scope for `what` (`read`, `history`) in this kind of channel."""
    return f"{'groups' if channel.private else 'channels'}:{what}"


def visible(workspace: Workspace, bot: Bot, channel_id: str) -> Channel:
    """Returns a channel. Raises `channel_not_found` also for a private channel without the bot, like Slack."""
    channel = workspace.channels.get(channel_id)
    if channel is None or (channel.private and bot.bot_id not in channel.members):
        raise SlackError("channel_not_found")
    return channel


def reachable(workspace: Workspace, bot: Bot, channel_id: str) -> Channel:
    channel = visible(workspace, bot, channel_id)
    if bot.bot_id not in channel.members and "chat:write.public" not in bot.scopes:
        raise SlackError("not_in_channel")
    return channel


def writable(workspace: Workspace, bot: Bot, channel_id: str) -> Channel:
    channel = visible(workspace, bot, channel_id)
    if channel.archived:
        raise SlackError("is_archived")
    if channel.read_only:
        raise SlackError("restricted_action_read_only_channel")
    return reachable(workspace, bot, channel_id)


def auth_test(workspace: Workspace, bot: Bot, _args: Args) -> ResponseBody:
    return {
        "ok": True,
        "url": "https://example.slack.com/",
        "team": workspace.team,
        "team_id": workspace.team_id,
        "user": bot.name,
        "user_id": bot.user_id,
        "bot_id": bot.bot_id,
    }


def post(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    need(bot, "chat:write")
    channel = writable(workspace, bot, str(args.get("channel", "")))
    return publish(workspace, bot.bot_id, channel, args)


def publish(workspace: Workspace, bot_id: str, channel: Channel, args: Args) -> ResponseBody:
    """Stores a message of a post or a webhook."""
    text, blocks, metadata, warnings = content(args)
    thread = str(args.get("thread_ts") or "")
    if thread and thread not in channel.messages:
        raise SlackError("thread_not_found")
    ts = workspace.next_ts()
    message = Message(channel.id, ts, bot_id, text, blocks, metadata, raw=dict(args), thread_ts=thread)
    message.broadcast = bool(thread) and flag(args.get("reply_broadcast"))
    channel.messages[ts] = message
    return {"ok": True, "channel": channel.id, "ts": ts, "message": message.wire(metadata=False), **warnings}


def update(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    need(bot, "chat:write")
    channel = reachable(workspace, bot, str(args.get("channel", "")))
    if channel.archived:
        raise SlackError("is_inactive")
    message = _own(channel, bot, args, "cant_update_message")
    kept = {"blocks": message.blocks, "text": message.text, "metadata": message.metadata}
    text, blocks, metadata, warnings = content({**kept, **args})
    message.text, message.blocks, message.metadata, message.edited = text, blocks, metadata, True
    return {"ok": True, "channel": channel.id, "ts": message.ts, "text": text, **warnings}


def delete(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    need(bot, "chat:write")
    channel = reachable(workspace, bot, str(args.get("channel", "")))
    message = _own(channel, bot, args, "cant_delete_message")
    del channel.messages[message.ts]
    return {"ok": True, "channel": channel.id, "ts": message.ts}


def post_ephemeral(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    need(bot, "chat:write")
    channel = writable(workspace, bot, str(args.get("channel", "")))
    text, *_ = content(args)
    workspace.ephemerals.append(Ephemeral(channel.id, str(args.get("user", "")), text))
    return {"ok": True, "message_ts": workspace.next_ts()}


def open_view(workspace: Workspace, _bot: Bot, args: Args) -> ResponseBody:
    trigger = str(args.get("trigger_id", ""))
    if trigger not in workspace.triggers:
        raise SlackError("expired_trigger_id")
    view = {**check_view(decoded(args.get("view"))), "id": f"V{len(workspace.views) + 1:09d}"}
    workspace.triggers.remove(trigger)
    with workspace.view_opened:
        workspace.views.append(view)
        workspace.view_opened.notify_all()
    return {"ok": True, "view": view}


def group_members(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    need(bot, "usergroups:read")
    members = workspace.groups.get(str(args.get("usergroup", "")))
    if members is None:
        raise SlackError("no_such_subteam")
    return {"ok": True, "users": members}


def unknown(_workspace: Workspace, _bot: Bot, _args: Args) -> ResponseBody:
    raise SlackError("unknown_method")


def _own(channel: Channel, bot: Bot, args: Args, refusal: str) -> Message:
    message = channel.messages.get(str(args.get("ts", "")))
    if message is None:
        raise SlackError("message_not_found")
    if message.bot_id != bot.bot_id:
        raise SlackError(refusal)
    return message


def content(args: Args) -> tuple[str, list[dict[str, Any]], dict[str, Any], ResponseBody]:
    """Text, blocks, metadata and warnings of a message, checked as Slack checks them."""
    text = str(args.get("text") or "")
    blocks = check_blocks(decoded(args.get("blocks") or []))
    metadata = _metadata(decoded(args.get("metadata") or {}))
    if not text.strip() and not blocks:
        raise SlackError("no_text")
    if len(text) <= TEXT_MOST:
        return text, blocks, metadata, {}
    return text[:TEXT_MOST], blocks, metadata, {"response_metadata": {"warnings": ["message_truncated"]}}


def _metadata(value: Any) -> dict[str, Any]:
    if value == {}:
        return {}
    if not isinstance(value, dict) or not isinstance(value.get("event_payload"), dict):
        raise SlackError("invalid_metadata_format")
    if not isinstance(value.get("event_type"), str) or not value["event_type"]:
        raise SlackError("invalid_metadata_schema")
    if len(json.dumps(value)) > METADATA_MOST:
        raise SlackError("metadata_too_large")
    return value


def decoded(value: Any) -> Any:
    """Returns an argument that is JSON text in a form."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None


def flag(value: Any) -> bool:
    return value is True or str(value).lower() in {"1", "true"}


Method = Callable[[Workspace, Bot, Args], ResponseBody]
METHODS: dict[str, Method] = {
    "auth.test": auth_test,
    "chat.postMessage": post,
    "chat.update": update,
    "chat.delete": delete,
    "conversations.history": history,
    "conversations.replies": replies,
    "conversations.info": info,
    "chat.postEphemeral": post_ephemeral,
    "views.open": open_view,
    "usergroups.users.list": group_members,
}
