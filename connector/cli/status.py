"""`connector status`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from connector.cli import options as o
from connector.cli.output import safe, show_json, show_table
from connector.config import load
from connector.formats import capped, counted, format_duration, format_time
from connector.operations.status import Health, ServiceStatus, Trouble, health_here, refusal_text
from connector.operations.store_access import now_in, reading
from connector.role import Role, Secrets
from connector.store.processes import Process, TaskRun
from connector.store.queries import TOTAL_MAX
from connector.store.status import SinkStatus, SourceStatus


def status(config: o.ConfigOption = None, as_json: o.JsonOption = False) -> None:
    """Show the state of the service and of every sink."""
    settings = load(config, needs=Secrets.NONE)
    with reading(settings) as connection:
        found = health_here(connection, now_in(connection), settings)
    if as_json:
        show_json(found)
        return
    for line in _lines(found, ZoneInfo(settings.timezone)):
        print(safe(line))
    _show_tables(found, ZoneInfo(settings.timezone))
    for trouble in found.troubles:
        for line in _trouble_lines(trouble):
            print(safe(line))


def _lines(found: Health, zone: ZoneInfo) -> Iterator[str]:
    yield f"Service: {_service(found.service, zone)}"
    yield from _source_lines(found.source, zone)


def _service(service: ServiceStatus, zone: ZoneInfo) -> str:
    running = [process for process in service.processes if process.state == "running"]
    if not running:
        return "NOT running"
    if len(running) > 1:
        return f"{len(running)} processes run"
    [only] = running
    since = format_time(only.started_at, zone)
    return f"running since {since} {zone}, version {only.version}, process {only.pid} on {only.host}"


def _source_lines(source: SourceStatus, zone: ZoneInfo) -> Iterator[str]:
    last = f", the last at {format_time(source.last_received_at, zone)} {zone}" if source.last_received_at else ""
    events = counted(source.events, "event", "events")
    interviews = counted(source.interviews, "interview", "interviews")
    if source.interviews > TOTAL_MAX:
        interviews = f"{capped(source.interviews, TOTAL_MAX)} interviews"
    yield f"Source: {events} of {interviews}{last}"
    for refused in source.refused:
        yield f"  {refusal_text(refused)}, in the last 24 hours, the last at {format_time(refused.last_at, zone)}"


def _show_tables(found: Health, zone: ZoneInfo) -> None:
    show_table([_cells(sink, zone, found.at) for sink in found.sinks], empty="No sinks yet.")
    if [process.role for process in found.service.processes] not in ([], [Role.ALL]):
        print()
        show_table([_process_cells(each, found.sinks, zone) for each in found.service.processes], empty="")
    if found.tasks:
        print()
        show_table([_task_cells(each, zone) for each in found.tasks], empty="")
    for sink in found.sinks:
        if sink.in_sync_as_of is not None:
            print(safe(f"{sink.name}: in sync as of {format_time(sink.in_sync_as_of, zone)}"))


def _cells(sink: SinkStatus, zone: ZoneInfo, now: int) -> dict[str, object]:
    return {
        "SINK": sink.name,
        "TYPE": sink.type,
        "STATE": _state(sink, zone) + (", filling" if sink.filling else ""),
        "PENDING": sink.pending,
        "OLDEST": format_duration(sink.oldest_age_seconds) if sink.pending else "",
        "WAITING": sink.waiting,
        "DEAD": sink.dead,
        "DELIVERED": sink.delivered,
        "LAST DELIVERED": format_time(sink.last_delivered_at, zone),
        "WHY": "" if sink.reason == sink.waits_for else sink.reason,
        "WAITS FOR": _waits_for(sink, now),
    }


def _state(sink: SinkStatus, zone: ZoneInfo) -> str:
    if sink.paused_until is not None:
        return f"paused until {format_time(sink.paused_until, zone)}"
    if sink.is_repairing:
        return "repairing"
    return "not in sync" if sink.state == "ok" and sink.in_sync is False else sink.state


def _waits_for(sink: SinkStatus, now: int) -> str:
    if sink.next_try_at is None:
        return sink.waits_for
    return f"{sink.waits_for}, {format_duration((sink.next_try_at - now) / 1000)}"


def _process_cells(process: Process, sinks: Sequence[SinkStatus], zone: ZoneInfo) -> dict[str, object]:
    """Returns the cells of a process, with the sinks whose leases it has and their ends."""
    held = [f"{sink.name} until {format_time(sink.lease_until, zone)}" for sink in sinks if sink.worker == process.name]
    return {
        "PROCESS": process.name,
        "ROLE": process.role,
        "STATE": process.state,
        "VERSION": process.version,
        "SINCE": format_time(process.started_at, zone),
        "SEEN": format_time(process.seen_at, zone),
        "HOLDS": ", ".join(held),
    }


def _task_cells(run: TaskRun, zone: ZoneInfo) -> dict[str, object]:
    return {
        "TASK": run.name,
        "LAST RUN": format_time(run.ended_at, zone),
        "RESULT": f"failed: {run.error}" if run.error else ", ".join(f"{what}: {n}" for what, n in run.counts.items()),
        "NEXT RUN": format_time(run.next_at, zone),
    }


def _trouble_lines(trouble: Trouble) -> Iterator[str]:
    """Yields the problem with its effect, the fix, and the reply of the destination."""
    yield f"{trouble.subject}: {'; '.join(part for part in (trouble.what, trouble.effect) if part)}"
    if trouble.fix:
        yield f"  {trouble.fix}"
    if trouble.status is not None or trouble.answer:
        yield f"  answer: {' '.join(part for part in (str(trouble.status or ''), trouble.answer) if part)}"
