"""Work besides deliveries: applies the mode that an operator chose, verifies regularly and starts repairs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from connector.capabilities import ASKED, REPORT, VERIFY, Report
from connector.sink import Batch, Context, Note, RateLimited, RetryLater, SinkBroken
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.errors import CallFailed, Trouble
from sinks.google_sheets.outcomes import BatchOutcomes
from sinks.google_sheets.protection import read_protected_cells
from sinks.google_sheets.repair import recall_rows
from sinks.google_sheets.sheets_client import LIST_PROTECTION, REFILL_SECONDS, Calls
from sinks.google_sheets.state import RESUME, VERSION, row_name, tab_name
from sinks.google_sheets.verify import Findings, Kind, Verification

REWRITES_MAX = 10_000
"""Rows that one verification has written again; the rest comes with the next."""
ROUNDS_MAX = 5
"""Verifications in a row, each of which found something to repair, before it is left to the next regular one."""
PROTECTED_SECONDS = 300.0
"""Between two checks whether cells that we could not write are still protected."""
REPAIRABLE = frozenset({Kind.MISSING, Kind.DIFFERENT, Kind.BROKEN_KEY, Kind.STRAY})


def apply_resume_mode(outcomes: BatchOutcomes, batch: Batch) -> None:
    """Applies the mode that the operator chose with `connector resume` after many rows, or a tab, were gone."""
    note = batch.notes.get(RESUME)
    if note is None:
        return
    word = note.get("word")
    asked = [name for name in outcomes.tabs if name in outcomes.work.asks] or list(outcomes.tabs)
    for name in asked:
        tab = outcomes.tabs[name]
        refill = word in {"refill", "adopt"}
        # found again by its id if it is there, else made again
        outcomes.tabs[name] = replace(
            tab, seen=False, count=0, refill=refill, adopt=word == "adopt", era=tab.era + 1 if refill else tab.era
        )
    outcomes.work = replace(outcomes.work, verify=True, asks=outcomes.work.asks.difference(asked))
    outcomes.keep({RESUME: None})


def interval(outcomes: BatchOutcomes, config: GoogleSheetsConfig) -> float:
    """Seconds until the next call that may verify."""
    return min(config.audit_interval, PROTECTED_SECONDS) if outcomes.work.skipped else config.audit_interval


async def is_due(
    batch: Batch, outcomes: BatchOutcomes, config: GoogleSheetsConfig, calls: Calls, context: Context
) -> bool:
    """Whether this call is to verify: it was asked to, something changed for all rows, protection changed, or it is
    time. Raises `RateLimited`.
    """
    now = context.now()
    if all(delivery.purpose != VERIFY for delivery in batch.deliveries):
        return False
    asked = batch.notes.get(ASKED, {}).get("at", 0)
    last = batch.notes.get(REPORT, {}).get("at", 0)
    if outcomes.work.verify or asked > last or now >= last + config.audit_interval * 1000:
        return True
    return bool(outcomes.work.skipped) and await _is_protection_changed(outcomes, calls, context)


async def _is_protection_changed(outcomes: BatchOutcomes, calls: Calls, context: Context) -> bool:
    """Whether a tab with cells that we could not write is protected otherwise by now: one small read."""
    await _load(outcomes.work.skipped, outcomes, context)
    try:
        book = await calls.fetch(LIST_PROTECTION)
    except CallFailed:
        return False  # the next call looks again
    now = {tab.properties.sheet_id: read_protected_cells(tab.protected_ranges) for tab in book.sheets}
    tabs = [outcomes.tabs[name] for name in outcomes.work.skipped]
    return any(now.get(tab.sheet_id or 0) != tab.protected for tab in tabs)


async def verify_and_repair(
    config: GoogleSheetsConfig, outcomes: BatchOutcomes, calls: Calls, context: Context
) -> None:
    """Verifies, keeps the report, and asks for everything again that is wrong. Raises as `Flush.run`."""
    at = context.now()
    try:
        findings = await Verification(config, calls, context, _ignore_progress).run()
        await _repair(findings, outcomes, context)
    except RateLimited as wait:
        # from the start again, and so only when there is enough for all of it
        outcomes.verification = RetryLater("no quota left", after=max(wait.seconds, REFILL_SECONDS), counts=False)
        return
    except CallFailed as error:
        outcomes.verification = _failed(error, calls)
        return
    outcomes.keep({REPORT: note_of(findings.report(at))})


def _ignore_progress(_done: int, _total: int) -> None:
    pass


def _failed(error: CallFailed, calls: Calls) -> RetryLater:
    failure = error.failure
    if failure.trouble is Trouble.THROTTLED:
        return RetryLater(failure.reason, after=calls.pause(error), counts=False)
    if failure.trouble is Trouble.BROKEN and not calls.sent:
        raise SinkBroken(failure.reason, failure.fix) from error
    return RetryLater(failure.reason, after=calls.asked(error))


async def _repair(findings: Findings, outcomes: BatchOutcomes, context: Context) -> None:
    found = findings.only(REPAIRABLE)
    again = {key for (_, key), each in found.items() if each.kind in {Kind.MISSING, Kind.DIFFERENT}}
    outcomes.call_again(sorted(again)[:REWRITES_MAX])
    await _load({name for name, _ in found} | set(findings.protected), outcomes, context)
    skipped = frozenset(name for name, _ in findings.only({Kind.PROTECTED}))
    asks = frozenset(findings.unavailable)
    for (name, key), each in found.items():
        if each.kind is Kind.BROKEN_KEY:
            outcomes.tabs[name] = replace(outcomes.tabs[name], lost=outcomes.tabs[name].lost | {key})
    for name, protected in findings.protected.items():
        outcomes.tabs[name] = replace(outcomes.tabs[name], protected=protected)
    gone = {key for _, key in findings.only({Kind.DELETED})}
    notes = await recall_rows(context, gone)
    outcomes.keep({row_name(key): replace(note, gone=True).encode() for key, note in notes.items() if not note.gone})
    await _have_dated(findings, outcomes, context)
    goes_on = bool(found) and outcomes.work.rounds < ROUNDS_MAX
    rounds = outcomes.work.rounds + 1 if goes_on else 0
    outcomes.work = replace(outcomes.work, verify=goes_on, rounds=rounds, skipped=skipped, asks=asks)


async def _have_dated(findings: Findings, outcomes: BatchOutcomes, context: Context) -> None:
    """Has dates that show as bare numbers written again, so that they get a format."""
    keys = [key for key in findings.undated if not outcomes.holds(key)]
    for key, note in (await recall_rows(context, keys)).items():
        applied = {name: each for name, each in (note.applied or {}).items() if name not in findings.undated[key]}
        outcomes.keep({row_name(key): replace(note, applied=applied, dated=False).encode()})


async def _load(names: Collection[str], outcomes: BatchOutcomes, context: Context) -> None:
    others = sorted(set(names) - set(outcomes.tabs))
    outcomes.add(others, await context.get_notes([tab_name(name) for name in others]))


def note_of(report: Report) -> Note:
    """What is kept of a report: figures, nothing personal."""
    return {
        "v": VERSION,
        "at": report.at,
        "in_sync": report.in_sync,
        "counts": dict(report.counts),
        "asks": list(report.asks),
    }
