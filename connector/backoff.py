"""How long to wait before the next attempt; tenacity computes the windows."""

from __future__ import annotations

from collections.abc import Callable
from random import uniform

from tenacity import RetryCallState, Retrying, wait_exponential

WINDOW_SECONDS = 14 * 86400
"""After this many seconds of trying a delivery becomes a dead letter."""

FAILURES_BEFORE_REST = 2
_attempt_window = wait_exponential(multiplier=1, max=900)
_rest_window = wait_exponential(multiplier=2, max=30)


def delay(attempts: int, random: Callable[[float, float], float] = uniform) -> float:
    """Seconds until the next attempt after `attempts` failed ones: full jitter over 1, 2, 4, … at most 900 s.

    `random(low, high)` draws the jitter.
    """
    return random(0.0, _window(_attempt_window, attempts))


def lane_rest(failures: int) -> float:
    """Seconds that a lane rests after so many failures in a row: none after the first, then 2, 4, … at most 30 s."""
    if failures < FAILURES_BEFORE_REST:
        return 0.0
    return _window(_rest_window, failures - 1)


def _window(wait: wait_exponential, attempt: int) -> float:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = max(attempt, 1)
    return float(wait(state))
