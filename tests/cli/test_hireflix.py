"""`connector hireflix`: the webhook by API, why no event arrives, and the report of a recording."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys

import httpx
import pytest

from connector.decision import Decision, DecisionRequest, Via
from connector.emulators.hireflix import Account, HireflixEmulator
from connector.emulators.hireflix.account import Webhook
from connector.hireflix import EVENT_NAMES
from connector.hireflix.signature import sign
from connector.operations.hireflix_record import Recorded, learned
from connector.store import decisions
from connector.store.schema import decision_request
from tests.cli.world import NOON
from tests.flows.process import Service

URL = "https://hooks.example.test/webhooks/hireflix"
SECRET = "hush-hush"
"""As in the configuration of the tests."""


@pytest.fixture
def account():
    return Account(lambda: NOON, secret=SECRET)


@pytest.fixture
def hireflix(account):
    with HireflixEmulator(account) as emulator:
        yield emulator


@pytest.fixture
def call(run, hireflix):
    """Runs a command of the group with an API key."""
    key = {"CONNECTOR_HIREFLIX__API_KEY": hireflix.key, "CONNECTOR_HIREFLIX__API_URL": hireflix.api_url}
    return lambda *words: run("hireflix", *words, **key)


@pytest.fixture
def hook(account):
    account.webhooks["h"] = Webhook("h", URL, sorted(EVENT_NAMES))
    return account.webhooks["h"]


@pytest.fixture
def page(respx_mock, hireflix):
    """The public address, which the service answers."""
    respx_mock.route(host="127.0.0.1").pass_through()
    text = "This is the Hireflix webhook receiver. It works; Hireflix posts its events here.\n"
    return respx_mock.get(URL).mock(return_value=httpx.Response(200, text=text))


def findings(call, *words):
    result = call("doctor", "--json", *words)
    return {found["what"]: found for found in json.loads(result.stdout)}, result.exit_code


def problems(call, *words):
    found, _ = findings(call, *words)
    return [each["what"] for each in found.values() if each["level"] == "problem"]


def test_a_webhook_is_created_once(call, account):
    assert call("webhook", "--create", URL).exit_code == 0
    assert [(each.url, each.active) for each in account.webhooks.values()] == [(URL, True)]

    again = call("webhook", "--create", URL)
    assert again.exit_code == 2
    assert len(account.webhooks) == 1


def test_changes_of_the_webhook_are_in_the_audit_log(call, run, world):
    call("webhook", "--create", URL)
    call("webhook", "--activate")
    rows = json.loads(run("audit", "--json").stdout)
    assert [(row["action"], row["target"], row["detail"]) for row in rows] == [
        ("webhook", URL, "activated"),
        ("webhook", URL, "created"),
    ]


def test_a_decision_is_made_by_command(call, account, world):
    found, _ = account.invite(account.add_position("Baker"), "Ana García")
    account.complete(found)
    assert call("decide", found.id, "shortlist").stdout == "done: shortlisted\n"
    assert call("decide", found.id, "shortlist").stdout == "nothing to do: shortlisted\n"


@pytest.fixture
def held(world):
    """The ids of two decisions that an operator must confirm."""
    asked = [
        DecisionRequest(
            key=key,
            interview_id=f"interview-{key}",
            decision=Decision.DISCARD,
            value="No permit",
            actor="sheet",
            via=Via.SHEET,
            hold="8 rows changed at once",
        )
        for key in "12"
    ]
    return [decisions.ask(world.connection, each, NOON).id for each in asked]


def states(world):
    return [row.state for row in world.rows(decision_request)]


def test_decisions_that_wait_for_an_operator_are_listed(run, held):
    first, _ = json.loads(run("hireflix", "decisions", "--json").stdout)
    assert first == {
        "id": held[0], "interview": "interview-1", "decision": "discard", "state": "held", "actor": "sheet",
        "via": "sheet", "since": NOON, "reason": "8 rows changed at once",
    }  # fmt: skip


def test_the_list_of_decisions_shows_no_text_of_a_comment(run, held):
    printed = run("hireflix", "decisions").stdout
    assert "8 rows changed at once" in printed
    assert "No permit" not in printed


def test_a_decision_that_waits_is_carried_out_or_dropped_by_command(run, held, world):
    result = run("hireflix", "decisions", "--do", str(held[0]), "--drop", str(held[1]))
    assert result.stdout == f"decision {held[0]}: the service carries it out\ndecision {held[1]}: dropped\n"
    assert states(world) == ["waiting", "dropped"]


def test_answers_to_decisions_are_in_the_audit_log(run, held):
    run("hireflix", "decisions", "--do", str(held[0]), "--drop", str(held[1]))
    rows = json.loads(run("audit", "--json").stdout)
    assert [(row["action"], row["target"], row["detail"]) for row in rows] == [
        ("decide", "interview-2", "drop discard"),
        ("decide", "interview-1", "confirm discard"),
    ]


def test_an_answer_changes_nothing_when_one_decision_does_not_wait(run, held, world):
    result = run("hireflix", "decisions", "--do", str(held[0]), "--drop", "99")
    assert result.exit_code == 2
    assert "no decision with the id 99 waits for an operator" in result.stderr
    assert states(world) == ["held", "held"]


def test_a_decision_cannot_be_carried_out_and_dropped(run, held, world):
    assert run("hireflix", "decisions", "--do", str(held[0]), "--drop", str(held[0])).exit_code == 2
    assert states(world) == ["held", "held"]


def test_an_address_with_another_path_is_refused(call, account):
    result = call("webhook", "--create", "https://hooks.example.test/other")
    assert result.exit_code == 2
    assert "/webhooks/hireflix" in result.stderr
    assert account.webhooks == {}


def test_an_inactive_webhook_is_switched_on_with_all_events(call, account, hook):
    hook.active, hook.events = False, ["interview.finish"]
    assert call("webhook", "--activate").exit_code == 0
    assert hook.active
    assert set(hook.events) == EVENT_NAMES


def test_a_webhook_gets_a_new_address(call, hook):
    new = "https://new.example.test/webhooks/hireflix"
    assert call("webhook", "--activate", "--url", new).exit_code == 0
    assert hook.url == new


def test_the_key_is_printed_as_the_variable_to_set(call):
    assert call("webhook", "--secret").stdout == f"CONNECTOR_HIREFLIX__WEBHOOK_SECRETS='[\"{SECRET}\"]'\n"


def test_without_operations_in_the_api_the_steps_are_printed(run, account):
    with HireflixEmulator(account, webhook_operations=False) as emulator:
        key = {"CONNECTOR_HIREFLIX__API_KEY": emulator.key, "CONNECTOR_HIREFLIX__API_URL": emulator.api_url}
        result = run("hireflix", "webhook", "--create", URL, **key)
    assert result.exit_code == 1
    assert "Create new webhook" in result.stderr
    assert URL in result.stderr


def test_a_working_webhook_has_no_problem(call, account, hook, page, world):
    found, code = findings(call)
    assert [each["what"] for each in found.values() if each["level"] != "ok"] == []
    assert code == 0


def test_an_inactive_webhook_is_a_problem(call, hook, page, world):
    hook.active = False
    assert problems(call) == [f"the webhook to {URL} is not active"]


def test_missing_events_are_a_problem(call, hook, page, world):
    hook.events.remove("interview.delete")
    assert problems(call) == ["the webhook does not send interview.delete"]


def test_a_missing_webhook_is_a_problem_with_the_command_to_create_it(call, page, world):
    found, code = findings(call, "--url", URL)
    assert code == 1
    assert f"--create {URL}" in found["no webhook in Hireflix has the path of this service"]["fix"]


def test_another_key_is_a_problem_and_is_not_printed(call, account, hook, page, world):
    account.secret = "another-key"
    result = call("doctor")
    assert "the key of Hireflix is none of webhook_secrets" in result.stdout
    assert "another-key" not in result.output
    assert SECRET not in result.output


def test_an_address_that_does_not_answer_is_a_problem(call, hook, page, world):
    page.mock(side_effect=httpx.ConnectError("no route"))
    assert problems(call) == [f"{URL} cannot be reached from here (ConnectError)"]


def test_an_address_of_something_else_is_a_problem(call, hook, page, world):
    page.mock(return_value=httpx.Response(404, text="nginx"))
    assert problems(call) == [f"{URL} answers 404, but not as this service does"]


def logged(body, signature, status=401):
    return {
        "id": "1",
        "date": NOON,
        "status": "failed" if status >= 300 else "success",
        "request": {"body": body, "headers": {"signature": signature}},
        "response": {"status": status, "body": ""},
    }


BODY = '{"event": "interview.finish", "date": 1}'
COMPACT = BODY.replace(": ", ":").replace(", ", ",")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (logged(BODY, sign(SECRET, BODY.encode())), "Hireflix signed the logged body correctly"),
        (logged(BODY, sign(SECRET, COMPACT.encode())), "Hireflix signed the body written as compact JSON"),
        (logged(f"{BODY}\n", sign(SECRET, BODY.encode())), "Hireflix signed the body without the blanks around it"),
        (logged(BODY, sign("other", BODY.encode())), "no form of the body has its signature"),
    ],
    ids=["proxy", "compact", "trimmed", "key"],
)
@pytest.mark.usefixtures("page", "world")
def test_the_signature_of_a_refused_request_says_the_cause(call, hook, entry, expected):
    hook.logs.append(entry)
    found = problems(call)
    assert any(what.startswith(expected) for what in found), found


def test_a_refused_body_is_checked_without_the_api(run, tmp_path):
    file = tmp_path / "body.json"
    file.write_text(f"{BODY}\n")
    found = run("hireflix", "doctor", "--body", str(file), "--signature", sign(SECRET, BODY.encode()))
    assert found.exit_code == 1
    assert "Hireflix signed the body without the blanks around it" in found.stdout


def test_accepted_requests_in_the_log_are_no_problem(call, hook, page, world):
    hook.logs.append(logged(BODY, sign(SECRET, BODY.encode()), status=202))
    assert problems(call) == []


def test_what_cannot_be_checked_is_unknown_and_no_problem(run, account, page, world):
    with HireflixEmulator(account, shows_schema=False) as emulator:
        key = {"CONNECTOR_HIREFLIX__API_KEY": emulator.key, "CONNECTOR_HIREFLIX__API_URL": emulator.api_url}
        result = run("hireflix", "doctor", "--url", URL, **key)
    assert result.exit_code == 0
    assert "unknown  the API of Hireflix shows no operation to list webhooks" in result.stdout


def record(body, at, answered=202, secret=SECRET):
    return Recorded(at, answered, {"x-hireflix-signature": sign(secret, body), "user-agent": "probe"}, body.decode())


def test_a_recording_says_what_is_learned(account):
    found, created = account.invite(account.add_position("Baker"), "Ana García")
    finished, changed = account.complete(found), account.shortlist(found)
    records = [
        record(created, NOON + 100, answered=500),
        record(created, NOON + 10_100),
        record(changed, NOON + 20_000),
        record(finished, NOON + 21_000),
    ]

    said = learned(records, [SECRET])

    assert "signed requests: 4 of 4" in said
    assert "signatures over the raw body with a configured secret: 4 of 4" in said
    assert "answered with 500: 1; events that came more than once: 1" in said
    assert "  repeated after 10 s" in said
    assert "interviews with a finish and a status change: 1" in said
    assert not any("Ana" in line for line in said)


def test_requests_are_recorded_until_the_signal(config, account, tmp_path):
    """Over real HTTP, as a process."""
    folder = tmp_path / "recorded"
    _, created = account.invite(account.add_position("Baker"), "Ana García")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    words = ["hireflix", "record", "--config", str(config), "--folder", str(folder), "--port", "0", "--failures", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "connector.cli", *words], stdout=subprocess.PIPE, text=True, env=environ
    )
    address = next(word for line in process.stdout for word in line.split() if word.startswith("http://127"))
    answers = [httpx.post(address, content=created, trust_env=False).status_code for _ in range(2)]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)

    assert answers == [500, 202]
    assert process.returncode == 0
    assert "signed requests: 0 of 2" in rest
    assert [stat.S_IMODE(file.stat().st_mode) for file in sorted(folder.iterdir())] == [0o600, 0o600]
    Service.until(lambda: process.poll() is not None)
