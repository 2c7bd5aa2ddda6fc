"""What is left in the store after an erase, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select, update

from connector.capabilities import ERASE
from connector.delivery.batches import deliveries_of
from connector.interview import Stage
from connector.merge import encode, merge
from connector.store import erase, leases, words
from connector.store.claim import ClaimedDelivery
from connector.store.ingest import write_group
from connector.store.schema import DeliveryState, delivery, event_body, interview
from connector.store.sqlite import backup
from connector.testing import START
from tests.store.kit import add, arrival, reading, routing_table, row_of

PERSON = {"name": "Ada Erasable", "email": "ada.erasable@example.com", "phone": "+34600123456"}


@pytest.fixture
def known(connection):
    """A store with the interview i1."""
    row = {"version": 1, "position_id": "p1", "position_name": "Cook", "stage": "to_evaluate", "updated_at": START}
    state = encode(merge(None, reading(interview="i1", at=START, candidate=PERSON)))
    connection.execute(insert(interview).values(id="i1", state=state, **row))
    return connection


def called_with(connection, **columns):
    """The interview of the delivery that a sink gets for a row."""
    work = ClaimedDelivery.of(row_of(connection, add(connection, event_seq=None, **columns)))
    (delivery,) = deliveries_of(connection, [work], "store", events=False, now=START)
    return delivery.interview


def test_only_the_call_that_erases_gets_the_interview(known):
    """A later call, such as a repair, would write it again."""
    assert called_with(known, purpose="rewrite").candidate_name == "Ada Erasable"
    erase.erase(known, "i1", [], START)
    found = called_with(known, purpose=ERASE)
    assert (found.stage, found.candidate_name, found.text("candidate_email")) == (Stage.DELETED, "", "")
    assert called_with(known, purpose="rewrite") is None


def test_a_destination_is_asked_about_an_interview_of_which_the_store_has_nothing(known):
    """For example one that was erased before, when a sink was added since."""
    found = called_with(known, key="i9", purpose=ERASE)
    assert (found.id, found.stage) == ("i9", Stage.DELETED)


def test_interviews_are_found_by_address_in_any_case(connection):
    addresses = ["ada@example.com", "ADA@Example.com", "ada@example.com.org", "other@example.com", "ada@example.com"]
    row = {"version": 1, "position_id": "", "position_name": "", "stage": "pending", "updated_at": START}
    for number, address in enumerate(addresses):
        about = reading(interview=f"i{number}", at=START, candidate={"name": "A", "email": address})
        connection.execute(insert(interview).values(id=f"i{number}", state=encode(merge(None, about)), **row))
    words.write_all(connection)
    assert erase.ids_by_email(connection, " Ada@example.COM") == ["i0", "i1", "i4"]


@pytest.mark.parametrize(
    "address", ["jürgen@example.com", 'o"quote%@example.com', "a_b@example.com", f"{'long' * 60}@example.com"]
)
def test_an_address_with_unusual_characters_is_found(connection, address):
    about = reading(interview="i1", at=START, candidate={"name": "A", "email": address})
    row = {"version": 1, "position_id": "", "position_name": "", "stage": "pending", "updated_at": START}
    connection.execute(insert(interview).values(id="i1", state=encode(merge(None, about)), **row))
    words.write_all(connection)
    assert erase.ids_by_email(connection, address) == ["i1"]
    assert erase.ids_by_email(connection, address.replace("e", "é")) == []


def test_what_is_left_of_an_interview_goes_when_its_last_destination_is_done(known):
    """Also when no operator runs the command again: retention does it."""
    leases.register(known, {"sheet": "workbook"})
    erase.erase(known, "i1", ["sheet"], START)
    assert erase.finish_all(known) == 0
    known.execute(update(delivery).values(state=int(DeliveryState.DELIVERED)))
    assert erase.finish_all(known) == 1
    assert known.execute(select(interview)).all() == []


def test_a_destination_of_a_sink_that_was_removed_is_not_waited_for(known):
    leases.register(known, {"sheet": "workbook", "old": "workbook"})
    erase.erase(known, "i1", ["sheet", "old"], START)
    erase.erase(known, "i1", ["sheet"], START)
    assert [step.sink for step in erase.steps(known, ["i1"])] == ["sheet"]


def test_a_repeated_erase_makes_what_waits_due_at_once(known):
    leases.register(known, {"sheet": "workbook"})
    erase.erase(known, "i1", ["sheet"], START)
    known.execute(update(delivery).values(state=int(DeliveryState.WAITING), wait_group="tab", not_before=START + 9))
    erase.erase(known, "i1", ["sheet"], START)
    (row,) = known.execute(select(delivery)).all()
    assert (row.state, row.wait_group, row.not_before) == (int(DeliveryState.PENDING), None, 0)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("ada@example.com", "ADA@Example.com"),
        ("jürgen@example.com", "JÜRGEN@example.com"),
        ("jürgen@example.com", r"j\u00fcrgen\u0040example.com"),
        ("straße@example.com", "STRASSE@EXAMPLE.COM"),
    ],
)
def test_a_body_that_could_not_be_read_is_deleted_when_it_contains_the_address_in_another_form(
    connection, address, text
):
    about = arrival(interview="i1", at=START, candidate={"name": "A", "email": address})
    broken = arrival(f'{{"event": "interview.create", "mail": "{text}"'.encode())
    other = arrival(b'{"mail": "someone.else@example.com"')
    write_group(connection, [about, broken, other], routing_table())
    assert erase.strip_unreadable(connection, "i1") == 1
    assert [row.body for row in connection.execute(select(event_body)).all()] == [about.body, other.body]


@pytest.mark.parametrize(
    ("name", "text", "is_named"),
    [
        ("Zoë Ñandú", "Zoë Ñandú", True),
        ("Zoë Ñandú", r"zo\u00eb \u00d1AND\u00da", True),
        ("Zoë Ñandú", '"firstName": "Zoë", "lastName": "Ñandú"', True),
        ("Zoë Ñandú", "Zoë Other", False),
        ("Zoë", "Zoë", False),
    ],
)
def test_a_body_that_could_not_be_read_is_deleted_when_it_contains_the_whole_name(connection, name, text, is_named):
    about = arrival(interview="i1", at=START, candidate={"name": name})
    broken = arrival(f'{{"event": "interview.create", {text}'.encode())
    write_group(connection, [about, broken], routing_table())
    assert erase.strip_unreadable(connection, "i1") == is_named


def test_a_line_of_the_tombstone_file_that_was_cut_takes_no_other_tombstone_with_it(tmp_path):
    """A full disk or a power failure may cut a line."""
    store = tmp_path / "store.db"
    backup.tombstone_file(store).write_text("a" * 30)
    backup.add_tombstones(store, {"b" * 64: START})
    backup.add_tombstones(store, {"c" * 64: START})
    assert backup.read_tombstones(store) == {"b" * 64: START, "c" * 64: START}
