"""A person who is erased while the service runs is removed everywhere, and no later event restores the data."""

from __future__ import annotations

import json
import sqlite3
import threading
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from connector.emulators.google import EMAIL, GoogleEmulator
from connector.emulators.slack import SlackEmulator
from tests.flows.process import ANY_AGE_SECONDS, Service, post, signed

PERSON = {"name": "Ada Erasable", "email": "ada.erasable@example.com", "phone": "+34600123456"}
NEEDLES = ("Erasable", "ada.erasable", "34600123456")


def payload(name: str, number: int, at: int = 0, **data: Any) -> dict[str, Any]:
    candidate = PERSON if number == 1 else {"name": f"Candidate {number}", "email": f"c{number}@example.com"}
    about = {"id": f"interview-{number}", "position": {"id": "p1", "name": "Cook"}, "candidate": candidate, **data}
    return {"event": f"interview.{name}", "data": about, "date": 1_761_566_424_000 + at}


def payloads_of(number: int) -> list[dict[str, Any]]:
    """A message in the channel with replies in its thread, a figure in a digest and a row in each sheet."""
    done = {"status": "completed", "completed": 1_761_566_424_100}
    return [
        payload("create", number),
        payload("finish", number, 100, **done),
        payload("score-updated", number, 200, **done, score={"value": 3}),
        payload("status-change", number, 300, **done, finalist=1_761_566_424_300),
    ]


class Places:
    """All places that the connector writes to: its folder, an emulated spreadsheet and an emulated channel."""

    def __init__(self, folder: Path, google: GoogleEmulator, slack: SlackEmulator) -> None:
        self.google, self.slack = google, slack
        self.channel = slack.add_channel("hiring")
        self.spreadsheet = google.add_spreadsheet(editors=[EMAIL])
        self.keys = folder / "keys"
        self.keys.mkdir()
        key = google.service_account_file(self.keys / "key.json")
        self.folder = folder / "service"
        self.folder.mkdir()
        toml = f"""
        [sinks.sheet]
        type = "google_sheets"
        spreadsheet = "{self.spreadsheet}"
        credentials_file = "{key}"
        api_url = "{google.url}"
        calls_per_minute = 6000
        [sinks.hiring]
        type = "slack"
        token = "{slack.token}"
        channel = "{self.channel}"
        api_url = "{slack.api_url}"
        rate_per_second = 20
        digest_window = 1
        max_age = {ANY_AGE_SECONDS}
        [sinks.book]
        type = "workbook"
        path = "interviews.xlsx"
        """
        self.service = Service(self.folder, toml, CONNECTOR_LOGS__LEVEL="debug")

    def shown(self) -> str:
        """The spreadsheet and the channel as text."""
        messages = [[each.text, each.blocks, each.metadata] for each in self.slack.messages(self.channel)]
        return f"{self.google.rows(self.spreadsheet, 'Interviews')} {messages}"

    def holding_the_person(self) -> set[str]:
        """The names of the places that contain the person's name, address or telephone number."""
        texts = {
            "destinations": self.shown(),
            "logs": "\n".join([*self.service.logs, *self.service.output]),
            **{str(file.relative_to(self.folder)): _text_of(file) for file in self.folder.rglob("*") if file.is_file()},
        }
        return {place for place, text in texts.items() if any(needle in text for needle in NEEDLES)}


def _text_of(file: Path) -> str:
    if file.suffix == ".xlsx":
        with zipfile.ZipFile(file) as parts:
            return " ".join(parts.read(name).decode("latin-1") for name in parts.namelist())
    return file.read_bytes().decode("latin-1")


@pytest.mark.timeout(240)
def test_an_erased_person_is_in_no_file_log_sheet_or_channel_also_after_later_events(tmp_path: Path) -> None:
    with GoogleEmulator() as google, SlackEmulator() as slack:
        places = Places(tmp_path, google, slack)
        with places.service as service, httpx.Client(trust_env=False, timeout=30) as client:
            payloads = [*payloads_of(1), *payloads_of(2), {"event": "", "data": {"candidate": PERSON}, "date": 1}]
            for each in payloads:
                assert post(client, service.hook, each) == 202
            service.settled()
            before = places.holding_the_person()
            assert {"destinations", "interviews.xlsx"} <= before
            assert any(place.startswith("data/connector.db") for place in before)

            done = service.run("erase", "--email", PERSON["email"], "--yes", "--json")
            assert done.returncode == 0, done.stdout + done.stderr
            results = {each["sink"]: each["result"] for each in json.loads(done.stdout)["destinations"]}
            assert results == {"sheet": "erased", "hiring": "erased", "book": "erased"}
            assert places.holding_the_person() == set()
            assert not any(needle in done.stdout + done.stderr for needle in NEEDLES)

            for each in [*payloads, payload("score-updated", 1, 900, score={"value": 5}), payload("finish", 1, 901)]:
                assert post(client, service.hook, each) in {200, 202}
            for state in ("delivered", "unreadable", "unknown"):
                assert service.run("replay", "--state", state, "--yes").returncode == 0
            assert service.run("verify", "sheet", "--repair").returncode == 0
            service.settled()
            assert places.holding_the_person() == set()
            assert "Candidate 2" in places.shown()
            assert "interview-1" not in places.shown()
        assert places.holding_the_person() == set()


def _stays_locked(store: Path) -> bool:
    """Whether the store is locked by the thread that asks: a transaction of the service ends within the time."""
    with closing(sqlite3.connect(store, timeout=5, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


@pytest.mark.timeout(120)
def test_while_the_store_is_compacted_webhooks_get_503_with_retry_after_and_later_202(tmp_path: Path) -> None:
    """The compaction is held after it has locked the store, because a small store takes no time."""
    with Service(tmp_path, '[sinks.console]\ntype = "console"\n') as service:
        locked, release = threading.Event(), threading.Event()

        def hold() -> int:
            if not locked.is_set() and _stays_locked(service.store):
                locked.set()
                release.wait(60)
            return 0

        def compact() -> None:
            with closing(sqlite3.connect(service.store, isolation_level=None)) as connection:
                connection.set_progress_handler(hold, 20)
                connection.execute("VACUUM")

        compaction = threading.Thread(target=compact)
        compaction.start()
        try:
            assert locked.wait(60)
            body, headers = signed(payload("create", 2))
            with httpx.Client(trust_env=False, timeout=60) as client:
                refused = client.post(service.hook, content=body, headers=headers)
                release.set()
                compaction.join()
                Service.until(lambda: client.post(service.hook, content=body, headers=headers).status_code == 202)
        finally:
            release.set()
            compaction.join()
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
