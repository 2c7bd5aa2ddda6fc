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
    ("2026-03-06 08:00", "2026-03-06 23:00", True),  # missed in the morning
    ("2026-03-06 08:00", "2026-03-08 23:00", False),  # missed on Friday, not to be posted on the weekend
    ("2026-03-05 08:00", "2026-03-06 08:59", False),  # missed yesterday, and today's is posted in a minute
    ("2026-03-29 01:00", "2026-03-30 09:00", True),  # after the clocks were changed
])  # fmt: skip
def test_a_regular_message_is_due_once_on_each_business_day(after, until, due):
    assert is_due(at(after), at(until), None, None, MADRID) is due


def test_without_a_time_it_is_the_end_of_the_quiet_hours():
    assert is_due(at("2026-03-02 07:29"), at("2026-03-02 07:30"), None, None, FRIDAYS_OFF)
    assert not is_due(at("2026-03-02 07:30"), at("2026-03-02 23:00"), None, None, FRIDAYS_OFF)


def test_a_time_shortly_before_midnight_counts_when_it_is_noticed_afterwards():
    assert is_due(at("2026-03-02 23:58"), at("2026-03-03 00:00"), "23:59", None, MADRID)


def test_a_weekly_time_that_was_missed_counts_until_the_next_one():
    assert is_due(at("2026-03-02 08:00"), at("2026-03-06 12:00"), None, ("mon",), MADRID)


@given(st.lists(st.integers(1, 3 * 86_400), min_size=1, max_size=40))
def test_any_intervals_of_checks_find_the_days_on_which_there_is_a_check_after_the_time(pauses):
    """Each once, whatever the checks before and after it were."""
    now = at("2026-03-02 00:00")
    found, checked = [], set()
    for seconds in pauses:
        now, before = now + seconds * 1000, now
        checked.add(now)
        if is_due(before, now, "09:00", None, MADRID):
            found.append(local(now, MADRID).date())
    days = {local(each, MADRID).date() for each in checked}
    expected = [
        day
        for day in sorted(days)
        if is_business_day(day, MADRID)
        and any(at(f"{day} 09:00") <= each < at(f"{day} 23:59") + 60_000 for each in checked)
    ]
    assert found == expected
