"""Which changes are announced, given what was announced before."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.languages import language
from connector.sink import Event, Interview, Stage
from connector.testing import START, make_event, make_interview
from sinks.chat.changes import Announced, Announcement, ChangeKind, Events, find_announcement
from sinks.chat.phrases import change_text, score_text

ENGLISH, SPANISH = language("en"), language("es")
ANNOUNCING = ("interview.finish", "interview.score-updated", "interview.status-change")
MODES = Events()
Step = tuple[Event, Interview]


def ask(
    event: Event, interview: Interview, announced: Announced | None = None, modes: Events = MODES
) -> Announcement | None:
    return find_announcement(event, interview, announced or {}, modes)


def play(steps: Sequence[Step]) -> tuple[list[str], Announced]:
    announced: Announced = {}
    messages: list[str] = []
    for event, interview in steps:
        found = ask(event, interview, announced)
        if found is not None:
            announced = found.announced
            messages.append(change_text(found, ENGLISH))
    return messages, announced


def state(at: int, stage: Stage = Stage.TO_EVALUATE, score: float | None = None, *, finished: bool = True) -> Interview:
    return make_interview(stage=stage, updated_at=at, score=score, completed=START if finished else None)


steps = st.lists(
    st.tuples(
        st.sampled_from(ANNOUNCING).map(make_event),
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


@settings(max_examples=50)
@given(
    st.sampled_from([*ANNOUNCING, "interview.create", "interview.delete", "interview.other"]),
    st.sampled_from(Stage),
    st.builds(
        Events,
        create=st.sampled_from(["post", "digest", "silent"]),
        finish=st.sampled_from(["broadcast", "digest", "edit"]),
        score_updated=st.sampled_from(["reply", "edit", "silent"]),
        status_change=st.sampled_from(["reply", "digest"]),
        delete=st.sampled_from(["edit", "reply"]),
    ),
)
def test_only_events_that_the_settings_say_to_announce_make_a_message(name, stage, modes):
    if ask(make_event(name), state(START + 1, stage, 3), {"finished": False}, modes) is not None:
        assert modes.announces(name)


@given(steps)
def test_the_same_state_twice_is_no_news(history: list[Step]) -> None:
    doubled = [step for step in history for _ in range(2)]
    assert play(doubled) == play(history)


@given(steps)
def test_in_order_of_dates_the_last_announcement_is_the_newest_state(history: list[Step]) -> None:
    ordered = [(event, state(START + n, i.stage, i.score)) for n, (event, i) in enumerate(history)]
    _, announced = play(ordered)
    if ordered:
        newest = ordered[-1][1]
        assert (announced["stage"], announced["score"]) == (newest.stage_word, newest.score)


def test_a_state_older_than_the_announced_one_is_not_announced() -> None:
    announced = {"finished": True, "stage": "Shortlisted", "stage_ms": START + 10, "score": 4, "score_ms": START + 10}
    assert ask(make_event("interview.status-change"), state(START, score=3), announced) is None


@pytest.mark.parametrize(
    ("interview", "change"),
    [
        (state(START, Stage.SHORTLISTED, 4), "Stage To evaluate → Shortlisted · Score 3 → 4"),
        (state(START, Stage.SHORTLISTED, 3), "Stage To evaluate → Shortlisted"),
        (state(START, Stage.TO_EVALUATE, 4.5), "Score 3 → 4.5"),
        (state(START, Stage.TO_EVALUATE), "Score 3 removed"),
        (state(START, Stage.TO_EVALUATE, 3), None),
    ],
)
def test_the_difference_is_described_in_words(interview: Interview, change: str | None) -> None:
    announced = {"finished": True, "stage": "To evaluate", "stage_ms": 0, "score": 3, "score_ms": 0}
    found = ask(make_event("interview.status-change"), interview, announced)
    assert (found and change_text(found, ENGLISH)) == change


@pytest.mark.parametrize(
    ("interview", "change"),
    [
        (state(START, Stage.SHORTLISTED, 4), "Etapa Por evaluar → Preseleccionado · Puntuación 3 → 4"),
        (state(START, Stage.TO_EVALUATE, 4.5), "Puntuación 3 → 4,5"),
        (state(START, Stage.TO_EVALUATE), "Puntuación 3 retirada"),
    ],
)
def test_the_difference_is_described_in_the_language_of_the_chat(interview: Interview, change: str) -> None:
    announced = {"finished": True, "stage": "To evaluate", "stage_ms": 0, "score": 3, "score_ms": 0}
    found = ask(make_event("interview.status-change"), interview, announced)
    assert found is not None
    assert change_text(found, SPANISH) == change


def test_a_first_score_has_nothing_before_it() -> None:
    announced = {"finished": True, "stage": "To evaluate"}
    found = ask(make_event("interview.score-updated"), state(START, score=4), announced)
    assert found is not None
    assert change_text(found, ENGLISH) == "Score 4"


def test_a_score_is_announced_for_its_event_also_when_it_is_the_first_announcement() -> None:
    """For example with a route with `min_score` that the earlier events did not match."""
    found = ask(make_event("interview.score-updated"), state(START, score=4.5))
    assert found is not None
    assert found.kinds == (ChangeKind.SCORE, ChangeKind.FINISHED)
    assert change_text(found, ENGLISH) == "Score 4.5 · Finished the interview"


def test_an_event_speaks_only_if_its_own_mode_does() -> None:
    silent = Events(score_updated="edit")
    announced = {"finished": True, "stage": "To evaluate"}
    changed = state(START, Stage.SHORTLISTED, 4)
    assert ask(make_event("interview.score-updated"), changed, announced, silent) is None
    found = ask(make_event("interview.status-change"), changed, announced, silent)
    assert found is not None
    assert change_text(found, ENGLISH) == "Stage To evaluate → Shortlisted"


def test_the_loudest_mode_of_several_changes_counts() -> None:
    announced = {"finished": True, "stage": "To evaluate"}
    found = ask(
        make_event("interview.status-change"),
        state(START, Stage.SHORTLISTED, 4),
        announced,
        Events(score_updated="broadcast"),
    )
    assert found is not None
    assert (found.kind, found.mode) == (ChangeKind.STAGE, "broadcast")


def test_an_invitation_speaks_only_when_configured() -> None:
    event, interview = make_event("interview.create"), state(START, Stage.PENDING, finished=False)
    assert ask(event, interview) is None
    found = ask(event, interview, {}, Events(create="post"))
    assert found is not None
    assert found.kind is ChangeKind.INVITED
    assert ask(event, interview, found.announced, Events(create="post")) is None


def test_an_unknown_event_is_silent() -> None:
    assert ask(make_event("interview.archived"), state(START)) is None


def test_a_late_announcement_carries_the_time_of_completion() -> None:
    event = make_event("interview.score-updated", occurred_at=START + 1000)
    found = ask(event, state(START + 1000))
    assert found is not None
    assert (found.kind, found.at_ms) == (ChangeKind.FINISHED, START)


@pytest.mark.parametrize(("score", "words"), [(None, ""), (3.0, "3"), (4.5, "4.5"), (1e30, "?")])
def test_a_score_is_shown_in_the_format_of_the_language(score: float | None, words: str) -> None:
    assert score_text(score, ENGLISH) == words
