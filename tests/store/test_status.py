"""The status of source and sinks, by one read of the store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, update

from connector.capabilities import REPORT, VERIFY
from connector.store import leases, notes, queries, rate_limit, settle
from connector.store.claim import Due
from connector.store.ingest import VERIFY_PRIORITY
from connector.store.leases import Pause
from connector.store.queries import ListingFilter
from connector.store.schema import DeliveryState, PauseKind, event, interview, sink
from connector.store.status import A_RATE_LIMIT, SourceStatus, Times, next_call, sinks, source
from connector.testing import START
from tests.store.kit import DEAD, DELIVERED, SUPERSEDED, add

NOW = START + 90_000


@pytest.fixture
def store(connection):
    leases.register(connection, {"chat": "slack"})
    return connection


def the_sink(store, configured=("chat",)):
    (found,) = sinks(store, NOW, configured)
    return found


def add_event(store, seq, kind="event", received_at=START):
    values = {"name": "", "interview_id": "", "occurred_at": 1, "mark": "", "reason": "", "sha256": b""}
    store.execute(insert(event).values(seq=seq, identity=str(seq), kind=kind, received_at=received_at, **values))


def test_an_empty_store(store):
    """Nothing was received, and nothing is pending."""
    assert source(store, NOW) == SourceStatus(events=0, interviews=0, unreadable=0, unknown=0, last_received_at=None)
    (chat,) = sinks(store, NOW, ["chat"])
    assert (chat.name, chat.type, chat.state, chat.reason, chat.pending, chat.dead) == ("chat", "slack", "ok", "", 0, 0)
    assert (chat.oldest_age_seconds, chat.delivered, chat.last_delivered_at, chat.filling) == (0.0, 0, None, False)


def test_the_source(store):
    """Events by kind, interviews, and the last receipt."""
    for seq, kind in enumerate(["event", "unknown", "event", "unreadable", "unknown"], start=1):
        add_event(store, seq, kind, received_at=START + seq)
    columns = {
        "state": "{}",
        "version": 1,
        "position_id": "",
        "position_name": "",
        "stage": "pending",
        "updated_at": 0,
    }
    store.execute(insert(interview).values(id="i1", **columns))
    assert source(store, NOW) == SourceStatus(
        events=5, interviews=1, unreadable=1, unknown=2, last_received_at=START + 5
    )


def test_pending_rows_and_their_age(store):
    """Rows that are held back and follow-ups count too; settled rows do not."""
    add(store, since=START)
    add(store, since=START - 10_000, blocks_key=1, not_before=NOW + 1)
    add(store, since=START + 5, event_seq=None)
    for state in (DELIVERED, SUPERSEDED):
        add(store, since=START - 99_000, state=state)
    found = the_sink(store)
    assert (found.state, found.pending, found.oldest_age_seconds) == ("delivering", 3, 100.0)


def test_a_verification_that_waits_is_not_pending(store):
    """It waits for hours for its time, which is not a delay."""
    add(
        store,
        since=START,
        event_seq=None,
        key="",
        interview_id="",
        purpose=VERIFY,
        priority=VERIFY_PRIORITY,
        not_before=NOW + 1,
    )
    found = the_sink(store)
    assert (found.state, found.pending, found.oldest_age_seconds) == ("ok", 0, 0.0)


def test_the_last_verification_of_the_present_destination_is_shown(store):
    """One of a destination that the sink had before is not."""
    assert the_sink(store).in_sync is None
    store.execute(update(sink).values(destination="here"))
    for place, at in (("there", START), ("here", START + 5)):
        notes.write(store, "chat", place, {REPORT: {"at": at, "in_sync": place == "there", "counts": {"missing": 1}}})
    found = the_sink(store)
    assert (found.verified_at, found.in_sync, found.differences) == (START + 5, False, {"missing": 1})


@pytest.mark.parametrize(
    ("due_in_ms", "asks", "expected"), [(1000, [], True), (3_600_000, [], False), (1000, ["share"], False)]
)
def test_differences_that_are_verified_again_at_once_are_being_repaired(store, due_in_ms, asks, expected):
    """What an operator must do first is not, and the next regular verification is far away."""
    settle.ask_to_verify(store, "chat", NOW + due_in_ms)
    found = {REPORT: {"at": START, "in_sync": False, "counts": {"missing": 1}, "asks": asks}}
    notes.write(store, "chat", "", found)
    assert the_sink(store).is_repairing == expected


def test_a_clock_behind_the_rows_gives_no_negative_age(store):
    """The age is at least 0."""
    add(store, since=NOW + 5000)
    assert the_sink(store).oldest_age_seconds == 0.0


def test_dead_letters_are_counted(store):
    """They wait for an operator, so they are not pending."""
    add(store, state=DEAD)
    found = the_sink(store)
    assert (found.state, found.dead, found.pending) == ("ok", 1, 0)


@pytest.mark.parametrize("kind", ["person", "broken", "until_person"])
def test_a_paused_sink_says_why_and_what_to_do(store, kind):
    """Paused goes before waiting."""
    add(store)
    leases.pause(store, "chat", Pause(kind, "channel gone", "invite the bot", START))
    found = the_sink(store)
    assert (found.state, found.reason, found.fix, found.pending) == ("paused", "channel gone", "invite the bot", 1)


def test_a_resting_sink_says_so(store):
    """Its destination fails at present. After the rest nothing is shown."""
    store.execute(update(sink).values(rest_until=NOW + 1))
    assert the_sink(store).reason == "the destination fails, resting"
    store.execute(update(sink).values(rest_until=NOW))
    assert the_sink(store).reason == ""


def test_what_was_delivered(store):
    """Count and time come from the sink's row."""
    store.execute(update(sink).values(delivered=7, last_delivered_at=START, filled_to="i3"))
    found = the_sink(store)
    assert (found.delivered, found.last_delivered_at, found.filling) == (7, START, True)


