"""The console: prints to standard output what a chat would post. The chat of the embedded default."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from threading import Thread
from typing import Literal, TextIO
from zoneinfo import ZoneInfo

from pydantic import Field

from connector.capabilities import Notice, Preview
from connector.languages import language
from connector.sink import (
    Batch,
    Context,
    Delivered,
    Delivery,
    Interview,
    Note,
    Outcome,
    Result,
    Sink,
    SinkBroken,
    SinkConfig,
    Stage,
    Superseded,
)
from sinks.chat import wording
from sinks.chat.changes import Announcement, Events, find_announcement
from sinks.chat.config import LINK_HOSTS
from sinks.chat.content import Style, interview_content
from sinks.chat.phrases import text_beyond_headline
from sinks.chat.record import InterviewRecord
from sinks.chat.text import clean
from sinks.chat.wording import Templates

LINE_UNITS = 400
"""Most UTF-16 units of one text from outside in a line."""
MODES = Events(create="post", finish="post", score_updated="post", status_change="post", delete="reply")
"""Every kind of change is printed."""


@cache
def templates() -> Templates:
    """Returns the wording, made at the first use, because templates take time to load."""
    return Templates(header="{{ name }} {{ phrase }}", details='{{ [stage, score] | select | join(" · ") }}')


class ConsoleConfig(SinkConfig):
    """Settings of a console."""

    max_age: float = Field(default=86_400, gt=0, description="Seconds after which an event is no longer printed.")
    privacy: Literal["full", "initials", "none"] = Field(
        "full",
        description="How the candidate is named: in full, by initials, or only by the end of the interview's id.",
    )


class Console(Sink[ConsoleConfig]):
    """Prints one message per change, of one to three lines. Each change is printed once, however many events show it.

    It prints in a separate thread, because a reader that stops reading (`| less`) must not block the receiver.
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

    def note_keys(self, delivery: Delivery) -> Iterable[str]:
        return () if delivery.interview is None else (InterviewRecord(delivery.interview.id).key,)

    async def deliver(self, batch: Batch, context: Context) -> Result:  # noqa: ARG002 - printing needs no context
        texts, outcomes, notes = self._messages(batch)
        # The same batch again means that its printing outlasted the call: wait for it rather than print twice.
        if self._printing is None or batch.id != self._batch:
            text = "".join(texts)
            self._batch, self._printing = batch.id, _in_thread(lambda: self._print(text))
        try:
            await asyncio.shield(asyncio.wrap_future(self._printing))
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self._printing = None
            raise _unwritable() from error
        return Result(outcomes, notes)

    async def preview(self, batch: Batch, context: Context) -> Sequence[Preview]:  # noqa: ARG002 - shows, does not print
        previews = []
        for delivery in batch.deliveries:
            (text,), (outcome,), _ = self._messages(replace(batch, deliveries=(delivery,)))
            previews.append(Preview(f"No message: {outcome.reason}" if isinstance(outcome, Superseded) else text))
        return previews

    async def notify(self, notice: Notice, context: Context) -> Outcome:
        """Prints the notice like a message."""
        moment = _local(context.now(), ZoneInfo(self.config.timezone))
        lines = [f"{moment}  {_line(notice.title)}", *(f"    {_line(line)}" for line in notice.lines)]
        text = "\n".join(lines) + "\n"
        try:
            await asyncio.wrap_future(_in_thread(lambda: self._print(text)))
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            raise _unwritable() from error
        return Delivered()

    def _messages(self, batch: Batch) -> tuple[list[str], list[Outcome], dict[str, Note | None]]:
        """Returns the message (`""` for none) and the outcome of each delivery, and the notes after all of them."""
        texts: list[str] = []
        outcomes: list[Outcome] = []
        notes: dict[str, Note | None] = {}
        for delivery in batch.deliveries:
            found = self._announcement(delivery, {**batch.notes, **notes})
            if isinstance(found, Superseded) or delivery.interview is None:
                texts.append("")
                outcomes.append(found if isinstance(found, Superseded) else Superseded("the interview is unknown"))
                continue
            announcement, record = found
            is_first = not record.announced
            text = message(announcement, delivery.interview, self.config, is_first=is_first)
            texts.append(text)
            outcomes.append(Delivered())
            notes[record.key] = replace(record, announced=announcement.announced).note()
        return texts, outcomes, notes

    def _announcement(
        self, delivery: Delivery, notes: Mapping[str, Note | None]
    ) -> tuple[Announcement, InterviewRecord] | Superseded:
        """Returns what to print for a delivery, or why there is nothing to print."""
        event, interview = delivery.event, delivery.interview
        if event is None or interview is None:
            return Superseded("the interview is unknown")
        if delivery.late:
            return Superseded("it is older than max_age")
        record = InterviewRecord.read(interview.id, notes.get(InterviewRecord(interview.id).key))
        if interview.stage is Stage.DELETED and not record.announced:
            return Superseded("deleted before it was shown")
        announcement = find_announcement(event, interview, record.announced, MODES)
        return Superseded("nothing new") if announcement is None else (announcement, record)

    def _print(self, text: str) -> None:
        stream = self.stream or sys.stdout
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()


def message(announcement: Announcement, interview: Interview, config: ConsoleConfig, *, is_first: bool) -> str:
    """Returns the lines of an announcement: time, headline and position, what the headline does not say (the text of
    the change, else the details; the first message about an interview has the details), and the address of the
    interview.
    """
    style = Style(config.privacy, LINK_HOSTS, templates(), language(config.language))
    content = interview_content(interview, style, announcement)
    head = [_local(announcement.at_ms, ZoneInfo(config.timezone)), _line(content.headline)]
    lines = ["  ".join(head) + (f" · {position}" if (position := _line(interview.position_name)) else "")]
    if interview.stage is not Stage.DELETED:
        change = "" if is_first else text_beyond_headline(announcement, style.language)
        lines.append(f"    {_line(change or content.text)}")
        lines += [f"    {content.button}: {content.link}"] if content.link else []
    return "\n".join(lines) + "\n"


def _unwritable() -> SinkBroken:
    return SinkBroken(
        "standard output cannot be written",
        "start the service with its output attached to a terminal or a file with room, or remove this sink",
    )


def _line(rendered: str) -> str:
    """Returns text from outside in one line, without characters that move the cursor, change colours or reverse the
    order.
    """
    return clean(wording.in_utc(rendered), LINE_UNITS)


def _local(at_ms: int, zone: ZoneInfo) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone(zone)
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname()}"


def _in_thread(work: Callable[[], None]) -> Future[None]:
    """Runs `work` in a daemon thread, so that output that is not read does not keep the process from ending."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
            future.set_exception(error)
        else:
            future.set_result(None)

    Thread(target=run, name="console", daemon=True).start()
    return future
