"""The message sink for Slack: one message for each event that brings news."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import ClassVar

from connector.http import host_of
from connector.sink import (
    Batch,
    Context,
    Delivered,
    Delivery,
    Finding,
    Note,
    Outcome,
    Rejected,
    Result,
    RetryLater,
    Sink,
    SinkConfig,
)
from sinks.slack import lookup, rates
from sinks.slack.answers import Kind, Reply
from sinks.slack.calls import Gateway, WebApi
from sinks.slack.check import examine
from sinks.slack.config import SlackConfig
from sinks.slack.fixes import broken
from sinks.slack.news import News, find_news
from sinks.slack.record import Record, note_key
from sinks.slack.render import Message, plainly, preview, render

STRANGE_TRIES = 5
"""Attempts with an error string that nobody documented, before the payload is taken for the cause."""
SETTLING = 3_000
"""Milliseconds after which a posted message surely shows in the channel's history."""


class SlackSink(Sink[SlackConfig]):
    """Posts to one channel.

    Facts already told, events that arrive late and interviews deleted before they were mentioned make no message. A
    message whose answer was lost is looked for by its metadata before it is posted again.
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
        self._rates = rates.Rates(config)
        self._gateway: Gateway | None = None
        self._web: WebApi | None = None
        self._offset: int | None = None  # Slack's clock minus ours, ms, as last seen

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

    def keys(self, delivery: Delivery) -> Iterable[str]:
        return (note_key(delivery.interview.id),) if delivery.interview else ()

    async def open(self) -> None:
        self._gateway = self._connect()

    async def close(self) -> None:
        if self._gateway is not None:
            await self._gateway.close()
            self._gateway = self._web = None

    async def check(self) -> list[Finding]:
        """Token, scopes, channel. An incoming webhook cannot be asked without posting."""
        if self.config.webhook_url is not None:
            return [
                Finding("warning", f"{self.destination}: a webhook cannot be tried without posting", "send a sample")
            ]
        opened = self._gateway is None
        if opened:
            await self.open()
        try:
            assert self._web is not None
            return await examine(self._web)
        finally:
            if opened:
                await self.close()

    async def preview(self, batch: Batch, context: Context) -> Sequence[str]:  # noqa: ARG002 - the protocol's signature
        """The message as a person would read it, or why there is none."""
        return [self._preview(delivery, _record(batch, delivery)) for delivery in batch.deliveries]

    async def deliver(self, batch: Batch, context: Context) -> Result:
        (delivery,) = batch.deliveries
        if delivery.interview is None:
            return Result([Delivered()])
        record = _record(batch, delivery)
        if batch.maybe_sent and self._web is not None and record.intends(delivery.id):
            known = await self._look(self._web, batch, record, context)
            if known is not None:
                return known
        news = self._news(delivery, record)
        if news is None and not record.intent:
            return Result([Delivered()])
        if news is None or delivery.late:
            told = record.told if news is None else news.told
            return _result(delivery, Delivered(), record.silent(told))
        return await self._tell(delivery, record, news, context)

    async def _look(self, web: WebApi, batch: Batch, record: Record, context: Context) -> Result | None:
        """What an earlier call left in the channel; `None` when it left nothing or Slack does not let us look."""
        (delivery,) = batch.deliveries
        too_early = record.intent["at"] + SETTLING - context.now()
        if too_early > 0:
            return Result([RetryLater("settling", after=too_early / 1000, counts=False, unclear=True)])
        await context.take(*self._rates.to_look())
        found = await self._find(web, batch, context)
        if found.ts is not None:
            return _result(delivery, Delivered(found.ts), record.posted(found.ts, record.intent["told"]))
        if found.trouble is None or found.trouble.kind not in {Kind.THROTTLED, Kind.TRANSIENT, Kind.UNCLEAR}:
            return None
        after = await self._rates.after_look(found.trouble, context)
        return Result([RetryLater(f"look-up: {found.trouble.error}", after, counts=after is None, unclear=True)])

    async def _find(self, web: WebApi, batch: Batch, context: Context) -> lookup.Found:
        """Searches from the first attempt on, by Slack's clock; asks for that when no answer has told it yet."""
        if self._offset is None:
            context.count_call("auth")
            reply = await web.whoami()
            self._learn(reply, context)
            if reply.kind is not Kind.OK:
                return lookup.Found(trouble=reply)
        context.count_call("look-up")
        return await lookup.find(web, batch.deliveries[0].id, batch.started_at + (self._offset or 0))

    async def _tell(self, delivery: Delivery, record: Record, news: News, context: Context) -> Result:
        plain = record.plain(delivery.id)
        message = self._message(delivery, news)
        await context.take(*self._rates.to_post())
        if self._web is not None:
            await context.remember({_key(delivery): record.intending(delivery.id, news.told, context.now(), plain)})
        reply = await self._post(plainly(message, plain) if plain else message, context)
        if reply.kind is Kind.OK:
            ts = str(reply.data.get("ts", ""))
            return _result(delivery, Delivered(ts or None), record.posted(ts, news.told))
        if reply.kind is Kind.BAD or (reply.kind is Kind.STRANGE and delivery.attempt >= STRANGE_TRIES):
            return _refused(delivery, record, news, reply, context.now())
        return Result([await self._not_now(reply, context)])

    async def _post(self, message: Message, context: Context) -> Reply:
        assert self._gateway is not None, "open() comes first"
        context.count_call("post")
        reply = await self._gateway.post(message)
        self._learn(reply, context)
        return reply

    async def _not_now(self, reply: Reply, context: Context) -> Outcome:
        if reply.kind is Kind.BROKEN:
            raise broken(reply, self.destination)
        after = await self._rates.after_post(reply, context)
        return RetryLater(reply.error, after, counts=after is None, unclear=reply.kind is Kind.UNCLEAR)

    def _learn(self, reply: Reply, context: Context) -> None:
        seen = lookup.offset(reply.headers, context.now())
        if seen is not None and reply.data:  # without data it may be the clock of a proxy
            self._offset = seen

    def _news(self, delivery: Delivery, record: Record) -> News | None:
        if delivery.event is None or delivery.interview is None:
            return None
        return find_news(
            delivery.event, delivery.interview, record.told, speaking=self.config.events, shown=record.shown
        )

    def _message(self, delivery: Delivery, news: News) -> Message:
        assert delivery.interview is not None
        config = self.config
        return render(news, delivery.interview, delivery.id, privacy=config.privacy, link_hosts=config.link_hosts)

    def _preview(self, delivery: Delivery, record: Record) -> str:
        news = self._news(delivery, record)
        if news is None:
            return "No message: it brings nothing that may be told, or nothing new."
        if delivery.late:
            return "No message: it was received longer ago than max_age."
        return preview(self._message(delivery, news))

    def _connect(self) -> Gateway:
        from sinks.slack.gateway import BotGateway, WebhookGateway

        if self.config.webhook_url is not None:
            return WebhookGateway(self.config.webhook_url.get_secret_value())
        assert self.config.token is not None
        assert self.config.channel is not None
        self._web = BotGateway(self.config.token.get_secret_value(), self.config.channel, self.config.api_url)
        return self._web


def _refused(delivery: Delivery, record: Record, news: News, reply: Reply, at: int) -> Result:
    """Once more without blocks, by the note and a turn of its own; a plain message that is refused is dead."""
    if record.plain(delivery.id):
        return _result(delivery, Rejected(reply.detail), record.silent(record.told))
    note = record.intending(delivery.id, news.told, at, reply.error)
    return _result(delivery, RetryLater(reply.error, after=1.0), note)


def _result(delivery: Delivery, outcome: Outcome, note: Note | None) -> Result:
    return Result([outcome], {_key(delivery): note})


def _record(batch: Batch, delivery: Delivery) -> Record:
    return Record.read(batch.notes.get(_key(delivery)))


def _key(delivery: Delivery) -> str:
    return note_key(delivery.interview.id if delivery.interview else delivery.key)
