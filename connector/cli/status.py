"""`connector status`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from connector.cli import options as o
from connector.cli.output import counted, format_duration, format_time, safe, show_json, show_table
from connector.config import load
from connector.operations.store_access import now_in, reading
from connector.role import Secrets
from connector.store.heartbeat import Process
from connector.store.periodic import TaskRun
from connector.store.queries import SinkStatus, SourceStatus
from connector.store.queries import status as status_of


def status(config: o.ConfigOption = None, as_json: o.JsonOption = False) -> None:
    """Show the state of every sink, and what to do."""
    settings = load(config, needs=Secrets.NONE)
    with reading(settings) as connection:
        found = status_of(connection, now_in(connection), list(settings.sinks))
    if as_json:
        show_json(found)
        return
    zone = ZoneInfo(settings.timezone)
    for line in _source_lines(found.source, zone):
        print(line)
    show_table([_cells(sink, zone) for sink in found.sinks], empty="No sinks yet.")
    if found.processes:
        print()
        show_table([_process_cells(each, found.sinks, zone) for each in found.processes], empty="")
    if found.tasks:
        print()
        show_table([_task_cells(each, zone) for each in found.tasks], empty="")
    for sink in found.sinks:
        for advice in _advice(sink, zone):
            print(safe(f"{sink.name}: {advice}"))


def _source_lines(source: SourceStatus, zone: ZoneInfo) -> Iterator[str]:
    last = f", the last at {format_time(source.last_received_at, zone)} {zone}" if source.last_received_at else ""
    events, interviews = (
        counted(source.events, "event", "events"),
        counted(source.interviews, "interview", "interviews"),
    )
    yield f"Source: {events} of {interviews}{last}"
    for count, kind in ((source.unreadable, "unreadable"), (source.unknown, "unknown")):
        if count:
            yield f"  {count} {kind}: connector events --kind {kind}; after an upgrade: connector replay --state {kind}"


def _cells(sink: SinkStatus, zone: ZoneInfo) -> dict[str, object]:
    return {
        "SINK": sink.name,
        "TYPE": sink.type,
        "STATE": _state(sink) + (", filling" if sink.filling else ""),
        "PENDING": sink.pending,
        "OLDEST": format_duration(sink.oldest_age_seconds) if sink.pending else "",
        "WAITING": sink.waiting,
        "DEAD": sink.dead,
        "DELIVERED": sink.delivered,
        "LAST DELIVERED": format_time(sink.last_delivered_at, zone),
        "WHY": sink.reason,
    }


def _state(sink: SinkStatus) -> str:
    return "not in sync" if sink.state == "ok" and sink.in_sync is False else sink.state


def _process_cells(process: Process, sinks: Sequence[SinkStatus], zone: ZoneInfo) -> dict[str, object]:
    """One process, with the sinks that it has now and until when."""
    held = [f"{sink.name} until {format_time(sink.lease_until, zone)}" for sink in sinks if sink.worker == process.name]
    return {
        "PROCESS": process.name,
        "ROLE": process.role,
        "STATE": process.state,
        "SINCE": format_time(process.started_at, zone),
        "SEEN": format_time(process.seen_at, zone),
        "HOLDS": ", ".join(held),
    }


def _task_cells(run: TaskRun, zone: ZoneInfo) -> dict[str, object]:
    return {
        "TASK": run.name,
        "LAST RUN": format_time(run.ended_at, zone),
        "RESULT": f"failed: {run.error}" if run.error else ", ".join(f"{n} {what}" for what, n in run.counts.items()),
        "NEXT RUN": format_time(run.next_at, zone),
    }


def _advice(sink: SinkStatus, zone: ZoneInfo) -> Iterator[str]:
    if sink.verified_at is not None:
        at = format_time(sink.verified_at, zone)
        yield f"in sync as of {at}" if sink.in_sync else f"NOT in sync as of {at}: connector verify {sink.name}"
    yield from sink.asks
    if sink.fix:
        yield sink.fix
    if sink.dead:
        yield f"dead letters: connector deliveries --sink {sink.name} --state dead"
