"""Several real processes on one real PostgreSQL: receivers, workers, and their destinations."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from aiohttp import web
from tenacity import AsyncRetrying, retry_if_exception_type, retry_if_result, wait_fixed

from connector.emulators.google import GoogleEmulator
from connector.emulators.server import EmulatorServer
from tests import forked, postgres
from tests.flows.process import ADDRESS, SECRET, Service, signed
from tests.sinks.webhook.receiver import whsec

LEASE = 2
HOOKS = ("hook_one", "hook_two")
CONFIG = """
[store]
url = "{store}"
[hireflix]
webhook_secrets = ["{secret}"]
[server]
port = 0
[logs]
format = "json"
[delivery]
lease = {lease}
[sinks.sheet]
type = "google_sheets"
spreadsheet = "{sheet}"
credentials_file = "key.json"
api_url = "{google}"
"""
HOOK = """
[sinks.{name}]
type = "webhook"
url = "{url}/{name}"
secret = "{secret}"
"""


class Recorder(EmulatorServer):
    """A slow destination. `calls` are (delivery, interview, event) per sink, in order of arrival."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._is_held = False
        self.calls: dict[str, list[tuple[str, str, str]]] = defaultdict(list)

    def build(self, app: web.Application) -> None:
        app.router.add_post("/{sink}", self._take)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.json()
        with self.lock:
            data = body["data"]
            call = (request.headers["webhook-id"], data["event"]["interview_id"], body["type"])
            self.calls[request.match_info["sink"]].append(call)
        await asyncio.sleep(self._seconds)  # what a call to a destination takes
        while self._is_held:  # noqa: ASYNC110 - another thread decides
            await asyncio.sleep(0.005)
        return web.Response()

    @contextmanager
    def held(self) -> Iterator[None]:
        """No call ends within the block."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    def first_calls(self, sink: str) -> dict[str, list[str]]:
        """The events of each interview in order of arrival, without repeats of a delivery id."""
        with self.lock:
            once = dict.fromkeys(self.calls[sink])
        found = defaultdict(list)
        for _, interview, event in once:
            found[interview].append(event)
        return found


class Member:
    """One process of the fleet. What it prints and logs goes to files."""

    def __init__(self, folder: Path, role: str) -> None:
        self.role = role
        self._out = folder / f"{role}-{random.getrandbits(32):08x}.out"
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
        with self._out.open("wb") as out:
            self.process = forked.start(
                "connector.cli",
                *("serve", "--role", role, "--config", str(folder / "config.toml")),
                environ={**foreign, "PYTHONUNBUFFERED": "1"},
                stdout=out.fileno(),
                stderr=out.fileno(),
            )

    @property
    def said(self) -> str:
        return self._out.read_text()

    @property
    def runs(self) -> bool:
        assert self.process.poll() is None, self.said
        return '"event": "started"' in self.said

    @property
    def hook(self) -> str:
        found = ADDRESS.search(self.said)
        assert found is not None
        return f"{found.group()}/webhooks/hireflix"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.process.wait(100)


class Fleet:
    """A server, its destinations and the processes, which a test can kill and stop."""

    def __init__(self, folder: Path, *, call_seconds: float = 0.01, more_config: str = "") -> None:
        self.server = postgres.Server()
        self.google = GoogleEmulator()
        self.recorder = Recorder(call_seconds)
        self.members: list[Member] = []
        self.acknowledged: set[tuple[str, str]] = set()
        self._folder = folder
        self._more_config = more_config
        self._connection: psycopg.Connection[Any] | None = None

    def open(self) -> None:
        self.server.start()
        postgres.make_tables(self.server.url)
        self.google.start()
        self.recorder.start()
        self.google.service_account_file(self._folder / "key.json")
        self.sheet = self.google.add_spreadsheet()
        hooks = "".join(HOOK.format(name=name, url=self.recorder.url, secret=whsec(name)) for name in HOOKS)
        config = CONFIG.format(
            store=self.server.url, secret=SECRET, lease=LEASE, sheet=self.sheet, google=self.google.url
        )
        (self._folder / "config.toml").write_text(config + hooks + self._more_config)

    def close(self) -> None:
        for member in self.members:
            if member.process.poll() is None:
                member.kill()
        if self._connection is not None:
            self._connection.close()
        self.google.stop()
        self.recorder.stop()
        self.server.remove()

    def start(self, *roles: str) -> list[Member]:
        """Starts processes and waits until they run."""
        made = [Member(self._folder, role) for role in roles]
        self.members += made
        Service.until(lambda: all(member.runs for member in made))
        return made

    def alive(self, role: str) -> list[Member]:
        return [member for member in self.members if member.role == role and member.process.poll() is None]

    def rows(self, sql: str) -> list[Any]:
        """By one connection, because a new one for each look would take much of the time. It ends with the server."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.server.url, autocommit=True)
        return self._connection.execute(sql).fetchall()

    def until(self, condition: Callable[[], Any], seconds: float = 100) -> None:
        """As `Service.until`, also while the server is down."""

        def holds() -> bool:
            try:
                return bool(condition())
            except psycopg.OperationalError:
                return False

        try:
            Service.until(holds, seconds)
        except AssertionError:
            raise AssertionError("\n".join(member.said[-3000:] for member in self.members)) from None

    def owner_of(self, sink: str) -> Member | None:
        """The running worker that has the lease of a sink."""
        return self.worker_named(self.rows(f"SELECT lease_owner FROM sink WHERE name = '{sink}'")[0][0])

    def worker_named(self, owner: str | None) -> Member | None:
        """The running worker with this name in a lease."""
        found = re.fullmatch(r".*:(\d+):\w+", owner or "")
        pid = int(found[1]) if found else 0
        return next((member for member in self.alive("worker") if member.process.pid == pid), None)

    def settled(self) -> bool:
        return not self.rows("SELECT 1 FROM delivery WHERE state = 0 AND purpose <> 'verify' LIMIT 1")

    def posting(self, interviews: range, clients: int = 8) -> threading.Thread:
        """Posts a create and then a finish of each interview, to any receiver, until each is acknowledged."""
        hooks = [member.hook for member in self.alive("receiver")]
        thread = threading.Thread(target=lambda: asyncio.run(self._post(list(interviews), hooks, clients)), daemon=True)
        thread.start()
        return thread

    async def _post(self, waiting: list[int], hooks: list[str], clients: int) -> None:
        async def client() -> None:
            while waiting:
                number = waiting.pop()
                about = {
                    "id": f"{number:024x}",
                    "position": {"id": "p1", "name": "Cook"},
                    "candidate": {"name": f"C {number}"},
                }
                for event, more in (("interview.create", "pending"), ("interview.finish", "completed")):
                    data = {**about, "status": more}
                    await self._surely(http, {"event": event, "data": data, "date": 1_761_566_424_000 + number}, hooks)

        async with aiohttp.ClientSession() as http:
            await asyncio.gather(*(client() for _ in range(clients)))

    async def _surely(self, http: aiohttp.ClientSession, payload: dict[str, Any], hooks: list[str]) -> None:
        """Tries again like a sender, with a pause, so that it does not use a core while the server is down."""
        body, headers = signed(payload)

        async def is_acknowledged() -> bool:
            async with http.post(random.choice(hooks), data=body, headers=headers) as answer:
                if answer.status < 300:
                    return True
                assert answer.status == 503, await answer.text()
                assert answer.headers["retry-after"]
                return False

        refused = retry_if_result(lambda done: not done) | retry_if_exception_type(aiohttp.ClientError)
        await AsyncRetrying(retry=refused, wait=wait_fixed(0.1))(is_acknowledged)
        self.acknowledged.add((payload["event"], payload["data"]["id"]))

    def assert_right(self) -> None:
        """Asserts that nothing acknowledged is lost, each interview has one row, and each hook got its events in
        order.
        """
        stored = set(self.rows("SELECT name, interview_id FROM event"))
        assert self.acknowledged <= stored
        interviews = {interview for _, interview in self.acknowledged}
        for hook in HOOKS:
            found = self.recorder.first_calls(hook)
            assert {key: found[key] for key in interviews} == {
                key: ["interview.create", "interview.finish"] for key in interviews
            }
        records = self.google.records(self.sheet, "Interviews")
        keys = [row["Interview ID"] for row in records]
        assert sorted(keys) == sorted(interviews)
        assert {row["Stage"] for row in records} == {"To evaluate"}
