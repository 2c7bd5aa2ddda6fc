"""The functions that differ between the databases have the same result on each."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from connector.store.dialects import among, insert_new, upsert
from connector.store.schema import delivery, meta
from tests.store.kit import add


def entries(connection):
    return dict(tuple(row) for row in connection.execute(select(meta.c.key, meta.c.value)))


@pytest.mark.parametrize("wanted", [[], ["a"], ["b", "a", "missing"], ["a", "a"]])
def test_among_is_in(connection, wanted):
    """The rows whose value is in the list, each once, whatever the list's order."""
    connection.execute(meta.insert(), [{"key": key, "value": key} for key in "abc"])
    found = connection.execute(select(meta.c.key).where(among(connection, meta.c.key, wanted))).scalars().all()
    assert sorted(found) == sorted(set(wanted) & set("abc"))


def test_among_takes_numbers_and_many_of_them(connection):
    """More than a statement may have parameters; the numbers stay numbers."""
    ids = [add(connection, f"i{number}") for number in range(3)]
    wanted = [*range(100, 40_000), *ids]
    found = connection.execute(select(delivery.c.id).where(among(connection, delivery.c.id, wanted))).scalars().all()
    assert found == ids


@pytest.mark.parametrize("hostile", ["'", '"', "\\", "]", "a,b", "ß☃", "\n"])
def test_among_takes_any_text(connection, hostile):
    """A list is a value, never a part of the statement."""
    connection.execute(meta.insert(), [{"key": hostile, "value": "x"}, {"key": "other", "value": "y"}])
    found = connection.execute(select(meta.c.value).where(among(connection, meta.c.key, [hostile]))).scalars().all()
    assert found == ["x"]


def test_upsert_replaces_and_insert_new_does_not(connection):
    """Both add missing rows. `insert_new` returns their number. Both accept an empty list."""
    upsert(connection, meta, [{"key": "a", "value": "1"}], ["key"])
    upsert(connection, meta, [{"key": "a", "value": "2"}, {"key": "b", "value": "2"}], ["key"])
    rows = [{"key": "b", "value": "3"}, {"key": "c", "value": "3"}]
    assert [insert_new(connection, meta, some, ["key"]) for some in (rows, rows, [])] == [1, 0, 0]
    upsert(connection, meta, [], ["key"])
    assert entries(connection) == {"a": "2", "b": "2", "c": "3"}


def test_insert_new_returns_the_number_of_new_rows(connection):
    """A replay needs it to know whether a receiver was faster."""
    one, two = {"key": "a", "value": "1"}, {"key": "b", "value": "2"}
    counts = [insert_new(connection, meta, rows, ["key"]) for rows in ([one], [one], [one, two], [])]
    assert counts == [1, 0, 1, 0]
