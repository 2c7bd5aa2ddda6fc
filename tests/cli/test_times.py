"""Times in options and in output."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cli.options import parse_time
from connector.errors import UsageError
from connector.formats import format_duration, format_time

UTC = ZoneInfo("UTC")
MADRID = ZoneInfo("Europe/Madrid")
NOON = 1_785_585_600_000  # 2026-08-01 12:00 UTC
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOON - 90_000),
        ("30m", NOON - 30 * 60_000),
        ("2h", NOON - 2 * HOUR),
        ("3d", NOON - 72 * HOUR),
        ("1w", NOON - 7 * 24 * HOUR),
        (" 2 H ago ", NOON - 2 * HOUR),
        ("now", NOON),
        ("today", NOON - 12 * HOUR),
        ("Yesterday", NOON - 36 * HOUR),
        ("2026-08-01", NOON - 12 * HOUR),
        ("2026-08-01T11:30", NOON - HOUR // 2),
        ("2026-08-01 11:30:00", NOON - HOUR // 2),
        ("2026-08-01T12:00+02:00", NOON - 2 * HOUR),
        ("2026-08-01T12:00Z", NOON),
        ("999999w", 0),
    ],
)
def test_a_time_option_is_parsed(text, expected):
    assert parse_time(text, NOON, UTC) == expected


def test_a_time_without_a_zone_is_in_the_configured_one():
    assert parse_time("2026-08-01T14:00", NOON, MADRID) == NOON


def test_a_day_begins_at_midnight_of_the_configured_zone():
    assert parse_time("today", NOON, MADRID) == NOON - 14 * HOUR


@pytest.mark.parametrize("text", ["", "soon", "2 fortnights", "2026-13-01", "-2h", "1785585600000", "12:30"])
def test_an_invalid_time_is_refused_with_the_valid_forms(text):
    with pytest.raises(UsageError, match="use 30m, 2h"):
        parse_time(text, NOON, UTC)


@given(at=st.integers(0, 4_102_444_800_000), zone=st.sampled_from(["UTC", "Asia/Kathmandu", "America/Lima"]))
def test_what_is_shown_can_be_typed(at, zone):
    """A printed time is the time itself, to the second."""
    assert parse_time(format_time(at, ZoneInfo(zone)), NOON, ZoneInfo(zone)) == at - at % 1000


def test_no_time_is_shown_as_nothing():
    assert format_time(None, UTC) == ""


def test_a_time_that_no_calendar_has_is_shown_as_it_is():
    assert format_time(10**18, UTC) == str(10**18)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0 s"), (0, "0 s"), (0.4, "0 s"), (45, "45 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"),
     (3601, "1 h"), (86400, "1 d"), (90_000, "1 d 1 h"), (86_460, "1 d")],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds, expected):
    assert format_duration(seconds) == expected
