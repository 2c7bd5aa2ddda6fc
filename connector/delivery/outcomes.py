"""The state of each delivery after a call, and when it is retried: pure rules, no clock, no store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import uniform

from tenacity import RetryCallState, Retrying, wait_exponential

from connector.errors import RateLimited, SinkBroken
from connector.sink import Delivered, FollowUp, Outcome, Rejected, Result, RetryLater, Superseded, Waiting
from connector.store.claim import Claim, Work
from connector.store.leases import LEASE_SECONDS, Pause
from connector.store.schema import DeliveryState
from connector.store.settle import Attempt, Parked, Planned, Retry, Settlement

WINDOW_SECONDS = 14 * 86400
"""A delivery that still fails after this time becomes a dead letter."""
ATTEMPTS_MIN = 10
"""Attempts that every delivery gets, however old it is: it may have waited for weeks in the queue of a paused sink."""
DELAY_MAX_SECONDS = 900
"""The longest delay between two attempts of a delivery."""
FAILURES_BEFORE_REST = 2
"""Failures in a row after which a lane rests: one alone may be the fault of its delivery."""
REST_MAX_SECONDS = 30
"""The longest rest of a lane."""
PROBE_SECONDS = 300.0
"""Time between two calls to a destination that is broken."""
CONFIRM_SECONDS = 5.0
"""Seconds until a destination that worked is called once more, before its first refusal pauses the sink. A passing 403
or 404 is gone by then.
"""
DOUBT_SECONDS = 60.0
"""A second refusal within this time pauses the sink, even if a call for another delivery worked in between."""
REASON_LENGTH = 100
"""Characters of a reason that are kept, so that it fits a metric label."""

_delays = wait_exponential(multiplier=1, max=DELAY_MAX_SECONDS)
_rests = wait_exponential(multiplier=2, max=REST_MAX_SECONDS)


class Health(StrEnum):
    """What a call says about the destination."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"
    """A refused token, a delay the destination asked for, nothing sent: neither success nor failure."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The call raised, timed out or returned an unusable result: it may have been applied."""

    reason: str


Answer = Result | Failure | RateLimited | SinkBroken


@dataclass(frozen=True, slots=True)
class Policy:
    """How long things last, in seconds; `random(low, high)` draws the jitter."""

    window: float = WINDOW_SECONDS
    probe: float = PROBE_SECONDS
    lease: float = LEASE_SECONDS
    random: Callable[[float, float], float] = uniform


@dataclass(frozen=True, slots=True)
class Rest:
    """A span of time (epoch milliseconds) without a call. A clock that is set back behind its start ends it."""

    since: int
    until: int

    @classmethod
    def of(cls, now: int, seconds: float) -> Rest:
        """So many seconds from now."""
        return cls(now, now + int(seconds * 1000)) if seconds > 0 else NO_REST

    def holds(self, now: int) -> bool:
        """Whether it is not over yet."""
        return self.since <= now < self.until


NO_REST = Rest(0, 0)


def delay(attempts: int, random: Callable[[float, float], float] = uniform) -> float:
    """Returns the seconds until the next attempt after `attempts` failed ones: full jitter over 1, 2, 4, … 900 s.

    `random(low, high)` draws the jitter.
    """
    return random(0.0, _seconds(_delays, attempts))


def lane_rest(failures: int) -> float:
    """Returns the seconds that a lane rests after so many failures in a row: 0 after the first, then 2, 4, … 30 s."""
    if failures < FAILURES_BEFORE_REST:
        return 0.0
    return _seconds(_rests, failures - 1)


def _seconds(wait: wait_exponential, attempt: int) -> float:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = max(attempt, 1)
    return float(wait(state))


