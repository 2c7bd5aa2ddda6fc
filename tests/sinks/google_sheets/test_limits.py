"""Quotas, sizes, and what a cell can hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.emulators.faults import Fault, FaultKind
from connector.emulators.google import once
from connector.sink import Delivered, Delivery, FollowUp, RateLimited, RetryLater, Stage
from connector.testing import interview_id, run_batch
from sinks.google_sheets.api_requests import column_letters
from sinks.google_sheets.outcomes import REPAIR, SOON
from sinks.google_sheets.sheets_client import BURST_CALLS, CALLS_PER_SECOND, REFILL_SECONDS
from sinks.google_sheets.sink import GoogleSheetsSink
from sinks.spreadsheet.columns import KEY, SPECS
from sinks.spreadsheet.values import CellKind
from tests.sinks.follow_ups import asked
from tests.sinks.google_sheets.conftest import TAB, person_of, scored

HOSTILE = ["=1+1", "+34 600 000 000", "-2", "@here", "00123", "1e5", "TRUE", "2025-01-01", "'quoted", "\t=1", "🙂" * 9]


async def test_five_thousand_new_rows_need_at_most_eight_calls_with_the_real_quotas_on(harness):
    harness.google.clock = lambda: harness.context.now() / 1000
    harness.google.quotas.enabled = True
    await harness.show(*[person_of(number) for number in range(5_000)])
    assert harness.counts()["read"] + harness.counts()["write"] <= 8
    assert all(call.bytes_in < 2_000_000 for call in harness.google.calls)
    assert len(harness.records()) == 5_000
    assert harness.column("Candidate") == [f"Wayne Knight {number}" for number in range(5_000)]


async def test_many_changed_rows_in_one_column_make_one_request(harness):
    people = [person_of(number) for number in range(400)]
    await harness.show(*people)
    harness.google.forget_calls()
    await harness.show(*[scored(each, 3) for each in people])
    assert harness.counts() == {"read": 1, "write": 1}
    assert harness.google.calls[-1].bytes_in < 60_000


async def test_no_quota_left_is_said_before_anything_is_sent(harness):
    harness.context.refuse("sheets:read", 3)
    with pytest.raises(RateLimited):
        await harness.deliver(person_of(1))
    assert harness.counts() == {}


async def test_read_and_write_are_taken_together_before_the_first_call(harness):
    await harness.show(person_of(1))
    taken = [token.bucket.rsplit(":", 1)[1] for token in harness.context.taken]
    assert taken == ["read", "write"]
    assert {(token.rate, token.burst) for token in harness.context.taken} == {(CALLS_PER_SECOND, BURST_CALLS)}


def test_never_more_than_fifty_calls_of_a_kind_in_a_minute():
    assert BURST_CALLS + 60 * CALLS_PER_SECOND == 50


async def test_a_raised_quota_allows_more_calls(harness):
    harness.config = harness.config.model_copy(update={"calls_per_minute": 600})
    await harness.restart()
    await harness.show(person_of(1))
    assert {(token.rate, token.burst) for token in harness.context.taken} == {(10 * CALLS_PER_SECOND, 10 * BURST_CALLS)}


async def test_the_buckets_go_by_the_account_and_do_not_name_it(harness):
    await harness.show(person_of(1))
    [bucket] = {token.bucket.rsplit(":", 1)[0] for token in harness.context.taken}
    assert bucket.startswith("sheets:")
    assert "connector" not in bucket


async def test_a_repair_that_needs_more_reads_than_are_left_begins_again_with_a_full_quota(harness):
    """With single tokens it would repeat its first read without end."""
    await harness.show(person_of(1))
    harness.context.clock.advance(60)
    harness.person.delete_rows(TAB, 1)
    [read] = {token for token in harness.context.taken if token.bucket.endswith(":read")}
    for _ in range(BURST_CALLS - 1):
        await harness.context.take(read)
    result = await harness.deliver(scored(person_of(1), 4))
    assert result.outcomes == [RetryLater("no quota left", after=REFILL_SECONDS, counts=False, pause_sink=True)]
    harness.context.clock.advance(REFILL_SECONDS)
    await harness.show(scored(person_of(1), 4))


async def test_a_call_that_only_repairs_waits_for_quota_like_any_other(harness):
    await harness.show(person_of(1), person_of(2))
    harness.google.before_write = once(lambda: harness.person.sort(TAB, 0, descending=True))
    result = await harness.deliver(scored(person_of(1), 4))
    assert asked(result)[REPAIR] == SOON
    harness.context.clock.advance(60)
    [read] = {token for token in harness.context.taken if token.bucket.endswith(":read")}
    for _ in range(BURST_CALLS - 1):
        await harness.context.take(read)
    repair = Delivery(id="1", key="", event=None, interview=None, follow_up=FollowUp(REPAIR))
    result = await run_batch(harness.sink, [repair], harness.context)
    assert result.outcomes == [RetryLater("no quota left", after=REFILL_SECONDS, counts=False, pause_sink=True)]
    assert REPAIR not in asked(result)
    harness.context.clock.advance(REFILL_SECONDS)
    await harness.settle(scored(person_of(1), 4))
    assert {key: row["Score"] for key, row in harness.records().items()} == {interview_id(1): 4, interview_id(2): None}


async def test_quota_that_ends_in_the_middle_keeps_what_was_written(harness):
    harness.google.before_write = lambda: harness.context.refuse("sheets:write", 4)
    people = [person_of(number, candidate_name="x" * 40_000) for number in range(1, 81)]
    result = await harness.deliver(*people)
    done = [outcome for outcome in result.outcomes if outcome == Delivered()]
    assert 1 < len(done) == len(harness.records()) < 80
    assert RetryLater("no quota left", after=4, counts=False) in result.outcomes
    await harness.settle(*people)
    assert len(harness.records()) == 80


@pytest.mark.parametrize("call", ["read", "write"])
async def test_a_429_blocks_the_bucket_of_the_account_until_the_next_minute(harness, call):
    await harness.show(person_of(1))
    harness.context.clock.advance(60)
    harness.google.faults.add(Fault(FaultKind.STATUS, call, status=429, body="{}"))
    result = await harness.deliver(scored(person_of(1), 4))
    [(bucket, seconds)] = harness.context.blocked
    assert bucket.endswith(call)
    assert 0 < seconds <= 60
    assert result.outcomes == [RetryLater("rate limited", after=seconds, counts=False)]


@pytest.mark.parametrize(("date", "seconds"), [("12:00:59", 1), ("12:01:00", 60), ("12:00:18", 42)])
async def test_the_next_minute_is_that_of_google_s_clock(harness, date, seconds):
    headers = {"Date": f"Sun, 25 Oct 2026 {date} GMT"}
    harness.google.faults.add(Fault(FaultKind.STATUS, "write", status=429, body="{}", headers=headers))
    result = await harness.deliver(person_of(1))
    assert result.outcomes == [RetryLater("rate limited", after=seconds, counts=False)]


async def test_without_a_date_the_next_minute_is_that_of_our_clock(harness):
    harness.google.faults.add(Fault(FaultKind.STATUS, "write", status=429, body="{}", headers={"Date": "soon"}))
    result = await harness.deliver(person_of(1))
    assert (harness.context.now() / 1000 + result.outcomes[0].after) % 60 == 0


async def test_a_429_that_names_a_time_is_obeyed(harness):
    harness.google.faults.add(Fault(FaultKind.STATUS, "write", status=429, headers={"Retry-After": "7"}))
    result = await harness.deliver(person_of(1))
    assert result.outcomes == [RetryLater("rate limited", after=7, counts=False)]


@pytest.mark.parametrize("text", HOSTILE)
async def test_text_stays_text_whatever_it_looks_like(make_harness, text):
    harness = make_harness(
        columns=[{"field": "candidate_name"}, {"field": "candidate_phone"}, {"field": "external_id"}]
    )
    await harness.show(person_of(1, candidate_name=text, candidate_phone=text, external_id=text))
    for column in range(3):
        stored = harness.google.cell(harness.id, TAB, 1, column)["userEnteredValue"]
        assert stored == {"stringValue": text.replace("\t", " ")}


@pytest.mark.parametrize("text", HOSTILE)
async def test_every_cell_has_the_type_of_its_column(make_harness, text):
    """Texts are strings, dates and scores are numbers, and nothing is a formula."""
    harness = make_harness(columns=[{"field": name} for name in SPECS])
    texts = {name: text for name, spec in SPECS.items() if spec.kind is CellKind.TEXT and name != KEY}
    times = dict.fromkeys(("created_at", "completed", "archived", "finalist", "deleted"), 1_761_566_424_000)
    await harness.show(person_of(1, **{**texts, "stage": Stage.UNKNOWN}, **times, score=4.5))
    held = {CellKind.TEXT: "stringValue", CellKind.LINK: "stringValue"}
    for place, spec in enumerate(SPECS.values()):
        stored = harness.google.cell(harness.id, TAB, 1, place).get("userEnteredValue", {})
        assert stored.keys() <= {held.get(spec.kind, "numberValue")}, spec.title


@pytest.mark.parametrize("key", ["000123", "1e5", "=A1", "  x  ", "id with ü 🙂", "'", "TRUE"])
async def test_an_odd_id_is_found_again_and_has_one_row(harness, key):
    await harness.show(person_of(1, id=key))
    harness.context.clock.advance(60)
    await harness.show(scored(person_of(1, id=key), 4))
    assert [(row["Interview ID"], row["Score"]) for row in harness.google.records(harness.id, TAB)] == [
        (key.strip(), 4)
    ]


async def test_a_text_longer_than_a_cell_is_cut_with_a_mark(harness):
    await harness.show(person_of(1, candidate_name="🙂" * 60_000))
    shown = harness.records()[interview_id(1)]["Candidate"]
    assert shown.endswith("… [cut]")
    assert len(shown.encode("utf-16-le")) // 2 <= 50_000


@pytest.mark.parametrize("title", ["Data 'Science' Lead", "=cmd|' /C calc'!A0", "مقابلات 🙂", "A1", "1:1", "Sheet!1"])
async def test_a_tab_may_have_any_title(make_harness, title):
    harness = make_harness(worksheet=title)
    await harness.show(person_of(1))
    await harness.show(scored(person_of(1), 4))
    assert harness.records(title)[interview_id(1)]["Score"] == 4


async def test_old_guards_are_pruned(harness):
    await harness.show(person_of(1))
    for number in range(60):
        harness.context.clock.advance(5)
        await harness.show(scored(person_of(1), number))
    guards = [tag.id for tag in harness.google.tags(harness.id) if tag.key == "hf.guard"]
    assert len(guards) == 50
    assert sorted(guards) == list(range(min(guards), min(guards) + 50))


async def test_only_guards_columns_and_a_tab_that_we_made_are_tagged(harness):
    await harness.show(person_of(1))
    await harness.show(scored(person_of(1), 4))
    assert {tag.key for tag in harness.google.tags(harness.id)} == {"hf.col", "hf.guard", "hf.made"}


def test_the_class_says_how_much_it_takes():
    assert (GoogleSheetsSink.state, GoogleSheetsSink.max_batch, GoogleSheetsSink.timeout) == (True, 10_000, 300)


@given(st.integers(min_value=0, max_value=20_000))
def test_column_letters_count_as_google_s(index):
    number = 0
    for letter in column_letters(index):
        number = number * 26 + ord(letter) - ord("A") + 1
    assert number == index + 1
