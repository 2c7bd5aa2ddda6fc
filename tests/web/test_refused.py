"""A stranger cannot fill the log, and an operator still sees that somebody is refused."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from connector.logging import LOG_LIMIT_SECONDS as LIMIT
from connector.logging import LogLimit
from tests.serving import serving


def told(refusals, *times, reason="signature"):
    return [refusals.add(reason, at) for at in times]


def test_the_first_is_told_at_once_and_the_next_after_a_minute_with_those_between():
    assert told(LogLimit(), 5, 6, 5 + LIMIT - 1, 5 + LIMIT, 6 + LIMIT) == [1, 0, 0, 3, 0]


def test_each_reason_is_told_by_itself():
    refusals = LogLimit()
    assert told(refusals, 1, 2) + told(refusals, 3, reason="too large") == [1, 0, 1]


def test_a_clock_that_is_set_back_silences_nothing():
    assert told(LogLimit(), 10 * LIMIT, 5) == [1, 1]


@given(st.lists(st.integers(0, 10 * int(LIMIT))).map(sorted))
def test_none_is_forgotten_and_no_minute_has_two_lines(times):
    """One more after a long silence tells all that was not told."""
    refusals = LogLimit()
    counts = told(refusals, *times)
    lines = [at for at, count in zip(times, counts, strict=True) if count]
    assert all(later - earlier >= LIMIT for earlier, later in pairwise(lines))
    assert sum(counts) + refusals.add("signature", 100 * LIMIT) == len(times) + 1


async def test_a_refused_webhook_leaves_a_line(tmp_path):
    """One for many, without what was sent."""
    with capture_logs() as logs:
        async with serving(tmp_path) as served:
            for _ in range(3):
                assert (await served.post(b'{"name":"Jane Doe"}', secret="wrong")).status_code == 401
    assert [entry for entry in logs if entry["event"] == "requests refused"] == [
        {"event": "requests refused", "reason": "signature", "count": 1, "log_level": "warning"}
    ]
    assert "Jane" not in str(logs)


async def test_start_and_stop_leave_a_line_each(tmp_path):
    with capture_logs() as logs:
        async with serving(tmp_path) as served:
            pass
    lines = {entry["event"]: entry for entry in logs}
    assert list(lines) == ["started", "stopping", "stopped"]
    assert (lines["started"]["address"], lines["started"]["sinks"]) == (served.url, ["console"])
