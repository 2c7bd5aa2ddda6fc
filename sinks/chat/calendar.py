"""Business days and the times of regular messages, in the time zone of a chat. Pure functions."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sinks.chat.config import DAYS, ChatConfig, Day

WEEKEND: tuple[Day, ...] = ("sat", "sun")
"""Days that are no business days, if the quiet hours name none."""
MORNING = "09:00"
"""Time of regular messages of a chat without quiet hours."""
MOST_DAYS = 8
"""Days before now that are searched for due times. After a longer stop only the newest message is sent."""


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
    `None` = business days. The default of `at` is the end of the quiet hours, else 09:00.
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
    """Returns the end of the current quiet hours; `None` outside of quiet hours. Both times are epoch milliseconds."""
    return None if config.quiet_hours is None else config.quiet_hours.until(now, config.timezone)


def _ms(day: date, clock: time, config: ChatConfig) -> int:
    return round(datetime.combine(day, clock, tzinfo=ZoneInfo(config.timezone)).timestamp() * 1000)
