"""Quiet hours by local time, over nights, weekends and changes of the clock."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.chat.config import DAYS, QuietHours

ZONES = ["UTC", "Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
clocks = st.times().map(lambda time: f"{time:%H:%M}")
hours = st.builds(QuietHours, start=clocks, end=clocks, days=st.lists(st.sampled_from(DAYS), max_size=6).map(tuple))
moments = st.integers(1_700_000_000_000, 1_900_000_000_000)


def at(text: str, zone: str = "Europe/Madrid") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2025-09-10 19:59:59", None),
        ("2025-09-10 20:00:00", "2025-09-11 08:00:00"),
        ("2025-09-11 07:59:59", "2025-09-11 08:00:00"),
        ("2025-09-11 08:00:00", None),
        ("2025-09-12 21:00:00", "2025-09-15 08:00:00"),
        ("2025-09-13 12:00:00", "2025-09-15 08:00:00"),
        ("2025-10-25 23:00:00", "2025-10-27 08:00:00"),
    ],
)
def test_a_night_and_a_weekend_are_one_silence(now: str, end: str | None) -> None:
    quiet = QuietHours(start="20:00", end="08:00", days=("sat", "sun"))
    assert quiet.until(at(now), "Europe/Madrid") == (at(end) if end else None)


@pytest.mark.parametrize(("now", "end"), [("12:00", "13:30"), ("13:29", "13:30"), ("13:30", None), ("11:59", None)])
def test_a_span_within_a_day(now: str, end: str | None) -> None:
    quiet = QuietHours(start="12:00", end="13:30")
    expected = at(f"2025-09-10 {end}") if end else None
    assert quiet.until(at(f"2025-09-10 {now}"), "Europe/Madrid") == expected


def test_equal_times_make_no_span() -> None:
    assert QuietHours(start="08:00", end="08:00").until(at("2025-09-10 08:00"), "UTC") is None


@given(hours, moments, st.sampled_from(ZONES))
def test_an_end_lies_ahead_and_is_not_quiet_itself(quiet: QuietHours, now: int, zone: str) -> None:
    end = quiet.until(now, zone)
    if end is not None:
        assert now < end <= now + 9 * 86_400_000
        assert quiet.until(end, zone) is None
