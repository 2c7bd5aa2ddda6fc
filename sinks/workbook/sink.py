"""The workbook sink: collects due deliveries, rewrites the file in one thread, and stores what was written."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from connector.blocking import BlockingThread
from connector.capabilities import ERASE, REPORT, VERIFY, CellPreview, Debounce, Preview, Progress, Report
from connector.languages import language
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
from sinks.spreadsheet.columns import DEFAULT_COLUMNS, Column, Columns, with_titles
from sinks.spreadsheet.comparison import WRONG
from sinks.spreadsheet.values import LINK_TEXT, CellKind, from_serial
from sinks.workbook.state import (
    NOTE_VERSION,
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

if TYPE_CHECKING:
    from sinks.workbook.verify import Findings

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
    verify_interval: float = Field(
        default=21_600, ge=60, description="Seconds between two verifications of the whole table."
    )
    style: bool = Field(
        default=True,
        description="Format the tab that the sink creates, and add a Summary; existing tabs stay as they are.",
    )

    @model_validator(mode="before")
    @classmethod
    def _titles(cls, data: Any) -> Any:
        return with_titles(data)


SLICE_ROWS = 2_000
"""Interviews that a verification reads at once."""
RECHECK = timedelta(minutes=1)
"""Delay of the verification after one that found differences, so that the status shows the repair."""
RECHECKS_MAX = 3
"""Verifications in a row that come so soon. What they cannot repair is left to the regular ones."""
PAUSE_SECONDS = 2.0
"""Least time between two rewrites."""
ROWS_PER_SECOND = 1_000
"""With more than 2,000 rows the pause grows with the table, so that rewrites never use a whole processor."""
CHILD_ROWS = 500
"""Larger tables are rewritten by a child process, because openpyxl would block the receiver for tenths of a second."""
ResultT = TypeVar("ResultT")
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
        """Writes the due rows. A verification waits until no rows are due in the same call."""
        verifications = [delivery for delivery in batch.deliveries if delivery.purpose == VERIFY]
        others = [delivery for delivery in batch.deliveries if delivery.purpose != VERIFY]
        if not others:
            return await self._verify_and_repair(len(verifications), context)
        result = await self._write(replace(batch, deliveries=others), context)
        later = RetryLater("rows are written first", after=PAUSE_SECONDS, counts=False)
        written = iter(result.outcomes)
        outcomes = [later if delivery.purpose == VERIFY else next(written) for delivery in batch.deliveries]
        return replace(result, outcomes=outcomes, follow_ups=[*result.follow_ups, self._next_verification()])

    def _next_verification(self) -> FollowUp:
        return FollowUp(VERIFY, timedelta(seconds=self.config.verify_interval))

    async def _write(self, batch: Batch, context: Context) -> Result:
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

    async def preview(self, batch: Batch, context: Context) -> Sequence[Preview]:  # noqa: ARG002 - reads no clock
        return [self._preview(delivery) for delivery in batch.deliveries]

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
        from sinks.workbook.rewrite import rewrite

        config, rows = self.config, self._rows(batch)
        keys = {delivery.key for delivery in batch.deliveries}
        gone = keys - rows.keys()
        mode = batch.notes.get(RESUME_NOTE, {}).get("mode")
        request = replace(
            self._request(state.without(gone)),
            rows=rows,
            recreate=config.recreate or mode == "refill",
            accept=mode == "accept",
        )
        with exclusive(config.path):
            done = _run(rewrite, request, state.size_with(keys))
        notes = {**_notes(batch.notes, done, rows), **dict.fromkeys(map(row_note, gone))}
        if mode is not None:
            notes[RESUME_NOTE] = None
        rewrites = [FollowUp(REWRITE, interview=key) for key in done.again]
        return Result([Delivered() for _ in batch.deliveries], notes, rewrites)

    def _request(self, state: TableState) -> RewriteRequest:
        """Returns a request without rows."""
        config = self.config
        return RewriteRequest(
            self.name,
            config.path,
            config.worksheet,
            config.columns,
            config.timezone,
            state,
            {},
            recreate=config.recreate,
            style=config.style,
            language=config.language,
        )

    async def verify(self, context: Context, progress: Progress) -> Report:
        """Reads every owned cell and compares it with the store; once more when something is wrong."""
        at = context.now()
        findings, _ = await self._confirmed(context, progress)
        return findings.report(at, self.name)

    async def _confirmed(self, context: Context, progress: Progress) -> tuple[Findings, Mapping[str, Note]]:
        """Compares once, and again when something differs. Only what both comparisons show is a difference."""
        first, notes = await self._compare(context, progress)
        if not first.keys(WRONG):
            return first, notes
        second, notes = await self._compare(context, progress)
        second.unless_confirmed(first)
        return second, notes

    async def _compare(self, context: Context, progress: Progress) -> tuple[Findings, Mapping[str, Note]]:
        """Compares the file with the store. Returns the findings and the notes about the table."""
        from sinks.workbook.verify import Comparison, read_table

        notes = await context.get_notes([TABLE_NOTE, *ROWS_NOTES])
        state = TableState.from_notes(notes)
        size = len(state.rows)
        content = await self._thread.run(lambda: _run(read_table, self._request(state), size))
        comparison = Comparison(state, content, self.config.columns, sink=self.name, recreate=self.config.recreate)
        after, done = "", 0
        while slice_ := await context.interviews(after, SLICE_ROWS):
            rows = await context.get_notes([row_note(each.interview.id) for each in slice_])
            for each in slice_:
                removed = self._is_removed(each.interview, unrouted=each.unrouted)
                row = self._row(each.interview, rows.get(row_note(each.interview.id)), removed=removed)
                comparison.add(each.interview.id, row, pending=each.pending)
            after, done = slice_[-1].interview.id, done + len(slice_)
            progress(done, max(done, size))
        return comparison.finish(), notes

    async def _verify_and_repair(self, verifications: int, context: Context) -> Result:
        """Verifies, stores the report, and asks for the rows that are wrong to be written in full."""
        from sinks.workbook.verify import REPAIRABLE

        at = context.now()
        findings, before = await self._confirmed(context, lambda _done, _total: None)
        report = findings.report(at, self.name)
        last = (await context.get_notes([REPORT])).get(REPORT, {})
        rounds = 0 if report.in_sync else last.get("rounds", 0) + 1
        wrong = sorted(findings.keys(REPAIRABLE))
        state = TableState.from_notes(before)
        doubtful = set(wrong) - findings.asked  # about the others the next rewrite asks the operator
        state = replace(state, rows=state.rows_after(state.flush, (), doubtful & state.rows.keys()))
        report_note = {"version": NOTE_VERSION, **report.note(), "rounds": rounds}
        notes = {**changed_notes(before, state), REPORT: report_note}
        rewrites = [FollowUp(REWRITE, interview=key) for key in wrong]
        soon = [FollowUp(VERIFY, RECHECK)] if 0 < rounds <= RECHECKS_MAX else [self._next_verification()]
        return Result([Delivered()] * verifications, notes, [*rewrites, *soon])

    def _rows(self, batch: Batch) -> dict[str, Row]:
        """Returns the rows to show. Interviews that no longer exist are left out."""
        return {
            delivery.key: self._row(
                delivery.interview,
                batch.notes.get(row_note(delivery.key)),
                removed=delivery.purpose == ERASE or self._is_removed(delivery.interview, unrouted=delivery.unrouted),
            )
            for delivery in batch.deliveries
            if delivery.interview is not None
        }

    def _row(self, interview: Interview, note: Note | None, *, removed: bool) -> Row:
        return Row(self._values(interview), (note or {}).get("values"), removed=removed)

    def _is_removed(self, interview: Interview, *, unrouted: bool) -> bool:
        is_deleted = self.config.on_delete == "remove" and interview.stage is Stage.DELETED
        return is_deleted or (self.config.on_leave == "remove" and unrouted)

    def _values(self, interview: Interview) -> dict[str, Written]:
        config = self.config
        zone = ZoneInfo(config.timezone)
        return row_values(
            interview, config.columns, zone, language(config.language), clear_deleted=config.on_delete == "clear"
        )

    def _preview(self, delivery: Delivery) -> Preview:
        if delivery.interview is None:
            return Preview("no row: nothing is known of this interview")
        if self._is_removed(delivery.interview, unrouted=delivery.unrouted):
            return Preview(
                "no row: the interview was deleted"
                if not delivery.unrouted
                else "no row: no route matches the interview any more"
            )
        values = self._values(delivery.interview)
        link = language(self.config.language).gettext(LINK_TEXT)
        shown = [(column, values[column.field]) for column in self.config.columns]
        cells = [CellPreview(column.title, _shown(value, column, link)) for column, value in shown if value is not None]
        return Preview(f"the row in the tab {self.config.worksheet}", cells)


def _notes(before: Mapping[str, Note], done: RewriteResult, rows: Mapping[str, Row]) -> dict[str, Note | None]:
    """Returns the notes to store: those of the table that changed, and those of the rows."""
    notes = changed_notes(before, done.state)
    for key, row in rows.items():
        if row.removed:
            notes[row_note(key)] = None
        elif key not in done.state.deleted:  # a deleted row that returns has its former values
            notes[row_note(key)] = {"values": {name: row.values[name] for name in done.placed}}
    return notes


def _run(work: Callable[[RewriteRequest], ResultT], request: RewriteRequest, rows: int) -> ResultT:
    """Calls `work`, in a child process for a large table."""
    from sinks.workbook.child import run_in_child

    return run_in_child(work, request) if rows > CHILD_ROWS else work(request)


def _shown(value: Written, column: Column, link: str) -> str:
    """Returns a value as a user sees it in the cell."""
    if column.kind is CellKind.DAYS_SINCE and isinstance(value, int):
        return f"the days since {from_serial(value):%Y-%m-%d}"
    if column.kind is CellKind.DATETIME and isinstance(value, str):
        return value[: len("2026-11-30T16:08")].replace("T", " ")
    if column.kind is CellKind.LINK:
        return f"{link} ({value})"
    return f"{value:g}" if isinstance(value, float) else str(value)
