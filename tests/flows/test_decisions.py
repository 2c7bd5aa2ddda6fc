"""Decisions in a sheet and on the dashboard, while calls fail and the service is killed."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import closing

import httpx
import pytest

from connector.decision import Decision
from connector.emulators.faults import APPLY_503, DROP, HTML_503, REFUSE
from connector.emulators.google import EMAIL, GoogleEmulator
from connector.emulators.hireflix import Account, HireflixEmulator
from connector.hireflix.signature import sign
from connector.store import decisions
from connector.store.sqlite import database
from tests.flows.process import SECRET, Service

TAB = "Interviews"
TITLE = "Decision"
PASSWORD = "correct horse battery"
FAULTS = (DROP, APPLY_503, HTML_503, REFUSE)
TOML = """
[sinks.sheet]
type = "google_sheets"
spreadsheet = "{spreadsheet}"
credentials_file = "{key}"
api_url = "{google}"
decision_column = "Decision"
style = false
[dashboard]
password = "{password}"
"""


def now():
    return time.time_ns() // 1_000_000


def sometimes(seed):
    """A chooser of faults: one call in twenty fails, before or after it was applied."""
    chance = random.Random(seed)
    return lambda kind: chance.choice(FAULTS) if kind != "token" and chance.random() < 0.05 else None


class World:
    """The service as a process with a quick clock, a sheet and an account with twelve completed interviews."""

    def __init__(self, folder, google, hireflix, account):
        self.google, self.account = google, account
        self.spreadsheet = google.add_spreadsheet(editors=[EMAIL])
        self.person = google.person(self.spreadsheet)
        position = account.add_position("Baker")
        self.found = [account.invite(position, f"Ana {number}", at=now() - 60_000)[0] for number in range(12)]
        for each in self.found:
            account.complete(each, at=now() - 30_000)
        key = google.service_account_file(folder / "key.json")
        toml = TOML.format(spreadsheet=self.spreadsheet, key=key, google=google.url, password=PASSWORD)
        self.service = Service(
            folder,
            toml,
            module="tests.flows.quick_clock",
            QUICK_SINCE_MS=str(now()),
            CONNECTOR_HIREFLIX__API_KEY=hireflix.key,
            CONNECTOR_HIREFLIX__API_URL=hireflix.api_url,
        )

    def column(self, title):
        return [record.get(title) for record in self.google.records(self.spreadsheet, TAB)]

    def choose(self, choice, *found):
        place = self.google.header(self.spreadsheet, TAB).index(TITLE)
        rows = self.column("Interview ID")
        for each in found:
            self.person.edit(TAB, rows.index(each.id) + 1, place, choice)

    def note(self, found):
        place = self.google.header(self.spreadsheet, TAB).index(TITLE)
        row = self.column("Interview ID").index(found.id) + 1
        return self.google.cell(self.spreadsheet, TAB, row, place).get("note", "")

    def after_reads(self, count=3):
        """Waits until the sheet was read a few times more."""
        before = self.google.counts["read"]
        Service.until(lambda: self.google.counts["read"] >= before + count)

    def until_stage(self, stage, *found):
        Service.until(lambda: {each.stage for each in found} == {stage})

    def kill_during_work(self):
        """Kills the service after the next change in Hireflix, and starts it again."""
        before = len(self.account.changes)
        Service.until(lambda: len(self.account.changes) > before)
        self.service.kill()
        self.service.start()

    def answer(self):
        """What the page of decisions does when an operator confirms all."""
        with closing(database.connect(self.service.store)) as raw, database.through_sqlalchemy(raw) as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            for each in decisions.for_operators(connection):
                decisions.answer(connection, each.id, do=True, actor="web:ada", now=now())
            connection.exec_driver_sql("COMMIT")

    def decide(self, found, decision, value):
        """Decides on the page of the interview; a form that is sent twice counts once."""
        own = {"sec-fetch-site": "same-origin"}
        sent = {"interview": found.id, "decision": decision, "value": value, "key": "k"}
        with httpx.Client(base_url=self.service.url, trust_env=False, headers=own) as browser:
            browser.post("/sign-in", data={"password": PASSWORD, "then": "/"})
            answers = [browser.post("/actions/decide", data=sent).status_code for _ in range(2)]
        assert answers == [303, 303]

    def send_webhooks(self):
        """What Hireflix sends after the decisions."""
        with httpx.Client(trust_env=False) as client:
            for each in self.found:
                body = self.account.webhook("interview.status-change", each, now())
                headers = {"x-hireflix-signature": sign(SECRET, body)}
                assert client.post(self.service.hook, content=body, headers=headers).status_code == 202

    def audited(self):
        rows = self.service.query("SELECT target, detail FROM audit WHERE action = 'decide'")
        return Counter(row for row in rows if not row[1].startswith("confirm"))


@pytest.fixture
def world(tmp_path):
    account = Account(now)
    with GoogleEmulator() as google, HireflixEmulator(account) as hireflix:
        one = World(tmp_path, google, hireflix, account)
        with one.service:
            Service.until(
                lambda: TAB in google.titles(one.spreadsheet) and TITLE in google.header(one.spreadsheet, TAB)
            )
            one.after_reads()
            google.faults.choose(sometimes(1))
            hireflix.faults.choose(sometimes(2))
            yield one


@pytest.mark.timeout(240)
def test_each_decision_reaches_hireflix_once_and_the_audit_log_equals_hireflix(world):
    first, pasted, scored = world.found[:4], world.found[4:11], world.found[11]

    world.choose("Advance", *first[:2])
    world.choose("Reject", *first[2:])
    world.kill_during_work()
    world.until_stage("shortlisted", *first[:2])
    world.until_stage("discarded", *first[2:])
    world.person.sort(TAB, 0, descending=True)

    world.choose("Reject", *pasted)  # a paste waits for an operator
    Service.until(lambda: world.service.query("SELECT count(*) FROM decision_request WHERE state = 'held'")[0][0] == 7)
    assert {each.stage for each in pasted} == {"to_evaluate"}
    world.answer()
    world.kill_during_work()
    world.until_stage("discarded", *pasted)

    world.decide(scored, "score", "4.5")
    world.choose("Hold", first[0])
    world.until_stage("to_evaluate", first[0])
    world.send_webhooks()
    world.after_reads(4)

    open_requests = "SELECT count(*) FROM decision_request WHERE done_at IS NULL"
    Service.until(lambda: world.service.query(open_requests) == [(0,)])
    stages = {first[0].id: ["finalist", "finalist"], first[1].id: ["finalist"], scored.id: ["score"]}
    stages |= {each.id: ["archive"] for each in (*first[2:], *pasted)}
    assert Counter(world.account.changes) == Counter((name, id_) for id_, names in stages.items() for name in names)
    wanted = [(first[0].id, "shortlist"), (first[0].id, "back"), (first[1].id, "shortlist"), (scored.id, "score 4.5")]
    assert world.audited() == Counter([*wanted, *((each.id, str(Decision.DISCARD)) for each in (*first[2:], *pasted))])
    Service.until(lambda: all(world.note(each).startswith("Discarded in Hireflix") for each in pasted))
    Service.until(lambda: world.note(first[0]).startswith("Back to evaluation in Hireflix"))
    assert world.note(scored) == ""
