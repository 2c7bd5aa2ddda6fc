"""What is worth telling, given what was told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.sink import Event, Interview, Stage
from connector.testing import START, make_event, make_interview
from sinks.slack.config import QUIET
from sinks.slack.news import News, Told, What, find_news

Step = tuple[Event, Interview]


def ask(event: Event, interview: Interview, told: Told | None = None, *, shown: bool = True) -> News | None:
    return find_news(event, interview, told or {}, speaking=QUIET, shown=shown)


def play(steps: Sequence[Step]) -> tuple[list[What], Told]:
    told: Told = {}
    messages: list[What] = []
    for event, interview in steps:
        news = find_news(event, interview, told, speaking=QUIET, shown=bool(messages))
        if news is not None:
            told = news.told
            messages.append(news.what)
    return messages, told


def state(at: int, stage: Stage = Stage.TO_EVALUATE, score: float | None = None, *, finished: bool = True) -> Interview:
    return make_interview(stage=stage, updated_at=at, score=score, completed=START if finished else None)


steps = st.lists(
    st.tuples(
        st.sampled_from(QUIET).map(make_event),
        st.builds(
            state,
            st.integers(START, START + 5),
            st.sampled_from([Stage.PENDING, Stage.TO_EVALUATE, Stage.SHORTLISTED, Stage.DISCARDED]),
            st.sampled_from([None, 3, 4.5]),
            finished=st.booleans(),
        ),
    ),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_completion_is_announced_at_most_once(history: list[Step]) -> None:
    messages, _ = play(history)
    assert messages.count(What.FINISHED) <= 1


@settings(max_examples=200, deadline=None)
@given(steps)
def test_the_same_state_twice_is_no_news(history: list[Step]) -> None:
    doubled = [step for step in history for _ in range(2)]
    assert play(doubled) == play(history)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_in_order_of_dates_the_newest_state_is_what_was_told_last(history: list[Step]) -> None:
    ordered = [(event, state(START + n, i.stage, i.score)) for n, (event, i) in enumerate(history)]
    _, told = play(ordered)
    if ordered:
        newest = ordered[-1][1]
        assert (told["stage"], told["score"]) == (newest.stage_word, newest.score)


@pytest.mark.parametrize("name", ["interview.finish", "interview.status-change", "interview.score-updated"])
def test_whichever_event_first_shows_completion_announces_it(name: str) -> None:
    news = ask(make_event(name), state(START))
    assert news is not None
    assert news.what is What.FINISHED


def test_a_status_change_that_repeats_a_finish_is_silent() -> None:
    interview = state(START)
    finish = ask(make_event(), interview)
    assert finish is not None
    assert ask(make_event("interview.status-change"), interview, finish.told) is None


def test_an_older_state_than_the_told_one_is_no_news() -> None:
    told = {"announced": True, "stage": "Shortlisted", "stage_at": START + 10, "score": 4, "score_at": START + 10}
    assert ask(make_event("interview.status-change"), state(START, score=3), told) is None


@pytest.mark.parametrize(
    ("interview", "what"),
    [
        (state(START, Stage.SHORTLISTED, 4), What.STAGE),
        (state(START, Stage.TO_EVALUATE, 4), What.SCORE),
        (state(START, Stage.TO_EVALUATE, 3), None),
    ],
)
def test_only_what_differs_is_news(interview: Interview, what: What | None) -> None:
    told = {"announced": True, "stage": "To evaluate", "stage_at": 0, "score": 3, "score_at": 0}
    news = ask(make_event("interview.status-change"), interview, told)
    assert (news and news.what) == what


def test_an_invitation_speaks_only_when_configured() -> None:
    event, interview = make_event("interview.create"), state(START, Stage.PENDING, finished=False)
    assert ask(event, interview) is None
    news = find_news(event, interview, {}, speaking=["interview.create"], shown=False)
    assert news is not None
    assert news.what is What.INVITED
    assert find_news(event, interview, news.told, speaking=["interview.create"], shown=True) is None


def test_an_interview_deleted_before_it_was_mentioned_never_is() -> None:
    for name in QUIET:
        assert ask(make_event(name), state(START, Stage.DELETED), shown=False) is None


def test_a_deletion_is_told_once() -> None:
    deleted = state(START, Stage.DELETED)
    news = ask(make_event("interview.delete"), deleted)
    assert news is not None
    assert news.what is What.DELETED
    for name in QUIET:
        assert ask(make_event(name), deleted, news.told) is None


def test_a_late_announcement_carries_the_time_of_completion() -> None:
    event = make_event("interview.score-updated", occurred_at=START + 1000)
    news = ask(event, state(START + 1000))
    assert news is not None
    assert news.at == START
