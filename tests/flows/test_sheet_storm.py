"""The real service and a sheet that a user edits all the time, with faults and kills: it converges."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import aiohttp
import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault, FaultKind
from connector.emulators.google import GoogleEmulator
from tests.flows.process import Service, signed

TAB = "Interviews"
NOTES = "Notes of users"
FAULTS = [faults.REFUSE, faults.DROP, faults.TRUNCATE, faults.APPLY_503, faults.HTML_503, Fault(FaultKind.LATE)]
SINK = """
[delivery]
probe_interval = 1
[sinks.sheet]
type = "google_sheets"
spreadsheet = "{sheet}"
credentials_file = "key.json"
api_url = "{url}"
calls_per_minute = 6000
"""


@dataclass(frozen=True, slots=True)
class StormSettings:
    """The size of a storm: interviews, share of calls during which the user edits, most of these edits, share of writes
    that fail, kills, waves of events between two kills, and how long the test waits for the end.
    """

    interviews: int
    editing_share: float
    edits_max: int
    failing_share: float
    kills: int
    waves: int
    patience: float = 60


def payloads(chance: random.Random, count: int) -> list[dict]:
    """A create and a score for each interview, in any order, some of them twice."""
    made = []
    for number in range(count):
        candidate = {
            "name": chance.choice(["Ada", "=1+1", "+34", "Zoë 🙂", "007"]) + f" {number}",
            "email": f"c{number}@x.example",
        }
        about = {"id": f"{number:024x}", "position": {"id": "p1", "name": "Cook"}, "candidate": candidate}
        date = 1_761_566_424_000 + number * 10
        made.append({"event": "interview.create", "data": {**about, "status": "pending"}, "date": date})
        score = {**about, "score": {"value": 1 + number % 5}, "status": "completed"}
        made.append({"event": "interview.finish", "data": score, "date": date + 5})
    made += chance.sample(made, len(made) // 10)
    chance.shuffle(made)
    return made


async def post(service: Service, waiting: list[dict]) -> None:
    """Posts everything. Payloads that are not acknowledged, because the service ended, are posted again."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16)) as http:

        async def client() -> None:
            while waiting:
                payload = waiting.pop()
                body, headers = signed(payload)
                try:
                    async with http.post(service.hook, data=body, headers=headers) as answer:
                        assert answer.status < 300
                except (aiohttp.ClientError, OSError):
                    waiting.append(payload)
                    return

        await asyncio.gather(*(client() for _ in range(16)))


class SheetUser:
    """A user who edits all the time: sorts, shuffles, inserts, moves columns, and writes notes beside interviews."""

    def __init__(self, google: GoogleEmulator, sheet: str, chance: random.Random) -> None:
        self.google, self.sheet, self.chance = google, sheet, chance
        self.person = google.person(sheet)
        self.notes: dict[str, str] = {}
        self.actions = 0

    def edit(self) -> None:
        with self.google.lock:
            if TAB not in self.google.titles(self.sheet) or len(self.google.rows(self.sheet, TAB)) < 3:
                return
            self.actions += 1
            self.chance.choice([self.sort, self.shuffle, self.insert, self.move, self.note, self.note])()

    def sort(self) -> None:
        self.person.sort(TAB, self.chance.randrange(4), descending=self.chance.random() < 0.5)

    def shuffle(self) -> None:
        self.person.shuffle(TAB, self.chance, len(self.google.rows(self.sheet, TAB)) - 1)

    def insert(self) -> None:
        self.person.insert_rows(TAB, self.chance.randrange(1, len(self.google.rows(self.sheet, TAB))))

    def move(self) -> None:
        self.person.move_columns(TAB, self.chance.randrange(10), self.chance.randrange(10))

    def note(self) -> None:
        header = self.google.header(self.sheet, TAB)
        if NOTES not in header:
            self.person.insert_columns(TAB, 2)
            self.person.edit(TAB, 0, 2, NOTES)
            header = self.google.header(self.sheet, TAB)
        records = self.google.records(self.sheet, TAB)
        row = self.chance.randrange(len(records))
        key = records[row].get("Interview ID")
        if isinstance(key, str) and key not in self.notes:
            self.notes[key] = f"about {key}"
            self.person.edit(TAB, row + 1, header.index(NOTES), self.notes[key])

    @contextmanager
    def edits(self, share: float, most: int) -> Iterator[None]:
        """Edits after some reads and before some writes of the service. The time between two edits is a number of
        calls, so that a busy machine makes no more edits. `most` bounds the work, because each edit can cause calls.
        """

        def edit() -> None:
            if self.actions < most and self.chance.random() < share:
                self.edit()

        self.google.after_read = self.google.before_write = edit
        try:
            yield
        finally:
            self.google.after_read = self.google.before_write = None


