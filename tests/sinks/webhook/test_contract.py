"""The conformance suite of the contract for the webhook."""

from __future__ import annotations

import pytest

from connector.testing.contract import SinkContract
from sinks.webhook import Webhook, WebhookConfig
from tests.sinks.webhook.conftest import SECRET
from tests.sinks.webhook.receiver import Reply


class TestWebhook(SinkContract):
    capabilities = frozenset({"counts_calls", "notifies", "previews"})

    @pytest.fixture(autouse=True)
    def _receiver(self, receiver):
        self.receiver = receiver

    def make_sink(self):
        return Webhook("forward", WebhookConfig(url=f"{self.receiver.url}/very-secret-path", secret=SECRET))

    def delivered(self):
        """The requests without repeats."""
        return sorted({request.headers["webhook-id"] for request in self.receiver.requests})

    def break_destination(self):
        self.receiver.reply = Reply(500, body="Wayne Knight broke it")

    def mend_destination(self):
        self.receiver.reply = Reply(200)
