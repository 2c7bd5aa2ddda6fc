"""A stand-in for the Slack Web API and incoming webhooks: channels, threads, metadata, Block Kit rules, rate limits."""

from tests.emulators.slack.invariants import foreign_tokens, problems
from tests.emulators.slack.limits import Rate
from tests.emulators.slack.server import ALL_SCOPES, Call, SlackEmulator
from tests.emulators.slack.workspace import Channel, Message

__all__ = ["ALL_SCOPES", "Call", "Channel", "Message", "Rate", "SlackEmulator", "foreign_tokens", "problems"]
