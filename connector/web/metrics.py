"""Metrics for Prometheus. Label values are names from the configuration and fixed terms, never data of candidates."""

from __future__ import annotations

import platform
import re
from collections import Counter as Tally
from collections.abc import Collection, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from connector import __version__
from connector.delivery.outcomes import CallFailure, SinkResponse, label_of
from connector.errors import RateLimited, SinkBroken
from connector.store.claim import ClaimedDelivery
from connector.store.ingest import IngestPlan
from connector.store.processes import TaskRun
from connector.store.schema import AttemptOutcome, PauseKind
from connector.store.settle import Settlement
from connector.store.source import Reconcile
from connector.store.status import SinkStatus

LAG_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)
"""From the fastest delivery to a day: quiet hours and backoff delay a delivery by hours."""
REASONS_MAX = 200
"""Distinct reasons; later ones count as "other". The contract asks sinks for short fixed reasons; this bounds the
memory when a sink does not keep to it.
"""


class Metrics:
    """All metrics of one process. Ingest updates them once per group of events, a lane once per call."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._describe_process()
        self._received = self._counter("events_received", "Events stored, by name.", "event")
        self._refused = self._counter("requests_refused", "Requests answered with an error, by reason.", "reason")
        self._exhausted = self._counter(
            "file_handles_exhausted", "Checks, one a second, that found no free file handle."
        )
        self._duplicates = self._counter("events_duplicate", "Repeats of events stored before.")
        self._older = self._counter("events_older", "Events older than what was known of their interview.")
        self._unused = self._counter("fields_unused", "Values that could not be used, by field.", "field")
        self._outcomes = self._counter(
            "deliveries", "Outcomes of deliveries, by sink, outcome and reason.", "sink", "outcome", "reason"
        )
        self._calls = self._counter("destination_calls", "Calls to destinations, by sink and kind.", "sink", "kind")
        self._broken = self._counter("sink_broken", "Times that a sink found its destination broken.", "sink")
        self._lag = Histogram(
            "connector_delivery_lag_seconds",
            "From receipt to delivery.",
            ["sink"],
            buckets=LAG_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._reasons: set[str] = set()
        self._describe_sinks_and_store()
        self._describe_periodic_tasks()
        self._describe_source()

    def _describe_sinks_and_store(self) -> None:
        self._pending = self._gauge("deliveries_pending", "Deliveries that wait, by sink.", "sink")
        self._oldest = self._gauge("delivery_oldest_age_seconds", "Age of the oldest delivery that waits.", "sink")
        self._waiting = self._gauge("deliveries_waiting", "Deliveries that wait for a digest, by sink.", "sink")
        self._dead = self._gauge("deliveries_dead", "Dead letters, by sink.", "sink")
        self._paused = self._gauge("sink_paused", "1 while the sink is paused.", "sink")
        self._paused_by_operator = self._gauge(
            "sink_paused_by_operator", "1 while an operator keeps the sink paused.", "sink"
        )
        self._last_event = Gauge(
            "connector_last_event_timestamp_seconds", "When the last event was received.", registry=self.registry
        )
        self._store = Gauge("connector_store_readable", "1 while the store can be read.", registry=self.registry)
        self._disk_free = self._gauge("store_disk_free_bytes", "Free bytes of the disk of a SQLite store.")
        self._disk_size = self._gauge("store_disk_size_bytes", "Size of the disk of a SQLite store.")
        self._log = Gauge("connector_store_log_bytes", "Size of the write-ahead log of SQLite.", registry=self.registry)
        self._verified = self._gauge("sink_verified_timestamp_seconds", "When a sheet was last compared.", "sink")
        self._in_sync = self._gauge("sink_in_sync", "1 if the last comparison found nothing wrong.", "sink")

    def _describe_periodic_tasks(self) -> None:
        self._deleted = self._counter("retention_deleted", "Rows that retention deleted or cleared, by kind.", "kind")
        self._task_ended = self._gauge(
            "periodic_task_timestamp_seconds",
            "When this process last ended a run of the task without an error.",
            "task",
        )
        self._task_failed = self._counter("periodic_task_failures", "Runs of the task that failed.", "task")

    def _describe_source(self) -> None:
        self._source = Gauge(
            "connector_hireflix_interviews", "Interviews in Hireflix at the last reconcile.", registry=self.registry
        )
        self._repaired = self._counter(
            "reconcile_events", "Events that a reconcile added, by what differed.", "difference"
        )
        self._held = Gauge(
            "connector_reconcile_held_deletions", "Deletions that an operator must confirm.", registry=self.registry
        )
        self._silent = Gauge(
            "connector_webhooks_missing", "1 while Hireflix changes and no webhook arrives.", registry=self.registry
        )

        self._open_decisions = Gauge(
            "connector_decisions_open", "Decisions of users that wait for an operator.", registry=self.registry
        )
        self._not_listening = self._gauge(
            "sink_not_listening", "1 while decisions of users at the destination are not received.", "sink"
        )

    def _describe_process(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=self.registry)
        build = self._gauge("build_info", "1, with the versions as labels.", "version", "python")
        build.labels(__version__, platform.python_version()).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"connector_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"connector_{name}", text, labels, registry=self.registry)

    def store_log(self, size: int) -> None:
        """Sets the size of the write-ahead log of a SQLite store, in bytes."""
        self._log.set(size)

    def disk(self, free: int, size: int) -> None:
        """Sets the free bytes and the size of the disk of a SQLite store."""
        self._disk_free.set(free)
        self._disk_size.set(size)

    def group(self, plan: IngestPlan) -> None:
        """Counts a committed group of events."""
        for name, count in plan.received.items():
            self._received.labels(name).inc(count)
        for name, count in plan.unused.items():
            self._unused.labels(name).inc(count)
        if plan.duplicates:
            self._duplicates.inc(plan.duplicates)
        if plan.older:
            self._older.inc(plan.older)

    def refused(self, reason: str) -> None:
        """Counts a request that was answered with an error; `reason` is a fixed term."""
        self._refused.labels(reason).inc()

    def file_handles_exhausted(self) -> None:
        """Counts a check that found no free file handle."""
        self._exhausted.inc()

    def settled(
        self, sink: str, works: Sequence[ClaimedDelivery], response: SinkResponse, settlement: Settlement
    ) -> None:
        """Counts the outcomes of a call to a sink."""
        if isinstance(response, CallFailure):
            self._outcome(sink, AttemptOutcome.UNCLEAR, response.reason, len(works))
            return
        if isinstance(response, RateLimited | SinkBroken):
            outcome = AttemptOutcome.WAITING if isinstance(response, RateLimited) else AttemptOutcome.BROKEN
            self._outcome(sink, outcome, "", len(works))
            return
        for (outcome, reason), count in Tally(map(label_of, response.outcomes)).items():
            self._outcome(sink, outcome, reason, count)
        done = {id_ for id_, _ in settlement.delivered}
        if settlement.shown_since:
            self._outcome(sink, "delivered", "", len(settlement.shown_since))
        lag = self._lag.labels(sink)
        for since in settlement.shown_since:
            lag.observe(max(0, settlement.ended_at - since) / 1000)
        for work in works:
            if work.id in done:
                lag.observe(max(0, settlement.ended_at - work.since) / 1000)

    def _outcome(self, sink: str, outcome: str, reason: str, count: int) -> None:
        reason = re.split("[:;]", reason, maxsplit=1)[0]  # the rest is detail for the operator
        if reason not in self._reasons:
            if len(self._reasons) >= REASONS_MAX:
                reason = "other"
            self._reasons.add(reason)
        self._outcomes.labels(sink, outcome, reason).inc(count)

    def broken(self, sink: str) -> None:
        """Counts that a sink found its destination broken."""
        self._broken.labels(sink).inc()

    def called(self, sink: str, kind: str) -> None:
        """Counts a call of a sink to its destination."""
        self._calls.labels(sink, kind).inc()

    def status(self, found: SinkStatus) -> None:
        """Sets the queue of a sink, and the result of its last verification."""
        self._pending.labels(found.name).set(found.pending)
        self._waiting.labels(found.name).set(found.waiting)
        self._oldest.labels(found.name).set(found.oldest_age_seconds)
        self._dead.labels(found.name).set(found.dead)
        self._paused.labels(found.name).set(int(found.state == "paused"))
        by_operator = found.state == "paused" and found.paused_by is PauseKind.OPERATOR
        self._paused_by_operator.labels(found.name).set(int(by_operator))
        if found.verified_at is not None:
            self._verified.labels(found.name).set(found.verified_at / 1000)
            self._in_sync.labels(found.name).set(int(bool(found.in_sync)))

    def decisions(self, count: int, not_listening: Collection[str], sinks: Collection[str]) -> None:
        """Sets the number of decisions that wait for an operator, and which of the sinks do not receive decisions."""
        self._open_decisions.set(count)
        for name in sinks:
            self._not_listening.labels(name).set(int(name in not_listening))

    def last_event(self, at: int | None) -> None:
        """Sets when the last event was received, in epoch milliseconds."""
        if at is not None:
            self._last_event.set(at / 1000)

    def store(self, *, readable: bool) -> None:
        """Sets whether the store could be read."""
        self._store.set(int(readable))

    def deleted(self, kind: str, count: int) -> None:
        """Counts rows that retention deleted or cleared."""
        self._deleted.labels(kind).inc(count)

    def task_ended(self, run: TaskRun) -> None:
        """Counts a run of a periodic task."""
        if run.error:
            self._task_failed.labels(run.name).inc()
        else:
            self._task_ended.labels(run.name).set(run.ended_at / 1000)

    def reconciled(self, result: Reconcile) -> None:
        """Counts the result of a reconcile."""
        self._source.set(result.interviews)
        self._held.set(result.held)
        self._silent.set(int(result.silent_since is not None))
        for difference, count in result.added.items():
            self._repaired.labels(difference).inc(count)

    def text(self) -> bytes:
        """Returns all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
