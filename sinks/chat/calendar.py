"""Business days and the times of regular messages, in the time zone of a chat. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sinks.chat.config import DAYS, ChatConfig, Day

WEEKEND: tuple[Day, ...] = ("sat", "sun")
"""The days without business of a chat whose quiet hours name no days."""
MORNING = "09:00"
"""Time of regular messages of a chat without quiet hours."""
MOST_DAYS = 8
"""Days that are searched for missed messages: after a longer stop the newest one is enough."""


def local(at_ms: int, config: ChatConfig) -> datetime:
    """Epoch milliseconds as local time."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone(ZoneInfo(config.timezone))


def midnight_ms(day: date, config: ChatConfig) -> int:
    """The start of a local day in epoch milliseconds."""
    return _ms(day, time(), config)


def is_business_day(day: date, config: ChatConfig) -> bool:
    """Whether the day is none of the quiet days, or of the weekend when no quiet days are configured."""
    quiet = (config.quiet_hours.days if config.quiet_hours is not None else ()) or WEEKEND
    return DAYS[day.weekday()] not in quiet


def business_days_since(at_ms: int, now: int, config: ChatConfig) -> int:
    """The number of business days after the local day of `at_ms`, up to and with today."""
    day, today = local(at_ms, config).date(), local(now, config).date()
    weeks, rest = divmod(max(0, (today - day).days), 7)
    in_week = sum(is_business_day(day + timedelta(days=1 + n), config) for n in range(7))
    return weeks * in_week + sum(is_business_day(day + timedelta(days=1 + n), config) for n in range(rest))


def is_due(after_ms: int, until_ms: int, at: str | None, days: tuple[Day, ...] | None, config: ChatConfig) -> bool:
    """Whether the local time `at` of a day lies after `after_ms` and not after `until_ms`.

    `days` are the days to look at, `None` = business days. Without `at` it is the end of the quiet hours, else 09:00.
    """
    clock = time.fromisoformat(at or (config.quiet_hours.end if config.quiet_hours is not None else MORNING))
    today = local(until_ms, config).date()
    for back in range(MOST_DAYS):
        day = today - timedelta(days=back)
        is_chosen = is_business_day(day, config) if days is None else DAYS[day.weekday()] in days
        if is_chosen and after_ms < _ms(day, clock, config) <= until_ms:
            return True
    return False


def quiet_until(now: int, config: ChatConfig) -> int | None:
    """When the quiet hours end that include `now` (epoch milliseconds); `None` outside quiet hours."""
    return None if config.quiet_hours is None else config.quiet_hours.until(now, config.timezone)


def _ms(day: date, clock: time, config: ChatConfig) -> int:
    return round(datetime.combine(day, clock, tzinfo=ZoneInfo(config.timezone)).timestamp() * 1000)
