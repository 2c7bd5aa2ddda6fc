"""Nothing acknowledged is lost when the real process is killed several times during work."""

from __future__ import annotations

import asyncio
import contextlib
import random

import aiohttp
import openpyxl
import pytest

from tests.flows.process import Service, signed

SINKS = """
[sinks.sheet]
type = "workbook"
path = "data/interviews.xlsx"
[sinks.chat]
type = "console"
"""
EVENTS = 2000
CLIENTS = 64


def payloads(round_number: int) -> list[dict]:
    """Half creates, half finishes of the same interviews, in any order."""
    made = []
    for number in range(EVENTS // 2):
        interview = {
            "id": f"{round_number:04d}{number:020d}",
            "position": {"id": "p1", "name": "Cook"},
            "candidate": {"name": f"Candidate {number}", "email": f"c{number}@example.com"},
            "status": "pending",
        }
        date = 1_761_566_424_000 + number * 10
        made.append({"event": "interview.create", "data": interview, "date": date})
        made.append({"event": "interview.finish", "data": interview | {"status": "completed"}, "date": date + 5})
    random.Random(round_number).shuffle(made)
    return made


async def feed(service: Service, waiting: list[dict], acknowledged: set[tuple[str, str]]) -> None:
    """Posts with many clients at the same time until all are posted or the service ended."""
    queue = list(waiting)

    async def client() -> None:
        while queue:
            payload = queue.pop()
            body, headers = signed(payload)
            try:
                async with http.post(service.hook, data=body, headers=headers) as answer:
                    status = answer.status
            except (aiohttp.ClientError, OSError):
                return
            if status < 300:
                acknowledged.add((payload["event"], payload["data"]["id"]))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS)) as http:
        await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def feed_and_kill(service: Service, waiting: list[dict], acknowledged: set, after: int) -> None:
    """Kills the process once `after` events were acknowledged."""
    feeding = asyncio.create_task(feed(service, waiting, acknowledged))

    async def watch() -> None:
        while len(acknowledged) < after:  # noqa: ASYNC110 - the clients only count
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await asyncio.wait([feeding, watching], return_when=asyncio.FIRST_COMPLETED)
    service.kill()
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    await feeding


def ids_of(service: Service, sql: str) -> set[tuple[str, str]]:
    return {(name, interview) for name, interview in service.query(sql)}


def assert_intact(service: Service, acknowledged: set[tuple[str, str]]) -> None:
    assert service.query("PRAGMA integrity_check") == [("ok",)]
    stored = ids_of(service, "SELECT name, interview_id FROM event")
    assert acknowledged <= stored


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.chaos)])
def test_every_acknowledged_event_survives_kills_and_is_delivered(tmp_path, kills):
    """2,000 concurrent events and several kills: all are stored and delivered, and no row is repeated."""
    service = Service(tmp_path, SINKS)
    acknowledged: set[tuple[str, str]] = set()
    spread = random.Random(7)
    for number in range(kills):
        service.start()
        before = len(acknowledged)
        asyncio.run(feed_and_kill(service, payloads(number), acknowledged, before + spread.randint(200, 1500)))
        assert len(acknowledged) > before
        assert_intact(service, acknowledged)
    service.start()
    service.settled(120)
    assert service.stop() == 0
    assert_intact(service, acknowledged)
    states = dict(service.query("SELECT state, count(*) FROM delivery WHERE purpose <> 'verify' GROUP BY state"))
    assert set(states) <= {1, 2}
    settled = ids_of(
        service,
        "SELECT e.name, e.interview_id FROM delivery d JOIN event e ON e.seq = d.event_seq "
        "WHERE d.sink = 'chat' AND d.state IN (1, 2)",
    )
    assert acknowledged <= settled
    assert_one_row_each(service)


def assert_one_row_each(service: Service) -> None:
    """The workbook holds every stored interview exactly once."""
    interviews = [row[0] for row in service.query("SELECT id FROM interview ORDER BY id")]
    book = openpyxl.load_workbook(service.folder / "data" / "interviews.xlsx", read_only=True)
    rows = list(book.worksheets[0].iter_rows(values_only=True))
    book.close()
    keys = sorted(row[rows[0].index("Interview ID")] for row in rows[1:])
    assert keys == interviews