@dataclass(frozen=True, slots=True)
class StormFigures:
    """The figures of a storm: actions of the user, failed calls, and all calls."""

    actions: int
    faults: int
    reads: int
    writes: int


def storm(tmp_path, size: StormSettings, seed: int) -> StormFigures:
    """Runs a storm, and checks the sheet afterwards."""
    chance = random.Random(seed)
    failing = random.Random(seed + 12)  # of its own, so that the same writes fail in each run
    with GoogleEmulator() as google, ExitStack() as ends:
        google.service_account_file(tmp_path / "key.json")
        sheet = google.add_spreadsheet()
        user = SheetUser(google, sheet, chance)
        service = Service(tmp_path, SINK.format(sheet=sheet, url=google.url))
        ends.push(service)
        waiting = payloads(chance, size.interviews)
        writes: list[Fault | None] = []

        def fault(call: str) -> Fault | None:
            """Never for two writes in a row: the lane rests after them, up to 30 seconds, whatever the machine."""
            if call == "write":
                is_hit = failing.random() < size.failing_share and not (writes and writes[-1])
                writes.append(failing.choice(FAULTS) if is_hit else None)
                return writes[-1]
            return None

        google.faults.choose(fault)
        with user.edits(size.editing_share, size.edits_max):
            _feed_and_kill(service, waiting, size, google)
            Service.until(lambda: shown(service) == size.interviews, size.patience)
        google.faults.clear()
        google.faults.release()
        service.settled(size.patience)
        _check(service, google, sheet, user, size.interviews)
        assert service.run("verify", "sheet").returncode == 0
        assert service.stop() == 0
        return StormFigures(
            user.actions, len(writes) - writes.count(None), google.counts["read"], google.counts["write"]
        )


def shown(service: Service) -> int:
    """The number of interviews that were delivered at least once."""
    delivered = "SELECT interview_id FROM delivery WHERE state = 1"
    [(count,)] = service.query(f"SELECT count(*) FROM interview WHERE id IN ({delivered})")
    return int(count)


def _feed_and_kill(service: Service, waiting: list[dict], size: StormSettings, google: GoogleEmulator) -> None:
    """Posts in waves, so that there are many flushes. The service is killed directly after a write to its sheet."""
    service.start()
    starts = size.kills + 1
    for start in range(starts):
        share = len(waiting) // (starts - start)
        part, waiting[:] = waiting[:share], waiting[share:]
        for wave in range(size.waves):
            before = google.counts["write"]
            posted = part[wave :: size.waves]
            asyncio.run(post(service, posted))
            assert not posted
            Service.until(lambda before=before: google.counts["write"] > before)
        if start < size.kills:
            service.kill()
            google.faults.release()
            service.start()


def _check(service: Service, google: GoogleEmulator, sheet: str, user: SheetUser, count: int) -> None:
    stored = dict(service.query("SELECT id, position_name FROM interview"))
    records = [row for row in google.records(sheet, TAB) if row["Interview ID"] is not None]
    keys = [row["Interview ID"] for row in records]
    assert len(stored) == count
    assert sorted(keys) == sorted(stored)
    for row in records:
        assert str(row["Candidate"]).endswith(f" {int(row['Interview ID'], 16)}")
        assert row["Stage"] == "To evaluate"
    assert {row["Interview ID"]: row[NOTES] for row in records if row.get(NOTES)} == user.notes


@pytest.mark.timeout(240)
def test_a_sheet_that_a_user_edits_all_the_time_converges(tmp_path):
    figures = storm(
        tmp_path,
        StormSettings(interviews=150, editing_share=0.7, edits_max=50, failing_share=0.3, kills=1, waves=10),
        seed=1,
    )
    assert figures.actions > 10
    assert figures.faults > 0


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_five_thousand_interviews_converge_after_three_kills(tmp_path):
    figures = storm(
        tmp_path,
        StormSettings(
            interviews=5_000,
            editing_share=0.5,
            edits_max=500,
            failing_share=0.05,
            kills=3,
            waves=25,
            patience=600,
        ),
        seed=2,
    )
    assert figures.actions > 100
    assert figures.faults > 0
