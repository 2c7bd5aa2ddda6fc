"""The real service and a sheet in which a user protects cells: what cannot be written is reported, then written."""

from __future__ import annotations

import httpx

from connector.emulators.google import GoogleEmulator
from tests.flows.process import Service, post

TAB = "Interviews"
SINK = """
[sinks.sheet]
type = "google_sheets"
spreadsheet = "{sheet}"
credentials_file = "key.json"
api_url = "{url}"
style = false
calls_per_minute = 6000
"""
DATE = 1_761_566_424_000


def event(name: str, number: int, **values: object) -> dict:
    candidate = {"name": f"Ana {number}", "email": f"ana{number}@x.example"}
    data = {"id": f"{number:024x}", "position": {"id": "p1", "name": "Cook"}, "candidate": candidate, **values}
    return {"event": f"interview.{name}", "data": data, "date": DATE + 1000 * number + (1 if values else 0)}


def finished(number: int) -> dict:
    return event("finish", number, score={"value": 4}, status="completed")


def in_sync(client: httpx.Client, service: Service) -> bool:
    text = client.get(f"{service.url}/metrics").text
    return 'connector_sink_in_sync{sink="sheet"} 1.0' in text.splitlines()


def test_one_protected_row_closes_nothing_else_and_is_visible_until_it_is_written(tmp_path):
    with (
        GoogleEmulator() as google,
        Service(tmp_path, SINK.format(sheet=_sheet(google, tmp_path), url=google.url)) as service,
        httpx.Client() as client,
    ):
        sheet = next(iter(google.books))
        person = google.person(sheet)
        for number in (1, 2):
            assert post(client, service.hook, event("create", number)) == 202
        service.settled()
        person.protect_rows(TAB, 1)
        for payload in (finished(1), finished(2), event("create", 3)):
            assert post(client, service.hook, payload) == 202
        service.settled()
        service.until(lambda: not in_sync(client, service))
        rows = {row["Interview ID"]: row for row in google.records(sheet, TAB)}
        assert [rows[f"{number:024x}"]["Score"] for number in (1, 2)] == [None, 4]
        assert (rows[f"{3:024x}"]["Candidate"], rows[f"{3:024x}"]["Stage"]) == ("Ana 3", "Invited")
        verified = service.run("verify", "sheet")
        assert verified.returncode == 1
        assert f"protected: {1:024x} (Interviews, row 2: Stage, Score" in verified.stdout
        assert "Data, Protect sheets and ranges: add" in verified.stdout
        service.until(lambda: "not in sync" in service.run("status").stdout)
        person.unprotect(TAB)
        assert post(client, service.hook, finished(3)) == 202
        service.until(lambda: in_sync(client, service))
        assert {row["Score"] for row in google.records(sheet, TAB)} == {4}
        assert service.run("verify", "sheet").returncode == 0


def _sheet(google: GoogleEmulator, tmp_path) -> str:
    google.service_account_file(tmp_path / "key.json")
    return google.add_spreadsheet()
