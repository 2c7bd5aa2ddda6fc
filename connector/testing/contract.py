"""The conformance suite: tests of the sink contract. The author of a sink runs them by subclassing one class.

    class TestPigeon(SinkContract):
        def make_sink(self) -> Pigeon:
            return Pigeon("pigeon", PigeonConfig(loft="north"))

The tests deliver through the real lane on a temporary store. They need pytest and no plug-in of it: each test runs its
own event loop. Fixtures work as in any test class.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, Literal, TypeVar

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from connector.capabilities import ERASE, Notice, Notifies, Preview, Previews, Report, Verifies, can_erase
from connector.errors import LeaseLost
from connector.interview import Value
from connector.registry import RANK_MAX
from connector.routing import Route
from connector.sink import (
    Batch,
    Delivered,
    Delivery,
    Event,
    Finding,
    Outcome,
    Result,
    Sink,
    SinkBroken,
    SinkConfig,
    Stage,
    Subscription,
    Superseded,
    Waiting,
)
from connector.testing.context import START, FakeContext, notes_for, run_batch
from connector.testing.lane import LaneRunner
from connector.testing.make import HOSTILE_TEXTS, make_delivery, make_event, make_interview

REASON_LENGTH_MAX = 120
"""Characters; a reason becomes a metric label."""
STEPS_MAX = 200
"""Steps of the lane in which a few deliveries settle."""
SETTLED = {"delivered", "superseded"}
"""States of a delivery after which nothing is left to do."""
NAMES = ("Ada Erasable", "Wayne Knight")
"""Of the candidate who is erased, and of one who stays."""
FIELDS_OF_STAGE: dict[Stage, dict[str, Value]] = {
    Stage.PENDING: {},
    Stage.TO_EVALUATE: {"answered": True},
    Stage.SHORTLISTED: {"finalist": START},
    Stage.DISCARDED: {"archived": START},
    Stage.DELETED: {"deleted": START},
    Stage.UNKNOWN: {"status": "on_hold"},
}
"""The fewest fields that Hireflix sends of an interview in a stage."""

Capability = Literal["counts_calls", "edits", "erases", "notifies", "previews", "state", "verifies"]
"""What a sink does beyond `deliver`; `edits` is a capability of message sinks alone."""
_Test = TypeVar("_Test", bound=Callable[..., None])
_needs: dict[str, frozenset[str]] = {}
"""By the name of a test of the suite: the capabilities, hooks and `detects_repeats` that it needs."""


def needs(*names: str) -> Callable[[_Test], _Test]:
    """Marks a test of the suite that is for sinks with these capabilities and hooks only."""

    def mark(test: _Test) -> _Test:
        _needs[test.__name__] = frozenset(names)
        return test

    return mark


class SinkHarness:
    """Hooks that the author of a sink implements; only `make_sink` is required."""

    capabilities: ClassVar[AbstractSet[Capability]] = frozenset()
    """What the sink does beyond `deliver`; a test compares it with the sink."""
    may_double = False
    """Set it when the destination cannot detect a repeat (a terminal cannot): a retry may then show an entry twice."""

    def make_sink(self) -> Sink[Any]:
        """Returns a new sink. All sinks of one test have the same settings."""
        raise NotImplementedError("define make_sink")

    def delivered(self) -> Sequence[object]:
        """Returns the content of the destination: one entry per row or message, comparable with `==`."""
        raise NotImplementedError

    def break_destination(self) -> None:
        """Makes the destination answer with an error, or not at all."""
        raise NotImplementedError

    def mend_destination(self) -> None:
        """Undoes `break_destination`."""
        raise NotImplementedError

    def _event(self, number: int = 1, **values: Any) -> Event:
        return make_event(number=number, **values)

    def _some(self, count: int) -> list[Event]:
        return [self._event(number) for number in range(1, count + 1)]

    def _deliveries(self, sink: Sink[Any], count: int) -> list[Delivery]:
        return [make_delivery(number=number, state=sink.state) for number in range(1, count + 1)]

    def _lane(self) -> LaneRunner:
        return LaneRunner(self.make_sink)

    def _states(self, *events: Event) -> list[str]:
        """Returns the states of the deliveries of events after the lane has settled them."""

        async def settle() -> list[str]:
            async with self._lane() as lane:
                await lane.add(*events)
                await lane.run(steps=STEPS_MAX)
                return [each.state for each in await lane.deliveries() if not each.purpose]

        return asyncio.run(settle())

    def _first_response(self) -> tuple[LaneRunner, Sink[Any]]:
        """Returns the lane after one call with up to three deliveries."""

        async def call() -> tuple[LaneRunner, Sink[Any]]:
            async with self._lane() as lane:
                await lane.add(*self._some(min(3, lane.sink.max_batch)))
                while not lane.responses:
                    poll_at = await lane.step()
                    assert poll_at is not None, "the sink was not called"
                    lane.clock.advance(max(0, poll_at - lane.clock.now()) / 1000)
                return lane, lane.sink

        return asyncio.run(call())

    def _reasons(self) -> list[str]:
        """Returns the reasons in the first response."""
        lane, _ = self._first_response()
        said = [outcome.reason for outcome in lane.outcomes if not isinstance(outcome, Delivered)]
        return [*said, *lane.failures, *(text for each in lane.broken for text in (each.reason, each.fix))]

    async def _check(self) -> list[Finding]:
        async with opened(self.make_sink()) as sink:
            return await sink.check_connection()

    def _held(self) -> list[object] | None:
        return list(self.delivered()) if self._has("delivered") else None

    @classmethod
    def _has(cls, name: str) -> bool:
        """Whether the subclass defines a hook."""
        return getattr(cls, name) is not getattr(SinkHarness, name)


class SinkContract(SinkHarness):
    """Subclass it, name the subclass `Test…`, define `make_sink` and name the `capabilities` of the sink.

    The other methods of `SinkHarness` are worth defining as far as the destination allows it. A test that needs a
    capability or a hook that the subclass does not name or define is not collected.
    """

    def __init_subclass__(cls) -> None:
        """Hides the tests that are not for this sink: pytest collects no attribute that cannot be called."""
        super().__init_subclass__()
        hooks = {name for name in vars(SinkHarness) if cls._has(name)}
        has = cls.capabilities | hooks | (set() if cls.may_double else {"detects_repeats"})
        for name, needed in _needs.items():
            if getattr(cls, name) in (None, vars(SinkContract)[name]):
                setattr(cls, name, vars(SinkContract)[name] if needed <= has else None)

    # the class

    def test_the_capabilities_are_named(self) -> None:
        """So that the tests of each are run."""
        sink = self.make_sink()
        does = {
            "counts_calls": sink.counts_calls,
            "edits": sink.edits and not sink.state,
            "erases": can_erase(type(sink), sink.config),
            "notifies": isinstance(sink, Notifies),
            "previews": isinstance(sink, Previews),
            "state": sink.state,
            "verifies": isinstance(sink, Verifies),
        }
        found = sorted(name for name, holds in does.items() if holds)
        assert found == sorted(self.capabilities), f"set `capabilities = frozenset({found})` in {type(self).__name__}"

    def test_the_settings_refuse_an_unknown_key(self) -> None:
        config = self.make_sink().config
        values = {name: getattr(config, name) for name in config.model_fields_set}
        type(config).model_validate(values)
        with pytest.raises(ValidationError) as caught:
            type(config).model_validate({**values, "no_such_setting": 1})
        assert "no_such_setting" in str(caught.value)

    def test_every_setting_is_described(self) -> None:
        """`SinkConfig` describes its own."""
        fields = type(self.make_sink().config).model_fields
        bare = [name for name, field in fields.items() if not field.description and name not in SinkConfig.model_fields]
        assert bare == []

    def test_the_class_says_how_it_wants_to_be_called(self) -> None:
        sink = self.make_sink()
        assert issubclass(type(sink.config), sink.Config)
        assert sink.max_batch >= 1
        assert sink.timeout > 0
        assert sink.max_age is None or sink.max_age >= 0
        assert all(type(rank) is int and 0 <= rank <= RANK_MAX for rank in sink.priority.values())

    def test_the_destination_is_stable(self) -> None:
        """Notes belong to a destination, so its text must not change with `open` or in the next process."""

        async def destinations() -> set[str]:
            before = self.make_sink().destination
            async with self._lane() as lane:
                await lane.add(self._event())
                await lane.run(steps=STEPS_MAX)
                return {before, lane.sink.destination}

        found = asyncio.run(destinations())
        assert len(found) == 1
        assert "" not in found

    def test_it_can_be_closed_without_having_been_opened(self) -> None:
        sink = self.make_sink()
        asyncio.run(sink.close())
        assert sink.destination == self.make_sink().destination

    # delivering

    def test_each_delivery_has_one_outcome(self) -> None:
        """Also checks that the store can keep the notes and follow-ups."""
        lane, sink = self._first_response()
        assert lane.failures == []
        assert len(lane.outcomes) in {0, min(3, sink.max_batch)}
        assert all(isinstance(outcome, Outcome) for outcome in lane.outcomes)
        assert all(each.after >= timedelta(0) for result in lane.results for each in result.follow_ups)

    def test_what_waits_is_shown_by_a_follow_up(self) -> None:
        """A delivery that waits in a group settles with the call that shows the group, so that call is asked for."""
        lane, _ = self._first_response()
        groups = {outcome.group for outcome in lane.outcomes if isinstance(outcome, Waiting)}
        assert groups <= {each.group for result in lane.results for each in result.follow_ups}
        assert "waiting" not in self._states(*self._some(5))

    @needs("counts_calls")
    def test_a_sink_that_counts_its_calls_counts_the_first(self) -> None:
        """An outcome without a call does not show that a broken destination works again."""

        async def deliver() -> tuple[Result, int]:
            context = FakeContext()
            async with opened(self.make_sink()) as sink:
                result = await run_batch(sink, self._deliveries(sink, 1), context)
                return result, context.calls.total()

        result, calls = asyncio.run(deliver())
        assert calls > 0 or not any(isinstance(outcome, Delivered) for outcome in result.outcomes)

    @needs("edits")
    def test_a_silent_delivery_shows_nothing_new(self) -> None:
        """A sink that edits gets events that no route chose. Without a message to edit it posts nothing."""
        before = self._held()

        async def deliver() -> Result:
            async with opened(self.make_sink()) as sink:
                return await run_batch(sink, [replace(make_delivery(), silent=True)], FakeContext())

        assert {type(outcome) for outcome in asyncio.run(deliver()).outcomes} == {Superseded}
        assert self._held() == before

    def test_deliveries_settle(self) -> None:
        """Ordinary events are delivered after all waits."""
        assert set(self._states(*self._some(5))) == {"delivered"}

    def test_a_first_call_finds_no_notes(self) -> None:
        """The same holds for a call with a new store, after the notes were lost."""
        first, second = self._states(self._event()), self._states(self._event())
        assert {*first, *second} <= SETTLED

    def test_the_keys_are_the_same_whenever_asked(self) -> None:
        sink = self.make_sink()
        for delivery in self._deliveries(sink, 3):
            keys = list(sink.note_keys(delivery))
            assert keys == list(sink.note_keys(delivery))
            assert all(isinstance(key, str) for key in keys)

    def test_late_deliveries_settle(self) -> None:
        """An event that is older than `max_age` at its receipt is late."""
        age_ms = int((self.make_sink().max_age or 0) * 1000) + 1000
        assert set(self._states(self._event(occurred_at=START - age_ms, received_at=START))) <= SETTLED

    @pytest.mark.parametrize("name", sorted(HOSTILE_TEXTS))
    def test_hostile_text_is_harmless(self, name: str) -> None:
        """Hostile text neither makes the sink fail nor blocks the rest of the batch."""
        text = HOSTILE_TEXTS[name]
        values: dict[str, Any] = dict.fromkeys(("candidate_name", "position_name", "external_id", "status"), text)
        assert set(self._states(self._event(**values), self._event(2))) <= SETTLED

    @pytest.mark.parametrize("stage", list(Stage))
    def test_an_interview_of_which_little_is_known(self, stage: Stage) -> None:
        """Hireflix may omit most fields or send nulls."""
        fields = FIELDS_OF_STAGE[stage]
        nulls = dict.fromkeys(("candidate_name", "position_name", "score", "completed"))
        name = "interview.status-change"
        few = Event("e-1", name, "i-1", START, START, fields)
        null = Event("e-2", name, "i-2", START, START, {**nulls, **fields})
        assert set(self._states(few, null)) <= SETTLED

    @needs("delivered", "detects_repeats")
    def test_a_repeated_batch_creates_no_duplicates(self) -> None:
        """The process ended after the call and before the outcome was stored, so only the notes of `save_notes` are
        left.
        """

        async def crash_thrice() -> None:
            async with self._lane() as lane:
                await lane.add(*self._some(min(3, lane.sink.max_batch)))
                await lane.crash()
                once = list(self.delivered())
                for _ in range(2):
                    lane.clock.advance(5)
                    await lane.crash()
                assert list(self.delivered()) == once

        asyncio.run(crash_thrice())

    @needs("state", "delivered")
    def test_a_state_sink_shows_one_entry_per_interview(self) -> None:
        """An interview that changes often still has one entry."""

        async def change() -> tuple[int, int]:
            async with self._lane() as lane:
                await lane.add(self._event(score=1.0))
                await lane.run(steps=STEPS_MAX)
                before = len(self.delivered())
                await lane.add(self._event(score=4.5, occurred_at=START + 1000))
                await lane.run(steps=STEPS_MAX)
                return before, len(self.delivered())

        before, after = asyncio.run(change())
        assert after == before

    def test_a_lost_lease_ends_the_call(self) -> None:
        """A sink must not catch `LeaseLost`: it would write at the same time as another worker."""

        async def lose() -> tuple[int, bool]:
            context = FakeContext()
            context.lose_lease()
            async with opened(self.make_sink()) as sink:
                try:
                    await run_batch(sink, self._deliveries(sink, 1), context)
                except LeaseLost:
                    return context.leases_lost, True
            return context.leases_lost, False

        lost, raised = asyncio.run(lose())
        assert raised == (lost > 0)

    # notifying

    @needs("notifies")
    @pytest.mark.parametrize("name", ["plain", *sorted(HOSTILE_TEXTS)])
    def test_a_notice_is_shown(self, name: str) -> None:
        """The notice contains hostile text."""
        before = self._held()
        text = HOSTILE_TEXTS.get(name, "recruiting is paused")

        async def notify() -> object:
            sink: Any = self.make_sink()
            async with opened(sink):
                return await sink.notify(Notice("notice-1", f"1 problem: {text}", (text, "second line")), FakeContext())

        assert isinstance(asyncio.run(notify()), Delivered)
        assert before is None or self._held() != before

    @needs("notifies", "break_destination")
    def test_a_notice_that_cannot_be_shown_has_a_short_reason(self) -> None:
        sink: Any = self.make_sink()
        self.break_destination()

        async def notify() -> str:
            async with opened(sink):
                try:
                    outcome = await sink.notify(Notice("notice-1", "1 problem"), FakeContext())
                except SinkBroken as broken:
                    return broken.reason
            return "" if isinstance(outcome, Delivered) else str(outcome.reason)

        assert 0 < len(asyncio.run(notify())) <= REASON_LENGTH_MAX

    # erasing

    @needs("erases", "delivered")
    def test_an_erased_person_is_not_at_the_destination_any_more(self) -> None:
        """The entries of others stay, and no note contains data of the person."""

        async def erase_first() -> tuple[str, str]:
            async with self._erasing_lane() as lane:
                events = [self._event(number, candidate_name=name) for number, name in enumerate(NAMES, 1)]
                await lane.add(*events)
                await lane.run(steps=STEPS_MAX)
                await lane.erase(events[0].interview_id)
                await lane.run(steps=STEPS_MAX)
                return await self._state_of_erase(lane), str(await lane.notes())

        state, notes = asyncio.run(erase_first())
        held = str(self.delivered())
        assert state == "delivered"
        assert NAMES[0] not in held + notes
        assert NAMES[1] in held

    @needs("erases")
    def test_an_erase_finds_nothing_of_a_person_who_was_never_there(self) -> None:
        """No route matched the interview."""
        before = self._held()

        async def erase() -> str:
            async with self._erasing_lane(Route(("other",))) as lane:
                event = self._event()
                await lane.add(event)
                await lane.erase(event.interview_id)
                await lane.run(steps=STEPS_MAX)
                return await self._state_of_erase(lane)

        assert asyncio.run(erase()) in {"delivered", "superseded"}
        assert self._held() == before

    @needs("erases")
    def test_an_erase_whose_outcome_was_lost_can_be_repeated(self) -> None:
        """The process ended after the call, so the notes are those before the call."""

        async def erase_twice() -> str:
            async with self._erasing_lane() as lane:
                event = self._event()
                await lane.add(event)
                await lane.run(steps=STEPS_MAX)
                await lane.erase(event.interview_id)
                await lane.crash()
                await lane.run(steps=STEPS_MAX)
                return await self._state_of_erase(lane)

        assert asyncio.run(erase_twice()) in {"delivered", "superseded"}

    @needs("erases")
    def test_what_an_erase_leaves_is_named(self) -> None:
        sink: Any = self.make_sink()
        leaves = sink.erase_leaves()
        assert all(isinstance(phrase, str) and phrase for phrase in leaves)

    def _erasing_lane(self, *routes: Route) -> LaneRunner:
        return LaneRunner(self.make_sink, routes=routes)

    @staticmethod
    async def _state_of_erase(lane: LaneRunner) -> str:
        (done,) = [each for each in await lane.deliveries() if each.purpose == ERASE]
        return done.state

    # checking

    def test_a_check_writes_nothing_and_each_problem_has_a_fix(self) -> None:
        before = self._held()

        async def check() -> list[Finding]:
            async with opened(self.make_sink()) as sink:
                return await sink.check_connection()

        findings = asyncio.run(check())
        assert all(isinstance(finding, Finding) for finding in findings)
        assert all(finding.fix for finding in findings if finding.level != "ok")
        assert self._held() == before

    def test_validate_writes_nothing_and_each_problem_has_a_fix(self) -> None:
        """Before `open`, and without the network."""
        before = self._held()
        findings = self.make_sink().validate()
        assert all(isinstance(finding, Finding) for finding in findings)
        assert all(finding.fix for finding in findings if finding.level != "ok")
        assert self._held() == before

    @needs("previews")
    def test_a_preview_writes_nothing(self) -> None:
        before = self._held()
        sink = self.make_sink()
        some = self._deliveries(sink, min(3, sink.max_batch))
        assert len(asyncio.run(self._previews(sink, some))) == len(some)
        assert self._held() == before

    @needs("previews")
    def test_a_preview_shows_what_each_delivery_would_write(self) -> None:
        """One `Preview` with a text, cells or messages; also where the texts are hostile."""
        sink = self.make_sink()
        texts = [HOSTILE_TEXTS[name] for name in sorted(HOSTILE_TEXTS)]
        events = [self._event(at, candidate_name=text, position_name=text) for at, text in enumerate(texts, 1)]
        found = asyncio.run(self._previews(sink, [make_delivery(each, state=sink.state) for each in events]))
        assert [type(each) for each in found] == [Preview] * len(texts)
        assert all(each.text or each.cells or each.messages for each in found)

    @staticmethod
    async def _previews(sink: Any, deliveries: Sequence[Delivery]) -> list[Any]:
        """Returns what a sink shows of deliveries without notes."""
        context, found = FakeContext(), []
        async with opened(sink):
            for start in range(0, len(deliveries), sink.max_batch):
                some = deliveries[start : start + sink.max_batch]
                batch = Batch(f"b-{start}", context.now(), some, notes_for(sink, some, context))
                found += await sink.preview(batch, context)
        return found

    @needs("verifies", "delivered")
    def test_a_verification_after_a_delivery_finds_everything_in_sync_and_writes_nothing(self) -> None:
        report, before, after = asyncio.run(self._verified(delivered=2, shown=2))
        assert report.in_sync
        assert sum(report.counts.values()) == len(before or ())
        assert before == after

    @needs("verifies", "delivered")
    def test_a_verification_names_what_the_destination_does_not_show(self) -> None:
        """And what a user can do about it."""
        report, before, after = asyncio.run(self._verified(delivered=2, shown=3))
        assert not report.in_sync
        (found,) = [each for each in report.differences if each.kind in report.wrong]
        assert found.key == make_interview(number=3).id
        assert found.kind in report.fixes, f"`Report.fixes` must say what an operator can do about {str(found.kind)!r}"
        assert before == after

    async def _verified(self, *, delivered: int, shown: int) -> tuple[Report, list[object] | None, list[object] | None]:
        """Verifies when the store shows some interviews, and the first of them were delivered. Returns the content of
        the destination before and after.
        """
        sink: Any = self.make_sink()
        context = FakeContext()
        interviews = [make_interview(number=number) for number in range(1, shown + 1)]
        context.shown = {each.id: Subscription(each) for each in interviews}
        async with opened(sink):
            for interview in interviews[:delivered]:
                await run_batch(sink, [make_delivery(interview=interview, state=True)], context)
                context.clock.advance(60)
            before = self._held()
            report = await sink.verify(context, lambda _done, _total: None)
        return report, before, self._held()

    # failing

    @needs("break_destination")
    def test_a_broken_destination_is_reported_with_a_short_reason(self) -> None:
        """The sink returns an outcome or raises `SinkBroken`, with a short reason without personal data."""
        self.break_destination()
        lane, _ = self._first_response()
        assert lane.failures == []
        for reason in self._reasons():
            assert 0 < len(reason) <= REASON_LENGTH_MAX
            assert "Knight" not in reason
            assert "@example.com" not in reason

    @needs("break_destination")
    def test_a_check_of_a_broken_destination_says_what_to_do(self) -> None:
        self.break_destination()
        findings = asyncio.run(self._check())
        assert all(finding.fix for finding in findings if finding.level != "ok")

    @needs("break_destination", "mend_destination")
    def test_what_failed_is_not_delivered_and_arrives_later(self) -> None:
        self.break_destination()

        async def fail_then_deliver() -> list[str]:
            async with self._lane() as lane:
                await lane.add(self._event())
                await lane.step()
                states = {each.state for each in await lane.deliveries() if not each.purpose}
                assert "delivered" not in states, "the sink says `Delivered` though the call to its destination failed"
                self.mend_destination()
                lane.clock.advance(3600)
                await lane.run(steps=STEPS_MAX)
                return [each.state for each in await lane.deliveries() if not each.purpose]

        assert asyncio.run(fail_then_deliver()) == ["delivered"]

    # secrets

    def test_secrets_are_not_shown(self) -> None:
        sink = self.make_sink()
        shown = f"{sink!r} {sink!s} {sink.config!r} {sink.config!s} {sink.destination}"
        assert [secret for secret in secrets_of(sink.config) if secret in shown] == []

    def test_secrets_are_in_no_reason_and_no_log(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)
        if self._has("break_destination"):
            self.break_destination()
        texts = [*self._reasons(), caplog.text]
        texts += [f"{each.message} {each.fix}" for each in (*self.make_sink().validate(), *asyncio.run(self._check()))]
        assert [secret for secret in secrets_of(self.make_sink().config) if secret in "\n".join(texts)] == []


@asynccontextmanager
async def opened(sink: Sink[Any]) -> AsyncIterator[Sink[Any]]:
    """Opens a sink and closes it like the lane: `close` is called also when `open` failed."""
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()


def secrets_of(config: BaseModel) -> Iterator[str]:
    for name in type(config).model_fields:
        yield from _secrets_in(getattr(config, name))


def _secrets_in(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        yield from secrets_of(value)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets_in(inner)
