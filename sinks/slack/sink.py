"""The message sink for Slack."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import ClassVar, Self

from connector.capabilities import Inbox
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

    @property
    def account(self) -> str:
        """The app: Slack sends a click in any channel to any connection of it."""
        token = self.config.app_token
        if token is None or not self.config.decides:
            return ""
        return sha256(token.get_secret_value().encode()).hexdigest()[:12]

    async def listen(self, sinks: Sequence[Self], inbox: Inbox) -> None:
        """Receives the clicks on the messages of the sinks of one app."""
        from sinks.slack.listener import SlackListener

        listener = SlackListener({sink.name: sink.config for sink in sinks}, inbox)
        try:
            await listener.run()
        finally:
            await listener.close()

    async def check_connection(self) -> list[Finding]:
        """Checks token, scopes and channel. An incoming webhook cannot be checked without posting; the findings list
        its limits.
        """
        from sinks.slack.client import AppClient, BotClient
        from sinks.slack.diagnostics import check_app, check_bot, check_webhook

        config = self.config
        if config.webhook_url is not None:
            return check_webhook(config, self.destination)
        assert config.token is not None
        assert config.channel is not None
        client = BotClient(config.token.get_secret_value(), config.channel, config.api_url)
        app = AppClient(config.app_token.get_secret_value(), config.api_url) if config.app_token else None
        try:
            findings = await check_bot(client, config)
            return findings + await check_app(app, client, config.decisions) if app and config.decisions else findings
        finally:
            await client.close()
            if app is not None:
                await app.close()
