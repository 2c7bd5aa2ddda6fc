"""The message sink for Slack: one living message per interview, digests for what comes in bursts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import ClassVar

from connector.http import host_of
from connector.sink import Batch, Context, Delivery, Finding, Result, Sink, SinkConfig
from sinks.slack import digest, digests, edits, events, once, record
from sinks.slack.calls import WebApi
from sinks.slack.check import examine, examine_webhook
from sinks.slack.config import SlackConfig
from sinks.slack.desk import Desk, Turn, done
from sinks.slack.digest import Digest
from sinks.slack.news import INVITE, SPEAKING
from sinks.slack.preview import preview
from sinks.slack.record import Record

CROWD = 200
"""Most invitations in one call."""
_CALLS = (edits.EDIT, edits.LATE, once.LOOK)


class SlackSink(Sink[SlackConfig]):
    """Posts to one channel.

    An event is told, counted in its position's digest, or left to the next edit, with one call to Slack at most; what
    is left to do is asked for by `again` under a key of its own, so that no edit ever holds back an event:
    `edit:` brings a message up to date, `late:` repeats an edit whose answer was lost, `look:` looks for doubles, each
    followed by the name of a note, `parent:` and an interview's id or `digest:` and a position's.
    """

    Config: ClassVar[type[SinkConfig]] = SlackConfig
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
    def crowds(self) -> Mapping[str, int]:
        """Invitations that make no message share a call: a burst of them costs a few commits, not thousands."""
        return {} if self.config.events.create in SPEAKING else {INVITE: CROWD}

    def keys(self, delivery: Delivery) -> Iterable[str]:
        if delivery.event is None:
            return (_note_of(delivery.key),)
        about = delivery.interview
        return (Record(about.id).key, Digest(about.position_id).key) if about else ()

    async def open(self) -> None:
        self._desk = self._connect()

    async def close(self) -> None:
        if self._desk is not None:
            desk, self._desk = self._desk, None
            await desk.close()

    async def check(self) -> list[Finding]:
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
        delivery = turn.delivery
        if delivery.event is not None:
            return await events.tell_all(self._desk, turn)
        name = _note_of(delivery.key)
        if delivery.key.startswith(once.LOOK):
            return await once.look_again(self._desk, turn, _ledger(turn, name))
        if name.startswith(digest.NOTE):
            return await digests.publish(self._desk, turn, name.removeprefix(digest.NOTE))
        if name.startswith(record.NOTE):
            return await edits.keep_current(self._desk, turn, name.removeprefix(record.NOTE), delivery.interview)
        return done({})

    def _connect(self) -> Desk:
        from sinks.slack.gateway import BotGateway, WebhookGateway

        config = self.config
        if config.webhook_url is not None:
            return Desk(config, self.destination, WebhookGateway(config.webhook_url.get_secret_value()), None)
        assert config.token is not None
        assert config.channel is not None
        web: WebApi = BotGateway(config.token.get_secret_value(), config.channel, config.api_url)
        return Desk(config, self.destination, web, web)


def _note_of(key: str) -> str:
    """The note that a call asked for by `again` is about."""
    return next((key.removeprefix(call) for call in _CALLS if key.startswith(call)), key)


def _ledger(turn: Turn, name: str) -> once.Ledger:
    note = turn.note(name)
    if name.startswith(digest.NOTE):
        return Digest.read(name.removeprefix(digest.NOTE), note)
    return Record.read(name.removeprefix(record.NOTE), note)
