"""Commands that list: their tables and JSON, and that they create nothing."""

import json
import socket

import msgspec
import pytest
from sqlalchemy import update

from connector.operations.store_access import now
from connector.store import processes
from connector.store.processes import Process, TaskRun
from connector.store.schema import DeliveryState, delivery, sink
from tests.cli.world import DAY, NOON, ON_BOTH, body

LISTINGS = ["events", "interviews", "deliveries", "attempts"]
HOSTILE = "[red]Bob\x1b[2J\u202e"


@pytest.fixture
def filled(world):
    """A finish of a graduate and an invitation, the first delivery of the chat dead."""
    world.receive(
        body("interview.finish", 1, position={"id": "p-1", "name": "Graduate Program"}),
        body("interview.create", 2, position={"id": "p-2", "name": "Baker"}),
    )
    world.settle(DeliveryState.DEAD, world.ids("chat")[0], reason="channel is gone")
    world.try_once("chat")
    return world


@pytest.mark.parametrize("command", [*LISTINGS, "status"])
def test_a_store_that_is_not_there_is_not_made(run, config, command):
    result = run(command)
    assert result.exit_code == 1
    assert "run `connector serve` once" in result.stderr
    assert [entry.name for entry in config.parent.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("command", LISTINGS)
@ON_BOTH
def test_an_empty_store_has_nothing_to_list(run, world, command):
    result = run(command)
    said = "No attempts found; deliveries that succeed at the first attempt are only counted.\n"
    assert (result.exit_code, result.stdout) == (0, said if command == "attempts" else f"No {command} found.\n")


@pytest.mark.parametrize("command", LISTINGS)
def test_an_empty_list_is_json_too(json_of, world, command):
    assert json_of(command) == []


@ON_BOTH
def test_events_as_json(json_of, filled):
    assert json_of("events", "--name", "interview.finish") == [
        {
            "id": 1,
            "name": "interview.finish",
            "kind": "event",
            "interview_id": "interview-1",
            "candidate_name": "Candidate 1",
            "position_id": "p-1",
            "position_name": "Graduate Program",
            "occurred_at": NOON,
            "received_at": NOON,
            "mark": "",
            "reason": "",
        }
    ]


@ON_BOTH
def test_interviews_as_json(json_of, filled):
    assert json_of("interviews", "--interview", "interview-1") == [
        {
            "id": "interview-1",
            "candidate_name": "Candidate 1",
            "position_id": "p-1",
            "position_name": "Graduate Program",
            "stage": "to_evaluate",
            "stage_word": "To evaluate",
            "score": None,
            "completed_at": NOON,
            "updated_at": NOON,
            "last_event": "interview.finish",
            "sinks": ["sheet"],
        }
    ]


@ON_BOTH
def test_deliveries_as_json(json_of, filled):
    assert json_of("deliveries", "--state", "dead") == [
        {
            "id": filled.ids("chat")[0],
            "sink": "chat",
            "state": "dead",
            "key": "interview-1",
            "interview_id": "interview-1",
            "candidate_name": "Candidate 1",
            "position_id": "p-1",
            "position_name": "Graduate Program",
            "event_id": 1,
            "event_name": "interview.finish",
            "attempts": 2,
            "since": NOON,
            "not_before": NOON + 86_400_000,
            "done_at": NOON + 1000,
            "reason": "channel is gone",
            "reference": "",
            "purpose": "",
            "silent": False,
        }
    ]


@ON_BOTH
def test_attempts_as_json(json_of, filled):
    assert json_of("attempts") == [
        {
            "id": 1,
            "sink": "chat",
            "batch": "b-1",
            "started_at": NOON,
            "duration_ms": 40,
            "outcome": "retry later",
            "reason": "http 503",
            "count": 1,
            "status": None,
            "answer": None,
        }
    ]


@ON_BOTH
def test_status_as_json(json_of, filled):
    """The shape that programs rely on."""
    found = json_of("status")
    assert found["source"] == {
        "events": 2,
        "interviews": 2,
        "unreadable": 0,
        "unknown": 0,
        "last_received_at": NOON,
        "refused": [],
    }
    chat = next(sink for sink in found["sinks"] if sink["name"] == "chat")
    assert {name: chat[name] for name in ("type", "state", "reason", "pending", "dead", "last_delivered_at")} == {
        "type": "console",
        "state": "stopped",
        "reason": "no running process delivers",
        "pending": 1,
        "dead": 1,
        "last_delivered_at": None,
    }
    assert chat["oldest_age_seconds"] > 0


@ON_BOTH
def test_status_says_what_to_do(run, filled):
    filled.keep("unknown", b"{}", 3)
    filled.connection.exec_driver_sql(
        "UPDATE sink SET paused = 'broken', reason = 'not shared', fix = 'share it' WHERE name = 'sheet'"
    )
    shown = run("status").stdout
    assert "3 events of 2 interviews, the last at 2026-08-01 12:00:00 UTC" in shown
    assert "source: 1 event of kind unknown; stored and not delivered\n  connector events --kind unknown" in shown
    assert "sheet: paused: not shared; 2 deliveries wait, nothing is lost\n  share it" in shown
    assert "chat: 1 dead letter; not tried again" in shown
    assert "  connector deliveries --sink chat --state dead" in shown


@ON_BOTH
def test_events_and_interviews_are_searched_by_the_candidate(json_of, filled):
    filled.receive(body(number=3, candidate={"name": "Zoë Núñez", "email": "zn@example.org"}))
    for words in ("nunez z", "ZN@example"):
        assert [row["id"] for row in json_of("interviews", "--search", words)] == ["interview-3"]
        assert [row["interview_id"] for row in json_of("events", "--search", words)] == ["interview-3"]
    assert json_of("interviews", "--search", "somebody else") == []


@ON_BOTH
def test_one_event_is_shown_without_personal_data(run, json_of, filled):
    """Neither in its body nor above it, unless the operator asks for the body as it arrived."""
    shown = run("event", "1").stdout
    assert "CANDIDATE  [hidden]" in shown
    assert "NAME       interview.finish" in shown
    assert '"name": "Graduate Program"' in shown
    assert '"email": "[hidden]"' in shown
    assert "candidate1@example.com" not in shown
    assert '"candidate1@example.com"' in run("event", "1", "--raw").stdout
    assert "candidate1@example.com" not in json_of("event", "1")["body"]
    assert json_of("event", "1")["event"]["candidate_name"] == "[hidden]"


def test_a_body_that_is_no_json_or_gone_is_explained(run, filled):
    filled.keep("unreadable", b"\xff\x1b[2J name=Ann", 3)
    assert "14 bytes that are not JSON; --raw shows them" in run("event", "3").stdout
    assert "\x1b" not in run("event", "3", "--raw").stdout
    filled.connection.exec_driver_sql("DELETE FROM event_body WHERE event_seq = 1")
    assert "the body was deleted" in run("event", "1", "--raw").stdout


def test_an_unknown_event_is_bad_usage(run, filled):
    result = run("event", "99")
    assert (result.exit_code, "`connector events` lists them" in result.stderr) == (2, True)


def test_attempts_show_the_reply_of_the_destination(run, filled):
    filled.try_once("chat", outcome="broken", reason="no access", status=403, answer="PERMISSION_DENIED: the caller")
    shown = run("attempts").stdout.splitlines()[2]
    assert shown.endswith("no access   403      PERMISSION_DENIED: the caller")


def test_status_shows_the_last_failure_in_the_words_of_the_destination(run, filled):
    """Until something is delivered."""
    filled.try_once("chat", reason="http 500", status=500, answer="the server is on fire")
    assert "chat: the last call failed: http 500" in run("status").stdout
    assert "  answer: 500 the server is on fire" in run("status").stdout
    filled.connection.execute(update(sink).where(sink.c.name == "chat").values(last_delivered_at=NOON + 1))
    assert "on fire" not in run("status").stdout


def test_without_a_running_service_no_sink_is_ok(run, filled):
    filled.settle_all()
    shown = run("status").stdout
    assert shown.startswith("Service: NOT running\n")
    assert {sink["state"] for sink in json.loads(run("status", "--json").stdout)["sinks"]} == {"stopped"}
    processes.beat(filled.connection, Process("one", "all", now(), now(), host="here", pid=7, version="1.2"))
    shown = run("status").stdout
    assert shown.startswith("Service: running since ")
    assert "UTC, version 1.2, process 7 on here\n" in shown
    assert {sink["state"] for sink in json.loads(run("status", "--json").stdout)["sinks"]} == {"ok"}


@pytest.mark.parametrize(
    ("started_before", "host", "warned"),
    [(True, socket.gethostname(), True), (False, socket.gethostname(), False), (True, "another-machine", False)],
)
def test_status_warns_of_settings_that_changed_after_the_service_of_this_machine_started(
    run, filled, started_before, host, warned
):
    """The service reads its settings at the start only, so that an edited file has no effect until a restart."""
    started_at = filled.file.with_name("config.toml").stat().st_mtime * 1000 + (-60_000 if started_before else 60_000)
    processes.beat(filled.connection, Process("one", "all", round(started_at), now(), host=host))
    found = [each["what"] for each in json.loads(run("status", "--json").stdout)["troubles"]]
    assert ("config.toml changed after the service had started" in found) is warned
    assert ("  run `connector check`, then restart the service\n" in run("status").stdout) is warned


def test_status_says_that_the_disk_of_the_store_is_almost_full(run, filled, disk):
    """The service cannot store on a full disk that it refuses events."""
    assert "the disk of the store" not in run("status").stdout
    disk[0] = 2_000_000
    assert "service: the disk of the store has 2 MB free of 100,000 MB; without space" in run("status").stdout


def test_refused_requests_are_shown_with_time_and_remedy(run, world):
    """They arrive with the heartbeat of the process that refused them."""
    process = Process("one", "all", now(), now())
    for count in (2, 1):
        processes.beat(world.connection, process, {"signature": count})
    processes.beat(world.connection, msgspec.structs.replace(process, seen_at=now() - 2 * DAY), {"host": 1})
    shown = run("status").stdout
    assert "3 requests refused: signature, in the last 24 hours, the last at 20" in shown
    assert "[hireflix] webhook_secrets" in shown
    assert "host" not in shown.replace("hosts", "")


def test_one_event_is_counted_in_the_singular(run, world):
    world.receive(body())
    assert "Source: 1 event of 1 interview, the last" in run("status").stdout


@pytest.mark.parametrize(
    ("reason", "why"),
    [("not shared", "sink paused: not shared"), ("paused by an operator", "sink paused: by an operator")],
)
def test_a_delivery_that_waits_for_a_paused_sink_says_so(run, filled, reason, why):
    """A delivery with its own reason shows only that."""
    filled.connection.exec_driver_sql(f"UPDATE sink SET paused = 'broken', reason = '{reason}' WHERE name = 'chat'")
    assert run("deliveries", "--sink", "chat", "--state", "pending").stdout.splitlines()[2].endswith(why)
    assert run("deliveries", "--sink", "chat", "--state", "dead").stdout.splitlines()[2].endswith("channel is gone")
    assert "sink paused" not in run("deliveries", "--sink", "sheet").stdout


def test_status_shows_a_sink_that_is_configured_no_more(json_of, filled, config):
    config.write_text(config.read_text().replace("graduates", "alumni"))
    assert [sink["state"] for sink in json_of("status")["sinks"] if sink["name"] == "graduates"] == ["orphaned"]


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("events", ["--position", "graduate*"], 1),
        ("events", ["--kind", "unreadable"], 0),
        ("events", ["--interview", "interview-2"], 1),
        ("events", ["--stage", "to_evaluate"], 1),
        ("events", ["--since", "2026-08-02"], 0),
        ("events", ["--since", "2026-08-01T12:00", "--until", "2026-08-01T12:01"], 2),
        ("events", ["--limit", "1"], 1),
        ("interviews", ["--sink", "sheet"], 2),
        ("interviews", ["--stage", "pending"], 1),
        ("interviews", ["--position", "p-1"], 1),
        ("interviews", ["--until", "2026-08-01"], 0),
        ("deliveries", ["--sink", "graduates"], 1),
        ("deliveries", ["--sink", "chat", "--state", "pending"], 1),
        ("deliveries", ["--event", "1"], 3),
        ("deliveries", ["--event", "1", "--name", "interview.create"], 0),
        ("deliveries", ["--interview", "interview-2"], 2),
        ("deliveries", ["--position", "baker", "--sink", "sheet"], 1),
        ("deliveries", ["--stage", "pending", "--sink", "chat"], 1),
        ("attempts", ["--sink", "sheet"], 0),
        ("attempts", ["--since", "2026-08-01"], 1),
    ],
)
@ON_BOTH
def test_every_filter_reaches_the_store(json_of, filled, command, words, expected):
    assert len(json_of(command, *words)) == expected


