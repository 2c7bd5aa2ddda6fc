"""The notes of sinks about their destinations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from connector.errors import NewerDocument
from connector.store import leases, notes
from connector.store.schema import note
from tests.store.kit import KINDS

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
# no key of a sink holds a NUL: PostgreSQL would not take it, and no id has one
keys = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)
written = st.dictionaries(keys, st.none() | st.dictionaries(st.text(), json_values, max_size=3), max_size=5)


@pytest.fixture
def sinks(connection):
    """A store with two sinks."""
    leases.register(connection, {"chat": "slack", "sheet": "workbook"})
    return connection


@pytest.mark.parametrize("empty", KINDS.values(), ids=KINDS)
@settings(max_examples=40, deadline=None)
@given(writes=st.lists(written, max_size=4))
def test_notes_come_back_as_written(empty, writes):
    """Notes are a dictionary: the last value of a key counts, and `None` deletes it."""
    with empty() as connection:
        leases.register(connection, {"chat": "slack"})
        expected = {}
        for one in writes:
            notes.write(connection, "chat", "place", one)
            expected |= one
            expected = {key: value for key, value in expected.items() if value is not None}
        assert notes.read(connection, "chat", "place", [key for one in writes for key in one]) == expected


@pytest.mark.parametrize("other", [("sheet", "place"), ("chat", "elsewhere")])
def test_notes_belong_to_a_sink_and_a_destination(sinks, other):
    """A sink that moved begins with empty notes; the old ones are kept."""
    notes.write(sinks, "chat", "place", {"k": {"a": 1}})
    notes.write(sinks, *other, {"k": {"a": 2}})
    notes.write(sinks, *other, {"k": None})
    assert notes.read(sinks, "chat", "place", ["k"]) == {"k": {"a": 1}}
    assert notes.read(sinks, *other, ["k"]) == {}


def test_only_the_notes_asked_for(sinks):
    """An empty list of keys returns an empty result; unknown keys are omitted."""
    notes.write(sinks, "chat", "place", {"a": {"x": 1}, "b": {"x": 2}})
    assert notes.read(sinks, "chat", "place", []) == {}
    assert notes.read(sinks, "chat", "place", ["b", "c"]) == {"b": {"x": 2}}


def test_many_keys_in_one_read(sinks):
    """More keys than a statement has parameters."""
    many = {f"row:{number}": {"n": number} for number in range(5000)}
    notes.write(sinks, "sheet", "place", many)
    assert notes.read(sinks, "sheet", "place", list(many)) == many


def test_a_note_of_a_newer_version_is_an_error_that_says_what_to_do(sinks):
    notes.write(sinks, "chat", "place", {"k": {"a": 1}})
    sinks.execute(update(note).values(version=2))
    with pytest.raises(NewerDocument, match="a note of chat was stored by a newer version"):
        notes.read(sinks, "chat", "place", ["k"])
