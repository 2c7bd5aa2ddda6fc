"""`connector store copy` copies everything of a SQLite store to PostgreSQL, or nothing."""

import json

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from connector.decision import Decision, DecisionRequest, Via
from connector.operations.copy_store import Tally
from connector.store import decisions, leases
from connector.store.postgres.database import make_engine
from connector.store.schema import (
    DeliveryState,
    audit,
    bucket,
    delivery,
    enrichment,
    interview,
    interview_word,
    lease,
    meta,
    metadata,
    note,
    periodic_task,
    process,
    refusal,
    rollup,
    tombstone,
)
from connector.store.sqlite.database import StoreLock
from tests.cli.world import NOON, body
from tests.postgres import empty_database, rows

LOOKS = [["status"], ["events"], ["interviews"], ["deliveries"], ["attempts"]]
ROWS = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.text(), st.none() | st.binary()))


@pytest.fixture
def filled(world):
    """A store with rows in every table, a lease, and numbers of deleted rows."""
    world.receive(*(body(number=number, candidate={"name": "李 \u202e\\ \t"}) for number in range(1, 40)))
    world.receive(body("interview.delete", 3, NOON + 1), body("interview.create", 40, position=None))
    world.keep("unreadable", b"\x00\xff no json", 42)
    world.settle(DeliveryState.DEAD, world.ids("chat")[0], reason="channel is gone\nfor good")
    world.settle(DeliveryState.DELIVERED, *world.ids("sheet")[:5], reference="row 5")
    world.try_once("chat")
    connection = world.connection
    connection.execute(delete(delivery).where(delivery.c.id == max(row.id for row in world.rows(delivery))))
    leases.acquire(connection, "chat", "elsewhere:1", NOON)
    leases.pause(connection, "sheet", leases.Pause("person", "paused by an operator"))
    connection.execute(insert(note).values(sink="sheet", destination="there", key="row:1", value='{"at":1}'))
    connection.execute(insert(bucket).values(name="slack", full_at=NOON, burst_ms=5))
    connection.execute(insert(interview_word).values(word="li", interview_id=world.rows(interview)[0].id))
    connection.execute(insert(enrichment).values(interview_id=world.rows(interview)[0].id, due_at=NOON))
    connection.execute(insert(refusal).values(reason="signature", hour=NOON, count=2, last_at=NOON))
    connection.execute(insert(lease).values(name="periodic", lease_owner="p", lease_until=NOON, fence=3))
    task = {"name": "retention", "started_at": NOON, "ended_at": NOON, "next_at": NOON, "error": "", "result": "{}"}
    connection.execute(insert(periodic_task).values(task))
    connection.execute(insert(tombstone).values(interview_hash="ab", erased_at=NOON))
    connection.execute(insert(audit).values(at=NOON, actor="a", action="pause", target="chat", detail=""))
    asked = DecisionRequest(key="k", interview_id="i", decision=Decision.SCORE, value="4", actor="a", via=Via.SHEET)
    decisions.ask(connection, asked, NOON)
    connection.execute(insert(rollup).values(sink="chat", kind="interview.finish", hour=NOON, delivered=7))
    connection.execute(insert(meta), [{"key": "instance", "value": "4f1c0a00"}, {"key": "written", "value": "0"}])
    return world


@pytest.fixture
def copy(run, postgres_url):
    """Copies the store of the config file."""
    return lambda *words, to=postgres_url, **more: run("store", "copy", "--to", to, *words, **more)


def looks(run, words):
    """The output of a command without ages."""
    found = json.loads(run(*words, "--json").stdout)
    if isinstance(found, dict):
        del found["at"]
        for each in found["sinks"]:
            del each["oldest_age_seconds"]
    return found


def count(url, table):
    return rows(url, f"SELECT count(*) FROM {table}")[0][0]


def test_every_listing_is_the_same_afterwards(run, copy, filled, config, postgres_url):
    before = [looks(run, words) for words in LOOKS]
    done = copy()
    assert done.exit_code == 0, done.output
    config.write_text(config.read_text().replace("sqlite:///connector.db", postgres_url))
    assert [looks(run, words) for words in LOOKS] == before
    assert len(before[1]) == 42


def test_it_says_what_it_did_and_what_to_do_now(copy, filled):
    said = copy().stdout
    assert [line.split()[1] for line in said.splitlines() if line.startswith("event ")] == ["42"]
    assert "DIFFERS" not in said
    assert "CONNECTOR_STORE__URL" in said


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_every_table_but_the_heartbeats_is_copied(copy, filled, postgres_url, table):
    """All values are equal, except the leases, which the copy does not have."""
    filled.connection.execute(insert(process).values(name="p", role="all", started_at=NOON, seen_at=NOON))
    assert copy().exit_code == 0
    order = list(table.primary_key)
    before = [dict(row._mapping) for row in filled.connection.execute(select(table).order_by(*order))]
    assert before
    if "lease_until" in table.c:
        before = [row | {"lease_owner": None, "lease_until": 0} for row in before]
    engine = make_engine(postgres_url, 1)
    with engine.connect() as connection:
        after = [dict(row._mapping) for row in connection.execute(select(table).order_by(*order))]
    engine.dispose()
    assert after == ([] if table is process else before)


def test_the_report_as_json(copy, filled, config):
    found = json.loads(copy("--json").stdout)
    assert (found["equal"], found["from"]) == (True, str(config.parent / "connector.db"))
    [events] = [table for table in found["tables"] if table["table"] == "event"]
    assert events["rows"] == events["copied_rows"] == 42
    assert events["checksum"] == events["copied_checksum"]


