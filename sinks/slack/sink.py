"""The message sink for Slack: one living message per interview, digests for what comes in bursts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import ClassVar

from connector.http import host_of
from connector.sink import Batch, Context, Delivery, Finding, FollowUp, Result, Sink, SinkConfig
from sinks.chat.changes import INVITE, SPEAKING
from sinks.chat.digest import DIGEST, Digest
from sinks.chat.record import EDIT, REPEAT_EDIT, Record
from sinks.slack import digests, edits, events, once
from sinks.slack.calls import WebApi
from sinks.slack.check import examine, examine_webhook
from sinks.slack.config import SlackConfig
from sinks.slack.desk import Desk, Turn, needless
from sinks.slack.preview import preview

CROWD = 200
"""Most invitations in one call."""


class SlackSink(Sink[SlackConfig]):
    """Posts to one channel.

    An event is told, or it waits: in its position's digest, or for the next edit of its interview's message. It makes
    one call to Slack at most; what is left to do is a follow-up, so that no edit ever holds back an event.
    """

    Config: ClassVar[type[SinkConfig]] = SlackConfig
    counts_calls: ClassVar[bool] = True
    timeout: ClassVar[float] = 30
    priority: ClassVar[Mapping[str, int]] = MappingProxyType(
        {
            "interview.finish": 0,
            "interview.score-updated": 10,
            "interview.status-change": 10,
            "interview.delete": 20,
            "interview.create": 50,
        }
    )

    def __init__(self, name: str, config: SlackConfig) -> None:
        super().__init__(name, config)
        self._desk: Desk | None = None

    @property
    def destination(self) -> str:
        """The channel's id, or the webhook's host with a short hash of its address."""
        if self.config.webhook_url is None:
            return str(self.config.channel)
        url = self.config.webhook_url.get_secret_value()
        return f"{host_of(url)}#{sha256(url.encode()).hexdigest()[:12]}"

    @property
    def max_age(self) -> float | None:
        return self.config.max_age

    @property
    def edits(self) -> bool:
        """A bot updates its messages; an incoming webhook cannot."""
        return self.config.webhook_url is None

    @property
    def batchable_events(self) -> Mapping[str, int]:
        """Invitations that make no message share a call: a burst of them costs a few commits, not thousands."""
        return {} if self.config.events.create in SPEAKING else {INVITE: CROWD}

    def note_keys(self, delivery: Delivery) -> Iterable[str]:
        if delivery.follow_up is not None:
            return (_ledger_of(delivery.follow_up, None).key,)
        about = delivery.interview
        return (Record(about.id).key, Digest(about.position_id).key) if about else ()

    async def open(self) -> None:
        self._desk = self._connect()

    async def close(self) -> None:
        if self._desk is not None:
            desk, self._desk = self._desk, None
            await desk.close()

    async def check_connection(self) -> list[Finding]:
        """Token, scopes, channel. An incoming webhook cannot be asked without posting, but what it lacks is said."""
        if self.config.webhook_url is not None:
            return examine_webhook(self.config, self.destination)
        desk = self._desk or self._connect()
        try:
            assert desk.web is not None
            return await examine(desk.web, self.config)
        finally:
            if desk is not self._desk:
                await desk.close()

    async def preview(self, batch: Batch, context: Context) -> Sequence[str]:
        """What a person would read in the channel, or why there is nothing."""
        return [preview(self.config, delivery, batch.notes, context.now()) for delivery in batch.deliveries]

    async def deliver(self, batch: Batch, context: Context) -> Result:
        assert self._desk is not None, "open() comes first"
        turn = Turn(batch, context)
        asked = turn.delivery.follow_up
        if asked is None:
            return await events.tell_all(self._desk, turn)
        if asked.purpose == once.FIND_DOUBLES:
            return await once.look_again(self._desk, turn, _ledger_of(asked, turn))
        if asked.purpose in {EDIT, REPEAT_EDIT} and asked.interview is not None:
            return await edits.keep_current(self._desk, turn, asked.interview, turn.delivery.interview)
        if asked.purpose in {DIGEST, REPEAT_EDIT}:
            return await digests.publish(self._desk, turn, asked.subject)
        return needless("a follow-up of another version")

    def _connect(self) -> Desk:
        from sinks.slack.gateway import BotGateway, WebhookGateway

        config = self.config
        if config.webhook_url is not None:
            return Desk(config, self.destination, WebhookGateway(config.webhook_url.get_secret_value()), None)
        assert config.token is not None
        assert config.channel is not None
        web: WebApi = BotGateway(config.token.get_secret_value(), config.channel, config.api_url)
        return Desk(config, self.destination, web, web)


def _ledger_of(asked: FollowUp, turn: Turn | None) -> once.Ledger:
    """What a follow-up is about: an interview's messages, or a position's digest. As remembered, within a turn."""
    if asked.interview is None:
        return Digest.read(asked.subject, None if turn is None else turn.note(Digest(asked.subject).key))
    return Record.read(asked.interview, None if turn is None else turn.note(Record(asked.interview).key))
