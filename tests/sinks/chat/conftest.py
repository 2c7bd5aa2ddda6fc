"""Fixtures of tests against the Slack emulator."""

from tests.sinks.chat_fixtures import channel, clock, context, sink, slack

__all__ = ["channel", "clock", "context", "sink", "slack"]
