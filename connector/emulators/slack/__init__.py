"""Emulator of the Slack Web API and incoming webhooks: channels, threads, metadata, Block Kit rules, rate limits."""

from connector.emulators.slack.limits import Rate
from connector.emulators.slack.server import ALL_SCOPES, Call, SlackEmulator
from connector.emulators.slack.workspace import Channel, Message, foreign_tokens, problems

__all__ = ["ALL_SCOPES", "Call", "Channel", "Message", "Rate", "SlackEmulator", "foreign_tokens", "problems"]
