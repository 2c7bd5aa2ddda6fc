"""Backoff: full jitter over doubling windows, and the rest of a lane."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.delivery.outcomes import backoff_delay, lane_rest

attempts = st.integers(-1, 10**6)


def widest(_low, high):
    return high


@pytest.mark.parametrize(
    ("failed", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (10, 512), (11, 900), (12, 900), (5000, 900)]
)
def test_the_window_doubles_from_one_second_to_a_quarter_of_an_hour(failed, seconds):
    assert backoff_delay(failed, widest) == seconds


@given(attempts, st.integers())
def test_the_wait_is_inside_its_window(failed, seed):
    assert 0 <= backoff_delay(failed, random.Random(seed).uniform) <= backoff_delay(failed, widest) <= 900


@given(attempts)
def test_the_window_never_shrinks(failed):
    assert backoff_delay(failed, widest) <= backoff_delay(failed + 1, widest)


def test_the_jitter_is_full():
    waits = [backoff_delay(11, random.Random(seed).uniform) for seed in range(200)]
    assert min(waits) < 90
    assert max(waits) > 810


def test_without_a_source_waits_differ():
    assert len({backoff_delay(11) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 0), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (10**6, 30)]
)
def test_a_lane_rests_from_the_second_failure_in_a_row(failures, seconds):
    assert lane_rest(failures) == seconds
