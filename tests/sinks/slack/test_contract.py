"""The conformance suite of the contract, against the emulator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from connector.emulators.slack import SlackEmulator
from connector.testing import START
from connector.testing.contract import SinkContract
from sinks.slack.sink import SlackSink


class TestBotToken(SinkContract):
    capabilities = frozenset({"counts_calls", "edits", "erases", "notifies", "previews"})

    @pytest.fixture(autouse=True)
    def workspace(self) -> Iterator[None]:
        with SlackEmulator(lambda: START / 1000) as self.slack:
            self.channel = self.slack.add_channel("recruiting")
            yield
            # one test throws the notes away and delivers the same again: that doubles, and only that
            assert [problem for problem in self.slack.problems() if "occurs 2 times" not in problem] == []

    def make_sink(self) -> SlackSink:
        slack = self.slack
        return SlackSink("recruiting", SlackSink.Config(token=slack.token, channel=self.channel, api_url=slack.api_url))

    def delivered(self) -> Sequence[object]:
        return [message.wire(metadata=True) for message in self.slack.messages(self.channel)]

    def break_destination(self) -> None:
        self.slack.bot.error = "token_revoked"

    def mend_destination(self) -> None:
        self.slack.bot.error = ""


class TestWebhook(TestBotToken):
    capabilities = frozenset({"counts_calls", "notifies", "previews"})
    may_double = True

    def make_sink(self) -> SlackSink:
        if not self.slack.workspace.hooks:
            self.url = self.slack.add_webhook(self.channel)
        return SlackSink("hook", SlackSink.Config(webhook_url=self.url))

    def break_destination(self) -> None:
        self.slack.channel(self.channel).archived = True

    def mend_destination(self) -> None:
        self.slack.channel(self.channel).archived = False
