"""Processes of each role on a PostgreSQL store that is available, unavailable, or of another version."""

from __future__ import annotations

import asyncio
import json
import stat
from contextlib import asynccontextmanager

import httpx
import pytest
from structlog.testing import capture_logs

from connector.app import Service, StoreHandle, running, serve
from connector.config import load
from connector.emulators.hireflix import Account, HireflixEmulator
from connector.errors import SchemaMismatch
from connector.hireflix.payload import read
from connector.hireflix.signature import sign
from connector.role import Role
from connector.store import processes
from connector.web.receiver import Bodies
from tests import postgres
from tests.delivery.rig import WaitingClock
from tests.pooler import pooled
from tests.serving import PLAIN, until
from tests.stores import make_store_file

SECRET = "hfx_test_secret_9f2c"


@pytest.fixture(scope="module")
def server():
    """A server of our own, which a test may stop; with a migrated store."""
    made = postgres.Server()
    made.start()
    postgres.make_tables(made.url)
    yield made
    made.remove()


def config_of(folder, url, *, server="port = 0"):
    file = folder / "config.toml"
    file.write_text(
        f'[store]\nurl = "{url}"\n[hireflix]\nwebhook_secrets = ["{SECRET}"]\n[server]\n{server}\n'
        '[sinks.console]\ntype = "console"\n'
    )
    return load(file, {}, folder)


