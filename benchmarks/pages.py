"""Pages: time of every page of the dashboard, the first visit, a poll, memory, and what an open page costs ingest."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median

import httpx

from benchmarks import processes, tables
from benchmarks.bodies import POSITIONS, stream, update_of
from benchmarks.posting import post_all
from benchmarks.processes import Running
from connector.hireflix.payload import read
from connector.merge import encode, merge
from connector.routing import Routes
from connector.store.parsed import encode as parsed
from tests.stores import make_store_file

EVENTS, EVENTS_QUICK = 1_000_000, 10_000
EVENTS_PER_INTERVIEW = 5
PERIOD_MS = 30 * 86_400_000
"""The events are spread over this time before now, so that the last day has some 33,000."""
DEAD_OF = 1_000
"""One of so many deliveries of the chat is a dead letter."""
ROUNDS, ROUNDS_QUICK = 7, 2
POLLS = 50
CHANGES, CHANGES_QUICK = 30, 3
"""Polls that show a change."""
BETWEEN = 50
"""Events between two polls, so that each poll shows a change."""
SETTLED_SECONDS = 0.3
"""Time for the deliveries of these events."""
POLL_SECONDS = 4.0
"""Interval of the polls of an open page that changes (`BUSY_MS` of its script)."""
PASSWORD = "a password of the benchmark"
CONFIG = f"""
[sinks.sheet]
type = "noop_state"
[sinks.chat]
type = "noop_messages"
[dashboard]
password = "{PASSWORD}"
"""
PAGES = (
    "/",
    "/interviews",
    "/interviews?position=Position+3&stage=shortlisted",
    "/interviews?sink=sheet",
    "/interviews/one?id=i77",
    "/events/77",
    "/deliveries",
    "/deliveries?state=dead",
    "/deliveries?sink=chat&state=delivered",
    "/deliveries/77",
    "/actions/selection?sink=chat&state=dead",
    "/sinks",
    "/sinks/chat",
    "/routes",
    "/routes?event=77",
    "/audit",
    "/api/status",
    "/api/interviews?limit=500",
    "/api/deliveries?limit=500",
)
PAGE_GOAL_MS, POLL_GOAL_MS, VISIT_GOAL_KB, MEMORY_GOAL_MB = 300, 5, 60, 150
SHARE_GOAL_PERCENT = 2
"""Ingest at the limit of a core becomes slower by this share."""
PAGE_SECONDS = 60.0


async def run(*, quick: bool = False) -> None:
    """Measures and prints."""
    events = EVENTS_QUICK if quick else EVENTS
    with tempfile.TemporaryDirectory(prefix="pages-") as name:
        folder = Path(name)
        started = time.monotonic()
        make_store(folder / "data" / "connector.db", events)
        tables.progress(f"{events:,} events in {time.monotonic() - started:.0f} s")
        async with (
            processes.service(folder, CONFIG) as running,
            httpx.AsyncClient(base_url=running.url, trust_env=False, timeout=PAGE_SECONDS) as client,
        ):
            await _sign_in(client)
            paths = {path: path for path in PAGES} | {"/interviews, a search": await _searched(client)}
            rows = [await _page(client, name, path, ROUNDS_QUICK if quick else ROUNDS) for name, path in paths.items()]
            poll = await _poll(client)
            visit = await _first_visit(client)
            memory = running.memory_peak()
            changed = await _changed_poll(running, client, CHANGES_QUICK if quick else CHANGES)
    title = f"Pages with {events:,} events of {events // EVENTS_PER_INTERVIEW:,} interviews"
    tables.show(title, ("page", "ms", "kB", f"goal {PAGE_GOAL_MS} ms"), rows)
    tables.show(
        "Around the pages",
        ("", "figure", "goal"),
        [
            ("first visit with scripts and styles, kB", f"{visit:.1f}", VISIT_GOAL_KB),
            ("poll of a page without a change, ms", tables.number(poll), POLL_GOAL_MS),
            ("peak of the resident set, MB", f"{memory:.0f}", MEMORY_GOAL_MB),
            ("processor time of a poll after a change, ms", tables.number(changed), ""),
            (
                f"share of a core of an open page that polls every {POLL_SECONDS:.0f} s, %",
                tables.number(changed / POLL_SECONDS / 10),
                SHARE_GOAL_PERCENT,
            ),
        ],
    )


def make_store(path: Path, events: int) -> None:
    """Makes a store with this number of events, by statements of SQLite that copy one event and one interview."""
    path.parent.mkdir(mode=0o700)
    make_store_file(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("PRAGMA synchronous=OFF")
        store.execute("PRAGMA foreign_keys=OFF")
        store.execute("PRAGMA cache_size=-200000")
        store.execute("BEGIN")
        for statement, values in _statements(events):
            store.execute(statement, values)
        store.execute("COMMIT")
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")


EVERY = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :events)"
EACH = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :interviews)"
AT = "CAST(:first + n * :step AS INTEGER)"
OF_EVENT = "'i' || ((n - 1) % :interviews + 1)"
DELIVERY = "INSERT INTO delivery (sink, key, interview_id, event_seq, priority, since, state, reason, done_at)"
FILL = (
    f"""INSERT INTO event (seq, identity, sha256, kind, name, interview_id, occurred_at, received_at, mark, reason)
    {EVERY} SELECT n, 'e' || n, x'', 'event', 'interview.finish', {OF_EVENT}, {AT}, {AT}, '', '' FROM n""",
    f"INSERT INTO event_body {EVERY} SELECT n, {AT}, :body, :parsed FROM n",
    f"""INSERT INTO interview (id, state, version, position_id, position_name, stage, updated_at)
    {EACH} SELECT 'i' || n, :state, 1, n % :positions, 'Position ' || (n % :positions),
    CASE n % 4 WHEN 0 THEN 'pending' WHEN 1 THEN 'to_evaluate' WHEN 2 THEN 'shortlisted' ELSE 'discarded' END,
    CAST(:first + (:events - :interviews + n) * :step AS INTEGER) FROM n""",
    f"""INSERT INTO interview_word {EACH} SELECT word, 'i' || n FROM n,
    (SELECT 'candidate' AS word UNION ALL SELECT 'knight') UNION ALL SELECT 'name' || n, 'i' || n FROM n""",
    """INSERT INTO sink (name, type, destination, routes)
    VALUES ('sheet', 'noop_state', 'sheet', :routes), ('chat', 'noop_messages', 'chat', '')""",
    f"INSERT INTO subscription {EACH} SELECT s, 'i' || n FROM n, (SELECT 'sheet' AS s UNION ALL SELECT 'chat')",
    f"""{DELIVERY} {EVERY} SELECT 'sheet', {OF_EVENT}, {OF_EVENT}, n, 100, {AT}, CASE WHEN n % 3 THEN 1 ELSE 2 END,
    NULL, {AT} + n % 5000 FROM n""",
    f"""{DELIVERY} {EVERY} SELECT 'chat', {OF_EVENT}, {OF_EVENT}, n, 100, {AT}, CASE WHEN n % :dead THEN 1 ELSE 3 END,
    CASE WHEN n % :dead THEN NULL ELSE 'status 404' END, {AT} + n % 5000 FROM n""",
    f"""INSERT INTO attempt (sink, batch, started_at, duration_ms, outcome, reason, count, status, answer)
    {EVERY} SELECT 'chat', 'b' || n, {AT}, 80, 'rejected', 'status 404', 1, 404, 'no such channel' FROM n
    WHERE n % :dead = 0""",
    "ANALYZE",
)
"""Statements that fill the tables from one event and one interview."""


def _statements(events: int) -> Iterator[tuple[str, dict[str, object]]]:
    now = time.time_ns() // 1_000_000
    body = update_of("65a000000000000000000000", "interview.finish", now)
    reading = read(body, now)
    values: dict[str, object] = {
        "events": events,
        "interviews": events // EVENTS_PER_INTERVIEW,
        "first": now - PERIOD_MS,
        "step": PERIOD_MS / events,
        "body": body,
        "parsed": parsed(reading),
        "state": encode(merge(None, reading)),
        "positions": POSITIONS,
        "dead": DEAD_OF,
        "routes": Routes((), {"sheet": True}).digest("sheet"),
    }
    for statement in FILL:
        yield statement, {name: value for name, value in values.items() if f":{name}" in statement}


async def _sign_in(client: httpx.AsyncClient) -> None:
    answer = await client.post("/sign-in", data={"password": PASSWORD}, headers={"sec-fetch-site": "same-origin"})
    if answer.status_code != 303:
        raise RuntimeError(f"the sign-in was answered with {answer.status_code}")


async def _searched(client: httpx.AsyncClient) -> str:
    """Returns the address of a search for the name that every candidate has."""
    data, headers = {"search": "candidate"}, {"sec-fetch-site": "same-origin"}
    return (await client.post("/interviews", data=data, headers=headers)).headers["location"]


async def _page(client: httpx.AsyncClient, name: str, path: str, rounds: int) -> tuple[object, ...]:
    """Returns the median time of a page and its size. The first request is not counted."""
    taken = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        answer = await client.get(path)
        taken.append((time.perf_counter() - started) * 1000)
        if answer.status_code != 200:
            raise RuntimeError(f"{path} was answered with {answer.status_code}")
    middle = median(taken[1:])
    return (
        name,
        tables.number(middle),
        f"{answer.num_bytes_downloaded / 1000:.1f}",
        "" if middle <= PAGE_GOAL_MS else "missed",
    )


async def _poll(client: httpx.AsyncClient) -> float:
    """Returns the median time of a poll that is answered with 304, in milliseconds."""
    taken: list[float] = []
    tag = (await client.get("/")).headers["hx-ptag"]
    while len(taken) < POLLS:
        started = time.perf_counter()
        answer = await client.get("/", headers={"hx-request": "true", "hx-ptag": tag})
        if answer.status_code == 304:
            taken.append((time.perf_counter() - started) * 1000)
        tag = answer.headers["hx-ptag"]
    return median(taken)


async def _first_visit(client: httpx.AsyncClient) -> float:
    """Returns the bytes of the overview and of its files as they are sent, in kB."""
    page = await client.get("/")
    size = page.num_bytes_downloaded
    for path in sorted(set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))):
        async with client.stream("GET", path) as answer:
            size += sum([len(part) async for part in answer.aiter_raw()])
    return size / 1000


async def _changed_poll(running: Running, client: httpx.AsyncClient, count: int) -> float:
    """Returns the processor time of a poll of the overview after events arrived, in milliseconds; the median.

    The deliveries of these events are done before, so that the poll is the only work of the process.
    """
    webhooks = stream(seed=3)
    taken = []
    tag = (await client.get("/")).headers["hx-ptag"]
    for _ in range(count):
        await post_all(running.url, islice(webhooks, BETWEEN))
        await asyncio.sleep(SETTLED_SECONDS)
        before = running.cpu_of_threads()
        answer = await client.get("/", headers={"hx-request": "true", "hx-ptag": tag})
        taken.append((running.cpu_of_threads() - before) * 1000)
        if answer.status_code != 200:
            raise RuntimeError(f"a poll after a change was answered with {answer.status_code}")
        tag = answer.headers["hx-ptag"]
    return median(taken)
