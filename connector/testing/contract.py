"""The conformance suite: what every sink promises, as tests that its author runs by naming one class.

    class TestPigeon(SinkContract):
        def make_sink(self) -> Pigeon:
            return Pigeon("pigeon", PigeonConfig(loft="north"))

Needs pytest and no plug-in of it: each test runs its own event loop. Fixtures work as in any test class.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from connector.capabilities import Notice, Notifies, Previews, can_erase
from connector.errors import LeaseLost, RateLimited
from connector.sink import (
    Batch,
    Delivered,
    Delivery,
    Event,
    Finding,
    Interview,
    Outcome,
    Result,
    Sink,
    SinkBroken,
    SinkConfig,
    Stage,
    Superseded,
    Waiting,
)
from connector.testing.clock import START
from connector.testing.context import FakeContext
from connector.testing.harness import SinkHarness, opened, secrets_of
from connector.testing.hostile import HOSTILE_TEXTS
from connector.testing.make import make_delivery, make_erase
from connector.testing.run import notes_for, run_batch, run_until_settled

LONGEST_REASON = 120
"""Characters; a reason becomes a metric label."""

NAMES = ("Ada Erasable", "Wayne Knight")
"""Of the candidate who is erased, and of one who stays."""


class SinkContract(SinkHarness):
    """Subclass it, name the subclass `Test…`, and define `make_sink`.

    The other methods of `SinkHarness` are worth defining as far as the destination allows it: a test that needs one
    which is not defined is skipped and says so.
    """

    # the class

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
        assert all(isinstance(rank, int) for rank in sink.priority.values())

    def test_the_destination_is_stable(self) -> None:
        """Notes belong to it: before `open`, after it, and in the next process it is the same text."""

        async def destinations() -> set[str]:
            before = self.make_sink().destination
            async with opened(self.make_sink()) as sink:
                await run_until_settled(sink, self._some(sink, 1), FakeContext())
                return {before, sink.destination}

        found = asyncio.run(destinations())
        assert len(found) == 1
        assert "" not in found

    def test_it_can_be_closed_without_having_been_opened(self) -> None:
        sink = self.make_sink()
        asyncio.run(sink.close())
        assert sink.destination == self.make_sink().destination

    # delivering

    def test_each_delivery_has_one_outcome(self) -> None:
        """And follow-ups are of the kinds that the store can keep."""
        result = self._deliver(lambda sink: self._some(sink, min(3, sink.max_batch)))
        assert all(isinstance(outcome, Outcome) for outcome in result.outcomes)
        assert all(each.after >= timedelta(0) for each in result.follow_ups)

    def test_what_waits_is_shown_by_a_follow_up(self) -> None:
        """A delivery that waits in a group settles with the call that shows the group, so that call is asked for."""
        result = self._deliver(lambda sink: self._some(sink, min(3, sink.max_batch)))
        groups = {outcome.group for outcome in result.outcomes if isinstance(outcome, Waiting)}
        assert groups <= {each.group for each in result.follow_ups}
        outcomes = self._settle(lambda sink: self._some(sink, 5))
        assert not any(isinstance(outcome, Waiting) for outcome in outcomes.values())

    def test_a_sink_that_counts_its_calls_counts_the_first(self) -> None:
        """What was delivered without a call proves nothing about a broken destination."""

        async def deliver() -> tuple[Result, int]:
            context = FakeContext()
            async with opened(self.make_sink()) as sink:
                if not sink.counts_calls:
                    pytest.skip("the sink does not count its calls")
                result = await run_batch(sink, self._some(sink, 1), context)
                return result, context.calls.total()

        result, calls = asyncio.run(deliver())
        assert calls > 0 or not any(isinstance(outcome, Delivered) for outcome in result.outcomes)

    def test_a_silent_delivery_shows_nothing_new(self) -> None:
        """A sink that edits gets events that no route chose; where nothing is shown, nothing appears."""
        before = self._held()

        async def deliver() -> dict[str, Outcome]:
            async with opened(self.make_sink()) as sink:
                if sink.state or not sink.edits:
                    pytest.skip("the sink gets no silent deliveries")
                silent = replace(self._one(sink), silent=True)
                return await run_until_settled(sink, [silent], FakeContext())

        outcomes = asyncio.run(deliver())
        assert {type(outcome) for outcome in outcomes.values()} == {Superseded}
        assert self._held() == before

    def test_deliveries_settle(self) -> None:
        """Ordinary events of ordinary people are delivered once every wait is over."""
        outcomes = self._settle(lambda sink: self._some(sink, 5))
        assert {type(outcome) for outcome in outcomes.values()} == {Delivered}

    def test_a_first_call_finds_no_notes(self) -> None:
        """Nor does one after the notes were lost."""

        async def twice() -> list[Outcome]:
            async with opened(self.make_sink()) as sink:
                context = FakeContext()
                await run_until_settled(sink, self._some(sink, 1), context)
                context.notes.clear()
                return list((await run_until_settled(sink, self._some(sink, 1), context)).values())

        assert len(asyncio.run(twice())) >= 1

    def test_the_keys_are_the_same_whenever_asked(self) -> None:
        sink = self.make_sink()
        for delivery in self._some(sink, 3):
            keys = list(sink.note_keys(delivery))
            assert keys == list(sink.note_keys(delivery))
            assert all(isinstance(key, str) for key in keys)

    def test_late_deliveries_settle(self) -> None:
        outcomes = self._settle(lambda sink: [self._one(sink, late=True)])
        assert len(outcomes) >= 1

    @pytest.mark.parametrize("name", sorted(HOSTILE_TEXTS))
    def test_hostile_text_is_harmless(self, name: str) -> None:
        """Hostile text neither makes the sink fail nor blocks the rest of the batch."""
        text = HOSTILE_TEXTS[name]
        values: dict[str, Any] = dict.fromkeys(("candidate_name", "position_name", "external_id", "status"), text)
        outcomes = self._settle(lambda sink: [self._one(sink, **values), self._one(sink, number=2)])
        assert {type(outcome) for outcome in outcomes.values()} <= {Delivered, Superseded}

    @pytest.mark.parametrize("stage", list(Stage))
    def test_an_interview_of_which_little_is_known(self, stage: Stage) -> None:
        """Hireflix may omit most fields or send nulls."""

        def sparse(sink: Sink[Any]) -> list[Delivery]:
            nulls = dict.fromkeys(("candidate_name", "position_name", "score", "completed"))
            known = [Interview("i-1", stage, START), Interview("i-2", stage, START, nulls)]
            events = [Event(f"e-{about.id}", "interview.status-change", about.id, START, START) for about in known]
            return [make_delivery(*pair, state=sink.state) for pair in zip(events, known, strict=True)]

        outcomes = self._settle(sparse)
        assert {type(outcome) for outcome in outcomes.values()} <= {Delivered, Superseded}

    def test_a_repeated_batch_creates_no_duplicates(self) -> None:
        """The process died after the call and before the outcome was stored: what it remembered is all there is."""
        self._needs("delivered")
        if self.may_double:
            pytest.skip("the destination cannot tell a repeat")
        context = FakeContext()
        started_at = context.now()
        asyncio.run(self._call_and_die(context, started_at, maybe_sent=False))
        once = list(self.delivered())
        for _ in range(2):
            context.clock.advance(5)
            asyncio.run(self._call_and_die(context, started_at, maybe_sent=True))
        assert list(self.delivered()) == once

    def test_a_state_sink_shows_one_entry_per_interview(self) -> None:
        """However often it changes."""
        self._needs("delivered")
        if not self.make_sink().state:
            pytest.skip("a message sink tells what happened")
        self._settle(lambda sink: [self._one(sink, score=1.0)])
        before = len(self.delivered())
        self._settle(lambda sink: [self._one(sink, score=4.5)])
        assert len(self.delivered()) == before

    def test_a_lost_lease_ends_the_call(self) -> None:
        """`LeaseLost` is for the dispatcher: a sink that swallows it writes beside another worker."""

        async def lose() -> tuple[int, bool]:
            context = FakeContext()
            context.lose_lease()
            async with opened(self.make_sink()) as sink:
                try:
                    await run_batch(sink, self._some(sink, 1), context)
                except LeaseLost:
                    return context.leases_lost, True
            return context.leases_lost, False

        told, raised = asyncio.run(lose())
        assert raised == (told > 0)

    # notifying

    @pytest.mark.parametrize("name", ["plain", *sorted(HOSTILE_TEXTS)])
    def test_a_notice_is_shown(self, name: str) -> None:
        """Also with text of a destination in it."""
        before = self._held()
        text = HOSTILE_TEXTS.get(name, "recruiting is paused")

        async def notify() -> object:
            sink = self._notifying_sink()
            async with opened(sink):
                return await sink.notify(Notice("notice-1", f"1 problem: {text}", (text, "second line")), FakeContext())

        assert isinstance(asyncio.run(notify()), Delivered)
        assert before is None or self._held() != before

    def test_a_notice_that_cannot_be_shown_is_no_exception(self) -> None:
        self._needs("break_destination")
        sink = self._notifying_sink()
        self.break_destination()

        async def notify() -> str:
            async with opened(sink):
                try:
                    outcome = await sink.notify(Notice("notice-1", "1 problem"), FakeContext())
                except SinkBroken as broken:
                    return broken.reason
            return "" if isinstance(outcome, Delivered) else str(outcome.reason)

        assert 0 < len(asyncio.run(notify())) <= LONGEST_REASON

    def _notifying_sink(self) -> Any:
        """A new sink, if it can show notices."""
        sink = self.make_sink()
        if not isinstance(sink, Notifies):
            pytest.skip("the sink shows no notices")
        return sink

    # erasing

    def test_an_erased_person_is_not_at_the_destination_any_more(self) -> None:
        """What is there of others stays, and no note names the person."""
        self._needs("delivered")

        async def erase() -> tuple[Outcome, FakeContext]:
            context = FakeContext()
            async with opened(self._erasing_sink()) as sink:
                some = [self._one(sink, number=number, candidate_name=name) for number, name in enumerate(NAMES, 1)]
                await run_until_settled(sink, some, context)
                return await self._erase(sink, some[0], context), context

        outcome, context = asyncio.run(erase())
        held, notes = str(self.delivered()), str(context.notes)
        assert isinstance(outcome, Delivered)
        assert NAMES[0] not in held + notes
        assert NAMES[1] in held

    def test_an_erase_finds_nothing_of_a_person_who_was_never_there(self) -> None:
        before = self._held()

        async def erase() -> Outcome:
            async with opened(self._erasing_sink()) as sink:
                return await self._erase(sink, self._one(sink), FakeContext())

        assert isinstance(asyncio.run(erase()), Delivered | Superseded)
        assert self._held() == before

    def test_an_erase_whose_outcome_was_lost_can_be_repeated(self) -> None:
        """The process ended after the call, so the notes are those from before it."""

        async def erase_twice() -> Outcome:
            context = FakeContext()
            async with opened(self._erasing_sink()) as sink:
                delivery = self._one(sink)
                await run_until_settled(sink, [delivery], context)
                kept = dict(context.notes)
                await self._erase(sink, delivery, context)
                context.notes = kept
                return await self._erase(sink, delivery, context)

        assert isinstance(asyncio.run(erase_twice()), Delivered | Superseded)

    def test_what_an_erase_leaves_is_named(self) -> None:
        leaves = self._erasing_sink().erase_leaves()
        assert all(isinstance(phrase, str) and phrase for phrase in leaves)

    def _erasing_sink(self) -> Any:
        """A new sink, if sinks of its kind and settings can erase."""
        sink = self.make_sink()
        if not can_erase(type(sink), sink.config):
            pytest.skip("the sink cannot erase")
        return sink

    @staticmethod
    async def _erase(sink: Sink[Any], delivery: Delivery, context: FakeContext) -> Outcome:
        assert delivery.interview is not None
        asked = make_erase(delivery.interview)
        return (await run_until_settled(sink, [asked], context))[asked.id]

    # looking

    def test_a_check_finds_and_writes_nothing(self) -> None:
        before = self._held()

        async def check() -> list[Finding]:
            async with opened(self.make_sink()) as sink:
                return await sink.check_connection()

        findings = asyncio.run(check())
        assert all(isinstance(finding, Finding) for finding in findings)
        assert all(finding.fix for finding in findings if finding.level != "ok")
        assert self._held() == before

    def test_a_look_finds_and_writes_nothing(self) -> None:
        """Before `open`, and without the network."""
        before = self._held()
        findings = self.make_sink().validate()
        assert all(isinstance(finding, Finding) for finding in findings)
        assert all(finding.fix for finding in findings if finding.level != "ok")
        assert self._held() == before

    def test_a_preview_writes_nothing(self) -> None:
        before = self._held()

        async def preview() -> tuple[int, int]:
            sink = self.make_sink()
            if not isinstance(sink, Previews):
                pytest.skip("the sink has no preview")
            context = FakeContext()
            some = self._some(sink, min(3, sink.max_batch))
            batch = Batch("b", context.now(), some, notes_for(sink, some, context))
            async with opened(sink):
                return len(await sink.preview(batch, context)), len(some)

        texts, deliveries = asyncio.run(preview())
        assert texts == deliveries
        assert self._held() == before

    # failing

    def test_a_broken_destination_is_no_exception(self) -> None:
        """A fault comes back as an outcome or as `SinkBroken`, with a reason that is short and names nobody."""
        self._needs("break_destination")
        self.break_destination()
        for reason in self._reasons():
            assert 0 < len(reason) <= LONGEST_REASON
            assert "Knight" not in reason
            assert "@example.com" not in reason

    def test_a_check_of_a_broken_destination_says_what_to_do(self) -> None:
        self._needs("break_destination")
        self.break_destination()
        findings = asyncio.run(self._check())
        assert all(finding.fix for finding in findings if finding.level != "ok")

    def test_what_failed_arrives_later(self) -> None:
        self._needs("break_destination")
        self._needs("mend_destination")
        self.break_destination()

        async def fail_then_deliver() -> set[type[Outcome]]:
            context = FakeContext()
            async with opened(self.make_sink()) as sink:
                some = self._some(sink, 1)
                with suppress(SinkBroken, RateLimited):
                    await run_batch(sink, some, context)
                self.mend_destination()
                context.clock.advance(3600)
                batch = await run_until_settled(sink, some, context)
                return {type(outcome) for outcome in batch.values()}

        assert asyncio.run(fail_then_deliver()) == {Delivered}

    # secrets

    def test_secrets_are_not_shown(self) -> None:
        sink = self.make_sink()
        shown = f"{sink!r} {sink!s} {sink.config!r} {sink.config!s} {sink.destination}"
        assert [secret for secret in secrets_of(sink.config) if secret in shown] == []

    def test_secrets_are_in_no_reason_and_no_log(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)
        if self._has("break_destination"):
            self.break_destination()
        told = [*self._reasons(), caplog.text]
        told += [f"{each.message} {each.fix}" for each in (*self.make_sink().validate(), *asyncio.run(self._check()))]
        assert [secret for secret in secrets_of(self.make_sink().config) if secret in "\n".join(told)] == []
