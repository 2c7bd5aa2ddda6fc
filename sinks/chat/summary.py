"""The weekly summary: per position how many candidates were invited, finished and decided. It has no names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from statistics import median
from typing import Any, Self

from connector.languages import Language, ngettext_noop
from connector.sink import FollowUp, Interview, Result, RetryLater, Stage
from sinks.chat.config import local, midnight_ms
from sinks.chat.content import POSITION_UNITS, Content, Line
from sinks.chat.exactly_once import FIND_DUPLICATES, Draft, abandon, post, reconcile
from sinks.chat.record import RegularRecord
from sinks.chat.service import ABOUT_REGULAR, CallResult
from sinks.chat.session import ChatSession, DeliveryCall, retry, subscriptions_of, superseded, wait_for_quiet_hours
from sinks.chat.text import clean

SUMMARIZE = "summarize"
"""Purpose of the call that posts the summary."""
SUMMARY_DUPLICATES = "summary-find-doubles"
PURPOSES = frozenset({SUMMARIZE, SUMMARY_DUPLICATES})
KEY = "summary"
"""Name of the note."""
LINES_MAX = 20
"""Most positions in a message; the others are counted."""


class SummaryRecord(RegularRecord):
    """The note about the summary. A posted summary is not changed."""

    __slots__ = ()

    @property
    def key(self) -> str:
        return KEY

    def follow_up(self, purpose: str, after: timedelta) -> FollowUp:
        """Returns a follow-up about the summary."""
        return FollowUp(SUMMARY_DUPLICATES if purpose == FIND_DUPLICATES else purpose, after)

    def posted(self, message_id: str, shows: Mapping[str, Any]) -> Self:  # noqa: ARG002 - it is not changed later
        return replace(self, intent={})


# --- rules


@dataclass(slots=True)
class Week:
    """The figures of one position in one week. `waits_ms` are the times from completion to decision."""

    invited: int = 0
    finished: int = 0
    decided: int = 0
    waits_ms: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.invited + self.finished + self.decided


@dataclass(slots=True)
class Figures:
    """The figures of a position in the last week and in the week before."""

    position: str = ""
    now: Week = field(default_factory=Week)
    before: Week = field(default_factory=Week)


def decided_at(interview: Interview) -> int | None:
    """Returns the time of the decision (epoch milliseconds): the one from Hireflix, else that of the event."""
    if interview.stage not in {Stage.SHORTLISTED, Stage.DISCARDED}:
        return None
    name = "finalist" if interview.stage is Stage.SHORTLISTED else "archived"
    given = interview.time(name)
    return given if given is not None else interview.dates.get(name) or interview.dates.get("status")


def figures_of(interviews: Iterable[Interview], start_ms: int, end_ms: int, before_ms: int) -> dict[str, Figures]:
    """Returns the figures by position id: from `start_ms` to `end_ms`, and from `before_ms` to `start_ms`."""
    found: dict[str, Figures] = {}
    for interview in interviews:
        if interview.stage is Stage.DELETED:
            continue
        figures = found.setdefault(interview.position_id, Figures())
        figures.position = interview.position_name or figures.position
        for week, begin, end in ((figures.now, start_ms, end_ms), (figures.before, before_ms, start_ms)):
            _count(week, interview, begin, end)
    return {id_: figures for id_, figures in found.items() if figures.now.total or figures.before.total}


def _count(week: Week, interview: Interview, begin: int, end: int) -> None:
    finished, decided = interview.completed_at, decided_at(interview)
    created = interview.time("created_at")
    week.invited += created is not None and begin <= created < end
    week.finished += finished is not None and begin <= finished < end
    if decided is not None and begin <= decided < end:
        week.decided += 1
        if finished is not None and finished <= decided:
            week.waits_ms.append(decided - finished)


def summary_content(figures: Mapping[str, Figures], start: date, language: Language) -> Content:
    """Returns the message about the week from the day `start`. Positions with the most changes are first."""
    ordered = sorted(figures.values(), key=lambda each: (-each.now.total, each.position))
    headline = "📊 " + language.gettext("Week of {day}").format(day=language.day(start))
    more = len(ordered) - LINES_MAX
    rest = language.ngettext("and {count} more position", "and {count} more positions", more)
    notes = [rest.format(count=language.number(more))] if more > 0 else []
    notes.append(language.gettext("in brackets: the difference from the week before"))
    return Content(
        headline=headline,
        notification=headline,
        lines=tuple(Line(_line(each, language)) for each in ordered[:LINES_MAX]),
        footer=" · ".join(notes),
    )


_INVITED = ngettext_noop("{count} invited ({difference})", "{count} invited ({difference})")
_FINISHED = ngettext_noop("{count} finished ({difference})", "{count} finished ({difference})")
_DECIDED = ngettext_noop("{count} decided ({difference})", "{count} decided ({difference})")


def _line(figures: Figures, language: Language) -> str:
    now, before, gettext = figures.now, figures.before, language.gettext
    position = clean(figures.position, POSITION_UNITS) or gettext("no position")
    parts = [
        language.ngettext(*phrase, count).format(count=language.number(count), difference=f"{count - earlier:+d}")
        for phrase, count, earlier in (
            (_INVITED, now.invited, before.invited),
            (_FINISHED, now.finished, before.finished),
            (_DECIDED, now.decided, before.decided),
        )
    ]
    if now.waits_ms and before.waits_ms:
        text = gettext("median {days} to a decision (last week {days_before})")
        parts.append(text.format(days=_days(now.waits_ms, language), days_before=_days(before.waits_ms, language)))
    elif now.waits_ms:
        parts.append(gettext("median {days} to a decision").format(days=_days(now.waits_ms, language)))
    return f"{position}: {', '.join(parts)}"


def _days(waits_ms: Sequence[int], language: Language) -> str:
    days = round(median(waits_ms) / 86_400_000, 1)
    return language.ngettext("{count} day", "{count} days", 1 if days == 1 else 2).format(count=language.number(days))


# --- the call


async def summarize(session: ChatSession, call: DeliveryCall) -> Result:
    """Posts the summary of the seven days before today. Posts nothing when these and the week before had no changes."""
    record = SummaryRecord.read(call.note(KEY))
    config, context = session.config, call.context
    found = await reconcile(session, call, record, ())
    if found is not None:
        return found
    later = wait_for_quiet_hours(config, context, SUMMARIZE)
    if later is not None:
        return later
    today = local(context.now(), config).date()
    start = today - timedelta(days=7)
    end_ms, start_ms, before_ms = (midnight_ms(today - timedelta(days=days), config) for days in (0, 7, 14))
    changed = [each.interview async for each in subscriptions_of(context) if each.interview.updated_at >= before_ms]
    figures = figures_of(changed, start_ms, end_ms, before_ms)
    if not figures:
        after, follow_ups = abandon(call, record)
        return superseded("nothing happened", {KEY: after.note()}, follow_ups)
    content = summary_content(figures, start, session.language)
    result = await post(session, call, record, Draft(content, {}, {ABOUT_REGULAR: KEY}))
    if isinstance(result, CallResult):  # only threads are missing; a missing channel is a broken destination
        return retry(RetryLater(result.error))
    return result
