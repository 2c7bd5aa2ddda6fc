"""A sink whose destination fails delays no other sink, loses nothing, repeats nothing and recovers automatically."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import httpx
import pytest

from connector.emulators.faults import (
    APPLY_503,
    APPLY_HANG,
    BROKEN_JSON,
    DROP,
    HANG,
    HTML_503,
    LATE,
    REFUSE,
    TRUNCATE,
    Fault,
    FaultKind,
)
from connector.emulators.google import EMAIL, GoogleEmulator
from connector.emulators.slack import SlackEmulator
from tests.flows.process import ANY_AGE_SECONDS, Service, post

JSON_500 = Fault(
    FaultKind.STATUS,
    status=500,
    body='{"error":{"code":500,"message":"Internal error encountered.","status":"INTERNAL"}}',
    content_type="application/json",
)
THROTTLED = Fault(
    FaultKind.STATUS, status=429, body='{"ok":false,"error":"ratelimited"}', content_type="application/json"
)
FAULTS = {
    "refused before anything was applied": REFUSE,
    "applied, then the reply is lost": DROP,
    "hangs": HANG,
    "applied, then hangs": APPLY_HANG,
    "429 with Retry-After": replace(THROTTLED, headers={"Retry-After": "1"}),
    # the quota is back with Google's next minute, which begins in a second
    "429 without Retry-After": replace(THROTTLED, headers={"Date": "Sun, 25 Oct 2026 12:00:59 GMT"}),
    "500 in JSON": JSON_500,
    "503 in HTML": HTML_503,
    "applied, then 503": APPLY_503,
    "truncated": TRUNCATE,
    "broken JSON": BROKEN_JSON,
    "cut, applied later": LATE,
}


@dataclass
class World:
    google: GoogleEmulator
    slack: SlackEmulator
    spreadsheet: str
    channel: str
    service: Service
    numbers: Iterator[int]

    def finish(self) -> str:
        """Posts a finish of a new interview and returns its id."""
        interview = f"i{next(self.numbers):05d}"
        data = {"id": interview, "position": {"id": "p1", "name": "Cook"}, "candidate": {"name": f"N {interview}"}}
        with httpx.Client(trust_env=False) as client:
            payload = {"event": "interview.finish", "data": data, "date": 1_761_566_424_000}
            assert post(client, self.service.hook, payload) == 202
        return interview

    def rows(self) -> list[str]:
        rows = self.google.rows(self.spreadsheet, "Interviews")
        return [row[rows[0].index("Interview ID")] for row in rows[1:]]

    def announced(self) -> list[str]:
        return [message.metadata["event_payload"]["i"] for message in self.slack.messages(self.channel)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("faults")
    with GoogleEmulator() as google, SlackEmulator() as slack:
        channel = slack.add_channel("hiring")
        spreadsheet = google.add_spreadsheet(editors=[EMAIL])
        credentials = google.service_account_file(folder / "service-account.json")
        toml = f"""
        [sinks.sheet]
        type = "google_sheets"
        spreadsheet = "{spreadsheet}"
        credentials_file = "{credentials}"
        api_url = "{google.url}"
        calls_per_minute = 6000
        [sinks.hiring]
        type = "slack"
        token = "{slack.bot.token}"
        channel = "{channel}"
        api_url = "{slack.api_url}"
        rate_per_second = 20
        max_age = {ANY_AGE_SECONDS}
        [sinks.chat]
        type = "console"
        max_age = {ANY_AGE_SECONDS}
        """
        with Service(folder, toml) as service:
            world = World(google, slack, spreadsheet, channel, service, count())
            world.finish()
            service.settled()
            yield world


def delivered_to(world: World, sink: str, interview: str) -> bool:
    sql = f"SELECT 1 FROM delivery WHERE sink = '{sink}' AND key = '{interview}' AND state = 1"
    return bool(world.service.query(sql))


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", FAULTS)
def test_a_failing_destination_delays_no_other_sink_and_recovers(world, name):
    """The console gets its message while sheet and Slack fail; then both have everything once."""
    fault = FAULTS[name]
    world.google.faults.add(replace(fault, match="write"))
    world.slack.faults.add(replace(fault, match="chat.postMessage"))
    interview = world.finish()
    Service.until(lambda: delivered_to(world, "chat", interview), 20)
    Service.until(lambda: not world.google.faults.pending and not world.slack.faults.pending, 30)
    other = world.finish()
    Service.until(lambda: delivered_to(world, "chat", other), 20)
    world.google.faults.release()
    world.slack.faults.release()
    world.service.settled(90)
    for found in (world.rows(), world.announced()):
        assert len(found) == len(set(found))
        assert {interview, other} <= set(found)
    assert world.service.query("SELECT count(*) FROM delivery WHERE state = 3") == [(0,)]
    assert world.slack.problems() == []