@pytest.mark.parametrize("command", ["interviews", "deliveries", "attempts"])
def test_a_misspelt_sink_is_an_error_and_not_an_empty_list(run, filled, command):
    result = run(command, "--sink", "sheeet")
    assert result.exit_code == 2
    assert "unknown sink 'sheeet'; did you mean sheet?" in result.stderr


def test_a_time_that_is_none_is_bad_usage(run, filled):
    result = run("events", "--since", "teatime")
    assert result.exit_code == 2
    assert "use 30m, 2h" in result.stderr


def test_a_table_says_when_there_is_more(run, filled):
    assert "There are more rows" in run("events", "--limit", "1").stderr
    assert "There are more rows" not in run("events", "--limit", "2").stderr


@pytest.mark.parametrize("command", [*LISTINGS, "audit"])
def test_a_list_continues_behind_its_last_row(run, filled, config, command):
    """Page by page it has the rows of one long page, in the same order."""
    if command == "audit":
        for _ in range(2):
            run("pause", "chat"), run("resume", "chat")
    whole = json.loads(run(command, "--json").stdout)
    rows, after = [], []
    while True:
        result = run(command, "--json", "--limit", "1", *after)
        assert result.exit_code == 0
        rows += json.loads(result.stdout)
        if "There are more rows" not in result.stderr:
            break
        after = ["--after", result.stderr.partition("--after ")[2].partition(",")[0].strip("'")]
    assert rows == whole
    assert rows