def settlement_of(claim: Claim, answer: Answer, started_at: int, ended_at: int, policy: Policy) -> Settlement:
    """Everything that the call changes in the store, except how long the lane rests."""
    settlement = Settlement(claim.batch, started_at, ended_at)
    if isinstance(answer, RateLimited | SinkBroken):
        settlement.unsent = [work.id for work in claim.works]
        settlement.maybe_sent = claim.maybe_sent
        if isinstance(answer, RateLimited):
            settlement.bucket = answer.bucket
        else:
            settlement.pause = pause_of(answer, ended_at, policy)
        return settlement
    outcomes = _outcomes(claim, answer)
    settlement.superseded = [id_ for work in claim.works for id_ in work.older]
    for work, outcome in zip(claim.works, outcomes, strict=True):
        _settle_one(settlement, claim, work, outcome, policy)
    settlement.maybe_sent = any(retry.keeps_batch for retry in settlement.retries)
    settlement.attempts = _attempts(claim, outcomes)
    if isinstance(answer, Result):
        settlement.notes = answer.notes
        settlement.follow_ups = [_planned(each, ended_at) for each in answer.follow_ups]
        settlement.groups = {group: _group_outcome(outcome) for group, outcome in answer.settles.items()}
    for work, outcome in zip(claim.works, outcomes, strict=True):
        _end_group(settlement, work, outcome)
    return settlement


def needs_confirmation(answer: Answer, *, has_worked: bool) -> bool:
    """Whether a second call must confirm that the destination is broken, because its last answer showed that it works.

    A finding that only a person can clear up needs no confirmation: it is about the content of the destination.
    """
    return isinstance(answer, SinkBroken) and not answer.until_person and has_worked


def unconfirmed(broken: SinkBroken, count: int) -> Result:
    """The answer to settle instead: all of the batch is tried again after a short rest, and no attempt is counted.

    The reason of the sink may name a tab, so it follows a colon, where a metric label ends.
    """
    return Result(
        [RetryLater(f"refused once: {broken.reason}", after=CONFIRM_SECONDS, counts=False, pause_sink=True)] * count
    )


def delivered_keys(claim: Claim, delivered: Iterable[tuple[int, str | None]]) -> list[str]:
    """Keys of the rows that were delivered."""
    done = {id_ for id_, _ in delivered}
    return [work.key for work in claim.works if work.id in done]


def pause_of(broken: SinkBroken, now: int, policy: Policy) -> Pause:
    """The pause that a broken destination puts its sink into."""
    if broken.until_person:
        return Pause("until_person", broken.reason, broken.fix)
    return Pause("broken", broken.reason, broken.fix, now + int(policy.probe * 1000))


def health_of(answer: Answer) -> Health:
    """Returns whether the destination worked, as far as this call shows it."""
    if isinstance(answer, Failure):
        return Health.DOWN
    if isinstance(answer, RateLimited | SinkBroken):
        return Health.UNKNOWN
    if any(isinstance(outcome, Delivered | Rejected) for outcome in answer.outcomes):
        return Health.UP
    counted = any(isinstance(outcome, RetryLater) and outcome.counts for outcome in answer.outcomes)
    return Health.DOWN if counted else Health.UNKNOWN


def is_mended(answer: Answer, *, reached: bool) -> bool:
    """Whether a call proves that a broken destination works again. `reached`: the destination was called."""
    return reached and health_of(answer) is Health.UP


def failures_after(answer: Answer, failures: int) -> int:
    """The failures in a row after this answer, given those before it."""
    health = health_of(answer)
    if health is Health.UP:
        return 0
    return failures + 1 if health is Health.DOWN else failures


def rest_after(answer: Answer, failures: int) -> float:
    """Seconds that the lane rests after a call, given the failures in a row so far (this one included)."""
    rest = lane_rest(failures)
    if isinstance(answer, Result):
        for outcome in answer.outcomes:
            if isinstance(outcome, RetryLater) and outcome.pause_sink:
                rest = max(rest, lane_rest(2) if outcome.after is None else outcome.after)
    return rest


def _outcomes(claim: Claim, answer: Result | Failure) -> Sequence[Outcome]:
    if isinstance(answer, Failure):
        return [RetryLater(answer.reason, unclear=True)] * len(claim.works)
    return answer.outcomes


