"""The same statements in PostgreSQL's words: each compiles, and none uses what only SQLite has."""

from __future__ import annotations

import re

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from connector.event import encode, merge
from connector.store import status
from connector.store.schema import metadata
from connector.testing import START
from tests.store import operations
from tests.store.kit import reading

ONLY_SQLITE = re.compile(r"json_each|json_extract|rowid|INSERT OR|strftime|GLOB|\bIFNULL\b|\?", re.IGNORECASE)


class Row:
    """A row in which every column has some value."""

    def __init__(self, **values):
        self._values = values

    def __getattr__(self, name):
        return self._values.get(name, 0)


class Answer:
    """What the twin answers: the same row to every question, or none to any that allows it."""

    rowcount = 0

    def __init__(self, rows):
        self._rows = rows

    def __iter__(self):
        return iter(self._rows)

    def all(self):
        return self._rows

    def first(self):
        return self._rows[0] if self._rows else None

    def one(self):
        return ROW

    def scalars(self):
        return self

    def scalar(self):
        return None

    def scalar_one(self):
        return 0


ROW = Row(
    name="chat", id="i1", key="i1", fence=1, lease_owner="me", entered="", body=None, value="{}",
    state=encode(merge(None, reading())), position_id="", position_name="",
)  # fmt: skip


class Twin:
    """Takes statements as a PostgreSQL connection would, and keeps their text."""

    dialect = postgresql.dialect()

    def __init__(self, rows):
        self._rows = rows
        self.texts = []

    def execute(self, statement, parameters=None):
        names = sorted(parameters[0]) if isinstance(parameters, list) else None
        self.texts.append(str(statement.compile(dialect=self.dialect, column_keys=names)))
        # the leases' own questions are always answered: without a lease nothing else would run
        return Answer([ROW] if "lease_owner, sink.fence" in self.texts[-1] else self._rows)


@pytest.mark.parametrize("rows", [[], [ROW]], ids=["nothing there", "all there"])
@pytest.mark.parametrize("operation", operations.ALL, ids=lambda one: one.__name__)
def test_every_statement_has_its_twin(operation, rows):
    """Each compiles for PostgreSQL without a word of SQLite's."""
    twin = Twin(rows)
    operation(twin)
    assert twin.texts
    assert [text for text in twin.texts if ONLY_SQLITE.search(text)] == []


def test_the_status_has_its_twin():
    """Counting, too."""
    twin = Twin([])
    status.sinks(twin, START, None)
    assert len(twin.texts) == 4
    assert [text for text in twin.texts if ONLY_SQLITE.search(text)] == []


def test_lists_are_one_parameter():
    """A batch of five hundred is the same statement as one of two."""
    twin = Twin([])
    operations.deliveries(twin)
    assert all("= ANY" in text for text in twin.texts)


@pytest.mark.parametrize("operation", [operations.settling, operations.rates], ids=lambda one: one.__name__)
def test_what_is_checked_is_locked(operation):
    """With several writers the fence and the buckets must not change between look and write."""
    twin = Twin([])
    operation(twin)
    assert twin.texts[0].endswith("FOR UPDATE")


def test_the_tables_have_their_twins():
    """Numbers are 64 bits wide and given by the server; partial indexes stay partial."""
    twin = postgresql.dialect()
    tables = "\n".join(str(CreateTable(table).compile(dialect=twin)) for table in metadata.sorted_tables)
    assert "seq BIGSERIAL" in tables
    assert "AUTOINCREMENT" not in tables
    indexes = [
        str(CreateIndex(index).compile(dialect=twin)) for table in metadata.sorted_tables for index in table.indexes
    ]
    assert len(indexes) == 5
    assert all(" WHERE " in text for text in indexes)
