"""Settings that every chat shares, with the rules for quiet hours, business days and mentions.

Only the configuration can cause a mention, never text from outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from connector.sink import Interview, SinkConfig
from sinks.chat.changes import Announcement, Events
from sinks.chat.wording import Templates

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
"""A time of day such as 09:30."""
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_QUIET_DAYS_MAX = 9
"""Longest time to the end of the quiet hours: a night, a week of quiet days, and another night."""
LINK_HOSTS = ("hireflix.com", "hflx.io")
"""Hosts of Hireflix's own pages."""
WEEKEND: tuple[Day, ...] = ("sat", "sun")
"""The weekend, when the quiet hours name no days. Business days are the other days."""
MORNING = "09:00"
"""Time of regular messages of a chat without quiet hours."""
DUE_DAYS_MAX = 8
"""Days before now that are searched for due times. After a longer stop only the newest message is sent."""
PAST_MIDNIGHT_MS = 3_600_000
"""How late a message of a business day may be on the next day, because a time shortly before midnight is noticed
afterwards.
"""


class MentionRule(BaseModel):
    """When to mention a user or group. A service subclass adds the target in its own syntax."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    news: tuple[Literal["finish", "status_change", "score_updated"], ...] = Field(
        ("finish",), description="What has to have happened."
    )
    positions: tuple[str, ...] = Field((), description="Ids, or names with * and ?; none = any.")
    min_score: float | None = Field(None, description="Least score; an interview without one never meets it.")

    @property
    def mention(self) -> str:
        """The mention in the syntax of the service."""
        raise NotImplementedError

    def meets(self, kind: str, interview: Interview) -> bool:
        """Whether the rule applies to a change of this kind."""
        if kind not in self.news or not self._is_at(interview):
            return False
        return self.min_score is None or (interview.score is not None and interview.score >= self.min_score)

    def _is_at(self, interview: Interview) -> bool:
        return not self.positions or any(is_position(wanted, interview) for wanted in self.positions)


def is_position(wanted: str, interview: Interview) -> bool:
    """Whether `wanted` is the id of the interview's position, or matches its name; a name may have * and ?."""
    # `[` would begin a character class; `[[]` is a class that matches only `[`
    pattern = wanted.casefold().replace("[", "[[]")
    return wanted == interview.position_id or fnmatchcase(interview.position_name.casefold(), pattern)


def mention_for(rules: Iterable[MentionRule], announcement: Announcement, interview: Interview) -> str:
    """Returns the mention of a message, or `""`. The kind of the headline is checked first, then the other kinds; the
    first rule that applies decides.
    """
    rules = tuple(rules)
    return next((rule.mention for kind in announcement.kinds for rule in rules if rule.meets(kind, interview)), "")


class QuietHours(BaseModel):
    """A part of every day, in the sink's time zone, and whole days. Events of that time are shown in one digest
    afterwards.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    start: ClockTime = Field("20:00", description="When it becomes quiet, such as 20:00.")
    end: ClockTime = Field("08:00", description="When it ends; earlier than `start` = on the next morning.")
    days: tuple[Day, ...] = Field((), description="Days that are quiet from midnight to midnight, such as sat, sun.")
    finish: Literal["digest", "speak"] = Field(
        "digest", description="Whether a finished interview waits for the digest or is announced at once."
    )

    def until(self, now: int, timezone: str) -> int | None:
        """Returns the end of the current quiet hours; `None` outside of quiet hours. Times are epoch milliseconds."""
        zone = ZoneInfo(timezone)
        begin = moment = datetime.fromtimestamp(now / 1000, tz=UTC).astimezone(zone)
        for _ in range(2 * _QUIET_DAYS_MAX):
            end = self._end_of(moment)
            if end is None:
                break
            moment = end
        return None if moment == begin else round(moment.timestamp() * 1000)

    def _end_of(self, moment: datetime) -> datetime | None:
        """Returns the end of the span or of the quiet day that contains the moment."""
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


def _host(host: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host):
        raise ValueError("must be a bare host name in small letters such as hireflix.com")
    return host


class Reminders(BaseModel):
    """When a message lists the candidates who finished and wait for a decision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after_days: int = Field(3, ge=1, le=60, description="Business days without a decision after which it lists one.")
    positions: dict[str, Annotated[int, Field(ge=1, le=60)]] = Field(
        {},
        description="Other values of after_days, by the id or the name of a position; a name may have * and ?. The "
        "first that matches counts.",
    )
    until_days: int = Field(10, ge=1, le=120, description="Business days after which it lists one no longer.")
    at: ClockTime | None = Field(
        None, description="Time of the message on business days; the end of the quiet hours, or 09:00, by default."
    )

    @model_validator(mode="after")
    def _check_days(self) -> Self:
        if self.until_days < max(self.after_days, *self.positions.values(), 1):
            raise ValueError("`until_days` must not be less than `after_days`, also of a position")
        return self

    def after_days_of(self, interview: Interview) -> int:
        """Returns the business days after which a candidate for this position is listed."""
        matching = (days for wanted, days in self.positions.items() if is_position(wanted, interview))
        return next(matching, self.after_days)


