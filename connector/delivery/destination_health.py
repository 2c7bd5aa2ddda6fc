"""The health of a destination, from the calls to its sink: whether it works, whether a refusal pauses the sink, and how
long the lane rests. Pure functions without clock and store.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tenacity import wait_exponential

from connector.delivery.outcomes import CallFailure, SinkResponse, nth_wait
from connector.errors import RateLimited, SinkBroken
from connector.sink import Delivered, Rejected, Result, RetryLater

FAILURES_BEFORE_REST = 2
"""Failures in a row after which a lane rests: one alone may be the fault of its delivery."""
REST_MAX_SECONDS = 30
"""The longest rest of a lane."""
CONFIRM_SECONDS = 5.0
"""Seconds until a destination that worked is called once more, before its first refusal pauses the sink. A passing 403
or 404 is gone by then.
"""
CONFIRM_WINDOW_SECONDS = 60.0
"""A second refusal within this time pauses the sink, even if a call for another delivery worked in between."""

_rests = wait_exponential(multiplier=2, max=REST_MAX_SECONDS)


class DestinationHealth(StrEnum):
    """What a call says about the destination."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"
    """A missing rate limit token, a delay the destination asked for, nothing sent: neither success nor failure."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time, in epoch milliseconds. A clock that is set back to before its start ends it."""

    since: int
    until: int

    @classmethod
    def of(cls, now: int, seconds: float) -> Span:
        """Starts now and lasts `seconds`."""
        return cls(now, now + int(seconds * 1000)) if seconds > 0 else EMPTY

    def contains(self, now: int) -> bool:
        """Whether `now` is in the span."""
        return self.since <= now < self.until


EMPTY = Span(0, 0)


def health_of(response: SinkResponse) -> DestinationHealth:
    """Returns whether the destination worked, as far as this call shows it."""
    if isinstance(response, CallFailure):
        return DestinationHealth.DOWN
    if isinstance(response, RateLimited | SinkBroken):
        return DestinationHealth.UNKNOWN
    if any(isinstance(outcome, Delivered | Rejected) for outcome in response.outcomes):
        return DestinationHealth.UP
    counted = any(isinstance(outcome, RetryLater) and outcome.counts for outcome in response.outcomes)
    return DestinationHealth.DOWN if counted else DestinationHealth.UNKNOWN


def has_recovered(response: SinkResponse, *, reached: bool) -> bool:
    """Whether a call proves that a broken destination works again. `reached`: the destination was called."""
    return reached and health_of(response) is DestinationHealth.UP


def failures_after(response: SinkResponse, failures: int) -> int:
    """Returns the failures in a row after this call, given those before it."""
    health = health_of(response)
    if health is DestinationHealth.UP:
        return 0
    return failures + 1 if health is DestinationHealth.DOWN else failures


def lane_rest(failures: int) -> float:
    """Returns the seconds that a lane rests after so many failures in a row: 0 after the first, then 2, 4, … 30 s."""
    if failures < FAILURES_BEFORE_REST:
        return 0.0
    return nth_wait(_rests, failures - 1)


def rest_after(response: SinkResponse, failures: int) -> float:
    """Returns the seconds that the lane rests after a call. `failures` in a row include this call."""
    rest = lane_rest(failures)
    if isinstance(response, Result):
        for outcome in response.outcomes:
            if isinstance(outcome, RetryLater) and outcome.pause_sink:
                rest = max(rest, lane_rest(FAILURES_BEFORE_REST) if outcome.after is None else outcome.after)
    return rest


def unconfirmed(broken: SinkBroken, count: int) -> Result:
    """Returns what is settled instead of a refusal that needs confirmation: the batch is called again after a short
    rest, and no attempt is counted.

    The reason of the sink may name a tab, so it follows a colon, where a metric label ends.
    """
    outcome = RetryLater(f"refused once: {broken.reason}", after=CONFIRM_SECONDS, counts=False, pause_sink=True)
    return Result([outcome] * count)


class RefusalConfirmation:
    """Decides whether a refusal of the destination pauses the sink at once or has to be confirmed by a second call.

    The first refusal after a call that worked has to be confirmed: a destination may answer 403 or 404 for a moment.
    A refusal that only an operator can resolve needs no confirmation: it is about the content of the destination.
    """

    def __init__(self) -> None:
        self._has_worked = False
        """Whether the last call that shows the state of the destination succeeded."""
        self._window = EMPTY
        """After a refusal; the next one within it pauses the sink."""

    def apply(self, response: SinkResponse, count: int, now: int, *, reached: bool) -> SinkResponse:
        """Returns the response to settle for a batch of `count` deliveries. `now` is in epoch milliseconds."""
        if isinstance(response, SinkBroken):
            is_first = self._has_worked and not self._window.contains(now)
            self._has_worked, self._window = False, Span.of(now, CONFIRM_WINDOW_SECONDS)
            return unconfirmed(response, count) if is_first and not response.until_resumed else response
        if has_recovered(response, reached=reached):
            self._has_worked = True
        return response
