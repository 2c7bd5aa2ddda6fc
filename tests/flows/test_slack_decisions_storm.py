"""Clicks of two users in Slack, under faults of both sides and two kills: each decision reaches Hireflix once."""

from __future__ import annotations

import random
import time

import httpx
import pytest

from connector.emulators.faults import APPLY_503, DROP, HTML_503, REFUSE, TRUNCATE
from connector.emulators.hireflix import Account, HireflixEmulator
from connector.emulators.slack import SlackEmulator
from connector.hireflix.signature import sign
from tests.flows.process import SECRET, Service
from tests.flows.slack_decisions import ANA, BOB, slack_sink

INTERVIEWS = 20
FAULT_SHARE = 0.05


def now():
    return time.time_ns() // 1_000_000


class Storm:
    """A running service between an emulated channel and an emulated account, and users who click."""

    def __init__(self, folder, seed):
        self.chance = random.Random(seed)
        self.account = Account(now)
        self.hireflix = HireflixEmulator(self.account)
        self.slack = SlackEmulator()
        self.folder = folder
        self.wishes = {}

    def start(self):
        self.hireflix.start()
        self.slack.start()
        self.channel = self.slack.add_channel("recruiting")
        self.service = Service(
            self.folder,
            slack_sink(self.slack, self.channel, [ANA, BOB]),
            CONNECTOR_HIREFLIX__API_KEY=self.hireflix.key,
            CONNECTOR_HIREFLIX__API_URL=self.hireflix.api_url,
        )
        self.service.start()

    def stop(self):
        self.service.stop()
        self.slack.stop()
        self.hireflix.stop()

    def fill(self):
        """Creates finished interviews, chooses a decision for each, and waits for their messages."""
        position = self.account.add_position("Baker")
        with httpx.Client(trust_env=False) as client:
            for number in range(INTERVIEWS):
                found, _ = self.account.invite(position, f"Ana {number}", at=now() - 60_000)
                body = self.account.complete(found)
                headers = {"x-hireflix-signature": sign(SECRET, body)}
                assert client.post(self.service.hook, content=body, headers=headers).status_code == 202
                self.wishes[found.id] = self.chance.choice(("shortlist", "discard"))
        self.service.until(lambda: len(self.messages()) == INTERVIEWS)

    def messages(self):
        """The message of each interview, by its id."""
        found = [each for each in self.slack.messages(self.channel) if not each.is_reply]
        return {each.metadata["event_payload"]["i"]: each for each in found if each.metadata}

    def fail(self):
        """Some calls to Slack or Hireflix fail, in one of five ways."""
        faults = (DROP, APPLY_503, HTML_503, REFUSE, TRUNCATE)

        def choose(kind):
            is_hit = "socket" not in kind and self.chance.random() < FAULT_SHARE
            return self.chance.choice(faults) if is_hit else None

        self.hireflix.faults.choose(choose)
        self.slack.faults.choose(choose)

    def click(self, interview_id, user):
        """The clicks of a user, once or twice. A click that is not acknowledged is repeated."""
        wish = self.wishes[interview_id]
        message = self.messages()[interview_id]
        self.service.until(lambda: self.slack.open_sockets > 0)
        before = len(self.slack.views)
        try:
            envelope = self.slack.press(message, f"decide-{wish}", user).result(10)
        except KeyError:  # the message shows the decision of the other user already
            return
        if self.chance.random() < 0.3:
            self.slack.redeliver(envelope).result(10)
        if wish == "discard" and envelope.acknowledged[0]:
            opened = self.slack.workspace.view_opened
            with opened:
                is_open = opened.wait_for(lambda: len(self.slack.workspace.views) > before, timeout=10)
            if is_open:
                self.slack.submit(self.slack.views[-1], user, reason="No permit").result(10)

    def open_requests(self):
        return self.service.query("SELECT 1 FROM decision_request WHERE state = 'waiting'")

    def requests(self, interview_id):
        sql = "SELECT state FROM decision_request WHERE interview_id = '{}' ORDER BY id"
        return [state for (state,) in self.service.query(sql.format(interview_id))]


@pytest.fixture
def storm(tmp_path, request):
    made = Storm(tmp_path, request.param)
    made.start()
    yield made
    made.stop()


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("storm", range(3), indirect=True)
def test_each_decision_reaches_hireflix_once(storm):
    storm.fill()
    storm.fail()
    clicks = [(id_, user) for id_ in storm.wishes for user in (ANA, BOB)]
    storm.chance.shuffle(clicks)
    for number, (interview_id, user) in enumerate(clicks):
        if number in {len(clicks) // 3, 2 * len(clicks) // 3}:
            storm.service.kill()
            storm.service.start()
        storm.click(interview_id, user)
    storm.slack.faults.clear()
    storm.hireflix.faults.clear()
    storm.service.until(lambda: not storm.open_requests(), 300)

    audited = storm.service.query("SELECT target, detail FROM audit WHERE action = 'decide'")
    assert len(audited) > INTERVIEWS // 2
    for interview_id, wish in storm.wishes.items():
        done = [detail for target, detail in audited if target == interview_id]
        check(storm, interview_id, wish, done)


def check(storm, interview_id, wish, done):
    """Asserts that Hireflix has the chosen stage and the audit log has the decision, or that an operator must look at
    it.
    """
    found = storm.account.interviews[interview_id]
    sent = [name for name, id_ in storm.account.changes if id_ == interview_id]
    states = storm.requests(interview_id)
    if "done" in states:
        assert sent == (["finalist"] if wish == "shortlist" else ["comment", "archive"]), states
        assert found.stage == ("shortlisted" if wish == "shortlist" else "discarded")
        assert done == [wish]
    else:
        assert set(states) <= {"unclear"}
        assert len(found.comments) <= 1
        assert done == []