@pytest.mark.parametrize("place", ["x", "1.x", "", "."])
def test_a_place_that_no_list_printed_is_bad_usage(run, filled, place):
    result = run("events", "--after", place)
    assert result.exit_code == 2
    assert "--after takes the place that the same list printed" in result.stderr


def test_times_are_shown_in_the_configured_zone(run, filled, config):
    config.write_text(f'timezone = "Europe/Madrid"\n{config.read_text()}')
    assert "2026-08-01 14:00:00" in run("events").stdout


@pytest.mark.parametrize("command", ["events", "interviews", "deliveries"])
def test_a_hostile_name_is_shown_harmless(run, world, command):
    world.receive(body(candidate={"name": HOSTILE}, position={"id": "p", "name": HOSTILE}))
    shown = run(command).stdout
    assert "[red]Bob\ufffd[2J\ufffd" in shown
    assert not {"\x1b", "\u202e"} & set(shown)


def test_json_keeps_a_hostile_name_as_it_is_but_escaped(run, world):
    """A program gets what was sent; a terminal that shows the document gets no control character."""
    world.receive(body(candidate={"name": HOSTILE}))
    shown = run("interviews", "--json").stdout
    assert json.loads(shown)[0]["candidate_name"] == HOSTILE
    assert not {"\x1b", "\u202e"} & set(shown)


