"""The real service and a sheet whose tabs users delete or replace: one tab waits for a user, the others continue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from connector.emulators.google import GoogleEmulator
from connector.emulators.google.people import Person
from tests.flows.process import Service, post

SINK = """
[sinks.sheet]
type = "google_sheets"
spreadsheet = "{sheet}"
worksheet = "{{position}}"
credentials_file = "key.json"
api_url = "{url}"
style = false
calls_per_minute = 6000
"""
DATE = 1_761_566_424_000


@dataclass(slots=True)
class Hiring:
    """A running service with two interviews for each of two positions, a tab each."""

    service: Service
    client: httpx.Client
    google: GoogleEmulator
    sheet: str

    @property
    def person(self) -> Person:
        return self.google.person(self.sheet)

    def send(self, name: str, number: int, **values: object) -> None:
        job = "Cook" if number % 2 else "Waiter"
        candidate = {"name": f"Ana {number}", "email": f"ana{number}@x.example"}
        data = {"id": f"{number:024x}", "position": {"id": job, "name": job}, "candidate": candidate, **values}
        date = DATE + 1000 * number + len(values)
        assert post(self.client, self.service.hook, {"event": f"interview.{name}", "data": data, "date": date}) == 202

    def finish(self, *numbers: int) -> None:
        for number in numbers:
            self.send("finish", number, score={"value": 4}, status="completed")

    def scores(self, tab: str) -> dict[int, object]:
        if tab not in self.google.titles(self.sheet):
            return {}
        return {int(row["Interview ID"], 16): row["Score"] for row in self.google.records(self.sheet, tab)}

    def run(self, *words: str) -> str:
        return self.service.run(*words).stdout


@pytest.fixture
def hiring(tmp_path) -> Iterator[Hiring]:
    with GoogleEmulator() as google:
        google.service_account_file(tmp_path / "key.json")
        sheet = google.add_spreadsheet()
        service = Service(tmp_path, SINK.format(sheet=sheet, url=google.url))
        with service, httpx.Client() as client:
            made = Hiring(service, client, google, sheet)
            for number in (1, 2, 3, 4):
                made.send("create", number)
            service.settled()
            yield made


def test_a_deleted_tab_is_asked_about_and_refilled_while_the_others_go_on(hiring):
    hiring.person.delete_tab("Cook")
    hiring.finish(1, 2, 4)
    hiring.service.until(lambda: hiring.scores("Waiter") == {2: 4, 4: 4})
    hiring.service.until(lambda: 'the tab "Cook" was deleted' in hiring.run("status"))
    hiring.service.until(lambda: 'the tab "Cook" was deleted' in hiring.run("check", "--online"))
    assert hiring.service.run("resume", "sheet", "--refill").returncode == 0
    hiring.service.until(lambda: hiring.scores("Cook") == {1: 4, 3: None})
    hiring.service.until(lambda: "NOT in sync" not in hiring.run("status"))
    assert hiring.service.run("verify", "sheet").returncode == 0


def test_a_tab_that_was_replaced_under_its_title_is_adopted(hiring):
    rows = hiring.google.rows(hiring.sheet, "Cook")
    hiring.person.delete_tab("Cook")
    hiring.person.add_tab("Cook")
    hiring.person.write("Cook", [["" if value is None else value for value in row] for row in rows])
    hiring.finish(1, 2)
    hiring.service.until(lambda: 'the tab "Cook" was replaced' in hiring.run("status"))
    hiring.service.until(lambda: 'the tab "Cook" was replaced' in hiring.run("check", "--online"))
    assert hiring.scores("Waiter") == {2: 4, 4: None}
    assert hiring.service.run("resume", "sheet", "--adopt").returncode == 0
    hiring.service.until(lambda: hiring.scores("Cook") == {1: 4, 3: None})
    hiring.service.until(lambda: "NOT in sync" not in hiring.run("status"))
    hiring.service.until(lambda: 'the tab "Cook" was replaced' not in hiring.run("check", "--online"))
