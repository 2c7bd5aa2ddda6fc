"""Neither personal data nor secrets reach a log, a metric or a recorded reason, with any failure."""

from __future__ import annotations

from dataclasses import replace

import httpx

from connector.emulators.faults import DROP, TRUNCATE, Fault, FaultKind
from connector.emulators.google import EMAIL, GoogleEmulator
from connector.emulators.slack import SlackEmulator
from tests.flows.process import ANY_AGE_SECONDS, SECRET, Service, post

NAME = "Zoë Ñandú-Quetzalcoatl"
PERSON = {
    "name": NAME,
    "firstName": "Zoë",
    "lastName": "Ñandú-Quetzalcoatl",
    "email": "zoe.q@example.com",
    "phone": "+34600111222",
}
WEBHOOK_KEY = "whsec_c2VjcmV0LW9mLXRoZS10ZXN0LXNpbmstMzItYnl0ZXM="
LEAKY = f'{{"error":{{"code":400,"message":"cannot store {NAME} zoe.q@example.com","status":"INVALID_ARGUMENT"}}}}'


def interview(number: int) -> dict[str, object]:
    return {
        "id": f"i{number}",
        "position": {"id": "p1", "name": "Cook"},
        "candidate": PERSON,
        "externalId": "EXT-77-XYZ",
    }


def test_a_full_run_logs_nothing_personal_and_no_secret(tmp_path):
    """The test searches all output of a run with every kind of failure for names, addresses, phone numbers and
    secrets.
    """
    with GoogleEmulator() as google, SlackEmulator() as slack:
        channel = slack.add_channel("hiring")
        spreadsheet = google.add_spreadsheet(editors=[EMAIL])
        key = google.service_account_file(tmp_path / "service-account.json")
        toml = f"""
        [sinks.sheet]
        type = "google_sheets"
        spreadsheet = "{spreadsheet}"
        credentials_file = "{key}"
        api_url = "{google.url}"
        [sinks.hiring]
        type = "slack"
        token = "{slack.bot.token}"
        channel = "{channel}"
        api_url = "{slack.api_url}"
        rate_per_second = 20
        max_age = {ANY_AGE_SECONDS}
        [sinks.book]
        type = "workbook"
        path = "data/interviews.xlsx"
        [sinks.other]
        type = "webhook"
        url = "http://127.0.0.1:9/hook/topsecretpath"
        secret = "{WEBHOOK_KEY}"
        """
        leaky = Fault(FaultKind.STATUS, status=400, body=LEAKY, content_type="application/json")
        google.faults.add(replace(DROP, match="write"), replace(TRUNCATE, match="read"), replace(leaky, match="write"))
        slack.faults.add(replace(DROP, match="chat.postMessage"), replace(leaky, match="chat.postMessage"))
        service = Service(tmp_path, toml, CONNECTOR_LOGS__LEVEL="debug").start()
        with httpx.Client(trust_env=False) as client:
            for number in range(6):
                payload = {"event": "interview.finish", "data": interview(number), "date": 1_761_566_424_000 + number}
                assert post(client, service.hook, payload) == 202
            unreadable = {"event": "interview.finish", "data": {"candidate": PERSON}, "date": 1}
            assert post(client, service.hook, unreadable) == 202
            assert client.post(service.hook, content=NAME.encode()).status_code == 401
            Service.until(lambda: service.query("SELECT 1 FROM delivery WHERE sink = 'other' AND attempts > 1"))
            Service.until(lambda: not google.faults.pending and not slack.faults.pending)
            metrics = client.get(f"{service.url}/metrics").text
        recorded = str(service.query("SELECT reason FROM attempt UNION SELECT reason FROM delivery"))
        recorded += str(service.query("SELECT paused, reason, fix FROM sink"))
        service.stop()
    output = "\n".join([*service.logs, metrics, recorded])
    personal = [*PERSON.values(), "Quetzalcoatl", "EXT-77-XYZ", "\\u00d1and\\u00fa"]
    secrets = [SECRET, slack.bot.token, WEBHOOK_KEY, "topsecretpath", "private_key", "ya29", "BEGIN PRIVATE"]
    assert [word for word in [*personal, *secrets] if word in output] == []
    assert "sink" in output
