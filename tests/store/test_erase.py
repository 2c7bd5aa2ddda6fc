"""What an erase leaves in the store, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from connector.capabilities import ERASE
from connector.delivery.batches import deliveries_of
from connector.interview import Stage
from connector.merge import encode, merge
from connector.store import erase
from connector.store.claim import Work
from connector.store.schema import interview
from connector.testing import START
from tests.store.kit import add, reading, row_of

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
    work = Work.of(row_of(connection, add(connection, event_seq=None, **columns)))
    (delivery,) = deliveries_of(connection, [work], "store", events=False, now=START)
    return delivery.interview


def test_only_the_call_that_erases_gets_the_interview(known):
    """A later call, such as a repair, would show it again."""
    assert called_with(known, purpose="rewrite").candidate_name == "Ada Erasable"
    erase.erase(known, "i1", [], START)
    found = called_with(known, purpose=ERASE)
    assert (found.stage, found.candidate_name, found.text("candidate_email")) == (Stage.DELETED, "", "")
    assert called_with(known, purpose="rewrite") is None


def test_a_destination_is_asked_about_an_interview_of_which_the_store_has_nothing(known):
    """For example one that was erased before, when a sink was added since."""
    found = called_with(known, key="i9", purpose=ERASE)
    assert (found.id, found.stage) == ("i9", Stage.DELETED)
