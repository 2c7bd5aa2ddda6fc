"""How `connector replay` chooses, asks and works through what it found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer
from sqlalchemy import Connection

from connector.cli.listings import wanted_of
from connector.cli.opened import OpenStore, changing, now_in, require_known
from connector.cli.options import Replayable
from connector.cli.terminal import console, counted, is_interactive
from connector.config import Config, load
from connector.errors import UsageError
from connector.store import replay
from connector.store.plan import Directory, Target
from connector.store.schema import DeliveryState

T = TypeVar("T")

PAUSE = 0.02
"""Seconds between chunks, so that a running service gets its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asked to replay."""

    ids: tuple[int, ...]
    sink: str | None
    position: str | None
    interview: str | None
    event: int | None
    state: Replayable | None
    since: str | None
    until: str | None

    @property
    def is_empty(self) -> bool:
        named = (self.sink, self.position, self.interview, self.event, self.state, self.since, self.until)
        return not self.ids and all(value is None for value in named)

    @property
    def is_of_events(self) -> bool:
        return self.state in {Replayable.UNREADABLE, Replayable.UNKNOWN}

    @property
    def states(self) -> tuple[DeliveryState, ...]:
        """States of the deliveries that are meant."""
        if self.state is not None:
            return (DeliveryState[self.state.name],)
        is_named = bool(self.ids) or self.event is not None
        return (DeliveryState.DEAD, DeliveryState.DELIVERED) if is_named else (DeliveryState.DEAD,)


def run(path: Path | None, request: Request, *, yes: bool) -> None:
    """Replays what is asked for. Raises `UsageError`, `ConfigError`, `StoreError`."""
    if request.is_empty:
        raise UsageError("say what to replay: ids of deliveries, or --sink, --position, --event, --state, --since …")
    config = load(path)
    if request.sink is not None:
        require_known(request.sink, config.sinks)
    with changing(config) as store:
        if request.is_of_events:
            _replay_events(store, config, request, yes=yes)
        else:
            _replay_deliveries(store, config, request, yes=yes)


def _replay_deliveries(store: OpenStore, config: Config, request: Request, *, yes: bool) -> None:
    wanted = wanted_of(
        config,
        request.since,
        request.until,
        ids=request.ids,
        sink=request.sink,
        position=request.position,
        interview=request.interview,
        event=request.event,
        states=request.states,
    )
    kinds = {name: entry.cls.state for name, entry in config.sinks.items()}
    found = store.look(lambda connection: replay.find(connection, wanted, kinds))
    total = len(found.dead) + len(found.repeat)
    for (sink, state), count in sorted(found.counts.items()):
        print(f"  {sink}: {count} {state}")
    if not _agreed(total, "delivery", "deliveries", yes=yes):
        return
    counts = [
        *_in_chunks(store, found.dead, lambda connection, ids: replay.revive(connection, ids, now_in(connection))),
        *_in_chunks(store, found.repeat, lambda connection, ids: replay.repeat(connection, ids, now_in(connection))),
    ]
    print(f"{counted(sum(counts), 'delivery waits', 'deliveries wait')} again; `connector status` shows how it goes")


def _replay_events(store: OpenStore, config: Config, request: Request, *, yes: bool) -> None:
    if request.ids or request.sink is not None:
        raise UsageError(
            f"--state {request.state} is about events; it goes with --event, --interview, --position, --since, --until"
        )
    wanted = wanted_of(
        config,
        request.since,
        request.until,
        kind=str(request.state),
        event=request.event,
        interview=request.interview,
        position=request.position,
    )
    seqs = store.look(lambda connection: replay.find_events(connection, wanted))
    if not _agreed(len(seqs), "event", "events", yes=yes):
        return
    directory = directory_of(config)
    results = _in_chunks(store, seqs, lambda connection, part: _read_again(connection, part, directory))
    applied, repeats, still = (sum(counts) for counts in zip(*results, strict=True))
    print(
        f"{counted(applied, 'event', 'events')} applied, {repeats} repeated one that was known, "
        f"{still} still not understood by this version"
    )


def _read_again(connection: Connection, seqs: Sequence[int], directory: Directory) -> tuple[int, int, int]:
    """How many events were applied, repeated another, are still not understood."""
    result = replay.ReadAgain()
    replay.read_again(connection, seqs, directory, now_in(connection), result)
    return result.applied, result.repeats, result.still


def directory_of(config: Config) -> Directory:
    """Routes and sinks as planning wants them."""
    targets = {name: Target(entry.cls.state, dict(entry.cls.priority)) for name, entry in config.sinks.items()}
    return Directory(config.routing(), targets)


def _agreed(total: int, one: str, many: str, *, yes: bool) -> bool:
    """Whether to go on. Raises `UsageError` when nobody can be asked."""
    if total == 0:
        print(f"no such {many}; nothing to do")
        return False
    if yes:
        return True
    if not is_interactive():
        raise UsageError(f"this would replay {counted(total, one, many)}; add --yes to do it")
    if not typer.confirm(f"Replay {counted(total, one, many)}?"):
        print("nothing was changed")
        return False
    return True


def _in_chunks(store: OpenStore, ids: Sequence[int], work: Callable[[Connection, Sequence[int]], T]) -> list[T]:
    """One short transaction per chunk, with a progress bar when there are many; what each of them came to."""
    results = []
    for part in _progress([ids[start : start + replay.CHUNK] for start in range(0, len(ids), replay.CHUNK)]):
        results.append(_change(store, part, work))
        time.sleep(PAUSE)
    return results


def _change(store: OpenStore, part: Sequence[int], work: Callable[[Connection, Sequence[int]], T]) -> T:
    return store.change(lambda connection: work(connection, part))


def _progress(parts: Sequence[Sequence[int]]) -> Iterator[Sequence[int]]:
    if len(parts) < 2:  # noqa: PLR2004 - one chunk is done before a bar is drawn
        yield from parts
        return
    from rich.progress import track

    yield from track(parts, "replaying", console=console(stderr=True))
