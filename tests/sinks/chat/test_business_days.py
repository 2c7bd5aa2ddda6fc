"""Business days and times of regular messages, in the time zone of a chat."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.chat.config import (
    ChatConfig,
    QuietHours,
    business_days_since,
    is_business_day,
    is_due,
    local,
)

MADRID = ChatConfig(timezone="Europe/Madrid")
FRIDAYS_OFF = ChatConfig(timezone="Europe/Madrid", quiet_hours=QuietHours(end="07:30", days=("fri", "sat")))


def at(text, config=MADRID):
    """Local time as epoch milliseconds."""
    moment = datetime.fromisoformat(text).replace(tzinfo=local(0, config).tzinfo)
    return round(moment.timestamp() * 1000)


@pytest.mark.parametrize(("start", "end", "days"), [
    ("2026-03-02 23:59", "2026-03-02 23:59", 0),
    ("2026-03-02 23:59", "2026-03-03 00:00", 1),
    ("2026-03-06 12:00", "2026-03-08 12:00", 0),  # Friday to Sunday
    ("2026-03-06 12:00", "2026-03-09 08:00", 1),  # Friday to Monday
    ("2026-03-02 12:00", "2026-03-30 12:00", 20),
])  # fmt: skip
def test_business_days_are_counted_by_local_days_without_the_weekend(start, end, days):
    assert business_days_since(at(start), at(end), MADRID) == days


def test_quiet_days_take_the_place_of_the_weekend():
    assert business_days_since(at("2026-03-05 12:00"), at("2026-03-08 12:00"), FRIDAYS_OFF) == 1


@given(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(0, 60), st.sampled_from([MADRID, FRIDAYS_OFF]))
def test_business_days_are_those_that_a_day_by_day_count_finds(day, length, config):
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    start, end = (round(moment.timestamp() * 1000) for moment in (noon, noon + timedelta(days=length)))
    counted = sum(is_business_day(day + timedelta(days=1 + n), config) for n in range(length))
    assert business_days_since(start, end, config) == counted


@pytest.mark.parametrize(("after", "until", "due"), [
    ("2026-03-02 08:59", "2026-03-02 09:00", True),
    ("2026-03-02 09:00", "2026-03-02 09:01", False),
    ("2026-03-06 12:00", "2026-03-08 23:00", False),  # a weekend
    ("2026-03-06 08:00", "2026-03-08 23:00", True),  # missed on Friday
    ("2026-03-29 01:00", "2026-03-30 09:00", True),  # after the clocks were changed
])  # fmt: skip
def test_a_regular_message_is_due_once_on_each_business_day(after, until, due):
    assert is_due(at(after), at(until), None, None, MADRID) is due


def test_without_a_time_it_is_the_end_of_the_quiet_hours():
    assert is_due(at("2026-03-02 07:29"), at("2026-03-02 07:30"), None, None, FRIDAYS_OFF)
    assert not is_due(at("2026-03-02 07:30"), at("2026-03-02 23:00"), None, None, FRIDAYS_OFF)


@given(st.lists(st.integers(1, 3 * 86_400), min_size=1, max_size=40))
def test_any_intervals_of_checks_find_each_day_once(pauses):
    """When the time is checked at least every three days, each business day is found once. The days are those that one
    check of the whole time, day by day, finds.
    """
    now = at("2026-03-02 00:00")
    found = []
    for seconds in pauses:
        later = now + seconds * 1000
        if is_due(now, later, "09:00", None, MADRID):
            found.append(later)
        now = later
    days = [local(moment, MADRID).date() for moment in found]
    first = date(2026, 3, 2)
    passed = [first + timedelta(days=n) for n in range(200)]
    times = [day for day in passed if is_business_day(day, MADRID) and at(f"{day} 09:00") <= now]
    assert len(days) <= len(times)
    assert bool(days) == bool(times)