def test_a_delivery_without_an_event_is_named_by_its_purpose(run, filled):
    """One without a purpose fills a destination with what the store holds."""
    filled.connection.execute(update(delivery).where(delivery.c.sink == "chat").values(event_seq=None))
    second = filled.ids("chat")[1]
    filled.connection.execute(update(delivery).where(delivery.c.id == second).values(purpose="reminder"))
    shown = run("deliveries", "--sink", "chat").stdout.splitlines()
    assert [" follow-up: reminder " in shown[2], " backfill " in shown[3]] == [True, True]


def test_status_counts_the_deliveries_that_wait_for_a_digest(run, filled):
    filled.settle(DeliveryState.WAITING, filled.ids("chat")[1], wait_group="digest", reason="digest")
    titles, _, *rows = run("status").stdout.splitlines()[2:]
    start = titles.index("WAITING")
    [chat] = [row for row in rows if row.startswith("chat ")]
    assert chat[start:].split()[0] == "1"
    assert "digest" in chat


def test_looking_changes_nothing(run, filled):
    before = filled.file.read_bytes()
    for command in (*LISTINGS, "status"):
        assert run(command).exit_code == 0
    assert filled.file.read_bytes() == before


def test_looking_does_not_wait_for_a_writer(run, filled):
    """A long transaction of another process does not delay a list."""
    filled.raw.execute("BEGIN IMMEDIATE")
    assert run("events").exit_code == 0
    filled.raw.execute("ROLLBACK")


def test_a_file_that_is_not_a_store_is_reported(run, config):
    (config.parent / "connector.db").write_bytes(b"not a database at all, but long enough to be read as one" * 40)
    result = run("status")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "not a database" in result.stderr


def test_an_empty_file_is_not_a_store_yet(run, config):
    (config.parent / "connector.db").touch()
    result = run("status")
    assert result.exit_code == 1
    assert "connector serve" in result.stderr


@ON_BOTH
def test_status_shows_the_last_run_of_periodic_tasks(run, json_of, world):
    done = TaskRun("retention", NOON, NOON + 1000, NOON + 3_600_000, "", {"bodies": 3, "attempts": 1})
    failed = TaskRun("alerts", NOON, NOON + 1000, NOON + 60_000, "the store was unavailable")
    for each in (done, failed):
        processes.put_run(world.connection, each, ())
    lines = run("status").stdout.splitlines()
    assert any("retention" in line and "bodies: 3, attempts: 1" in line and "13:00:00" in line for line in lines)
    assert any("alerts" in line and "failed: the store was unavailable" in line for line in lines)
    assert [each["name"] for each in json_of("status")["tasks"]] == ["alerts", "retention"]
