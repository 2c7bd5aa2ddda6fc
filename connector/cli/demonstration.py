"""The service of `connector demo` and the one who feeds it."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from connector import app, logs
from connector.cli.banner import banner, secrets_of, to_paste
from connector.cli.opened import looking, now
from connector.cli.send import TIMEOUT, headers
from connector.cli.terminal import counted
from connector.config import Config, ensure_secret, load
from connector.errors import ConnectorError, UsageError
from connector.samples.stream import stream
from connector.store.status import status

LOOK_SECONDS = 0.1


@dataclass(slots=True)
class Demonstration:
    """One demonstration: `events` webhooks at `rate` per second; with `once` it ends when all are delivered."""

    events: int
    rate: float
    once: bool
    answers: Counter[int] = field(default_factory=Counter)
    failure: BaseException | None = None

    def run(self, folder: Path | None) -> None:
        """Serves until a signal, or until all is done. Raises `UsageError` for a folder that is configured already."""
        settings = ensure_secret(self._settings(folder))
        logs.set_up(settings.logs.format, "warning")
        app.run(lambda: self._serve(settings))
        if self.failure is not None:
            raise ConnectorError(f"the stream ended early: {type(self.failure).__name__}") from self.failure

    def _settings(self, folder: Path | None) -> Config:
        """The embedded default in the folder, on any free port; variables of the process do not count."""
        folder = folder or Path(tempfile.mkdtemp(prefix="connector-demo-"))
        if (folder / "config.toml").exists() or (folder / ".env").exists():
            raise UsageError(f"{folder} holds a configuration; the demo wants a folder of its own")
        folder.mkdir(parents=True, exist_ok=True)
        return load(environ={"CONNECTOR_SERVER__PORT": "0"}, cwd=folder)

    async def _serve(self, settings: Config) -> None:
        stop = asyncio.Event()
        feeding: list[asyncio.Task[None]] = []

        async def started(base: str) -> None:
            print(banner(settings, base), flush=True)
            follow = counted(self.events, "webhook follows", "webhooks follow")
            print(f"  Demo      {follow}, {self.rate:g} a second; Ctrl-C ends it\n", flush=True)
            feeding.append(asyncio.create_task(self._feed(settings, base, stop)))

        try:
            await app.serve(settings, secrets_of(settings), started, stop)
        finally:
            for task in feeding:
                task.cancel()
            await asyncio.gather(*feeding, return_exceptions=True)

    async def _feed(self, settings: Config, base: str, stop: asyncio.Event) -> None:
        """Sends everything, then says so; stops the service at the end, or when something goes wrong."""
        try:
            await self._send_all(base + settings.hireflix.webhook_path, secrets_of(settings)[0])
            await _all_delivered(settings)
            print(self._summary(settings), flush=True)
        except httpx.TransportError:  # nobody listens any more: a signal stops the service
            stop.set()
        except Exception as error:  # noqa: BLE001 - told when the service has stopped
            self.failure = error
        if self.once or self.failure is not None:
            stop.set()

    async def _send_all(self, url: str, secret: str) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT) as client:
            for number, body in enumerate(stream(self.events, now())):
                await asyncio.sleep(max(0.0, begun + number / self.rate - loop.time()))
                answer = await client.post(url, content=body, headers=headers(body, secret))
                self.answers[answer.status_code] += 1

    def _summary(self, settings: Config) -> str:
        accepted, repeats = self.answers[202], self.answers[200]
        other = sum(self.answers.values()) - accepted - repeats
        taken, again = counted(accepted, "event", "events"), counted(repeats, "repeat", "repeats")
        lines = [f"\nAll is delivered: {taken} accepted, {again} recognised, {other} refused."]
        if not self.once:
            lines.append(f"Look around: {to_paste(settings, 'status')}\nCtrl-C ends the demo.")
        return "\n".join(lines)


async def _all_delivered(settings: Config) -> None:
    while True:
        if not await asyncio.to_thread(_pending, settings):
            return
        await asyncio.sleep(LOOK_SECONDS)


def _pending(settings: Config) -> int:
    with looking(settings) as connection:
        return sum(sink.pending for sink in status(connection, now(), None).sinks)
