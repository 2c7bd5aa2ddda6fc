"""What a call to a sink changes: the state and next attempt of each delivery, and the health of the destination.

The health decides whether a refusal pauses the sink, and how long the lane rests after failures. Pure functions without
clock and store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import uniform
from typing import TypeAlias

from tenacity import RetryCallState, Retrying, wait_exponential

from connector.capabilities import DECIDED
from connector.errors import RateLimited, SinkBroken
from connector.sink import Delivered, FollowUp, Outcome, Rejected, Result, RetryLater, Superseded, Waiting
from connector.store.claim import Claim, ClaimedDelivery
from connector.store.leases import LEASE_SECONDS, Pause
from connector.store.schema import AttemptOutcome, DeliveryState, PauseKind
from connector.store.settle import FAILED, Attempt, DestinationReply, PlannedFollowUp, Retry, Settlement, WaitingRow

WINDOW_SECONDS = 14 * 86400
"""A delivery that still fails after this time becomes a dead letter."""
ATTEMPTS_MIN = 10
"""Attempts that every delivery gets, however old it is: it may have waited for weeks in the queue of a paused sink."""
DELAY_MAX_SECONDS = 900
"""The longest delay between two attempts of a delivery."""
PROBE_SECONDS = 300.0
"""Time between two calls to a destination that is broken."""
WAITING_LENGTH = 500
"""Most characters of the reason of a waiting delivery. It is not a metric label, and may contain a fix."""
REASON_LENGTH = 100
"""Characters of a reason that are kept, so that it fits a metric label."""

_delays = wait_exponential(multiplier=1, max=DELAY_MAX_SECONDS)
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


@dataclass(frozen=True, slots=True)
class CallFailure:
    """The call raised, timed out or returned an unusable result: it may have been applied."""

    reason: str


SinkResponse: TypeAlias = Result | CallFailure | RateLimited | SinkBroken
"""What one call to a sink returned or raised."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long things last, in seconds; `random(low, high)` draws the jitter."""

    window: float = WINDOW_SECONDS
    probe: float = PROBE_SECONDS
    lease: float = LEASE_SECONDS
    random: Callable[[float, float], float] = uniform


def backoff_delay(attempts: int, random: Callable[[float, float], float] = uniform) -> float:
    """Returns the seconds until the next attempt after `attempts` failed ones: full jitter over 1, 2, 4, … 900 s.

    `random(low, high)` draws the jitter.
    """
    return random(0.0, nth_wait(_delays, attempts))