def _settle_one(settlement: Settlement, claim: Claim, work: Work, outcome: Outcome, policy: Policy) -> None:
    if isinstance(outcome, Delivered):
        settlement.delivered.append((work.id, outcome.reference))
    elif isinstance(outcome, Rejected):
        settlement.dead.append((work.id, short(outcome.reason)))
    elif isinstance(outcome, Superseded):
        settlement.unneeded.append((work.id, short(outcome.reason)))
    elif isinstance(outcome, Waiting):
        until = settlement.ended_at if outcome.until_ms is None else outcome.until_ms
        settlement.parked.append(Parked(work.id, outcome.group, short(outcome.reason), until))
    elif _is_given_up(work, outcome, settlement.ended_at - work.since, policy):
        settlement.dead.append((work.id, short(f"retry window ended: {outcome.reason}")))
    else:
        settlement.retries.append(_retry(claim, work, outcome, settlement.ended_at, policy))


def _is_given_up(work: Work, outcome: RetryLater, age_ms: int, policy: Policy) -> bool:
    """Whether a delivery that failed once more has failed for too long; a delay that was asked for is no failure."""
    return outcome.counts and work.attempts + 1 >= ATTEMPTS_MIN and age_ms > policy.window * 1000


def _retry(claim: Claim, work: Work, outcome: RetryLater, now: int, policy: Policy) -> Retry:
    seconds = outcome.after if outcome.after is not None else delay(work.attempts + 1, policy.random)
    return Retry(
        id=work.id,
        counted=int(outcome.counts),
        not_before=now + int(seconds * 1000),
        reason=short(outcome.reason),
        keeps_batch=outcome.unclear or claim.maybe_sent,
    )


def _planned(asked: FollowUp, now: int) -> Planned:
    at = now + int(asked.after.total_seconds() * 1000)
    return Planned(asked.purpose, asked.interview or "", asked.subject, asked.group or None, at)


def _group_outcome(outcome: Delivered | Rejected | Superseded) -> tuple[DeliveryState, str | None]:
    if isinstance(outcome, Delivered):
        return DeliveryState.DELIVERED, outcome.reference
    return DeliveryState.DEAD if isinstance(outcome, Rejected) else DeliveryState.SUPERSEDED, short(outcome.reason)


def _end_group(settlement: Settlement, work: Work, outcome: Outcome) -> None:
    """Settles what waits for a follow-up that ended as a dead letter, unless the sink settled the group itself or asked
    for another call that shows it.
    """
    if work.group is None or isinstance(outcome, Waiting):
        return
    settlement.touched.add(work.group)
    reason = dict(settlement.dead).get(work.id)
    if reason is not None and work.group not in {each.group for each in settlement.follow_ups}:
        settlement.groups.setdefault(work.group, (DeliveryState.DEAD, reason))


def _attempts(claim: Claim, outcomes: Sequence[Outcome]) -> list[Attempt]:
    """First-try successes are only counted; everything else is recorded, by outcome and reason."""
    counts: Counter[tuple[str, str]] = Counter()
    for work, outcome in zip(claim.works, outcomes, strict=True):
        is_plain = isinstance(outcome, Delivered | Waiting | Superseded)
        if is_plain and work.attempts == 0 and not claim.maybe_sent:
            continue
        counts[label_of(outcome)] += 1
    return [Attempt(name, reason, count) for (name, reason), count in counts.items()]


def label_of(outcome: Outcome) -> tuple[str, str]:
    """Outcome and reason as words for the record and the metrics."""
    if isinstance(outcome, Delivered):
        return "delivered", ""
    if isinstance(outcome, Rejected):
        return "rejected", short(outcome.reason)
    if isinstance(outcome, Waiting):
        return "waiting", ""
    if isinstance(outcome, Superseded):
        return "superseded", short(outcome.reason)
    return ("unclear" if outcome.unclear else "retry later"), short(outcome.reason)


def short(reason: str) -> str:
    """A reason that fits a label."""
    return reason if len(reason) <= REASON_LENGTH else reason[: REASON_LENGTH - 1] + "…"