def test_the_name_of_the_store_and_fences_stay_and_leases_do_not(copy, filled, postgres_url):
    """So that ids stay unique, and a lane of the old store cannot write for the new one."""
    copy()
    assert rows(postgres_url, "SELECT value FROM meta WHERE key = 'instance'") == [("4f1c0a00",)]
    found = rows(postgres_url, "SELECT lease_owner, lease_until, fence FROM sink WHERE name = 'chat'")
    assert found == [(None, 0, 1)]


def test_numbers_go_on_after_the_greatest_that_was_ever_given(copy, filled, postgres_url):
    """A delivery's id is an idempotency key, so it must not be used again, even if its row was deleted."""
    given = filled.connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'delivery'").scalar()
    assert given == max(row.id for row in filled.rows(delivery)) + 1
    copy()
    assert rows(postgres_url, "SELECT nextval('delivery_id_seq')") == [(given + 1,)]
    assert rows(postgres_url, "SELECT nextval('event_seq_seq')") == [(43,)]


def test_the_one_character_that_postgresql_cannot_hold_is_replaced(copy, world, postgres_url):
    """All other characters of a name stay, even those with a meaning for a terminal or a database."""
    world.receive(body())
    world.connection.execute(update(interview).values(position_name="a\x00b\\N\u202e\t"))
    assert copy().exit_code == 0
    assert rows(postgres_url, "SELECT position_name FROM interview") == [("a\ufffdb\\N\u202e\t",)]


def test_the_old_store_stays_as_it_is(copy, filled):
    filled.raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = filled.file.read_bytes()
    copy()
    assert filled.file.read_bytes() == before


def test_the_address_can_come_from_standard_input(copy, filled, postgres_url):
    """Where other users of the machine do not see its password."""
    assert copy(to="-", stdin=f"{postgres_url}\n").exit_code == 0
    assert count(postgres_url, "event") == 42


def test_a_store_that_is_served_is_refused(copy, filled, postgres_url):
    with StoreLock(filled.file):
        result = copy()
    assert result.exit_code == 2
    assert "stop it first" in result.stderr
    assert count(postgres_url, "event") == 0


def test_a_target_that_is_not_empty_is_refused(copy, filled, postgres_url):
    copy()
    result = copy()
    assert result.exit_code == 2
    assert "is not empty (attempt, audit, bucket, decision_request, delivery, enrichment, event, " in result.stderr
    assert count(postgres_url, "event") == 42


def test_a_target_without_tables_is_refused(copy, filled):
    with empty_database() as url:
        result = copy(to=url)
    assert result.exit_code == 1
    assert "run `connector migrate` once" in result.stderr


@pytest.mark.parametrize(
    ("to", "code", "says"),
    [
        ("postgresql://u:hidden@/n?host=/nowhere", 1, "no server answers"),
        ("mysql://u:hidden@h/n", 2, "--to must be postgresql://"),
        ("postgresql://u:hidden@h/n?nonsense=1", 2, "not the address of a PostgreSQL database"),
    ],
)
def test_an_unusable_target_is_reported_without_its_address(copy, filled, to, code, says):
    result = copy(to=to)
    assert result.exit_code == code
    assert says in result.stderr
    assert "hidden" not in result.output


def test_a_store_that_is_not_there_is_not_copied(copy, config):
    result = copy()
    assert result.exit_code == 1
    assert "so nothing is copied" in result.stderr
    assert [entry.name for entry in config.parent.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
def test_a_store_on_postgresql_needs_no_copy(copy, world):
    result = copy()
    assert result.exit_code == 2
    assert "PostgreSQL already" in result.stderr


@pytest.fixture
def changing_trigger(postgres_url):
    """A trigger in the database that changes the rows that are written to a table."""

    def meddle(table, does):
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                f"CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {does}; RETURN NEW; END'"
            )
            connection.execute(f"CREATE TRIGGER meddle BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION meddle()")

    yield meddle
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP FUNCTION IF EXISTS meddle CASCADE")


@pytest.mark.parametrize(
    "does", ["NEW.updated_at := NEW.updated_at + 1", "IF NEW.stage = ''deleted'' THEN RETURN NULL; END IF"]
)
def test_a_copy_that_differs_is_reported_and_not_kept(copy, filled, changing_trigger, postgres_url, does):
    """In a value or in the number of rows."""
    changing_trigger("interview", does)
    result = copy()
    assert result.exit_code == 1
    [line] = [line for line in result.stdout.splitlines() if "DIFFERS" in line]
    assert line.startswith("interview ")
    assert "nothing was kept" in result.stdout
    assert [count(postgres_url, table) for table in ("event", "interview", "sink")] == [0, 0, 0]


def test_a_failure_in_the_middle_leaves_nothing(copy, filled, changing_trigger, postgres_url):
    changing_trigger("sink", "RAISE EXCEPTION ''%'', NEW.reason")
    result = copy()
    assert result.exit_code == 1
    assert "paused by an operator" not in result.output
    assert [count(postgres_url, table) for table in ("event", "interview", "sink")] == [0, 0, 0]


def tally(found):
    made = Tally()
    for row in found:
        made.add(row)
    return made


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_count(found, random):
    mixed = list(found)
    random.shuffle(mixed)
    assert tally(mixed) == tally(found)


@given(ROWS, ROWS)
def test_other_rows_have_another_checksum(one, other):
    assert (tally(one).checksum == tally(other).checksum) == (sorted(map(repr, one)) == sorted(map(repr, other)))
