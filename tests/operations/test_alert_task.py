"""Alerts through a real service and its store: to Slack, never through the sink that failed, and by e-mail."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import insert, update

from connector.app import running
from connector.capabilities import Notice
from connector.config import MailSettings, load
from connector.delivery.periodic import TaskContext
from connector.emulators.slack import SlackEmulator
from connector.hireflix.payload import read
from connector.operations.alert_task import Alerting, MailError, message_of, send_mail, silence
from connector.store import leases, processes
from connector.store.leases import Pause
from connector.store.processes import Process
from connector.store.schema import PauseKind, event, sink
from connector.store.sqlite.store import SqliteStore
from connector.testing import START
from tests.delivery.rig import WaitingClock
from tests.smtp import HOST, mail_server
from tests.store.kit import routing_table
from tests.stores import make_store_file

SECRET = "hush-hush"
HOUR = 3_600_000
WEEK = 7 * 24 * HOUR
CHAT = """
[sinks.{name}]
type = "slack"
token = "{token}"
channel = "{channel}"
api_url = "{url}"
"""
MAIL = """
[alerts.email]
host = "{host}"
port = {port}
security = "none"
sender = "connector@example.org"
recipients = ["ops@example.org", "ana@example.org"]
"""


@pytest.fixture
def slack():
    with SlackEmulator() as emulator:
        yield emulator


@pytest.fixture
def hiring(slack):
    """The bot of the sink `hiring`, which a test may break."""
    return slack.add_token("xoxb-2-hiring")


def configured(folder, slack, alerts, mail=""):
    """Two chats: `hiring` gets all events, `ops` only alerts."""
    hiring = CHAT.format(name="hiring", token="xoxb-2-hiring", channel=slack.add_channel("hiring"), url=slack.api_url)
    ops = CHAT.format(name="ops", token=slack.token, channel=slack.add_channel("ops"), url=slack.api_url)
    file = folder / "config.toml"
    file.write_text(
        f'[store]\nurl = "sqlite:///store.db"\n[hireflix]\nwebhook_secrets = ["{SECRET}"]\n{hiring}{ops}\n'
        f'[[routes]]\nsinks = ["hiring"]\n[alerts]\nsinks = {json.dumps(alerts)}\n{mail}'
    )
    return load(file, {}, folder)


def texts(slack, channel):
    (found,) = [id_ for id_, each in slack.workspace.channels.items() if each.name == channel]
    return [json.dumps(message.wire(metadata=False)) for message in slack.messages(found)]


async def passing(clock, store, condition):
    """Moves the clock until a condition holds. The calls in between are real, and each due heartbeat is stored before
    the clock moves, so that a slow machine does not make the process look dead.
    """
    while not condition():
        clock.advance(0.2)
        await store.write(lambda _: None)


async def test_a_broken_slack_sink_is_an_alert_in_another_channel_and_its_end_too(tmp_path, slack, hiring):
    """The first message comes within two minutes of the pause."""
    clock = WaitingClock()
    config = configured(tmp_path, slack, ["hiring", "ops"])
    hiring.error = "token_revoked"
    async with running(config, [SECRET], clock=clock) as service:
        at = clock.now()
        raw = json.dumps({"event": "interview.finish", "data": {"id": "i1"}, "date": at}).encode()
        await service.store.offer(read(raw, at), raw)
        await passing(clock, service.store, lambda: texts(slack, "ops"))
        assert clock.now() - at < 120_000
        (alert,) = texts(slack, "ops")
        assert "1 new problem" in alert
        assert "hiring: paused" in alert
        hiring.error = ""
        await passing(clock, service.store, lambda: len(texts(slack, "ops")) == 2)
    assert "over: hiring: paused" in texts(slack, "ops")[1]
    assert not any(
        "problem" in text and "hiring: paused" in text and "over" not in text for text in texts(slack, "hiring")
    )


class Installation:
    """A store with a running process and the chats of a configuration, whose alerts run when a test says so."""

    def __init__(self, store, config, clock):
        self.store, self.clock = store, clock
        entries = {**config.sinks, **config.unrouted}
        calls = lambda *_: None  # noqa: E731
        self.alerting = Alerting(config.alerts, entries, list(config.sinks), store, clock, on_call=calls)

    async def run(self):
        now = self.clock.now()
        process = Process("p", "all", now, now)
        await self.store.write(lambda connection: processes.beat(connection, process))
        return await self.alerting.run(TaskContext(now, self.store.write, asyncio.Event()))

    async def pause(self, name):
        await self.store.write(
            lambda connection: leases.pause(connection, name, Pause(PauseKind.BROKEN, "no access", "set a token"))
        )


@pytest.fixture
async def installed(tmp_path, slack):
    stores = []

    async def make(alerts, mail=""):
        config = configured(tmp_path, slack, alerts, mail)
        path = make_store_file(tmp_path / "store.db")
        store = SqliteStore(path, routing_table(hiring=False), lambda plan: None, intake=10)
        await store.write(lambda connection: leases.register(connection, {"hiring": "slack", "ops": "slack"}))
        stores.append(store)
        return Installation(store, config, WaitingClock())

    yield make
    for store in stores:
        await store.close()


async def test_a_restart_does_not_repeat_an_alert(installed, slack, hiring):
    first = await installed(["ops"])
    await first.pause("hiring")
    assert await first.run() == {"alerts": 1, "messages": 1}
    second = Installation(first.store, load_again(first), first.clock)
    assert await second.run() == {"alerts": 1, "messages": 0}


def load_again(installation):
    file = installation.store.path.parent / "config.toml"
    return load(file, {}, file.parent)


async def test_what_reaches_no_sink_goes_by_mail(installed, slack, hiring):
    """The only sink of alerts is the one that failed."""
    async with mail_server() as mail:
        installation = await installed(["hiring"], MAIL.format(host=HOST, port=mail.port))
        await installation.pause("hiring")
        assert await installation.run() == {"alerts": 1, "messages": 1}
        (message,) = mail.messages
        assert message["Subject"] == "Hireflix connector: 1 new problem"
        assert message["To"] == "ops@example.org, ana@example.org"
        assert "hiring: paused: no access. Do: set a token" in message.get_content()
        assert texts(slack, "hiring") == []


async def test_the_end_of_an_alert_goes_by_mail_when_its_start_did(installed, slack, hiring):
    async with mail_server() as mail:
        installation = await installed(["hiring"], MAIL.format(host=HOST, port=mail.port))
        await installation.pause("hiring")
        await installation.run()
        await installation.store.write(lambda connection: leases.resume(connection, "hiring"))
        for _ in range(2):
            await installation.run()
            installation.clock.advance(600)
        await installation.run()
        assert [each["Subject"] for each in mail.messages][1:] == ["Hireflix connector: 1 problem is over"]


async def test_an_alert_that_could_not_be_sent_is_sent_later(installed, slack, hiring):
    slack.bot.error = "token_revoked"
    installation = await installed(["ops"])
    await installation.pause("hiring")
    assert await installation.run() == {"alerts": 1, "messages": 0}
    slack.bot.error = ""
    assert await installation.run() == {"alerts": 1, "messages": 1}


async def test_a_sink_that_cannot_show_an_alert_does_not_keep_it_from_others(installed, slack, hiring):
    hiring.error = "channel_not_found"
    installation = await installed(["hiring", "ops"])
    await installation.store.write(lambda connection: connection.execute(update(sink).values(paused=None)))
    await installation.pause("hiring")
    assert (await installation.run())["messages"] == 1
    assert len(texts(slack, "ops")) == 1


def settings(port, **values):
    return MailSettings(
        host=HOST, port=port, security="none", sender="c@example.org", recipients=["o@example.org"], **values
    )


async def test_a_refused_mail_is_an_error_without_addresses():
    async with mail_server() as mail:
        mail.refuses = True
        with pytest.raises(MailError) as caught:
            await asyncio.to_thread(send_mail, settings(mail.port), Notice("n", "title"))
    assert "example.org" not in str(caught.value)


def test_text_of_a_destination_adds_no_header():
    message = message_of(settings(25), Notice("n", "1 problem\r\nBcc: eve@example.org", ("x\r\n.\r\nDATA",)))
    assert message["Bcc"] is None
    assert message["Message-ID"] == "<n@example.org>"


def test_text_of_a_destination_adds_no_line_and_no_control_character_to_a_mail():
    """A mail with a lone surrogate could not be encoded, and would be tried for ever."""
    message = message_of(settings(25), Notice("n", "1 problem", ("hook: \x1b[2J\ud83d failed\nhook: all is well",)))
    assert message.get_content().splitlines() == ["1 problem", "", "hook: [2J failed hook: all is well"]


def add_events(connection, *times):
    columns = {"sha256": b"", "kind": "event", "name": "", "interview_id": "", "mark": "", "reason": ""}
    rows = [{"identity": str(at), "occurred_at": at, "received_at": at, **columns} for at in times]
    connection.execute(insert(event), rows)


class TestSilence:
    NOW = START + 10 * WEEK

    async def found(self, installation, *times):
        await installation.store.write(lambda connection: add_events(connection, *times))
        last = max(times)
        return await installation.store.query(lambda connection: silence(connection, last, self.NOW))

    async def test_a_short_one_is_none(self, installed):
        assert await self.found(await installed([]), self.NOW - HOUR + 1) is None

    async def test_one_is_compared_with_the_same_hours_of_earlier_weeks(self, installed):
        """The count of a week ends at the number that matters."""
        earlier = [self.NOW - week * WEEK - minute * 60_000 for week in (1, 2, 4) for minute in range(1, week + 3)]
        found = await self.found(await installed([]), *earlier, self.NOW - 2 * HOUR)
        assert (found.seconds, list(found.usual)) == (7200, [3, 4, 0, 5])
