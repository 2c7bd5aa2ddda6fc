"""The message sink for Slack."""

from __future__ import annotations

from hashlib import sha256
from typing import ClassVar

from connector.http import host_of
from connector.sink import Finding, SinkConfig
from sinks.chat.service import ChatService
from sinks.chat.sink import ChatSink
from sinks.slack.config import SlackConfig


class SlackSink(ChatSink[SlackConfig]):
    """Posts to one channel, with a bot token or by an incoming webhook."""

    Config: ClassVar[type[SinkConfig]] = SlackConfig

    @property
    def destination(self) -> str:
        """The id of the channel, or the host of the webhook with a short hash of its address."""
        if self.config.webhook_url is None:
            return str(self.config.channel)
        url = self.config.webhook_url.get_secret_value()
        return f"{host_of(url)}#{sha256(url.encode()).hexdigest()[:12]}"

    def connect(self) -> ChatService:
        from sinks.slack.channel import BotChannel, WebhookChannel

        return (BotChannel if self.config.webhook_url is None else WebhookChannel)(self.config, self.destination)

    async def check_connection(self) -> list[Finding]:
        """Checks token, scopes and channel. An incoming webhook cannot be checked without posting; the findings list
        its limits.
        """
        from sinks.slack.client import BotClient
        from sinks.slack.diagnostics import check_bot, check_webhook

        config = self.config
        if config.webhook_url is not None:
            return check_webhook(config, self.destination)
        assert config.token is not None
        assert config.channel is not None
        client = BotClient(config.token.get_secret_value(), config.channel, config.api_url)
        try:
            return await check_bot(client, config)
        finally:
            await client.close()
