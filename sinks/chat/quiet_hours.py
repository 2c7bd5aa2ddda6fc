"""Quiet hours: when events wait for a digest. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MOST_DAYS = 9
"""A night, a week of whole quiet days, and the night after it."""

ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class QuietHours(BaseModel):
    """A span of every day, by the sink's time zone, and whole days. What comes then goes into one digest afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    start: ClockTime = Field("20:00", description="When it becomes quiet, such as 20:00.")
    end: ClockTime = Field("08:00", description="When it ends; earlier than `start` = on the next morning.")
    days: tuple[Day, ...] = Field((), description="Days that are quiet from midnight to midnight, such as sat, sun.")
    finish: Literal["digest", "speak"] = Field(
        "digest", description="Whether a finished interview waits for the digest or is announced at once."
    )

    def until(self, now: int, timezone: str) -> int | None:
        """When the quiet hours end that include `now`, both epoch milliseconds; `None` outside quiet hours."""
        zone = ZoneInfo(timezone)
        begin = moment = datetime.fromtimestamp(now / 1000, tz=UTC).astimezone(zone)
        for _ in range(2 * _MOST_DAYS):
            end = self._end_of(moment)
            if end is None:
                break
            moment = end
        return None if moment == begin else round(moment.timestamp() * 1000)

    def _end_of(self, moment: datetime) -> datetime | None:
        """The end of the span or of the quiet day that holds the moment."""
        start, end = time.fromisoformat(self.start), time.fromisoformat(self.end)
        clock = moment.timetz().replace(tzinfo=None)
        over_night = end <= start
        if start != end and over_night and clock >= start:
            return _at(moment + timedelta(days=1), end)
        if start != end and (clock < end if over_night else start <= clock < end):
            return _at(moment, end)
        if DAYS[moment.weekday()] in self.days:
            return _at(moment + timedelta(days=1), time())
        return None


def _at(day: datetime, clock: time) -> datetime:
    return datetime.combine(day.date(), clock, tzinfo=day.tzinfo)