@asynccontextmanager
async def served(config, role):
    """A client of a running process."""
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def on_started(url):
        address.set_result(url)

    task = asyncio.create_task(serve(config, [SECRET], on_started, stop, role=role))
    await asyncio.wait([task, address], return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            task.result()
        async with httpx.AsyncClient(base_url=address.result(), trust_env=False, verify=PLAIN) as client:
            yield client
    finally:
        stop.set()
        await task


async def post(client, interview="i1"):
    event = {"event": "interview.create", "data": {"id": interview}, "date": 1_761_566_424_000}
    body = json.dumps(event).encode()
    return await client.post("/webhooks/hireflix", content=body, headers={"x-hireflix-signature": sign(SECRET, body)})


@pytest.mark.parametrize("role", Role)
async def test_a_database_without_our_tables_is_refused_with_the_command(tmp_path, role):
    with postgres.empty_database() as url, pytest.raises(SchemaMismatch, match="connector migrate"):
        async with running(config_of(tmp_path, url), [SECRET], role):
            pytest.fail("it runs")


async def test_a_receiver_takes_webhooks_and_delivers_nothing(tmp_path, server):
    async with running(config_of(tmp_path, server.url), [SECRET], Role.RECEIVER) as service:
        assert service.http is not None
        assert service.dispatcher is None


async def test_every_webhook_is_taken_through_a_pooler_in_transaction_mode(tmp_path):
    """The service is ready, and the accepted events are delivered."""
    with postgres.empty_store() as direct, pooled(direct) as url:
        async with served(config_of(tmp_path, url), Role.ALL) as client:
            for number in range(20):  # groups that follow each other run the same statements
                answers = await asyncio.gather(*(post(client, f"i{number}-{sender}") for sender in range(10)))
                assert {answer.status_code for answer in answers} == {202}
            assert (await client.get("/health/ready")).status_code == 200
            await until(lambda: not postgres.rows(direct, "SELECT 1 FROM delivery WHERE state = 0"))
        assert postgres.rows(direct, "SELECT count(*) FROM event") == [(200,)]


async def test_a_worker_opens_no_port_unless_it_is_configured(tmp_path, server):
    async with running(config_of(tmp_path, server.url), [SECRET], Role.WORKER) as service:
        assert service.http is None
        assert list(service.dispatcher.lanes) == ["console"]


async def test_the_port_of_a_worker_serves_health_and_no_webhooks(tmp_path, server):
    config = config_of(tmp_path, server.url, server="worker_port = 0")
    async with served(config, Role.WORKER) as client:
        assert (await client.get("/health/ready")).status_code == 200
        assert "connector_deliveries_pending" in (await client.get("/metrics")).text
        assert (await post(client)).status_code == 404


async def test_a_process_is_listed_while_it_runs(tmp_path, server):
    """With the name in its leases."""
    async with running(config_of(tmp_path, server.url), [SECRET], Role.WORKER) as service:
        found = await until(lambda: service.store.query(lambda connection: processes.processes(connection, 0)))
        assert [each.role for each in found] == ["worker"]
    left = postgres.rows(server.url, "SELECT key FROM meta WHERE key LIKE 'process:%'")
    assert left == []


async def test_a_receiver_that_starts_without_the_database_refuses_events_until_it_is_available(tmp_path, server):
    """Events get a 503 with Retry-After, and the process is alive and not ready with a reason. Then events get a 202
    automatically.
    """
    await asyncio.to_thread(server.stop)
    try:
        async with served(config_of(tmp_path, server.url), Role.RECEIVER) as client:
            refused = await post(client)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            ready = await client.get("/health/ready")
            assert (ready.status_code, ready.json()["ready"]) == (503, False)
            assert "no server" in ready.json()["reason"]
            assert (await client.get("/health/live")).status_code == 200
            server.launch()

            async def is_answered():
                return (await post(client)).status_code != 503

            await until(is_answered)
            assert (await post(client)).status_code == 202
    finally:
        if server.process.poll() is not None:
            server.launch()
        await asyncio.to_thread(server.wait_ready)


@pytest.mark.parametrize("role", [Role.RECEIVER, Role.WORKER])
async def test_a_database_that_turns_out_to_be_another_versions_ends_the_process(tmp_path, server, role):
    """It was unavailable at the start; waiting would not help."""
    postgres.rows(server.url, "UPDATE alembic_version SET version_num = '9999' RETURNING 1")
    await asyncio.to_thread(server.stop)
    started = asyncio.Event()

    async def on_started(_):
        started.set()
        server.launch()

    try:
        with pytest.raises(SchemaMismatch, match="newest connector"):
            await serve(config_of(tmp_path, server.url), [SECRET], on_started, role=role)
        assert started.is_set()
    finally:
        await asyncio.to_thread(server.wait_ready)
        postgres.rows(server.url, "UPDATE alembic_version SET version_num = '0001' RETURNING 1")


async def test_a_worker_stores_the_events_that_it_makes_itself_also_without_an_api_key(postgres_url, tmp_path):
    """For example the new name of a position, for its other interviews."""
    body = b'{"event": "interview.create", "date": 1, "data": {"id": "of-a-worker"}}'
    async with running(config_of(tmp_path, postgres_url), [SECRET], Role.WORKER) as service:
        await service.store.offer(read(body, 1), body)
    assert postgres.rows(postgres_url, "SELECT 1 FROM event WHERE interview_id = 'of-a-worker'")


async def test_a_service_runs_retention_and_stores_the_run(tmp_path):
    clock = WaitingClock()
    config = config_of(tmp_path, "sqlite:///store.db")
    async with running(config, [SECRET], clock=clock) as service:
        runs = {}
        while "retention" not in runs:
            clock.advance(1)
            runs = await service.store.query(processes.task_runs)
    assert runs["retention"].counts == {"bodies": 0, "deliveries": 0, "attempts": 0, "decisions": 0}


async def test_a_component_that_cannot_be_stopped_ends_no_running_call(tmp_path):
    """The store stays open until every call has ended and its outcome is stored."""

    class Faulty:
        def start(self): ...

        async def stop(self):
            raise OSError

    class Stopping:
        def __init__(self):
            self.ended = asyncio.Event()

        async def stop(self, *_):
            for _ in range(3):
                await asyncio.sleep(0)
            self.ended.set()

    calls, heartbeat = Stopping(), Stopping()
    opened = StoreHandle(None, WaitingClock(), was_available=True, ready=None)
    service = Service(
        opened,
        heartbeat=heartbeat,
        listener=None,
        dispatcher=calls,
        decisions=None,
        background=[Faulty()],
        bodies=Bodies(),
        http=None,
        stop_timeout=1,
    )
    with capture_logs() as logs:
        await service.stop(asyncio.Event())
    assert calls.ended.is_set()
    assert heartbeat.ended.is_set()
    assert [log["event"] for log in logs] == ["stop failed"]


async def test_a_start_removes_the_access_of_other_users_and_logs_it_once(tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    make_store_file(folder / "store.db")
    wide = [folder / name for name in ("store.db", "webhook-secret", "store.db.before-0002-from-0001")]
    for file in wide:
        file.touch()
        file.chmod(0o664)
    other = folder / "interviews.xlsx"
    other.touch(0o644)
    for _ in range(2):
        async with running(config_of(tmp_path, "sqlite:///data/store.db"), [SECRET]):
            pass
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, *wide, other)] == [0o700, 0o600, 0o600, 0o600, 0o644]
    assert capsys.readouterr().out.count("access of other users removed") == 1


async def test_a_worker_with_an_api_key_reads_the_existing_interviews(tmp_path):
    """A worker receives no webhooks, but it adds events."""
    account = Account(lambda: 1_785_585_600_000)
    position = account.add_position("Baker")
    for number in range(3):
        account.invite(position, f"Ana {number}")
    with postgres.empty_store() as url, HireflixEmulator(account) as hireflix:
        config_of(tmp_path, url)
        environ = {"CONNECTOR_HIREFLIX__API_KEY": hireflix.key, "CONNECTOR_HIREFLIX__API_URL": hireflix.api_url}
        async with running(load(tmp_path / "config.toml", environ, tmp_path), [], Role.WORKER) as service:

            async def backfill():
                return (await service.store.query(processes.task_runs)).get("backfill")

            run = await until(backfill)
        assert run.counts == {"read": 3, "added": 3}
        assert postgres.rows(url, "SELECT DISTINCT mark FROM event") == [("backfill",)]
