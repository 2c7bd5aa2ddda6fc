"""A verification that is requested while the service runs: the service makes it, and all places show the result."""

from __future__ import annotations

import json

import httpx
import pytest

from connector.emulators.google import EMAIL, GoogleEmulator
from tests.flows.process import Service, post

CONFIG = """
[sinks.sheet]
type = "google_sheets"
spreadsheet = "{sheet}"
credentials_file = "key.json"
api_url = "{url}"
calls_per_minute = 6000
"""


@pytest.fixture(scope="module")
def proven(tmp_path_factory):
    """A service with three interviews in its sheet, one of them with an id that a user damaged, and then a repair."""
    folder = tmp_path_factory.mktemp("proof")
    with GoogleEmulator() as google:
        google.service_account_file(folder / "key.json")
        sheet = google.add_spreadsheet(editors=[EMAIL])
        with Service(folder, CONFIG.format(sheet=sheet, url=google.url)) as service:
            with httpx.Client(trust_env=False) as client:
                for number in range(3):
                    candidate = {"name": f"Ada {number}", "email": f"ada{number}@example.com"}
                    data = {"id": f"i{number}", "position": {"id": "p1", "name": "Cook"}, "candidate": candidate}
                    payload = {"event": "interview.create", "data": data, "date": 1_761_566_424_000}
                    assert post(client, service.hook, payload) == 202
            service.settled()
            google.person(sheet).edit("Interviews", 1, google.header(sheet, "Interviews").index("Interview ID"), "zzz")
            yield service, service.run("verify", "sheet", "--repair", "--json")


def test_the_service_repairs_and_the_command_sees_it_in_sync(proven):
    _, asked = proven
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["counts"] == {"in sync": 3}


def test_the_result_is_in_the_metrics(proven):
    service, _ = proven
    lines = httpx.get(f"{service.url}/metrics", trust_env=False).text.splitlines()
    assert 'connector_sink_in_sync{sink="sheet"} 1.0' in lines


def test_the_result_is_in_the_status(proven):
    service, _ = proven
    assert "sheet: in sync as of" in service.run("status").stdout


def test_the_next_audit_is_due_six_hours_after(proven):
    service, _ = proven
    [(due, kept)] = service.query(
        "SELECT d.not_before, n.value FROM delivery d, note n"
        " WHERE d.purpose = 'verify' AND d.state = 0 AND n.key = 'verify' AND n.sink = d.sink"
    )
    assert abs(due - json.loads(kept)["at"] - 6 * 3_600_000) < 60_000
