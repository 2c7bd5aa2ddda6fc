"""The health of an installation: its processes, its source, the state of every sink, and what an operator should do.

The command `status`, the dashboard, the JSON API and the alerts show the same `Health`.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Literal

import msgspec
from sqlalchemy import Connection

from connector.config import Config
from connector.formats import counted, format_duration
from connector.http import ResponseClass, classify
from connector.role import Role
from connector.store import decisions, processes
from connector.store import source as compared
from connector.store import status as stored
from connector.store.processes import Process, TaskRun
from connector.store.schema import AttemptOutcome, PauseKind, RequestState
from connector.store.status import Refusals, SinkStatus, SourceStatus

START = "start it with `connector serve`"

REFUSAL_FIXES = {
    "signature": (
        "compare [hireflix] webhook_secrets with the key of the webhook in Hireflix (Profile, Webhooks); after a "
        "rotation list both"
    ),
    "host": "add the host name that Hireflix calls to [server] trusted_hosts",
    "unavailable": "look at the disk or the database of the store",
}
"""What to do about refused requests, by reason. Other reasons are not listed, because any program can cause them."""
NOT_STORED = "they are not stored, and Hireflix may not repeat them"
"""The documentation of Hireflix does not say whether it repeats a request."""

DIFFERS = "the destination does not show what the store has"
HELD_FIX = "check that the deletions are real, then run `connector reconcile --accept`"
DECISIONS_LATE_SECONDS = 900.0
"""A decision that waits is carried out or tried again within ten minutes."""
DECISIONS_FIX = "do or drop them on the page Decisions of the dashboard, or by `connector hireflix decisions`"
SILENT_FIX = (
    "the webhook is inactive, has another address, lacks events, or its requests are refused: run "
    "`connector hireflix doctor`"
)
CREDENTIALS = "check the credentials of the sink; the destination does not accept them"
RIGHTS = "give the account of the sink the right to write there"
ADDRESS = "check the address of the sink; the destination does not have it"
LIMITED = "nothing now: the destination limits the rate, and the sink continues automatically"
REFUSED = "read the reply of the destination and correct the settings of the sink or the destination"
FAILS = "look at the log or the status page of the destination; the sink retries automatically"
NO_REPLY = (
    "read the log of the service for an error of the sink, and check that the destination runs and that this machine "
    "reaches it (address, name, proxy, firewall); the sink retries automatically"
)
WAIT = (
    "the sink retries automatically; if it keeps failing, check that the destination runs and that this machine "
    "reaches it (address, name, proxy, firewall)"
)


class TroubleKind(StrEnum):
    """What a trouble is about. Programs may rely on the values; the sentences of a trouble may change."""

    NO_SERVICE = "no_service"
    NO_RECEIVER = "no_receiver"
    NO_WORKER = "no_worker"
    SILENT_PROCESS = "silent_process"
    LOW_DISK = "low_disk"
    CHANGED_SETTINGS = "changed_settings"
    """A file of the configuration changed after the start of the service."""
    REFUSED_REQUESTS = "refused_requests"
    UNREADABLE_EVENTS = "unreadable_events"
    UNKNOWN_EVENTS = "unknown_events"
    API_FAILED = "api_failed"
    """A backfill or a reconcile could not read the API of Hireflix."""
    NO_WEBHOOKS = "no_webhooks"
    """Hireflix changes and no webhook arrives."""
    HELD_DELETIONS = "held_deletions"
    UNCLEAR_DECISIONS = "unclear_decisions"
    HELD_DECISIONS = "held_decisions"
    DELAYED_DECISIONS = "delayed_decisions"
    """Hireflix did not answer; the decisions are tried again."""
    LATE_DECISIONS = "late_decisions"
    """Decisions wait for so long that no process can be carrying them out."""
    NOT_LISTENING = "not_listening"
    """Decisions of users at the destination of a sink are not received."""
    PAUSED = "paused"
    """The destination does not work."""
    PAUSED_BY_OPERATOR = "paused_by_operator"
    ORPHANED = "orphaned"
    CALL_FAILED = "call_failed"
    ASKS = "asks"
    """A verification found something that an operator must decide or repair."""
    NOT_IN_SYNC = "not_in_sync"
    REPAIRING = "repairing"
    DEAD_LETTERS = "dead_letters"


PROBLEMS = frozenset(
    {
        TroubleKind.NO_SERVICE,
        TroubleKind.NO_RECEIVER,
        TroubleKind.NO_WORKER,
        TroubleKind.LOW_DISK,
        TroubleKind.NO_WEBHOOKS,
        TroubleKind.UNCLEAR_DECISIONS,
        TroubleKind.NOT_LISTENING,
        TroubleKind.PAUSED,
        TroubleKind.ASKS,
        TroubleKind.DEAD_LETTERS,
    }
)
"""The kinds that an operator must act on; the others are warnings."""

DISK_SHARE = 0.05
"""Part of the disk that must be free."""
DISK_ENOUGH_BYTES = 5_000_000_000
"""With this much free space the part does not matter."""
DISK_LEAST_BYTES = 500_000_000
"""Free bytes below which a disk of any size is low."""


class ServiceStatus(msgspec.Struct, frozen=True):
    """The processes of the installation. `receives` and `works`: a running process receives, or delivers."""

    running: bool
    receives: bool
    works: bool
    processes: list[Process]


class Trouble(msgspec.Struct, frozen=True):
    """A problem that an operator should know about: what it is, its effect, and the fix. `subject` is `service`,
    `source` or the name of a sink. `answer` is the reply of the destination.
    """

    level: Literal["problem", "warning"]
    kind: TroubleKind
    subject: str
    what: str
    effect: str = ""
    fix: str = ""
    status: int | None = None
    answer: str = ""


def _trouble(
    kind: TroubleKind, subject: str, what: str, effect: str, fix: str, *, status: int | None = None, answer: str = ""
) -> Trouble:
    level: Literal["problem", "warning"] = "problem" if kind in PROBLEMS else "warning"
    return Trouble(level, kind, subject, what, effect, fix, status, answer)


class Health(msgspec.Struct, frozen=True):
    """The state of the installation at `at` (epoch milliseconds). `tasks` are the last runs of the periodic tasks.

    `held_decisions` are the decisions of users that an operator must do or drop.
    """

    at: int
    service: ServiceStatus
    source: SourceStatus
    sinks: list[SinkStatus]
    troubles: list[Trouble]
    tasks: list[TaskRun] = []
    held_decisions: int = 0

    @property
    def verdict(self) -> Literal["ok", "warning", "problem"]:
        """The level of the worst trouble, `ok` without one."""
        levels = {each.level for each in self.troubles}
        return "problem" if "problem" in levels else "warning" if levels else "ok"


def health(connection: Connection, now: int, configured: Collection[str] | None) -> Health:
    """Returns the health at `now` (epoch milliseconds). Sinks outside `configured` are orphaned; `None`: none is."""
    service = _service(processes.processes(connection, now))
    source = stored.source(connection, now)
    sinks = [_with_state(each, service) for each in stored.sinks(connection, now, configured)]
    tasks = list(processes.task_runs(connection).values())
    decided = decisions.counts(connection)
    troubles = _troubles(service, source, sinks, now) + _of_reconcile(connection)
    troubles += _of_decisions(decided)
    troubles += _of_waiting_decisions(connection, decided.get(RequestState.WAITING, 0), now)
    troubles += _of_listening(connection, [each.name for each in sinks])
    held = decisions.count_for_operators(decided)
    return Health(now, service, source, sinks, _worst_first(troubles), tasks, held)


def _worst_first(troubles: Iterable[Trouble]) -> list[Trouble]:
    return sorted(troubles, key=lambda trouble: trouble.level != "problem")


def health_here(connection: Connection, now: int, settings: Config) -> Health:
    """Returns the health with the troubles that only the machine of the configuration shows: changed settings, and the
    disk of a SQLite store.
    """
    found = health(connection, now, list(settings.sinks))
    troubles = _worst_first([*found.troubles, *_local_troubles(settings, found.service)])
    return msgspec.structs.replace(found, troubles=troubles)


def _local_troubles(settings: Config, service: ServiceStatus) -> list[Trouble]:
    found = _of_changed_settings(settings, service)
    if settings.store.file is not None:
        disk = shutil.disk_usage(settings.store.file.parent)
        if is_disk_low(disk.free, disk.total):
            effect = "without space the receiver refuses events"
            what = disk_text(disk.free, disk.total)
            found.append(_trouble(TroubleKind.LOW_DISK, "service", what, effect, "free space on it"))
    return found


def is_disk_low(free: int, size: int) -> bool:
    """Whether a disk of this size (bytes) has too little free space for a store."""
    return free < max(DISK_LEAST_BYTES, min(DISK_SHARE * size, DISK_ENOUGH_BYTES))


def disk_text(free: int, size: int) -> str:
    """Returns the free space of the disk of the store, in words."""
    return f"the disk of the store has {free // 1_000_000:,} MB free of {size // 1_000_000:,} MB"


def _of_changed_settings(settings: Config, service: ServiceStatus) -> list[Trouble]:
    """A warning when a file of the configuration was changed after a process of this machine had started. A process
    reads its configuration at the start only.
    """
    here = socket.gethostname()
    started = [each.started_at for each in service.processes if each.state == "running" and each.host == here]
    changed = [file for file in (settings.path, settings.folder / ".env") if file is not None and file.is_file()]
    newer = [file.name for file in changed if started and file.stat().st_mtime * 1000 > min(started)]
    if not newer:
        return []
    what = f"{' and '.join(newer)} changed after the service had started"
    fix = "run `connector check`, then restart the service"
    effect = "the service uses the settings of its start"
    return [_trouble(TroubleKind.CHANGED_SETTINGS, "service", what, effect, fix)]


def _service(processes: list[Process]) -> ServiceStatus:
    roles = [Role(process.role) for process in processes if process.state == "running"]
    return ServiceStatus(
        running=bool(roles),
        receives=any(role.receives for role in roles),
        works=any(role.works for role in roles),
        processes=processes,
    )


def _with_state(sink: SinkStatus, service: ServiceStatus) -> SinkStatus:
    """A sink that would be called is `stopped` while no process delivers. Each failure has a remedy."""
    if not service.works and sink.state in {"ok", "delivering"}:
        return msgspec.structs.replace(sink, state="stopped", reason="no running process delivers", fix=START)
    if sink.state == "orphaned":
        return msgspec.structs.replace(sink, fix=_orphan_fix(sink.name))
    if sink.fix or (sink.failed_at is None and sink.state != "paused"):
        return sink
    is_by_operator = sink.paused_by is PauseKind.OPERATOR
    return msgspec.structs.replace(
        sink, fix=f"connector resume {sink.name}" if is_by_operator else remedy(sink.outcome, sink.status)
    )


def _troubles(service: ServiceStatus, source: SourceStatus, sinks: list[SinkStatus], now: int) -> list[Trouble]:
    found = [*_of_service(service), *_of_source(source, now)]
    for sink in sinks:
        found += _of_sink(sink, now)
    return found


def _of_service(service: ServiceStatus) -> Iterator[Trouble]:
    if not service.running:
        yield _trouble(
            TroubleKind.NO_SERVICE, "service", "no service is running", "nothing is received or delivered", START
        )
        return
    if not service.receives:
        fix = "start a process with `connector serve --role receiver`"
        yield _trouble(
            TroubleKind.NO_RECEIVER, "service", "no running process receives webhooks", "Hireflix gets no answer", fix
        )
    if not service.works:
        fix = "start a process with `connector serve --role worker`"
        yield _trouble(
            TroubleKind.NO_WORKER, "service", "no running process delivers", "events are stored and wait", fix
        )
    for process in service.processes:
        if process.state == "silent":
            who = f"the process {process.name} ({process.role})"
            what = f"{who} has sent no heartbeat for {processes.SILENT_SECONDS:g} s"
            yield _trouble(TroubleKind.SILENT_PROCESS, "service", what, "others take over its work", "see its log")


def _of_reconcile(connection: Connection) -> list[Trouble]:
    """Returns the problems that the last comparison with the API of Hireflix found and cannot repair."""
    last = compared.read(connection, compared.RECONCILE_KEY, compared.Reconcile)
    first = compared.read(connection, compared.BACKFILL_KEY, compared.Backfill)
    found = []
    for error in dict.fromkeys(each.error for each in (first, last) if each is not None and each.error):
        what = "the API of Hireflix could not be read"
        found.append(_trouble(TroubleKind.API_FAILED, "source", what, "missed changes are not found", error))
    if last is not None and last.silent_since is not None:
        what = "Hireflix changes and no webhook arrives"
        found.append(
            _trouble(TroubleKind.NO_WEBHOOKS, "source", what, "only reconcile finds the changes, later", SILENT_FIX)
        )
    if last is not None and last.held:
        what = f"{counted(last.held, 'interview is', 'interviews are')} no longer in Hireflix"
        found.append(
            _trouble(TroubleKind.HELD_DELETIONS, "source", what, "many deletions at once are not applied", HELD_FIX)
        )
    return found


def _of_decisions(counts: Mapping[RequestState, int]) -> Iterator[Trouble]:
    """Yields the decisions of users that wait for an operator."""
    if count := counts.get(RequestState.UNCLEAR, 0):
        what = f"{counted(count, 'decision', 'decisions')} may or may not have reached Hireflix"
        yield _trouble(TroubleKind.UNCLEAR_DECISIONS, "source", what, "not sent again automatically", DECISIONS_FIX)
    if count := counts.get(RequestState.HELD, 0):
        what = f"{counted(count, 'decision waits', 'decisions wait')} for a confirmation"
        yield _trouble(TroubleKind.HELD_DECISIONS, "source", what, "Hireflix does not show them yet", DECISIONS_FIX)


def _of_waiting_decisions(connection: Connection, count: int, now: int) -> Iterator[Trouble]:
    """Yields a trouble when one of `count` waiting decisions was put off, or waits for so long that no process can be
    carrying it out.
    """
    since = decisions.waiting_since(connection)
    if since is None:
        return
    waiting = counted(count, "decision waits", "decisions wait")
    what = f"{waiting} for Hireflix, the oldest for {format_duration((now - since) / 1000)}"
    reason = decisions.delayed(connection)
    if reason:
        yield _trouble(TroubleKind.DELAYED_DECISIONS, "source", what, "tried again automatically, for a day", reason)
    elif now - since > DECISIONS_LATE_SECONDS * 1000:
        fix = "set CONNECTOR_HIREFLIX__API_KEY, and start a process with `connector serve`"
        yield _trouble(TroubleKind.LATE_DECISIONS, "source", what, "no running process carries them out", fix)


def _of_listening(connection: Connection, names: Collection[str]) -> list[Trouble]:
    """Returns why sinks do not receive the decisions of users."""
    found = []
    for name, note in stored.listening(connection).items():
        if name in names:
            what = f"decisions of users are not received: {note.get('reason', '')}"
            fix = str(note.get("fix", "")) or "check the network; the connector reconnects automatically"
            found.append(_trouble(TroubleKind.NOT_LISTENING, name, what, "clicks have no effect", fix))
    return found


def _of_source(source: SourceStatus, now: int) -> Iterator[Trouble]:
    for refused in source.refused:
        if refused.reason not in REFUSAL_FIXES:
            continue
        ago = format_duration(max(0, now - refused.last_at) / 1000)
        since = ", and webhooks were accepted since" if (source.last_received_at or 0) > refused.last_at else ""
        effect = f"the last {ago} ago{since}; {NOT_STORED}"
        yield _trouble(TroubleKind.REFUSED_REQUESTS, "source", refusal_text(refused), effect, refusal_fix(refused))
    for count, kind, word in (
        (source.unreadable, TroubleKind.UNREADABLE_EVENTS, "unreadable"),
        (source.unknown, TroubleKind.UNKNOWN_EVENTS, "unknown"),
    ):
        if count:
            yield _trouble(
                kind,
                "source",
                f"{counted(count, 'event', 'events')} of kind {word}",
                "stored and not delivered",
                f"connector events --kind {word}; after an upgrade: connector replay --state {word}",
            )


def refusal_text(refused: Refusals) -> str:
    """Returns a phrase such as `3 requests refused: signature`."""
    return f"{counted(refused.count, 'request', 'requests')} refused: {refused.reason}"


def refusal_fix(refused: Refusals) -> str:
    """Returns what to do about refused requests, `""` when there is nothing to do."""
    return REFUSAL_FIXES.get(refused.reason, "")


def _ends_in(until: int, now: int) -> str:
    return f"resumes automatically in {format_duration(max(0, until - now) / 1000)}; "


def _of_sink(sink: SinkStatus, now: int) -> Iterator[Trouble]:
    count = sink.pending + sink.waiting
    waits = f"{counted(count, 'delivery waits', 'deliveries wait')}, nothing is lost" if count else "nothing is lost"
    if sink.paused_by is PauseKind.OPERATOR:
        until = "" if sink.paused_until is None else _ends_in(sink.paused_until, now)
        yield _trouble(TroubleKind.PAUSED_BY_OPERATOR, sink.name, sink.reason, f"{until}{waits}", sink.fix)
    elif sink.state == "paused":
        yield _trouble(
            TroubleKind.PAUSED,
            sink.name,
            f"paused: {sink.reason}",
            waits,
            sink.fix,
            status=sink.status,
            answer=sink.answer,
        )
    elif sink.state == "orphaned":
        yield _trouble(TroubleKind.ORPHANED, sink.name, sink.reason, waits, sink.fix)
    elif sink.failed_at is not None:
        what = f"the last call failed: {sink.failure}"
        yield _trouble(
            TroubleKind.CALL_FAILED, sink.name, what, waits, sink.fix, status=sink.status, answer=sink.answer
        )
    yield from _of_verification(sink)
    if sink.dead:
        fix = sink.fix if sink.state == "orphaned" else dead_letters_fix(sink.name)
        yield _trouble(
            TroubleKind.DEAD_LETTERS,
            sink.name,
            counted(sink.dead, "dead letter", "dead letters"),
            "not tried again",
            fix,
        )


def dead_letters_fix(name: str) -> str:
    """Returns what to do about the dead letters of a sink."""
    return f"connector deliveries --sink {name} --state dead; then connector replay or dismiss"


def _orphan_fix(name: str) -> str:
    """Returns what to do about the deliveries of a sink that no lane delivers to."""
    return (
        f'after a rename set renamed_from = "{name}" on the new sink; after a removal run '
        f'`connector dismiss --sink {name} --reason "the sink was removed"`'
    )


def _of_verification(sink: SinkStatus) -> Iterator[Trouble]:
    """Yields what the last verification found."""
    for ask in sink.asks:
        yield _trouble(TroubleKind.ASKS, sink.name, ask, DIFFERS, f"connector verify {sink.name}")
    if sink.in_sync is False and not sink.asks:
        if sink.is_repairing:
            fix = "wait: the sink is verified again automatically"
            yield _trouble(TroubleKind.REPAIRING, sink.name, "a repair is running", DIFFERS, fix)
        else:
            fix = f"connector verify {sink.name}"
            yield _trouble(TroubleKind.NOT_IN_SYNC, sink.name, "not in sync", DIFFERS, fix)


_BY_STATUS = {401: CREDENTIALS, 407: CREDENTIALS, 403: RIGHTS, 404: ADDRESS, 410: ADDRESS}
_BY_CLASS = {ResponseClass.THROTTLED: LIMITED, ResponseClass.REFUSED: REFUSED, ResponseClass.UNCLEAR: FAILS}
_BY_OUTCOME = {AttemptOutcome.UNCLEAR: NO_REPLY, AttemptOutcome.RETRY_LATER: WAIT}


def remedy(outcome: AttemptOutcome | None, status: int | None) -> str:
    """Returns what to do about a failure: by the HTTP status of the destination, else by the outcome of the call."""
    if status is not None and status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None and (found := _BY_CLASS.get(classify(status))):
        return ADDRESS if 300 <= status < 400 else found  # noqa: PLR2004 - redirections (RFC 9110, 15.4): it has moved
    return REFUSED if outcome is None else _BY_OUTCOME.get(outcome, REFUSED)
