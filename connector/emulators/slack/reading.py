"""conversations.history, .replies and .info: pages, bounds, and metadata only on request."""

from __future__ import annotations

from typing import Any

from connector.emulators.slack.errors import SlackError
from connector.emulators.slack.rights import need, of_channel, visible
from connector.emulators.slack.workspace import Bot, Channel, Message, Workspace

Args = dict[str, Any]
ResponseBody = dict[str, Any]
MOST = 999


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
    found = [m for m in channel.messages.values() if not m.is_reply or m.broadcast]
    return _page([m for m in found if _inside(m, args)][::-1], args)


def replies(workspace: Workspace, bot: Bot, args: Args) -> ResponseBody:
    channel = _readable(workspace, bot, args)
    parent = channel.messages.get(str(args.get("ts", "")))
    if parent is None:
        raise SlackError("thread_not_found")
    thread = [m for m in channel.messages.values() if m.is_reply and m.thread_ts == parent.ts and _inside(m, args)]
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
    if not 1 <= limit <= MOST:
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
