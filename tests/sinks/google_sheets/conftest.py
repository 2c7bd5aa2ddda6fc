from __future__ import annotations

import time
from dataclasses import replace

import pytest

from connector.capabilities import VERIFY
from connector.emulators.google import GoogleEmulator
from connector.errors import RateLimited, SinkBroken
from connector.interview import Interview, Stage
from connector.sink import Delivered, Delivery, FollowUp, RetryLater, Subscription
from connector.testing import FakeContext, make_interview, run_batch
from sinks.google_sheets import GoogleSheetsSink
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.outcomes import REPAIR
from sinks.google_sheets.sheets_client import REFILL_SECONDS
from sinks.spreadsheet.columns import DEFAULT_COLUMNS
from tests.sinks.follow_ups import asked

TAB = "Interviews"
TITLES = [column.title for column in DEFAULT_COLUMNS]


class QuickSink(GoogleSheetsSink):
    """A sink with a short timeout. On a busy machine it may end a call that Google answers, so only a call without an
    answer is made with it (`SheetHarness.hurry`).
    """

    call_timeout = 1.5


class SheetHarness:
    """A google_sheets sink on an emulated spreadsheet, with the newest state of each interview, and a dispatcher."""

    def __init__(self, google, key_file, tabs=(), timezone="Europe/Madrid", **settings):
        self.google = google
        self.id = google.add_spreadsheet(tabs=tabs, timezone=timezone)
        self.person = google.person(self.id)
        self.context = FakeContext()
        settings = {"credentials_file": key_file, "api_url": google.url, "style": False, **settings}
        self.config = GoogleSheetsConfig(spreadsheet=self.id, **settings)
        self.sink_class = GoogleSheetsSink
        self.sink = self.sink_class("hiring", self.config)
        self.interviews: dict[str, Interview] = {}
        self.outcomes = []

    async def restart(self):
        """Starts a new process with the same notes and without the state in memory."""
        await self.sink.close()
        self.sink = self.sink_class("hiring", self.config)

    async def hurry(self):
        """Starts a new process whose calls end soon when Google does not answer."""
        self.sink_class = QuickSink
        await self.restart()

    async def deliver(self, *interviews):
        """Makes one call, and commits its notes and outcomes."""
        self.know(interviews)
        deliveries = [_delivery(each.id, each) for each in interviews]
        return await run_batch(self.sink, deliveries, self.context)

    async def show(self, *interviews):
        """Makes one call that must deliver everything."""
        result = await self.deliver(*interviews)
        assert result.outcomes == [Delivered()] * len(interviews)
        return result

    async def settle(self, *interviews, rounds=60, is_edited=False):
        """Makes calls like the dispatcher until nothing is pending, with every follow-up. While users edit
        (`is_edited`) repairs may be left.
        """
        self.know(interviews)
        await self._until_nothing_is_due([each.id for each in interviews], rounds, is_edited=is_edited)

    async def _until_nothing_is_due(self, due, rounds, *, is_edited):
        for _ in range(rounds):
            if not due or (is_edited and {REPAIR, VERIFY}.issuperset(due)):
                return
            due = await self._round(due)
        raise AssertionError(f"still due after {rounds} calls: {due}")

    def know(self, interviews, *, unrouted=False):
        """Stores these interviews, which the sink shows."""
        self.interviews |= {each.id: each for each in interviews}
        self.context.shown |= {each.id: Subscription(each, unrouted=unrouted) for each in interviews}

    async def verify_and_repair(self):
        """Makes the regular verification and its follow-ups."""
        self.context.clock.advance(self.config.verify_interval)
        await self._until_nothing_is_due([VERIFY], 60, is_edited=False)

    async def verify(self):
        """A report, as `connector verify` gets it."""
        while True:
            try:
                return await self.sink.verify(self.context, lambda done, total: None)
            except RateLimited as wait:
                self.context.clock.advance(wait.seconds + REFILL_SECONDS)

    async def _round(self, due):
        unrouted = {key for key, each in self.context.shown.items() if each.unrouted}
        deliveries = [_delivery(key, self.interviews.get(key), unrouted=key in unrouted) for key in due]
        try:
            result = await run_batch(self.sink, deliveries, self.context)
        except RateLimited as wait:
            self.context.clock.advance(wait.seconds + 0.001)
            return due
        self.outcomes += result.outcomes
        later = [outcome for outcome in result.outcomes if isinstance(outcome, RetryLater)]
        self.context.clock.advance(max((outcome.after or 1 for outcome in later), default=0))
        left = [key for key, outcome in zip(due, result.outcomes, strict=True) if isinstance(outcome, RetryLater)]
        soon = [key for key, delay in asked(result).items() if delay.total_seconds() < 60]
        self.context.clock.advance(1 if set(soon) - set(self.interviews) else 0)
        return list(dict.fromkeys([*left, *soon]))

    async def broken(self, *interviews):
        """Returns the error of a call that needs an operator."""
        with pytest.raises(SinkBroken) as caught:
            await self.deliver(*interviews)
        return caught.value

    def rows(self, title=TAB):
        return self.google.rows(self.id, title)

    def records(self, title=TAB):
        """Rows with an id, by id; fails when one appears twice."""
        found = {}
        for record in self.google.records(self.id, title):
            if (key := record.get("Interview ID")) is not None:
                assert key not in found, f"{key} has two rows"
                found[key] = record
        return found

    def column(self, title, tab=TAB):
        return [record.get(title) for record in self.google.records(self.id, tab)]

    def place(self, header, tab=TAB):
        return self.google.header(self.id, tab).index(header)

    def counts(self):
        return dict(self.google.counts)


def _delivery(key, interview, *, unrouted=False):
    if key in {REPAIR, VERIFY}:
        return Delivery(id=f"delivery-{key}", key="", event=None, interview=None, follow_up=FollowUp(key))
    return Delivery(id=f"delivery-{key}", key=key, event=None, interview=interview, unrouted=unrouted)


def person_of(number, **values):
    """An interview; another number is another person."""
    return make_interview(number=number, **values)


def scored(interview, score, seconds=60):
    """The same interview after a score."""
    at = interview.updated_at + seconds * 1000
    return replace(interview, updated_at=at, values={**interview.values, "score": score})


def discarded(interview, seconds=60):
    return replace(interview, stage=Stage.DISCARDED, updated_at=interview.updated_at + seconds * 1000)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    with GoogleEmulator() as google:
        yield google


@pytest.fixture(scope="module")
def key_file(emulator, tmp_path_factory):
    return emulator.service_account_file(tmp_path_factory.mktemp("key") / "key.json")


@pytest.fixture
def google(emulator):
    yield emulator
    emulator.faults.release()
    emulator.faults.clear()
    emulator.tokens.accept()
    emulator.tokens.wall = time.time
    emulator.before_write = emulator.after_read = None
    emulator.api_disabled = emulator.quotas.enabled = False
    emulator.latency, emulator.clock = 0.0, time.monotonic
    emulator.forget_calls()


@pytest.fixture
async def make_harness(google, key_file):
    desks = []

    def make(tabs=(), **settings):
        desks.append(SheetHarness(google, key_file, tabs, **settings))
        return desks[-1]

    yield make
    for harness in desks:
        await harness.sink.close()


@pytest.fixture
def harness(make_harness):
    """An empty spreadsheet without the tab."""
    return make_harness()
