"""Refused requests cannot fill the log, and the operator still sees that requests are refused."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from connector.logging import LOG_LIMIT_SECONDS as LIMIT
from connector.logging import LogLimit
from tests.serving import serving


def logged(refusals, *times, reason="signature"):
    return [refusals.add(reason, at) for at in times]


def test_the_first_refusal_is_logged_at_once_and_the_next_line_has_the_count_of_a_minute():
    assert logged(LogLimit(), 5, 6, 5 + LIMIT - 1, 5 + LIMIT, 6 + LIMIT) == [1, 0, 0, 3, 0]


def test_each_reason_is_logged_separately():
    refusals = LogLimit()
    assert logged(refusals, 1, 2) + logged(refusals, 3, reason="too large") == [1, 0, 1]


def test_a_clock_that_is_set_back_suppresses_no_line():
    assert logged(LogLimit(), 10 * LIMIT, 5) == [1, 1]


@given(st.lists(st.integers(0, 10 * int(LIMIT))).map(sorted))
def test_every_refusal_is_counted_and_no_minute_has_two_lines(times):
    """One more refusal after a long pause logs all that were not logged."""
    refusals = LogLimit()
    counts = logged(refusals, *times)
    lines = [at for at, count in zip(times, counts, strict=True) if count]
    assert all(later - earlier >= LIMIT for earlier, later in pairwise(lines))
    assert sum(counts) + refusals.add("signature", 100 * LIMIT) == len(times) + 1


async def test_a_refused_webhook_is_logged(tmp_path):
    """One line for many requests, without their content."""
    with capture_logs() as logs:
        async with serving(tmp_path) as served:
            for _ in range(3):
                assert (await served.post(b'{"name":"Jane Doe"}', secret="wrong")).status_code == 401
    assert [entry for entry in logs if entry["event"] == "requests refused"] == [
        {"event": "requests refused", "reason": "signature", "count": 1, "log_level": "warning"}
    ]
    assert "Jane" not in str(logs)


async def test_start_and_stop_are_logged(tmp_path):
    with capture_logs() as logs:
        async with serving(tmp_path) as served:
            pass
    lines = {entry["event"]: entry for entry in logs}
    assert list(lines) == ["started", "stopping", "stopped"]
    assert (lines["started"]["address"], lines["started"]["sinks"]) == (served.url, ["console"])
