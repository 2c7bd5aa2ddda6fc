"""`explain`: which routes match an event, what changes, and what each sink would write, without a change."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connector.capabilities import ButtonPreview, CellPreview, MessagePreview, Preview
from connector.cli import app
from connector.store.schema import DeliveryState
from sinks.console import Console
from tests.cli.world import NOON, ON_BOTH, PostgresWorld, body

GRADUATE = {"id": "p-1", "name": "Graduate Program"}


@pytest.fixture
def file(tmp_path):
    """Writes a body to a file and returns its path as text."""

    def write(content):
        path = tmp_path / "event.json"
        path.write_bytes(content)
        return str(path)

    return write


def test_a_file_needs_no_store_and_makes_none(run, file, config):
    result = run("explain", file(body()))
    assert result.exit_code == 0
    assert sorted(entry.name for entry in config.parent.iterdir()) == ["config.toml", "event.json"]


def test_it_says_why_a_route_takes_an_event_and_why_not(run, file):
    shown = run("explain", file(body("interview.finish"))).stdout
    assert "yes  routes[0]: goes to sheet, chat" in shown
    assert "no   routes[1]: position 'Baker' (p-1) is none of: Graduate*" in shown


def test_each_sink_shows_what_it_would_write(run, file):
    """A sheet its cells, a chat its message."""
    shown = run("explain", file(body("interview.finish", position=GRADUATE))).stdout
    assert "sheet (workbook): a route matches" in shown
    assert "|   Candidate: Candidate 1" in shown
    assert "| 2026-08-01 12:00 UTC  Candidate 1 finished the interview · Graduate Program" in shown
    assert "graduates (console): a route matches" in shown


def test_a_title_with_a_colon_keeps_its_value(run, json_of, file, config):
    columns = 'columns = [{ field = "candidate_name", title = "Who: name" }]'
    text = config.read_text()
    config.write_text(text.replace('type = "workbook"', f'type = "workbook"\n{columns}', 1))
    path = file(body("interview.score-updated", score=4))
    shown = run("explain", path).stdout
    assert "|   Who: name: Candidate 1\n" in shown
    [effect] = [each for each in json_of("explain", path)["effects"] if each["sink"] == "sheet"]
    assert effect["preview"]["cells"][0] == {"title": "Who: name", "after": "Candidate 1", "before": None}


def test_no_text_of_a_preview_begins_a_line_that_looks_like_another_part(run, file, monkeypatch):
    async def preview(self, batch, context):
        cells = [CellPreview("A\nchat (console): B", "x\u2028y", before="p\rq")]
        return [Preview("one\ntwo", cells, [MessagePreview("C\nD", ["E\nF"], "G\nH", [ButtonPreview("I\nJ", "K\nL")])])]

    monkeypatch.setattr(Console, "preview", preview)
    lines = run("explain", file(body("interview.finish"))).stdout.partition("chat (console): a route matches\n")[2]
    assert [line[:4] for line in lines.splitlines()] == ["  | "] * 8


def test_a_sink_of_a_package_that_returns_no_preview_is_named_and_the_others_are_shown(run, file, monkeypatch):
    async def preview(self, batch, context):
        return ["a text"]

    monkeypatch.setattr(Console, "preview", preview)
    shown = run("explain", file(body("interview.finish"))).stdout
    assert "| No preview: TypeError" in shown
    assert "Candidate: Candidate 1" in shown


@ON_BOTH
def test_the_explanation_as_json(json_of, file, world):
    world.receive(body("interview.create", 1))
    found = json_of("explain", file(body("interview.score-updated", 1, NOON + 1, score=4)))
    assert [(one["field"], one["before"], one["after"]) for one in found["changes"]] == [
        ("score", None, 4),
        ("last_event", "interview.create", "interview.score-updated"),
    ]
    assert [verdict["matched"] for verdict in found["routes"]] == [True, False]
    assert [effect["sink"] for effect in found["effects"]] == ["sheet", "chat"]
    assert (found["kind"], found["interview_id"], found["stored_as"]) == ("event", "interview-1", None)


def test_an_older_event_changes_nothing(run, file, world):
    world.receive(body("interview.score-updated", 1))
    shown = run("explain", file(body("interview.create", 1, NOON - 1))).stdout
    assert "Changes nothing" in shown


@ON_BOTH
def test_a_stored_event_is_shown_with_its_deliveries(run, world):
    world.receive(body("interview.create", 1))
    world.settle(DeliveryState.DEAD, world.ids("chat")[0], reason="channel is gone")
    shown = run("explain", "1").stdout
    assert "interview.create, stored as event 1" in shown
    assert "dead, failed attempts: 2, channel is gone" in shown


def test_a_stored_event_is_explained_as_it_came(json_of, world):
    """With the state before the event, not with the present one."""
    world.receive(body("interview.create", 1), body("interview.score-updated", 1, NOON + 1, score=4))
    fields = {one["field"] for one in json_of("explain", "1")["changes"]}
    assert "candidate_name" in fields
    assert "score" not in fields


def test_a_body_that_is_stored_already_says_so(run, file, world):
    world.receive(body())
    assert "stored as event 1" in run("explain", file(body())).stdout


def test_a_state_sink_that_was_entered_earlier_gets_it_by_that(json_of, file, world, config):
    """Its route no longer matches, but its row still shows the newest state."""
    world.receive(body("interview.create", 1))
    config.write_text(
        config.read_text().replace('sinks = ["sheet", "chat"]', 'stages = ["deleted"]\nsinks = ["sheet", "chat"]')
    )
    [effect] = json_of("explain", file(body("interview.score-updated", 1, NOON + 1)))["effects"]
    assert (effect["sink"], effect["why"]) == ("sheet", "the sink shows the interview already")


def test_an_event_that_no_sink_gets(run, file, config):
    config.write_text(
        config.read_text().replace('sinks = ["sheet", "chat"]', 'stages = ["deleted"]\nsinks = ["sheet", "chat"]')
    )
    shown = run("explain", file(body("interview.create"))).stdout
    assert "stage pending is none of: deleted" in shown
    assert "No sink receives it." in shown


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no json", "Unreadable: the body is not JSON in UTF-8."),
        (b'{"event":"interview.create","data":{}}', "Unreadable: the interview id is missing."),
        (body("interview.paused"), "does not know the name of the event"),
    ],
)
def test_what_is_not_understood_is_explained_too(run, file, content, says):
    result = run("explain", file(content))
    assert result.exit_code == 0
    assert says in result.stdout
    assert "connector replay" in result.stdout


def test_a_date_that_is_not_used_is_reported(run, file):
    assert "undated: the time of receipt is used" in run("explain", file(body(at=None))).stdout


def test_standard_input_is_a_file(run):
    assert "interview-1" in run("explain", "-", stdin=body()).stdout


def test_a_hostile_payload_is_shown_harmless(run, file):
    shown = run("explain", file(body(candidate={"name": "\x1b[2J\u202eBob"}))).stdout
    assert "Bob" in shown
    assert not {"\x1b", "\u202e"} & set(shown)


@ON_BOTH
def test_an_event_that_is_not_there(run, world):
    result = run("explain", "77")
    assert result.exit_code == 2
    assert "the event 77 is missing; `connector events` lists them" in result.stderr


def test_an_event_id_needs_a_store(run, config):
    result = run("explain", "77")
    assert result.exit_code == 1
    assert [entry.name for entry in config.parent.iterdir()] == ["config.toml"]


def test_an_event_is_explained_from_its_parsed_fields(run, world):
    world.receive(body())
    before = run("explain", "1", "--json").stdout
    world.connection.exec_driver_sql("UPDATE event_body SET body = x'00'")
    assert run("explain", "1", "--json").stdout == before


def test_an_event_whose_data_is_gone(run, world):
    world.receive(body())
    world.connection.exec_driver_sql("DELETE FROM event_body")
    result = run("explain", "1")
    assert result.exit_code == 2
    assert "no longer stored" in result.stderr


def test_explaining_writes_nothing(run, world, config):
    world.receive(body())
    world.raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = world.file.read_bytes()
    run("explain", "1")
    assert world.file.read_bytes() == before
    assert not (config.parent / "sheet.xlsx").exists()


def has_reads(world):
    """Whether a transaction of another connection reads the store at this moment."""
    if isinstance(world, PostgresWorld):
        theirs = "datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        return world.connection.exec_driver_sql(f"SELECT count(*) FROM pg_stat_activity WHERE {theirs}").scalar() > 0
    return world.raw.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 1


@ON_BOTH
@pytest.mark.parametrize("what", ["body", "event"])
def test_no_read_is_open_while_a_sink_is_asked(run, file, world, monkeypatch, what):
    """A slow destination neither keeps the log of a SQLite store from starting again nor an old snapshot open."""
    world.receive(body("interview.finish", 1))
    found = []

    async def preview(self, batch, context):
        found.append(has_reads(world))
        return []

    monkeypatch.setattr(Console, "preview", preview)
    result = run("explain", "1" if what == "event" else file(body("interview.finish", 1, NOON + 1)))
    assert result.exit_code == 0
    assert found == [False]


def test_every_documented_payload_is_explained(run, tmp_path):
    from connector.hireflix import samples

    for name in samples.names():
        (tmp_path / "s.json").write_bytes(samples.sample(name))
        result = CliRunner().invoke(
            app, ["explain", "--json", "--config", str(tmp_path / "config.toml"), str(tmp_path / "s.json")]
        )
        assert json.loads(result.stdout)["name"] == name


def test_the_id_of_an_event_needs_no_right_to_read_the_working_folder(run, world, monkeypatch):
    """As after `sudo -u connector` in the folder of another user."""
    world.receive(body())

    exists = Path.exists

    def refused(path):
        if path.is_absolute():
            return exists(path)
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refused)
    assert "stored as event 1" in run("explain", "1").stdout


def test_a_number_that_no_event_can_have_is_the_name_of_a_file(run, world):
    result = run("explain", "1" * 40)
    assert result.exit_code == 2
    assert "cannot be read: No such file or directory" in result.stderr
