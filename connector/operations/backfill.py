"""Backfill: brings existing interviews of Hireflix into the store, so that a new sheet does not start empty.

The events are marked and silent: state sinks show them, chats report nothing. The progress is stored after each page,
so that a killed run continues where it was. A second run finds no difference and adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from connector.capabilities import Progress
from connector.hireflix.api import InterviewPage
from connector.hireflix.payload import epoch_ms
from connector.hireflix.snapshot import Position
from connector.operations.source import SourceReader, chosen, put
from connector.store import source
from connector.store.source import BACKFILL_KEY, SELECTED_KEY, Backfill


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to backfill: positions by id or name, and interviews invited since a time (epoch milliseconds).

    `None` selects all. `asked_at` identifies the request of a command.
    """

    positions: Sequence[str] | None = None
    since: int | None = None
    asked_at: int | None = None

    @property
    def key(self) -> str:
        """The key of the progress in the store. A selection does not replace the backfill of everything."""
        return BACKFILL_KEY if self.positions is None and self.since is None else SELECTED_KEY


EVERYTHING = Selection()


async def backfill(reader: SourceReader, selection: Selection, progress: Progress) -> Backfill:
    """Runs a backfill to its end, or continues an interrupted one with the same selection. Returns its numbers.

    Raises `UsageError` for an unknown position, `OtherAccount`, and the exceptions of `HireflixApi`.
    """
    positions = chosen(await reader.positions(), selection.positions)
    run = _Run(reader, selection, progress, await _begin(reader, selection))
    for position in positions:
        if position.id not in run.done.finished:
            await run.take_position(position)
    return await run.finish()


async def _begin(reader: SourceReader, selection: Selection) -> Backfill:
    """Returns the progress of an interrupted run with the same selection, else that of a new run."""
    stored = await reader.store.query(lambda connection: source.read(connection, selection.key, Backfill))
    wanted = None if selection.positions is None else list(selection.positions)
    is_same = stored is not None and (stored.positions, stored.since) == (wanted, selection.since)
    if stored is not None and is_same and stored.finished_at is None:
        return msgspec.structs.replace(stored, asked_at=selection.asked_at or stored.asked_at, error=None)
    return Backfill(started_at=reader.now(), asked_at=selection.asked_at, positions=wanted, since=selection.since)


class _Run:
    """One run. `done` is the stored progress."""

    def __init__(self, reader: SourceReader, selection: Selection, progress: Progress, done: Backfill) -> None:
        self._reader = reader
        self._selection = selection
        self._progress = progress
        self.done = done

    async def take_position(self, position: Position) -> None:
        """Reads the pages of a position, newest first, and stores the progress after each."""
        done = self.done
        cursor = done.cursor if done.position == position.id else None
        is_first = cursor is None
        async for page, stage in self._reader.pages(position, cursor):
            wanted = self._wanted(page)
            if not wanted.rows:
                break
            added = await self._reader.take(position, wanted, stage)
            done = self.done
            total = done.total + (page.total or len(page.rows) if is_first or stage is not None else 0)
            is_first = False
            self.done = msgspec.structs.replace(
                done,
                position=position.id,
                cursor=page.cursor if stage is None else None,
                read=done.read + len(wanted.rows),
                total=max(total, done.read + len(wanted.rows)),
                added=done.added + added.total(),
            )
            await self._put()
        finished = [*self.done.finished, position.id]
        self.done = msgspec.structs.replace(self.done, finished=finished, position=None, cursor=None)
        await self._put()

    def _wanted(self, page: InterviewPage) -> InterviewPage:
        """Returns the page without the interviews that were invited before the time of the selection."""
        since = self._selection.since
        if since is None:
            return page
        return page._replace(rows=[row for row in page.rows if (epoch_ms(row.get("createdAt")) or since) >= since])

    async def _put(self) -> None:
        await put(self._reader.store, self._selection.key, self.done)
        self._progress(self.done.read, self.done.total)

    async def finish(self) -> Backfill:
        self.done = msgspec.structs.replace(self.done, finished_at=self._reader.now())
        await self._put()
        return self.done
