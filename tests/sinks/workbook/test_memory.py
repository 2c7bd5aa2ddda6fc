"""What a look at the file says of the rows that are remembered."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.workbook.memory import Memory, Sight

keys = st.sets(st.sampled_from("abcdefg"))
rows = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 5))


def remembered(rows, deleted):
    return Memory(flush=max(rows.values(), default=0), rows=rows, deleted=frozenset(deleted & rows.keys()))


@settings(max_examples=200)
@given(rows, keys, keys, st.none() | st.integers(0, 6))
def test_every_row_that_is_not_there_is_either_lost_or_deleted(rows, deleted, present, number):
    seen = remembered(rows, deleted).compare(present, number)
    assert not seen.lost & seen.deleted
    assert rows.keys() - present <= seen.lost | seen.deleted
    assert not seen.deleted & present
    assert seen.newly <= seen.deleted


@settings(max_examples=100)
@given(rows, keys, keys)
def test_without_a_number_nobody_is_said_to_have_deleted_anything(rows, deleted, present):
    memory = remembered(rows, deleted)
    seen = memory.compare(present, None)
    assert seen.newly == frozenset()
    assert seen.deleted <= memory.deleted


@settings(max_examples=100)
@given(rows, keys)
def test_in_our_newest_version_nothing_is_lost(rows, present):
    memory = remembered(rows, set())
    seen = memory.compare(present, memory.flush)
    assert seen.lost == frozenset()
    assert seen.deleted == rows.keys() - present


@settings(max_examples=100)
@given(rows, keys, keys)
def test_what_is_lost_stays_so_until_it_is_written(rows, present, others):
    """Whatever else is written first, without the lost rows."""
    memory = remembered(rows, set())
    lost = memory.compare(present, 0).lost
    number = memory.flush + 1
    later = Memory(flush=number, rows=memory.after(number, others - rows.keys(), lost))
    assert lost <= later.compare(present | others - rows.keys(), number).lost


@settings(max_examples=50)
@given(rows, keys)
def test_a_note_keeps_everything(rows, deleted):
    memory = remembered(rows, deleted)
    assert Memory.from_note(memory.to_note()) == Memory(memory.flush, "", [], memory.rows, memory.deleted)


def test_a_few_rows_or_a_few_of_many_are_tidying_up():
    few, many = frozenset(map(str, range(10))), frozenset(map(str, range(11)))
    assert not Sight(frozenset(), few, few).emptied(10)
    assert Sight(frozenset(), many, many).emptied(54)
    assert not Sight(frozenset(), many, many).emptied(55)
