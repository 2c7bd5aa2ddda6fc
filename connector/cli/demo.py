"""`connector demo`."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer

from connector import app, logs
from connector.cli import options as o
from connector.cli.banner import banner, secrets_of, to_paste
from connector.cli.output import counted
from connector.config import Config, ensure_secret
from connector.errors import ConnectorError
from connector.operations.demo import all_delivered, demo_settings, feed

FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", metavar="DIR", help="Where store and workbook go; else a new temporary folder."),
]
EventsOption = Annotated[int, typer.Option("--events", min=1, max=o.MANY, help="How many webhooks are sent.")]
RateOption = Annotated[float, typer.Option("--rate", min=0.1, max=1000, help="Webhooks per second.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Stop when everything is delivered.")]


def demo(
    folder: FolderOption = None,
    events: EventsOption = 200,
    rate: RateOption = 5.0,
    once: OnceOption = False,
) -> None:
    """Run a service and feed it a lifelike signed stream.

    It runs on the embedded default, on any free port, and gets its webhooks over HTTP: several positions, invitations,
    answers, scores, decisions, deletions; some webhooks come twice, some late.
    """
    settings = ensure_secret(demo_settings(folder))
    logs.set_up(settings.logs.format, "warning")
    running = _Demo(settings, events, rate, once=once)
    app.run(running.serve)
    if running.failure is not None:
        raise ConnectorError(f"the stream ended early: {type(running.failure).__name__}") from running.failure


@dataclass(slots=True)
class _Demo:
    """Serves and sends `events` webhooks at `rate` per second; with `once` it ends when all are delivered."""

    settings: Config
    events: int
    rate: float
    once: bool
    failure: BaseException | None = None

    async def serve(self) -> None:
        """Serves until a signal, or until everything is done."""
        stop = asyncio.Event()
        feeding: list[asyncio.Task[None]] = []

        async def started(base: str) -> None:
            print(banner(self.settings, base), flush=True)
            follow = counted(self.events, "webhook follows", "webhooks follow")
            print(f"  Demo      {follow}, {self.rate:g} a second; Ctrl-C ends it\n", flush=True)
            feeding.append(asyncio.create_task(self._feed(base, stop)))

        try:
            await app.serve(self.settings, secrets_of(self.settings), started, stop)
        finally:
            for task in feeding:
                task.cancel()
            await asyncio.gather(*feeding, return_exceptions=True)

    async def _feed(self, base: str, stop: asyncio.Event) -> None:
        """Sends everything and prints a summary; stops the service at the end, or when something fails."""
        url = base + self.settings.hireflix.webhook_path
        try:
            responses = await feed(url, secrets_of(self.settings)[0], self.events, self.rate)
            await all_delivered(self.settings)
            print(self._summary(responses), flush=True)
        except httpx.TransportError:  # the service no longer listens: it is stopping
            stop.set()
        except Exception as error:  # noqa: BLE001 - raised when the service has stopped
            self.failure = error
        if self.once or self.failure is not None:
            stop.set()

    def _summary(self, responses: Counter[int]) -> str:
        accepted, repeats = responses[202], responses[200]
        other = sum(responses.values()) - accepted - repeats
        taken, again = counted(accepted, "event", "events"), counted(repeats, "repeat", "repeats")
        lines = [f"\nAll is delivered: {taken} accepted, {again} recognised, {other} refused."]
        if not self.once:
            lines.append(f"Look around: {to_paste(self.settings, 'status')}\nCtrl-C ends the demo.")
        return "\n".join(lines)
