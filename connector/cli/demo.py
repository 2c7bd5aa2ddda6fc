"""`connector demo`."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer

from connector import app, logging
from connector.cli import options as o
from connector.cli.banner import banner, secrets_of, shell_command
from connector.cli.output import print_hint
from connector.config import Config
from connector.errors import ConnectorError
from connector.formats import counted
from connector.operations.demo import DemoDestinations, demo_destinations
from connector.operations.password import ensure_password
from connector.operations.send import all_delivered, feed

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="DIR", help="Folder for the store and the workbook; default: a new temporary folder."
    ),
]
EventsOption = Annotated[int, typer.Option("--events", min=1, max=o.MANY, help="Number of webhooks to send.")]
RateOption = Annotated[float, typer.Option("--rate", min=0.1, max=1000, help="Webhooks per second.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Stop when all deliveries are done.")]


def demo(
    folder: FolderOption = None,
    events: EventsOption = 200,
    rate: RateOption = 5.0,
    once: OnceOption = False,
) -> None:
    """Run a service with emulated accounts, and send it webhooks.

    Prints the addresses of pages that show the account, the sheet, the channel and the dashboard. The webhooks arrive
    over HTTP: several positions, with invitations, answers, scores, decisions and deletions. Some arrive twice, some
    late. Decide in the column Decision of the sheet, with the buttons of the channel or on the dashboard: the other
    pages show it.
    """
    with demo_destinations(folder) as destinations:
        settings = destinations.settings
        logging.set_up(settings.logs.format, "warning")
        running = _Demo(destinations, events, rate, ensure_password(settings), once=once)
        app.run(running.serve)
    if running.failure is not None:
        raise ConnectorError(f"the demo stopped early: {type(running.failure).__name__}") from running.failure


@dataclass(slots=True)
class _Demo:
    """Serves, and sends `events` webhooks at `rate` per second. With `once` it stops when all are delivered."""

    destinations: DemoDestinations
    events: int
    rate: float
    password: str | None
    once: bool
    failure: BaseException | None = None

    @property
    def settings(self) -> Config:
        return self.destinations.settings

    async def serve(self) -> None:
        """Serves until a signal, or with `once` until all deliveries are done."""
        stop = asyncio.Event()
        feeding: list[asyncio.Task[None]] = []

        async def started(base: str) -> None:
            print(banner(self.settings, base, password=self.password), flush=True)
            print("\n".join(self._pages()))
            self.destinations.send_webhooks_to(self._receiver(base))
            for hint in self.destinations.hints:
                print_hint(hint)
            webhooks = counted(self.events, "webhook", "webhooks")
            print(f"  Demo      sends {webhooks}, {self.rate:g} per second; Ctrl-C stops it\n", flush=True)
            feeding.append(asyncio.create_task(self._feed(base, stop)))

        try:
            await app.serve(self.settings, secrets_of(self.settings), started, stop)
        finally:
            for task in feeding:
                task.cancel()
            await asyncio.gather(*feeding, return_exceptions=True)

    async def _feed(self, base: str, stop: asyncio.Event) -> None:
        """Sends all webhooks and prints a summary. Stops the service after a failure, and with `once` at the end."""
        secret, happens = secrets_of(self.settings)[0], self.destinations.happens
        try:
            responses = await feed(self._receiver(base), secret, self.events, self.rate, happens)
            await all_delivered(self.settings)
            print(self._summary(responses, base), flush=True)
        except httpx.TransportError:  # the service no longer listens: it is stopping
            stop.set()
        except Exception as error:  # noqa: BLE001 - raised when the service has stopped
            self.failure = error
        if self.once or self.failure is not None:
            stop.set()

    def _receiver(self, base: str) -> str:
        return base + self.settings.hireflix.webhook_path

    def _pages(self) -> list[str]:
        lines = {**self.destinations.pages, "Decide": self.destinations.decide}
        return [f"  {name:<9} {text}" for name, text in lines.items() if text]

    def _summary(self, responses: Counter[str], base: str) -> str:
        accepted, repeats = responses["accepted"], responses["duplicate"]
        refused = sum(responses.values()) - accepted - repeats
        events, again = counted(accepted, "event", "events"), counted(repeats, "repeat", "repeats")
        lines = [f"\nAll deliveries are done: {events} accepted, {again} recognised, {refused} refused."]
        if not self.once:
            lines += [f"  Dashboard {base}/", *self._pages()]
            lines.append(f"Next: {shell_command(self.settings, 'status')}\nCtrl-C stops the demo.")
        return "\n".join(lines)
