"""One writer per sink: leases, fences, pauses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from connector.errors import LeaseLost
from connector.store import leases
from connector.store.leases import LEASE_SECONDS, Pause
from connector.store.schema import sink
from connector.testing import START
from tests.store.kit import KINDS

LENGTH = int(LEASE_SECONDS * 1000)


@pytest.fixture
def registered(connection):
    leases.register(connection, {"chat": "slack", "sheet": "google_sheets"})
    return connection


def test_registering_twice_keeps_what_is_known(registered):
    """A restart keeps a pause."""
    leases.pause(registered, "chat", Pause("person", "holidays"))
    leases.register(registered, {"chat": "slack", "new": "console"})
    assert [(row.name, row.paused) for row in leases.rows(registered)] == [
        ("chat", "person"),
        ("new", None),
        ("sheet", None),
    ]


def test_a_new_sink_was_never_filled(registered):
    """Its destination and routes are empty, unlike any real ones."""
    assert (leases.row(registered, "chat").destination, leases.row(registered, "chat").routes) == ("", "")


def test_a_lease_keeps_others_away_until_it_ends(registered):
    """Another owner gets it after its end, with a higher fence."""
    mine = leases.acquire(registered, "chat", "me", START)
    assert mine.until == START + LENGTH
    assert leases.acquire(registered, "chat", "other", START + LENGTH) is None
    theirs = leases.acquire(registered, "chat", "other", START + LENGTH + 1)
    assert theirs.fence > mine.fence


def test_renewing_keeps_the_fence(registered):
    """The same owner keeps its number."""
    first = leases.acquire(registered, "chat", "me", START)
    second = leases.acquire(registered, "chat", "me", START + 1000)
    assert (second.fence, second.until) == (first.fence, first.until + 1000)
    leases.require(registered, first)


@pytest.mark.parametrize("owner", ["other", "me"])
def test_by_force_takes_it_at_once(registered, owner):
    """After a restart, also from an earlier process of the same name."""
    earlier = leases.acquire(registered, "chat", "me", START)
    leases.acquire(registered, "chat", owner, START, by_force=True)
    with pytest.raises(LeaseLost):
        leases.require(registered, earlier)


def test_leases_are_per_sink(registered):
    """Two sinks may have two writers."""
    assert leases.acquire(registered, "chat", "me", START)
    assert leases.acquire(registered, "sheet", "other", START)


def test_a_released_lease_is_free(registered):
    """Another owner need not wait for its end."""
    leases.release(registered, leases.acquire(registered, "chat", "me", START))
    assert leases.acquire(registered, "chat", "other", START)


def test_releasing_what_went_to_another_does_nothing(registered):
    """A late release does not end the lease of another owner."""
    mine = leases.acquire(registered, "chat", "me", START)
    theirs = leases.acquire(registered, "chat", "other", START, by_force=True)
    leases.release(registered, mine)
    leases.require(registered, theirs)
    assert leases.row(registered, "chat").lease_owner == "other"


def test_an_expired_lease_is_valid_until_another_process_takes_it(registered):
    """The fence decides, not the clock, because no other process wrote since."""
    mine = leases.acquire(registered, "chat", "me", START)
    leases.require(registered, mine)
    leases.acquire(registered, "chat", "other", START + LENGTH + 1)
    with pytest.raises(LeaseLost, match="chat"):
        leases.require(registered, mine)


def test_a_lease_of_an_unknown_sink_is_lost(registered):
    """A sink that was renamed away has no writer under its old name."""
    mine = leases.acquire(registered, "chat", "me", START)
    registered.execute(sink.delete())
    with pytest.raises(LeaseLost):
        leases.require(registered, mine)


steps = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, LENGTH * 2), st.booleans(), st.booleans()), min_size=1, max_size=12
)


@pytest.mark.parametrize("empty", KINDS.values(), ids=KINDS)
@settings(max_examples=40, deadline=None)
@given(taken=steps)
def test_at_most_one_lease_is_valid(empty, taken):
    """Of all leases ever given only the newest one is valid, whatever the owners do. Fences never decrease."""
    with empty() as connection:
        leases.register(connection, {"chat": "slack"})
        now, given_out = START, []
        for owner, wait, by_force, gives_back in taken:
            now += wait
            lease = leases.acquire(connection, "chat", owner, now, by_force=by_force)
            if lease is not None:
                given_out.append(lease)
                if gives_back:
                    leases.release(connection, lease)
            assert (
                sum(is_valid(connection, one) for one in {(one.owner, one.fence): one for one in given_out}.values())
                <= 1
            )
        fences = [lease.fence for lease in given_out]
        assert fences == sorted(fences)


def is_valid(connection, lease):
    try:
        leases.require(connection, lease)
    except LeaseLost:
        return False
    return True


# --- pauses


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ("person", "broken", "person"),
        ("person", "until_person", "person"),
        ("broken", "person", "person"),
        ("broken", "until_person", "until_person"),
        ("until_person", "broken", "broken"),
    ],
)
def test_a_pause_of_an_operator_is_not_replaced(registered, first, second, kind):
    """A result of the sink does not end the pause of an operator."""
    leases.pause(registered, "chat", Pause(first, "first"))
    leases.pause(registered, "chat", Pause(second, "second"))
    assert leases.row(registered, "chat").paused == kind


def test_resume_clears_everything(registered):
    """Reason, fix, probe and rest are gone; the other sink is not touched."""
    for name in ("chat", "sheet"):
        leases.pause(registered, name, Pause("broken", "no access", "share it", START))
    leases.resume(registered, "chat")
    row = leases.row(registered, "chat")
    assert (row.paused, row.reason, row.fix, row.probe_at, row.rest_until) == (None, None, None, None, 0)
    assert leases.row(registered, "sheet").paused == "broken"


def test_a_start_probes_broken_sinks_at_once(registered):
    """The configuration may have been corrected. A pause of an operator stays."""
    leases.pause(registered, "chat", Pause("broken", "no access", "share it", START + 300_000))
    leases.pause(registered, "sheet", Pause("person", "holidays"))
    leases.probe_all(registered, ["chat", "sheet"])
    found = registered.execute(select(sink.c.name, sink.c.probe_at).order_by(sink.c.name)).all()
    assert [tuple(row) for row in found] == [("chat", 0), ("sheet", None)]