@pytest.mark.parametrize("state", [0, DEAD])
def test_a_sink_that_is_no_longer_configured_is_orphaned(store, state):
    """Its deliveries are kept and shown."""
    add(store, state=state)
    found = the_sink(store, configured=())
    assert found.state == "orphaned"
    assert "no longer configured" in found.reason


def test_an_orphaned_sink_without_pending_deliveries_is_left_out(store):
    """Settled deliveries alone are not shown."""
    add(store, state=DELIVERED)
    assert sinks(store, NOW, configured=()) == []


def test_without_a_configuration_all_sinks_are_there(store):
    """Without it no sink is called orphaned."""
    assert the_sink(store, configured=None).state == "ok"


def test_sinks_do_not_mix(store):
    """Each has its own numbers, in order of names."""
    leases.register(store, {"alpha": "console"})
    add(store, sink="alpha")
    add(store, state=DEAD)
    assert [(one.name, one.pending, one.dead) for one in sinks(store, NOW, None)] == [("alpha", 1, 0), ("chat", 0, 1)]


@pytest.mark.parametrize("odd", [{}, {"at": "yesterday"}, {"verdict": 1}, [], "in sync"])
def test_a_note_that_is_no_report_harms_no_look(store, odd):
    """A sink may use that name for another purpose, and another version may store other values."""
    store.execute(update(sink).values(destination="place"))
    notes.write(store, "chat", "place", {REPORT: odd})
    assert the_sink(store).verified_at is None


# --- what a sink waits for


AT = st.integers(NOW - 100_000, NOW + 100_000)
DUE = st.none() | st.builds(Due, AT, st.booleans())
TIMES = st.builds(
    Times,
    pause=st.none() | st.sampled_from(PauseKind),
    paused_until=st.none() | AT,
    probe_at=AT,
    rest_until=AT,
    due=DUE,
    reason=st.just("digest"),
    shown=DUE,
)


@given(TIMES)
def test_the_time_of_the_next_call_is_never_in_the_past(times):
    _, at = next_call(times, NOW)
    assert at is None or at > NOW


@given(TIMES)
def test_a_sink_is_not_called_while_it_is_paused_or_rests(times):
    _, at = next_call(times, NOW)
    if at is not None and times.pause is None:
        assert at >= times.rest_until


@given(TIMES)
def test_a_rate_limit_is_named_exactly_when_it_delays_the_next_call(times):
    what, at = next_call(times, NOW)
    limited = {due.at for due in (times.due, times.shown) if due is not None and due.is_limited}
    free = {due.at for due in (times.due, times.shown) if due is not None and not due.is_limited}
    if what == A_RATE_LIMIT:
        assert at in limited
    elif what in {"the next try", "digest"} and at is not None:
        assert at in free


def waits_in_digest(store, at, **values):
    """A delivery that was to be shown at `START`, and the call that shows it, which is due at `at`."""
    add(store, state=DeliveryState.WAITING, wait_group="digest", reason="digest", not_before=START)
    call = {"event_seq": None, "key": "", "interview_id": "", "purpose": "digest", "wait_group": "digest"}
    add(store, **call, priority=1_000, since=at, not_before=at, **values)


def test_a_digest_that_was_put_off_is_expected_at_its_new_time(store):
    """For example because the quiet hours began."""
    waits_in_digest(store, NOW + 60_000)
    found = the_sink(store)
    assert (found.waits_for, found.next_try_at, found.waiting_until) == ("digest", NOW + 60_000, NOW + 60_000)
    [waiting] = [row for row in queries.deliveries(store, ListingFilter(), 10) if row.state == "waiting"]
    assert waiting.not_before == NOW + 60_000


def test_a_digest_behind_a_rate_limit_is_expected_when_the_limit_ends(store):
    rate_limit.block(store, "channel", 300, NOW)
    waits_in_digest(store, NOW + 60_000, bucket="channel")
    found = the_sink(store)
    assert (found.waits_for, found.next_try_at) == (A_RATE_LIMIT, NOW + 300_000)
