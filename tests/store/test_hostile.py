"""Both databases accept any signed body."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.hireflix.payload import LENGTH_MAX, EventKind, read
from connector.sink import Token
from connector.store import leases, notes, rate_limit
from connector.store.postgres.store import PostgresStore
from connector.store.sqlite.store import SqliteStore
from connector.testing import START
from connector.testing.make import HOSTILE_TEXTS
from tests.postgres import empty_store, rows
from tests.store import kit
from tests.store.kit import routing_table
from tests.stores import make_store_file

WIDE = "\U0001f600" * LENGTH_MAX
SHEET = routing_table(chat=False, sheet=True)

# any code point, halves of characters and NUL included; json.dumps writes them as escapes
texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=8),
    st.sampled_from([*HOSTILE_TEXTS.values(), WIDE, "\0", "\ud83d", "İ" * LENGTH_MAX, "x" * 3000]),
)
numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([2**63 - 1, 2**63, 10**11, 1e308]))
values = st.one_of(texts, numbers, st.none(), st.booleans(), st.dictionaries(texts, texts, max_size=2))
keys = ["id", "externalId", "status", "hash", "createdAt", "score", "completed", "deleted", "archived", "answered"]
parts = {
    "position": st.fixed_dictionaries({"id": values, "name": values}),
    "candidate": st.fixed_dictionaries({"name": values, "email": values, "phone": values}),
    "url": st.fixed_dictionaries({"short": values, "private": values}),
}
data = st.fixed_dictionaries({"id": values}, optional={**dict.fromkeys(keys[1:], values), **parts})
names = st.one_of(st.sampled_from(["interview.create", "interview.finish", "Interview.Delete"]), values)
bodies = st.builds(
    lambda event, data, date: json.dumps({"event": event, "data": data, "date": date}).encode(), names, data, values
)
LONGEST = json.dumps(
    {"event": WIDE, "data": {"id": WIDE, "position": {"id": WIDE, "name": "x" * 900_000}}, "date": 9 * 10**18}
).encode()


async def offered(opened, raws):
    store = await opened
    try:
        return await asyncio.gather(*(store.offer(read(raw, START), raw) for raw in raws))
    finally:
        await store.close()


async def on_sqlite(path):
    return SqliteStore(path, SHEET, lambda plan: None, intake=100)


@settings(max_examples=15)
@given(st.lists(bodies, min_size=1, max_size=8))
@example([LONGEST])
def test_every_body_is_stored_and_merged_alike(raws):
    """None is refused, and both databases end with the same interviews."""
    with empty_store() as url, tempfile.TemporaryDirectory() as folder:
        path = make_store_file(Path(folder) / "store.db")
        there = asyncio.run(offered(PostgresStore.open(url, SHEET, lambda plan: None, intake=100), raws))
        here = asyncio.run(offered(on_sqlite(path), raws))
        assert there == here
        found = "SELECT id, state, version FROM interview"
        assert sorted(rows(url, found)) == sorted(kit.rows(path, found))
        found = "SELECT sink, interview_id FROM subscription"
        assert sorted(rows(url, found)) == sorted(kit.rows(path, found))
        assert rows(url, "SELECT count(*) FROM event") == [(len({answer.seq for answer in there}),)]


@pytest.mark.parametrize("wide", [WIDE, "İ" * LENGTH_MAX, "\U00010400" * LENGTH_MAX])
def test_the_longest_names_fit_the_indexes(wide):
    """Of an identity, in bytes: a tree's entry has at most about a third of a page (PostgreSQL, B-Tree Indexes)."""
    raw = json.dumps({"event": wide, "data": {"id": wide}, "date": START}).encode()
    reading = read(raw, START)
    assert reading.kind is EventKind.UNKNOWN
    assert len(reading.identity.encode()) < 2600


def test_a_position_whose_id_is_too_long_has_none():
    """It would be the name of a note."""
    body = {"event": "interview.create", "data": {"id": "i1", "position": {"id": WIDE + "x", "name": "Cook"}}}
    assert read(json.dumps(body).encode(), START).fields == {"position_name": "Cook"}


def test_the_longest_keys_of_notes_fit(connection):
    """Built of an interview's or a position's id."""
    leases.register(connection, {"chat": "slack"})
    for key in (f"parent:{WIDE}", f"digest:{WIDE}"):
        notes.write(connection, "chat", "T0123456789/C0123456789", {key: {"x": "\0"}})
        assert notes.read(connection, "chat", "T0123456789/C0123456789", [key]) == {key: {"x": "\0"}}
    rate_limit.take(connection, [Token("chat:C0123456789", 1, 1)], START)
    assert rate_limit.blocked_until(connection, "chat:C0123456789") == START + 1000
