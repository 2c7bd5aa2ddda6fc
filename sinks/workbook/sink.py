"""The workbook sink: collects due deliveries, rewrites the file in one thread, and stores what was written."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from connector.blocking import BlockingThread
from connector.capabilities import ERASE, Debounce
from connector.sink import (
    Batch,
    Context,
    Delivered,
    Delivery,
    Finding,
    FollowUp,
    Interview,
    LocalPath,
    Note,
    Result,
    RetryLater,
    Sink,
    SinkBroken,
    SinkConfig,
    Stage,
    Token,
)
from sinks.spreadsheet.columns import DEFAULT_COLUMNS, Columns
from sinks.workbook.state import (
    RESUME_NOTE,
    ROWS_NOTES,
    TABLE_NOTE,
    RewriteRequest,
    RewriteResult,
    Row,
    TableState,
    Written,
    changed_notes,
    row_note,
    row_values,
)

_FORBIDDEN = re.compile(r"[\[\]:*?/\\\x00-\x1f]|^'|'$")


def _xlsx(path: Path) -> Path:
    if path.suffix.lower() != ".xlsx":
        raise ValueError("must end in .xlsx: files with macros and older formats would lose something")
    return path


def _tab_name(name: str) -> str:
    if _FORBIDDEN.search(name) or not name.strip():
        raise ValueError("must be a name for a tab: none of [ ] : * ? / \\, no quote at either end")
    return name


class WorkbookConfig(SinkConfig):
    """The file, and the columns of the table."""

    path: Annotated[LocalPath, AfterValidator(_xlsx)] = Field(
        description="The .xlsx file. The file and its folder are created if they are missing; content of users stays."
    )
    worksheet: Annotated[str, Field(max_length=31), AfterValidator(_tab_name)] = Field(
        default="Interviews", description="The tab with the table."
    )
    columns: Columns = Field(
        default=DEFAULT_COLUMNS, description="The columns, from left to right in a new file: field and title."
    )
    on_delete: Literal["mark", "clear", "remove"] = Field(
        default="mark",
        description=(
            'A deleted interview: "mark" = the stage becomes Deleted, "clear" = only id and stage remain, "remove" '
            "= the row is removed, with the cells of users in it."
        ),
    )
    on_leave: Literal["keep", "remove"] = Field(
        default="keep",
        description=(
            'An interview that no route matches any more: "keep" = the row stays and is updated, "remove" = the row is '
            "removed, with the cells of users in it."
        ),
    )
    recreate: bool = Field(default=False, description="Whether a row that users deleted is written again.")
    style: bool = Field(
        default=True,
        description="Format the tab that the sink creates, and add a Summary; existing tabs stay as they are.",
    )


PAUSE_SECONDS = 2.0
"""Least time between two rewrites."""
ROWS_PER_SECOND = 1_000
"""With more than 2,000 rows the pause grows with the table, so that rewrites never use a whole processor."""
CHILD_ROWS = 500
"""Larger tables are rewritten by a child process, because openpyxl would block the receiver for tenths of a second."""
REWRITE = "rewrite"
"""Purpose of the follow-up that writes the row of an interview again."""
IN_USE_SECONDS = 5.0
"""Delay while another program uses the file; short, because users save and close it at any time."""
LOCK_OLD_SECONDS = 24 * 3600.0
"""An older lock file was probably left behind by a crash: office programs write it when they open the file."""
LOCK_WAIT_SECONDS = 5 * 60.0
"""The sink pauses when an old lock file still exists after this time. A user may really have the file open."""


class Workbook(Sink[WorkbookConfig]):
    """Keeps one row per interview in an `.xlsx` file. It writes its own cells and does not change those of users."""

    Config = WorkbookConfig
    state = True
    resume_modes = frozenset({"accept", "refill"})
    max_batch = 5_000
    counts_calls = True
    timeout = 180  # 10,000 rows take some seconds, on a busy machine many
    debounce = Debounce(above=20, idle=0.5, max_wait=5.0)

    def __init__(self, name: str, config: WorkbookConfig) -> None:
        super().__init__(name, config)
        # One thread: a call that timed out continues in it, and the next one waits for its end.
        self._thread = BlockingThread("workbook")
        self._waits_since: int | None = None  # epoch milliseconds of the first wait for an old lock file

    @property
    def destination(self) -> str:
        return f"{os.path.abspath(self.config.path)}#{self.config.worksheet}"  # noqa: PTH100 - resolve() would read

    def note_keys(self, delivery: Delivery) -> Iterable[str]:
        return TABLE_NOTE, *ROWS_NOTES, RESUME_NOTE, row_note(delivery.key)

    async def open(self) -> None:
        self._thread = BlockingThread("workbook")

    async def close(self) -> None:
        await self._thread.finish()

    async def deliver(self, batch: Batch, context: Context) -> Result:
        state = TableState.from_notes(batch.notes)
        size = state.size_with(delivery.key for delivery in batch.deliveries)
        await context.take(Token(self._bucket, 1 / max(PAUSE_SECONDS, size / ROWS_PER_SECOND)))
        context.count_call("rewrite")
        now_ms = context.now()
        return await self._thread.run(lambda: self._deliver(batch, state, now_ms))

    def _deliver(self, batch: Batch, state: TableState, now_ms: int) -> Result:
        """The blocking part of `deliver`."""
        from sinks.workbook.file import InUseError  # openpyxl is loaded by the first rewrite, not by every command

        try:
            result = self._rewrite(batch, state)
        except InUseError as error:
            self._refuse_old_lock(now_ms)
            waiting = RetryLater(str(error), after=IN_USE_SECONDS, counts=False, pause_sink=True)
            return Result([waiting for _ in batch.deliveries])
        self._waits_since = None
        return result

    def _refuse_old_lock(self, now_ms: int) -> None:
        """Raises `SinkBroken` when an old lock file still exists after `LOCK_WAIT_SECONDS`."""
        from sinks.workbook.file import lock_seconds, locked_message

        path = self.config.path.resolve()
        age = lock_seconds(path, now_ms)
        if age is None or age < LOCK_OLD_SECONDS:
            self._waits_since = None
            return
        self._waits_since = now_ms if self._waits_since is None else self._waits_since
        if now_ms - self._waits_since >= LOCK_WAIT_SECONDS * 1000:
            raise SinkBroken(*locked_message(path))

    def erase_leaves(self) -> Sequence[str]:
        return ("copies of the workbook", "what users wrote about the person outside of the row")

    async def preview(self, batch: Batch, context: Context) -> Sequence[str]:  # noqa: ARG002 - reads no clock
        return [self._readable(delivery) for delivery in batch.deliveries]

    async def check_connection(self) -> list[Finding]:
        """Checks whether the folder can be written, and the file read and rewritten without loss; writes nothing."""
        from sinks.workbook.file import check_file

        return await asyncio.to_thread(check_file, self.config.path)

    @property
    def _bucket(self) -> str:
        """The bucket of the file. All tabs share it, because each rewrite writes the whole file."""
        return f"workbook:{hashlib.sha256(os.path.abspath(self.config.path).encode()).hexdigest()[:12]}"  # noqa: PTH100 - as above

    def _rewrite(self, batch: Batch, state: TableState) -> Result:
        from sinks.workbook.file import exclusive
        from sinks.workbook.rewrite import rewrite, rewrite_in_child

        config, rows = self.config, self._rows(batch)
        keys = {delivery.key for delivery in batch.deliveries}
        gone = keys - rows.keys()
        mode = batch.notes.get(RESUME_NOTE, {}).get("mode")
        request = RewriteRequest(
            self.name,
            config.path,
            config.worksheet,
            config.columns,
            config.timezone,
            state.without(gone),
            rows,
            recreate=config.recreate or mode == "refill",
            accept=mode == "accept",
            style=config.style,
        )
        with exclusive(config.path):
            done = rewrite_in_child(request) if state.size_with(keys) > CHILD_ROWS else rewrite(request)
        notes = {**_notes(batch.notes, done, rows), **dict.fromkeys(map(row_note, gone))}
        if mode is not None:
            notes[RESUME_NOTE] = None
        rewrites = [FollowUp(REWRITE, interview=key) for key in done.again]
        return Result([Delivered() for _ in batch.deliveries], notes, rewrites)

    def _rows(self, batch: Batch) -> dict[str, Row]:
        """Returns the rows to show. Interviews that no longer exist are left out."""
        return {
            delivery.key: Row(
                self._values(delivery.interview),
                batch.notes.get(row_note(delivery.key), {}).get("values"),
                removed=delivery.purpose == ERASE or self._is_removed(delivery.interview, unrouted=delivery.unrouted),
            )
            for delivery in batch.deliveries
            if delivery.interview is not None
        }

    def _is_removed(self, interview: Interview, *, unrouted: bool) -> bool:
        is_deleted = self.config.on_delete == "remove" and interview.stage is Stage.DELETED
        return is_deleted or (self.config.on_leave == "remove" and unrouted)

    def _values(self, interview: Interview) -> dict[str, Written]:
        config = self.config
        zone = ZoneInfo(config.timezone)
        return row_values(interview, config.columns, zone, clear_deleted=config.on_delete == "clear")

    def _readable(self, delivery: Delivery) -> str:
        if delivery.interview is None:
            return "nothing"
        if self._is_removed(delivery.interview, unrouted=delivery.unrouted):
            return (
                "no row: the interview was deleted"
                if not delivery.unrouted
                else "no row: no route matches the interview any more"
            )
        values = self._values(delivery.interview)
        return "\n".join(f"{column.title}: {_shown(values[column.field])}" for column in self.config.columns)


def _notes(before: Mapping[str, Note], done: RewriteResult, rows: Mapping[str, Row]) -> dict[str, Note | None]:
    """Returns the notes to store: those of the table that changed, and those of the rows."""
    notes = changed_notes(before, done.state)
    for key, row in rows.items():
        if row.removed:
            notes[row_note(key)] = None
        elif key not in done.state.deleted:  # a deleted row that returns has its former values
            notes[row_note(key)] = {"values": {name: row.values[name] for name in done.placed}}
    return notes


def _shown(value: Written) -> str:
    return "" if value is None else str(value)
