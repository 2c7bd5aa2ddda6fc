"""The real service and a sheet that a user edits all the time, with faults and kills: it converges."""

from __future__ import annotations

import asyncio
import random
import threading
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
NOTES = "Notes of people"
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
class Weather:
    """How much of everything: interviews, seconds between two acts of a person, share of writes that fail, kills, waves
    of events from one kill to the next, and the least number of acts.
    """

    interviews: int
    between: float
    share: float
    kills: int
    waves: int
    acts: int


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
    """Posts everything; what is not acknowledged, because the service is gone, stays waiting."""
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


class Somebody:
    """A person who never rests: sorts, shuffles, inserts, moves columns, and writes notes beside interviews."""

    def __init__(self, google: GoogleEmulator, sheet: str, chance: random.Random) -> None:
        self.google, self.sheet, self.chance = google, sheet, chance
        self.person = google.person(sheet)
        self.notes: dict[str, str] = {}
        self.acts = 0

    def act(self) -> None:
        with self.google.lock:
            if TAB not in self.google.titles(self.sheet) or len(self.google.rows(self.sheet, TAB)) < 3:
                return
            self.acts += 1
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
    def at_work(self, between: float) -> Iterator[None]:
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(between):
                self.act()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@dataclass(frozen=True, slots=True)
class Tally:
    """What a storm was: acts of the person, calls that failed, calls in all."""

    acts: int
    faults: int
    reads: int
    writes: int


def storm(tmp_path, weather: Weather, seed: int) -> Tally:
    """Plays it, and judges what is left when all rest."""
    chance = random.Random(seed)
    with GoogleEmulator() as google, ExitStack() as ends:
        google.service_account_file(tmp_path / "key.json")
        sheet = google.add_spreadsheet()
        somebody = Somebody(google, sheet, chance)
        service = Service(tmp_path, SINK.format(sheet=sheet, url=google.url))
        ends.push(service)
        waiting = payloads(chance, weather.interviews)
        struck: list[Fault] = []

        def fault(call: str) -> Fault | None:
            if call != "write" or chance.random() >= weather.share:
                return None
            struck.append(chance.choice(FAULTS))
            return struck[-1]

        google.faults.choose(fault)
        with somebody.at_work(weather.between):
            _feed_and_kill(service, waiting, weather, google)
            Service.until(lambda: shown(service) == weather.interviews and somebody.acts >= weather.acts, 600)
        google.faults.clear()
        google.faults.release()
        service.settled(600)
        _check(service, google, sheet, somebody, weather.interviews)
        assert service.run("verify", "sheet").returncode == 0
        assert service.stop() == 0
        return Tally(somebody.acts, len(struck), google.counts["read"], google.counts["write"])


def shown(service: Service) -> int:
    """How many interviews have been delivered at least once."""
    delivered = "SELECT interview_id FROM delivery WHERE state = 1"
    [(count,)] = service.query(f"SELECT count(*) FROM interview WHERE id IN ({delivered})")
    return int(count)


def _feed_and_kill(service: Service, waiting: list[dict], weather: Weather, google: GoogleEmulator) -> None:
    """Posts in waves, so that there are many flushes; the service is killed when its sheet was just written to."""
    service.start()
    lives = weather.kills + 1
    for life in range(lives):
        share = len(waiting) // (lives - life)
        part, waiting[:] = waiting[:share], waiting[share:]
        for wave in range(weather.waves):
            before = google.counts["write"]
            posted = part[wave :: weather.waves]
            asyncio.run(post(service, posted))
            assert not posted
            Service.until(lambda before=before: google.counts["write"] > before, 120)
        if life < weather.kills:
            service.kill()
            google.faults.release()
            service.start()


def _check(service: Service, google: GoogleEmulator, sheet: str, somebody: Somebody, count: int) -> None:
    truth = dict(service.query("SELECT id, position_name FROM interview"))
    records = [row for row in google.records(sheet, TAB) if row["Interview ID"] is not None]
    keys = [row["Interview ID"] for row in records]
    assert len(truth) == count
    assert sorted(keys) == sorted(truth)
    for row in records:
        assert str(row["Candidate"]).endswith(f" {int(row['Interview ID'], 16)}")
        assert row["Stage"] == "To evaluate"
    assert {row["Interview ID"]: row[NOTES] for row in records if row.get(NOTES)} == somebody.notes


@pytest.mark.timeout(200)
def test_a_sheet_that_somebody_works_in_is_right_in_the_end(tmp_path):
    tally = storm(tmp_path, Weather(interviews=150, between=0.05, share=0.3, kills=1, waves=2, acts=11), seed=1)
    assert tally.acts > 10


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_five_thousand_interviews_three_kills_and_a_person_who_never_rests(tmp_path):
    tally = storm(tmp_path, Weather(interviews=5_000, between=0.05, share=0.05, kills=3, waves=25, acts=101), seed=2)
    assert tally.acts > 100
    assert tally.faults > 0
