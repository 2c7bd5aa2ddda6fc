"""The console: prints to standard output what a person would be told. The embedded default chat."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from threading import Thread
from types import MappingProxyType
from typing import TextIO
from zoneinfo import ZoneInfo

from pydantic import Field

from connector.sink import (
    Batch,
    Context,
    Delivered,
    Delivery,
    Event,
    Interview,
    Result,
    Sink,
    SinkBroken,
    SinkConfig,
    Stage,
)
from connector.text import clean, web_link, without_contacts

LONGEST_TEXT = 120
"""Characters of one value from outside; the rest is cut."""
GIVEN_MOST = 1000
"""Characters of a name that is searched for addresses and telephone numbers, before it is cut."""

_STAGE_FIELDS = ("status", "completed", "answered", "archived", "finalist", "deleted", "finished_at")


class ConsoleConfig(SinkConfig):
    """Settings of a console."""

    max_age: float = Field(default=86_400, gt=0, description="Seconds after which an event is no longer printed.")


class Console(Sink[ConsoleConfig]):
    """Prints one message per event, two or three lines each, without e-mail addresses and phone numbers.

    The printing is done by a thread of its own: a reader that stops reading (`| less`) must not stop the receiver.
    """

    Config = ConsoleConfig
    max_batch = 100

    def __init__(self, name: str, config: ConsoleConfig) -> None:
        super().__init__(name, config)
        self.stream: TextIO | None = None
        """Where to print; `None` = standard output as it is at that time."""
        self._batch = ""
        self._printing: Future[None] | None = None

    @property
    def destination(self) -> str:
        return "stdout"

    @property
    def max_age(self) -> float | None:
        return self.config.max_age

    async def deliver(self, batch: Batch, context: Context) -> Result:  # noqa: ARG002 - printing needs no context
        # The same batch again means that its printing outlasted the call: wait for it rather than print twice.
        if self._printing is None or batch.id != self._batch:
            zone = ZoneInfo(self.config.timezone)
            text = "".join(message(delivery, zone) for delivery in batch.deliveries if not delivery.late)
            self._batch, self._printing = batch.id, _in_thread(lambda: self._print(text))
        try:
            await asyncio.shield(asyncio.wrap_future(self._printing))
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self._printing = None
            raise SinkBroken(
                "standard output cannot be written",
                "start the service with its output attached to a terminal or a file with room, or take this sink out",
            ) from error
        return Result([Delivered() for _ in batch.deliveries])

    async def preview(self, batch: Batch, context: Context) -> Sequence[str]:  # noqa: ARG002 - shows, does not print
        zone = ZoneInfo(self.config.timezone)
        return [message(delivery, zone) for delivery in batch.deliveries]

    def _print(self, text: str) -> None:
        stream = self.stream or sys.stdout
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()


def message(delivery: Delivery, zone: ZoneInfo) -> str:
    """The whole message, lines ended; `""` for a delivery without an event or an interview.

    Score and stage are those at the time of the event. What is known only from later events is left out.
    """
    event, interview = delivery.event, delivery.interview
    if event is None or interview is None:
        return ""
    lines = [f"{_local(event.occurred_at, zone)}  {_headline(event, interview)}"]
    if event.name != "interview.delete" and interview.stage is not Stage.DELETED:
        lines += [f"    {line}" for line in _details(event, interview)]
    return "\n".join(lines) + "\n"


def plain(text: str, longest: int = LONGEST_TEXT) -> str:
    """Text from outside in one line, without what moves the cursor, changes colours or reverses the order."""
    line = " ".join(clean(text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _headline(event: Event, interview: Interview) -> str:
    who = _who(interview)
    where = plain(interview.position_name) or "a position without a name"
    words = _HEADLINES.get(event.name)
    return words(event, interview, who, where) if words else f"{who}, {where}: {plain(event.name)}"


def _who(interview: Interview) -> str:
    """The name without e-mail addresses and telephone numbers. The name of a deleted interview is not repeated."""
    if interview.stage is Stage.DELETED:
        return "A candidate"
    return plain(without_contacts(plain(interview.candidate_name, GIVEN_MOST))) or "A candidate"


def _scored(event: Event, interview: Interview, who: str, where: str) -> str:
    score, is_known = _score_then(event, interview)
    if not is_known:
        return f"{who} was scored for {where}"
    if score is None:
        return f"{who} has no score any more for {where}"
    return f"{who} was scored {score:g} for {where}"


def _moved(event: Event, interview: Interview, who: str, where: str) -> str:
    stage = _stage_then(event, interview)
    return f"{who} is now “{stage}” for {where}" if stage else f"{who} changed stage for {where}"


def _score_then(event: Event, interview: Interview) -> tuple[float | None, bool]:
    """The score at the time of the event, and whether it is known."""
    if "score" in event.fields:
        score = event.fields["score"]
        return (score if isinstance(score, int | float) and not isinstance(score, bool) else None), True
    is_later = interview.dates.get("score", 0) > event.occurred_at
    return (None if is_later else interview.score), not is_later


def _stage_then(event: Event, interview: Interview) -> str:
    """The stage at the time of the event, `""` when a later event may have changed it."""
    is_later = any(interview.dates.get(name, 0) > event.occurred_at for name in _STAGE_FIELDS)
    return "" if is_later else plain(interview.stage_word)


_HEADLINES: MappingProxyType[str, Callable[[Event, Interview, str, str], str]] = MappingProxyType(
    {
        "interview.create": lambda _event, _interview, who, where: f"{who} was invited to {where}",
        "interview.finish": lambda _event, _interview, who, where: f"{who} finished the interview for {where}",
        "interview.status-change": _moved,
        "interview.score-updated": _scored,
        "interview.delete": lambda _event, _interview, _who, where: f"An interview for {where} was deleted",
    }
)


def _details(event: Event, interview: Interview) -> list[str]:
    stage = _stage_then(event, interview)
    score, _ = _score_then(event, interview)
    facts = [f"Stage: {stage}"] if stage else []
    if score is not None:
        facts.append(f"Score: {score:g}")
    link = web_link(interview.text("review_url"))
    return [*([" · ".join(facts)] if facts else []), *([f"Review: {link}"] if link else [])]


def _local(at: int, zone: ZoneInfo) -> str:
    moment = datetime.fromtimestamp(at / 1000, tz=UTC).astimezone(zone)
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname()}"


def _in_thread(work: Callable[[], None]) -> Future[None]:
    """Runs `work` in a daemon thread, so that output nobody reads cannot keep the process from ending."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed over to whoever waits
            future.set_exception(error)
        else:
            future.set_result(None)

    Thread(target=run, name="console", daemon=True).start()
    return future


SINK = Console