def nth_wait(wait: wait_exponential, attempt: int) -> float:
    """Returns the seconds that a wait of tenacity has after so many attempts."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = max(attempt, 1)
    return float(wait(state))


def settlement_of(
    claim: Claim,
    response: SinkResponse,
    started_at: int,
    ended_at: int,
    policy: Policy,
    *,
    state_sink: bool = False,
    reply: DestinationReply | None = None,
) -> Settlement:
    """Returns everything that the call changes in the store, except how long the lane rests.

    `reply` is what the destination replied when it failed.
    """
    settlement = Settlement(claim.batch, started_at, ended_at, is_state_repeat=state_sink and claim.maybe_sent)
    if isinstance(response, RateLimited | SinkBroken):
        settlement.maybe_sent = claim.maybe_sent
        if not state_sink:  # the rows of a state sink stay due: the next poll finds newer states of them
            settlement.unsent = [work.id for work in claim.works]
        if isinstance(response, RateLimited):
            settlement.bucket = response.bucket
        else:
            settlement.pause = pause_of(response, ended_at, policy)
            settlement.attempts = [Attempt(AttemptOutcome.BROKEN, response.reason, len(claim.works), reply)]
        return settlement
    outcomes = _outcomes(claim, response)
    settlement.superseded = [id_ for work in claim.works for id_ in work.older]
    for work, outcome in zip(claim.works, outcomes, strict=True):
        _settle_one(settlement, claim, work, outcome, policy)
    settlement.maybe_sent = any(retry.keeps_batch for retry in settlement.retries)
    settlement.attempts = _attempts(claim, outcomes, reply)
    if isinstance(response, Result):
        settlement.notes = response.notes
        settlement.follow_ups = [_follow_up(each, ended_at) for each in response.follow_ups]
        settlement.decisions = response.decisions
        settlement.groups = {group: _group_outcome(outcome) for group, outcome in response.settles.items()}
    for work, outcome in zip(claim.works, outcomes, strict=True):
        _end_group(settlement, work, outcome)
    if state_sink:
        regular = {work.id for work in claim.works if work.purpose and not work.key}
        settlement.idle = [id_ for id_, _ in settlement.unneeded if id_ in regular]
        settlement.unneeded = [each for each in settlement.unneeded if each[0] not in regular]
        settlement.cured = _delivered_subjects(claim, settlement.delivered)
    return settlement


def pause_of(broken: SinkBroken, now: int, policy: Policy) -> Pause:
    """Returns the pause of a sink whose destination is broken."""
    if broken.until_resumed:
        return Pause(PauseKind.UNTIL_RESUMED, broken.reason, broken.fix)
    return Pause(PauseKind.BROKEN, broken.reason, broken.fix, now + int(policy.probe * 1000))


def _delivered_subjects(claim: Claim, delivered: Iterable[tuple[int, str | None]]) -> list[tuple[str, str]]:
    """Returns purpose and key of what was delivered. The result of a decision says nothing about another result."""
    done = {id_ for id_, _ in delivered}
    return [(work.purpose, work.key) for work in claim.works if work.id in done and work.purpose != DECIDED]


def _outcomes(claim: Claim, response: Result | CallFailure) -> Sequence[Outcome]:
    if isinstance(response, CallFailure):
        return [RetryLater(response.reason, unclear=True)] * len(claim.works)
    return response.outcomes


def _settle_one(settlement: Settlement, claim: Claim, work: ClaimedDelivery, outcome: Outcome, policy: Policy) -> None:
    if isinstance(outcome, Delivered):
        settlement.delivered.append((work.id, outcome.reference))
    elif isinstance(outcome, Rejected):
        settlement.dead.append((work.id, short(outcome.reason)))
    elif isinstance(outcome, Superseded):
        settlement.unneeded.append((work.id, short(outcome.reason)))
    elif isinstance(outcome, Waiting):
        until = settlement.ended_at if outcome.until_ms is None else outcome.until_ms
        settlement.waiting.append(WaitingRow(work.id, outcome.group, outcome.reason[:WAITING_LENGTH], until))
    elif _is_given_up(work, outcome, settlement.ended_at - work.since, policy):
        settlement.dead.append((work.id, short(f"retry window ended: {outcome.reason}")))
    else:
        settlement.retries.append(_retry(claim, work, outcome, settlement.ended_at, policy))


def _is_given_up(work: ClaimedDelivery, outcome: RetryLater, age_ms: int, policy: Policy) -> bool:
    """Whether the retry window of a failed delivery has ended. Delays that the destination asked for do not count."""
    return outcome.counts and work.attempts + 1 >= ATTEMPTS_MIN and age_ms > policy.window * 1000


def _retry(claim: Claim, work: ClaimedDelivery, outcome: RetryLater, now: int, policy: Policy) -> Retry:
    seconds = outcome.after if outcome.after is not None else backoff_delay(work.attempts + 1, policy.random)
    return Retry(
        id=work.id,
        counted=int(outcome.counts),
        not_before=now + int(seconds * 1000),
        reason=short(outcome.reason),
        keeps_batch=outcome.unclear or claim.maybe_sent,
    )


def _follow_up(asked: FollowUp, now: int) -> PlannedFollowUp:
    at = now + int(asked.after.total_seconds() * 1000)
    return PlannedFollowUp(asked.purpose, asked.interview or "", asked.subject, asked.group or None, at)


def _group_outcome(outcome: Delivered | Rejected | Superseded) -> tuple[DeliveryState, str | None]:
    if isinstance(outcome, Delivered):
        return DeliveryState.DELIVERED, outcome.reference
    return DeliveryState.DEAD if isinstance(outcome, Rejected) else DeliveryState.SUPERSEDED, short(outcome.reason)


def _end_group(settlement: Settlement, work: ClaimedDelivery, outcome: Outcome) -> None:
    """Settles the deliveries that wait for a follow-up that became a dead letter, unless the sink settled the group
    itself or asked for another call that shows it.
    """
    if work.group is None or isinstance(outcome, Waiting):
        return
    settlement.touched.add(work.group)
    reason = dict(settlement.dead).get(work.id)
    if reason is not None and work.group not in {each.group for each in settlement.follow_ups}:
        settlement.groups.setdefault(work.group, (DeliveryState.DEAD, reason))


def _attempts(claim: Claim, outcomes: Sequence[Outcome], reply: DestinationReply | None) -> list[Attempt]:
    """First-try successes are only counted; everything else is recorded, by outcome and reason."""
    counts: Counter[tuple[AttemptOutcome, str]] = Counter()
    for work, outcome in zip(claim.works, outcomes, strict=True):
        is_plain = isinstance(outcome, Delivered | Waiting | Superseded)
        if is_plain and work.attempts == 0 and not claim.maybe_sent:
            continue
        counts[label_of(outcome)] += 1
    return [Attempt(name, reason, count, reply if name in FAILED else None) for (name, reason), count in counts.items()]


def label_of(outcome: Outcome) -> tuple[AttemptOutcome, str]:
    """Returns outcome and reason as text for the attempts and the metrics."""
    if isinstance(outcome, Delivered):
        return AttemptOutcome.DELIVERED, ""
    if isinstance(outcome, Rejected):
        return AttemptOutcome.REJECTED, short(outcome.reason)
    if isinstance(outcome, Waiting):
        return AttemptOutcome.WAITING, ""
    if isinstance(outcome, Superseded):
        return AttemptOutcome.SUPERSEDED, short(outcome.reason)
    return (AttemptOutcome.UNCLEAR if outcome.unclear else AttemptOutcome.RETRY_LATER), short(outcome.reason)


def short(reason: str) -> str:
    """Returns the reason, shortened to the length of a metric label."""
    return reason if len(reason) <= REASON_LENGTH else reason[: REASON_LENGTH - 1] + "…"


_rests = wait_exponential(multiplier=2, max=REST_MAX_SECONDS)


class DestinationHealth(StrEnum):
    """The health of the destination after a call."""

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
    if any(_shows_working(outcome) for outcome in response.outcomes):
        return DestinationHealth.UP
    counted = any(isinstance(outcome, RetryLater) and outcome.counts for outcome in response.outcomes)
    return DestinationHealth.DOWN if counted else DestinationHealth.UNKNOWN


def _shows_working(outcome: Outcome) -> bool:
    return isinstance(outcome, Delivered | Rejected) or (isinstance(outcome, RetryLater) and outcome.destination_works)


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
    """Returns the seconds that the lane rests after a call. `failures` in a row include this call.

    A call that shows neither success nor failure starts no further rest: the lane has rested since the last failure.
    """
    rest = lane_rest(failures) if health_of(response) is DestinationHealth.DOWN else 0.0
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