class WeeklySummary(BaseModel):
    """When a message counts, per position, who was invited, finished and decided in the last seven days."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: Day = Field("mon", description="Day of the message.")
    at: ClockTime | None = Field(
        None, description="Time of the message; the end of the quiet hours, or 09:00, by default."
    )


class ChatConfig(SinkConfig):
    """Settings of a chat. A service adds credentials and a channel."""

    max_age: float = Field(
        86_400.0, ge=0, description="Seconds; an older event sends no notification; the digest counts it."
    )
    privacy: Literal["full", "initials", "none", "auto"] = Field(
        "full",
        description="How the candidate is named: in full, by initials, only by the end of the interview's id, or, with "
        "auto, in full where the service says that the channel is private and by initials elsewhere.",
    )
    events: Events = Field(Events(), description="What each kind of event does.")
    digest: Literal["position", "off"] = Field(
        "position", description="One digest per position for events without a message of their own, or none at all."
    )
    digest_window: float = Field(
        25.0, ge=1, le=3600, description="Seconds that a digest gathers before it is posted or edited."
    )
    quiet_hours: QuietHours | None = Field(None, description="When events wait for the digest; none by default.")
    reminders: Reminders | None = Field(
        None, description="A message about candidates who wait for a decision; none by default."
    )
    weekly_summary: WeeklySummary | None = Field(None, description="A message about the last week; none by default.")
    deleted_message: Literal["leave", "replace"] = Field(
        "leave", description="When users delete an interview's message: leave it so, or post a new one."
    )
    templates: Templates = Field(Templates(), description="The wording.")
    link_hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = Field(
        LINK_HOSTS, description="The button may lead to these hosts and the ones below them."
    )

    @model_validator(mode="after")
    def _check_digest_after_quiet_hours(self) -> Self:
        if self.digest == "off" and self.quiet_hours is not None and self.quiet_hours.finish == "digest":
            raise ValueError(
                'quiet_hours with digest = "off" would lose finished interviews: set quiet_hours.finish = "speak", or '
                'digest = "position"'
            )
        return self

    @model_validator(mode="after")
    def _check_edits(self) -> Self:
        if not self.edits and (self.reminders is not None or self.weekly_summary is not None):
            raise ValueError("`reminders` and `weekly_summary` need a chat whose messages can be edited: use a bot")
        return self

    @property
    def edits(self) -> bool:
        """Whether the service can edit, delete and search messages, and has threads. Otherwise each announcement is a
        separate message.
        """
        return True

    def announces(self, event_name: str) -> bool:
        """Whether an event with this name may make a message; the digest counts the others, or they update messages."""
        return self.events.announces(event_name)

    @property
    def mention_rules(self) -> Sequence[MentionRule]:
        """The rules for mentions."""
        return ()


def local(at_ms: int, config: ChatConfig) -> datetime:
    """Converts epoch milliseconds to local time."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone(ZoneInfo(config.timezone))


def midnight_ms(day: date, config: ChatConfig) -> int:
    """Returns the start of a local day in epoch milliseconds."""
    return _ms(day, time(), config)


def is_business_day(day: date, config: ChatConfig) -> bool:
    """Whether the day is a business day: not a configured quiet day or, without quiet days, not on the weekend."""
    quiet = (config.quiet_hours.days if config.quiet_hours is not None else ()) or WEEKEND
    return DAYS[day.weekday()] not in quiet


def business_days_since(at_ms: int, now: int, config: ChatConfig) -> int:
    """Returns the number of business days after the local day of `at_ms`, including today."""
    day, today = local(at_ms, config).date(), local(now, config).date()
    weeks, rest = divmod(max(0, (today - day).days), 7)
    in_week = sum(is_business_day(day + timedelta(days=1 + n), config) for n in range(7))
    return weeks * in_week + sum(is_business_day(day + timedelta(days=1 + n), config) for n in range(rest))


def is_due(after_ms: int, until_ms: int, at: str | None, days: tuple[Day, ...] | None, config: ChatConfig) -> bool:
    """Whether the local time `at` of a day is after `after_ms` and not after `until_ms`. `days` are the weekdays,
    `None` = business days: a time that was missed then counts on its own day only, because the next business day has
    one too. The default of `at` is the end of the quiet hours, else 09:00.
    """
    clock = time.fromisoformat(at or (config.quiet_hours.end if config.quiet_hours is not None else MORNING))
    today = local(until_ms, config).date()
    for back in range(DUE_DAYS_MAX):
        day = today - timedelta(days=back)
        due_ms = _ms(day, clock, config)
        is_chosen = is_business_day(day, config) if days is None else DAYS[day.weekday()] in days
        is_too_late = days is None and back > 0 and until_ms - due_ms > PAST_MIDNIGHT_MS
        if is_chosen and not is_too_late and after_ms < due_ms <= until_ms:
            return True
    return False


def quiet_until(now: int, config: ChatConfig) -> int | None:
    """Returns the end of the current quiet hours; `None` outside of quiet hours. Both times are epoch milliseconds."""
    return None if config.quiet_hours is None else config.quiet_hours.until(now, config.timezone)


def _ms(day: date, clock: time, config: ChatConfig) -> int:
    return round(datetime.combine(day, clock, tzinfo=ZoneInfo(config.timezone)).timestamp() * 1000)
