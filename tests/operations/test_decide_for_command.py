"""A decision by command goes the way of every other decision, beside a service and without one, on both databases."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext

import pytest

from connector.app import open_event_store
from connector.config import load
from connector.decision import Decision, DecisionRequest, Via
from connector.delivery.clock import SystemClock
from connector.emulators.faults import HTML_503
from connector.errors import ConnectorError, StoreUnavailable, UsageError
from connector.hireflix import CREATE
from connector.hireflix.api import HireflixApi
from connector.hireflix.payload import DECISION
from connector.merge import stage_of
from connector.operations.decision_worker import DecisionWorker, decide_for_command, release_of_killed
from connector.role import Secrets
from connector.store import erase, schema
from connector.store.dialects import SERVER_NOW
from connector.store.schema import RequestState
from connector.store.sqlite.database import StoreLock
from tests.operations.hireflix_world import at_once, source_at
from tests.serving import until

CONFIG = """
[store]
url = "{url}"

[hireflix]
webhook_secrets = ["hush-hush"]
api_url = "{api_url}"

[sinks.sheet]
type = "workbook"
path = "sheet.xlsx"
"""


class World:
    """A store with one interview, its account, and the configuration of a command."""

    def __init__(self, source, settings, lock):
        self.source, self.account, self.settings, self.lock = source, source.account, settings, lock
        self.found, _ = self.account.invite(self.account.add_position("Baker"), "Ana García")
        self.account.complete(self.found)

    async def decide(self, decision, value=None, open_store=open_event_store, sleep=at_once):
        request = DecisionRequest(
            key="k",
            interview_id=self.found.id,
            decision=Decision(decision),
            value=value,
            actor="cli:ada",
            via=Via.COMMAND,
        )
        return await decide_for_command(self.settings, open_store, request, sleep=sleep)

    @asynccontextmanager
    async def service(self):
        """A running service, which holds a SQLite file."""
        server = self.source.server
        worker = DecisionWorker(
            lambda: HireflixApi(server.key, server.api_url, sleep=at_once),
            self.source.store,
            ShortWaits() if not self.source.store.shared else SharedShortWaits(),
            "service",
            wake=lambda _: None,
            sleep=at_once,
        )
        with self.lock():
            worker.start()
            yield
            await worker.stop(30, asyncio.Event())

    async def made(self):
        """The events with the mark of a decision, and the stage that they lead to."""
        marks = [row.mark for row in await self.source.events() if row.mark]
        return marks, stage_of(await self.source.values(self.found.id)).value

    async def until_done(self, _=0):
        async def is_done():
            return await self.states() == [RequestState.DONE]

        await until(is_done)

    async def states(self):
        return [row.state for row in await self.source.rows(schema.decision_request)]


class ShortWaits(SystemClock):
    """The clock of a service that waits shortly."""

    async def wait(self, event, seconds):
        return await super().wait(event, 0.01)


class SharedShortWaits(ShortWaits):
    def in_sql(self):
        return SERVER_NOW


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request, tmp_path, monkeypatch):
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    async with source_at(tmp_path, url=url) as source:
        file = tmp_path / "config.toml"
        file.write_text(CONFIG.format(url=url or "sqlite:///connector.db", api_url=source.server.api_url))
        monkeypatch.setenv("CONNECTOR_HIREFLIX__API_KEY", source.server.key)
        lock = nullcontext if url else lambda: StoreLock(tmp_path / "connector.db")
        made = World(source, load(file, needs=Secrets.NONE), lock)
        await source.receive(made.account.webhook(CREATE, made.found, made.found.created_at))
        source.clock.advance(60)
        yield made


async def test_without_a_service_the_command_stores_the_new_stage(world):
    assert (await world.decide("shortlist")).changed
    assert await world.made() == ([DECISION], "shortlisted")


async def test_beside_a_service_the_decision_is_carried_out_once_and_stored(world):
    async with world.service(), asyncio.timeout(60):
        assert (await world.decide("discard", "No permit", sleep=world.until_done)).changed
    assert await world.made() == ([DECISION], "discarded")
    assert [name for name, _ in world.account.changes] == ["comment", "archive"]
    assert await world.states() == [RequestState.DONE]


async def test_a_command_that_is_killed_between_the_answer_and_the_store_is_finished_by_the_service(world):
    """The killed process leaves the waiting request, and a lease that ends after a minute."""

    @asynccontextmanager
    async def killed(settings):
        async with open_event_store(settings) as opened:
            opened.store.offer = opened.store.write = dying(world.account, opened.store)
            yield opened

    with pytest.raises(StoreUnavailable):
        await world.decide("shortlist", open_store=killed)
    assert (await world.made(), await world.states()) == (([], "to_evaluate"), [RequestState.WAITING])

    await world.source.store.write(lambda connection: connection.execute(schema.lease.update().values(lease_until=0)))
    async with world.service(), asyncio.timeout(60):
        await world.until_done()
    assert await world.made() == ([DECISION], "shortlisted")
    assert [name for name, _ in world.account.changes] == ["finalist"]


def dying(account, store):
    """Writes until the decision is in Hireflix; then nothing of this process reaches the store."""
    write, offer = store.write, store.offer

    def either(job, body=None):
        if account.changes:
            raise StoreUnavailable("killed")
        return write(job) if body is None else offer(job, body)

    return either


async def test_a_decision_is_kept_while_hireflix_is_unavailable(world):
    world.source.server.faults.choose(lambda kind: HTML_503)
    with pytest.raises(ConnectorError, match=r"HTTP 503.*; it is kept, and the service tries it for a day"):
        await world.decide("shortlist")
    assert await world.states() == [RequestState.WAITING]


async def test_an_erased_interview_is_not_decided(world):
    await world.source.store.write(lambda connection: erase.erase(connection, world.found.id, [], 1))
    with pytest.raises(UsageError, match="does not exist"):
        await world.decide("comment", "Ana is strong")
    assert await world.states() == []


async def test_a_service_on_a_file_ends_the_leases_of_killed_processes(world):
    """With a SQLite file there is one process at a time; with PostgreSQL another one may be at work."""
    await world.source.store.write(lambda connection: held(connection, f"decide:{world.found.id}"))
    await release_of_killed(world.source.store)
    kept = len(await world.source.rows(schema.lease))
    assert kept == int(world.source.store.shared)


def held(connection, name):
    connection.execute(schema.lease.insert().values(name=name, lease_owner="killed", lease_until=9e15, fence=1))
