"""Permissions: scopes, membership, archived and read-only channels."""

from __future__ import annotations

from connector.emulators.slack.errors import SlackError
from connector.emulators.slack.workspace import Bot, Channel, Workspace


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
