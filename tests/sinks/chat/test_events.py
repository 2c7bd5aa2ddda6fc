"""The message model without Slack: what an event does, given what was announced."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.hireflix.payload import read
from connector.merge import InterviewState, event_of, interview_of, merge
from connector.sink import Event, Interview, Stage
from connector.testing import START, make_event, make_interview
from sinks.chat.changes import ChangeKind, Events
from sinks.chat.content import Content, interview_content
from sinks.chat.events import EventAction, EventPlan, make_plan
from sinks.chat.record import InterviewRecord
from sinks.chat.updates import next_edit
from tests.sinks.chat.channel_rules import STYLE
from tests.sinks.chat.streams import Payload, events_of

MODES = Events()


@dataclass
class ChannelModel:
    """A channel in memory, to which plans are applied."""

    modes: Events = MODES
    record: InterviewRecord = field(default_factory=lambda: InterviewRecord("i"))
    acts: list[tuple[EventAction, ChangeKind]] = field(default_factory=list)
    news: list[tuple[ChangeKind, ...]] = field(default_factory=list)
    parent: Content | None = None
    counted: list[str] = field(default_factory=list)
    state: InterviewState | None = None

    def take(self, payload: Payload, *, muted: bool = False) -> None:
        reading = read(json.dumps(payload).encode(), START)
        self.state = merge(self.state, reading)
        self.receive(event_of("e", reading), interview_of(reading.interview_id, self.state), muted=muted)

    def receive(self, event: Event, interview: Interview, *, muted: bool = False) -> EventPlan:
        self.record = replace(self.record, id=interview.id)
        plan = make_plan(event, interview, self.record, self.modes, muted=muted)
        self.counted += plan.counted.figures
        if plan.counted.figures:
            was_invited = "invited" in plan.counted.figures or self.record.counted_by
            self.record = replace(self.record, counted_by=was_invited, announced=plan.counted.announced)
        if plan.announcement is not None:
            self.acts.append((plan.action, plan.announcement.kind))
            self.news.append(plan.announcement.kinds)
            self._carry_out(plan, interview)
        if plan.edit:
            self._edit(interview)
        return plan

    def _carry_out(self, plan: EventPlan, interview: Interview) -> None:
        assert plan.announcement is not None
        ts = str(len(self.acts))
        if plan.action is EventAction.POST:
            self.parent = interview_content(interview, STYLE)
            shows = {"announced": plan.announcement.announced, "content_hash": repr(self.parent)}
        else:
            shows = {
                "announced": plan.announcement.announced,
                "thread": self.record.message_id,
                "named": plan.action is EventAction.BROADCAST,
            }
        self.record = self.record.posted(ts, shows)

    def _edit(self, interview: Interview) -> None:
        while (edit := next_edit(repr, self.record, interview, STYLE)) is not None:
            self.parent = edit.content if edit.is_main else self.parent
            self.record = edit.after

    @property
    def announced(self) -> int:
        """How often completion was announced, alone or in a digest."""
        return sum(ChangeKind.FINISHED in kinds for kinds in self.news) + self.counted.count("finished")


def played(payloads: Sequence[Payload], modes: Events = MODES) -> ChannelModel:
    channel = ChannelModel(modes)
    for payload in payloads:
        channel.take(payload)
    return channel


payload_lists = st.integers(0, 10_000).map(lambda seed: events_of(seed, random.Random(seed)))


@settings(max_examples=40, deadline=None)
@given(payload_lists, st.randoms(use_true_random=False))
def test_any_order_and_repetition_announces_completion_once_and_ends_in_the_same_message(
    events: list[Payload], chance: random.Random
) -> None:
    orders = [events * 2, *[chance.sample(events * 2, len(events) * 2) for _ in range(4)]]
    channels = [played(order) for order in orders]
    assert all(channel.announced <= 1 for channel in channels)
    shown = [channel.parent for channel in channels if channel.parent is not None]
    assert all(parent == shown[0] for parent in shown)
    for channel in channels:
        assert channel.state is not None
        now = interview_of(events[0]["data"]["id"], channel.state)
        assert channel.parent is None or channel.parent == interview_content(now, STYLE)
        assert channel.announced == 1 or now.completed_at is None or now.stage is Stage.DELETED


@settings(max_examples=40, deadline=None)
@given(payload_lists, st.sampled_from(["post", "broadcast", "reply", "edit", "digest", "silent"]), st.data())
def test_with_any_modes_nothing_is_announced_twice(events: list[Payload], mode: str, data: st.DataObject) -> None:
    modes = Events(**{data.draw(st.sampled_from(["create", "finish", "score_updated", "status_change"])): mode})
    once = played(events, modes)
    assert once.announced <= 1
    assert played([one for one in events for _ in range(2)], modes).acts == once.acts


def test_every_order_of_five_events() -> None:
    """All 120 orders of the five events of an interview without a deletion."""
    full = next(events for seed in range(1000) if len(events := events_of(seed, random.Random(seed))) == 5)
    channels = [played(order) for order in permutations(full)]
    assert {channel.announced for channel in channels} == {1}
    assert len({repr(channel.parent) for channel in channels}) == 1


def test_the_first_event_that_shows_completion_announces_it() -> None:
    done = make_interview(stage=Stage.TO_EVALUATE)
    for name in ("interview.finish", "interview.status-change", "interview.score-updated"):
        channel = ChannelModel()
        assert channel.receive(make_event(name), done).action is EventAction.POST
        for later in ("interview.finish", "interview.status-change", "interview.score-updated"):
            assert channel.receive(make_event(later), done).action is EventAction.NOTHING


def test_a_finish_that_meets_a_message_is_shown_in_the_channel_too() -> None:
    channel = ChannelModel()
    channel.receive(
        make_event("interview.status-change"), make_interview(stage=Stage.UNKNOWN, status="x", completed=None)
    )
    plan = channel.receive(
        make_event("interview.finish"), make_interview(stage=Stage.TO_EVALUATE, updated_at=START + 1)
    )
    assert plan.action is EventAction.BROADCAST
    assert channel.record.named_reply_ids == ("2",)


SHOWN = InterviewRecord("i", message_id="1")


def at(mode: str, name: str, record: InterviewRecord = SHOWN) -> EventAction:
    field_of = name.removeprefix("interview.").replace("-", "_")
    interview = make_interview(score=4)
    announced = {"finished": True, "stage": interview.stage_word, "stage_ms": 0, "score": 3, "score_ms": 0}
    return make_plan(
        make_event(name), interview, replace(record, announced=announced), Events(**{field_of: mode}), muted=False
    ).action


@pytest.mark.parametrize(
    ("mode", "act"),
    [
        ("post", EventAction.POST),
        ("broadcast", EventAction.BROADCAST),
        ("reply", EventAction.REPLY),
        ("edit", EventAction.NOTHING),
        ("digest", EventAction.NOTHING),
        ("silent", EventAction.NOTHING),
    ],
)
def test_the_mode_decides_how_loud_an_event_is(mode: str, act: EventAction) -> None:
    assert at(mode, "interview.score-updated") is act


@pytest.mark.parametrize("mode", ["post", "broadcast", "reply"])
def test_without_a_message_every_loud_mode_makes_one(mode: str) -> None:
    assert at(mode, "interview.score-updated", InterviewRecord("i")) is EventAction.POST


def test_a_thread_that_takes_no_replies_gets_a_new_message() -> None:
    assert (
        at("reply", "interview.score-updated", InterviewRecord("i", message_id="1", thread_locked=True))
        is EventAction.POST
    )


def test_a_message_that_users_deleted_stays_deleted_until_completion() -> None:
    gone = InterviewRecord("i", message_id="1", removed=True)
    assert at("reply", "interview.score-updated", gone) is EventAction.NOTHING
    plan = make_plan(make_event(), make_interview(), gone, MODES, muted=False)
    assert plan.action is EventAction.POST


def test_a_silent_event_does_not_even_edit() -> None:
    record = InterviewRecord("i", message_id="1", announced={"finished": True})
    for mode, edit in (("silent", False), ("edit", True)):
        modes = Events(score_updated=mode)
        plan = make_plan(make_event("interview.score-updated"), make_interview(score=4), record, modes, muted=False)
        assert (plan.action, plan.edit) == (EventAction.NOTHING, edit)


def test_a_muted_event_is_counted_and_notifies_no_user() -> None:
    channel = ChannelModel()
    for name in ("interview.create", "interview.finish", "interview.score-updated", "interview.delete"):
        channel.receive(make_event(name), make_interview(score=2), muted=True)
    assert (channel.acts, channel.counted) == ([], ["invited", "finished", "scored"])
    assert channel.receive(make_event("interview.score-updated"), make_interview(score=3)).action is EventAction.POST


@settings(max_examples=60, deadline=None)
@given(payload_lists, st.randoms(use_true_random=False), st.lists(st.booleans(), min_size=30, max_size=30))
def test_each_fact_is_reported_once_whether_its_events_are_muted_or_not(
    events: list[Payload], chance: random.Random, muted: list[bool]
) -> None:
    """Quiet hours and a busy channel begin and end between the events, and events come twice and out of order."""
    channel = ChannelModel()
    for payload, is_muted in zip(chance.sample(events * 2, len(events) * 2), muted, strict=False):
        channel.take(payload, muted=is_muted)
    assert channel.state is not None
    now = interview_of(events[0]["data"]["id"], channel.state)
    assert channel.announced <= 1
    assert channel.announced == 1 or now.completed_at is None or now.stage is Stage.DELETED
    assert channel.counted.count("invited") <= 1


def test_an_invitation_is_counted_once() -> None:
    channel = ChannelModel()
    for _ in range(3):
        channel.receive(make_event("interview.create"), make_interview(stage=Stage.PENDING, completed=None))
    assert channel.counted == ["invited"]


@pytest.mark.parametrize("muted", [False, True])
def test_an_interview_deleted_before_its_first_message_is_never_mentioned(muted: bool) -> None:
    channel = ChannelModel()
    for name in ("interview.delete", "interview.finish", "interview.score-updated", "interview.status-change"):
        plan = channel.receive(make_event(name), make_interview(stage=Stage.DELETED), muted=muted)
        assert plan == EventPlan(reason="deleted before it was shown")


@pytest.mark.parametrize(
    ("mode", "act"), [("edit", EventAction.NOTHING), ("reply", EventAction.REPLY), ("broadcast", EventAction.BROADCAST)]
)
def test_a_deletion_removes_the_name_and_is_announced_as_its_mode_says(mode: str, act: EventAction) -> None:
    channel = ChannelModel(Events(delete=mode))
    channel.receive(make_event(), make_interview())
    plan = channel.receive(make_event("interview.delete"), make_interview(stage=Stage.DELETED))
    assert (plan.action, plan.edit) == (act, True)
    assert "Wayne" not in repr(channel.parent)
    assert (
        channel.receive(make_event("interview.delete"), make_interview(stage=Stage.DELETED)).action
        is EventAction.NOTHING
    )


def test_a_late_deletion_is_obeyed_all_the_same() -> None:
    channel = ChannelModel()
    channel.receive(make_event(), make_interview())
    channel.receive(make_event("interview.delete"), make_interview(stage=Stage.DELETED), muted=True)
    assert "Wayne" not in repr(channel.parent)
