"""Several receivers and workers on one PostgreSQL: the cost of killed and stopped workers.

One worker is killed with -9 during its calls and another is started in its place; later a worker is stopped
(SIGSTOP) for longer than its lease and continued.
"""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import bodies, tables
from benchmarks.bodies import Webhook
from benchmarks.crew import Crew, Member, crew
from benchmarks.posting import post_all

EVENTS_EACH = 8
LEASE = 5
CLIENTS = 16
SETTLED_WITHIN = 900.0
SINKS = {
    **dict.fromkeys(("one", "two", "three", "four"), "recording"),
    "five": "recording_state",
    "six": "recording_state",
}
BUSY = "SELECT sink FROM delivery WHERE state = 0 GROUP BY sink HAVING count(*) > 20"
LEASES = f"SELECT lease_owner FROM sink WHERE lease_owner IS NOT NULL AND name IN ({BUSY})"
COLUMNS = (
    "sink", "calls", "deliveries", "lost", "order violated", "calls overlap",
    "repeats marked", "repeats unmarked", "s to next after kill", "s to next after stop",
)  # fmt: skip
SINK = '[sinks.{name}]\ntype = "{type}"\npath = "{name}.txt"\n'


async def run(*, quick: bool = False) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        await storm(Path(name), 50 if quick else 5_000)


@dataclass(frozen=True, slots=True)
class SinkResult:
    """The result of the calls of a sink. `lost`: delivered according to the store, and in no call. `followed`: seconds
    from each interruption to the next call by another worker.
    """

    calls: int
    deliveries: int
    lost: int
    violations: int
    overlaps: int
    marked: int
    unmarked: int
    followed: tuple[float, ...]

    def row(self) -> list[str]:
        numbers = (self.calls, self.deliveries, self.lost, self.violations, self.overlaps, self.marked, self.unmarked)
        return [*(f"{count:,}" for count in numbers), *map(tables.number, self.followed)]


@dataclass(slots=True)
class Record:
    """The calls of a sink. Times are monotonic seconds."""

    calls: list[tuple[float, int, str, bool, list[Any]]] = field(default_factory=list)
    """Begin, process, batch, maybe sent, items."""
    ends: dict[tuple[str, int], float] = field(default_factory=dict)

    @classmethod
    def of(cls, file: Path) -> Record:
        record = cls()
        for line in file.read_text().splitlines():
            what, at, pid, batch, maybe_sent, items = json.loads(line)
            if what == "begin":
                record.calls.append((at / 1e9, pid, batch, maybe_sent, items))
            else:
                record.ends[batch, pid] = at / 1e9
        return record

    def overlaps(self, interrupted_at: dict[int, float]) -> int:
        """Calls that began while another one was running. A call of a killed process counts until its end."""
        spans = []
        for begin, pid, batch, _, _ in self.calls:
            end = self.ends.get((batch, pid), interrupted_at.get(pid, begin))
            spans.append((begin, min(end, interrupted_at[pid]) if begin < interrupted_at.get(pid, 0) else end))
        spans.sort()
        return sum(later[0] < earlier[1] for earlier, later in pairwise(spans))

    def counts(self) -> tuple[int, int, int, int]:
        """Deliveries, violations of the order of a key, repeats that were marked, repeats that were not."""
        seen: set[str] = set()
        last: dict[str, int] = defaultdict(int)
        violations = marked = unmarked = 0
        for _, _, _, maybe_sent, items in sorted(self.calls, key=lambda call: call[0]):
            for id_, key, order in items:
                if id_ in seen:
                    marked += maybe_sent
                    unmarked += not maybe_sent
                    continue
                seen.add(id_)
                violations += order < last[key]
                last[key] = order
        return len(seen), violations, marked, unmarked

    def next_by_other(self, pid: int, at: float) -> float:
        """Seconds from a moment to the next call by another process."""
        return min((begin - at for begin, other, *_ in self.calls if other != pid and begin > at), default=float("nan"))


def _webhooks(interviews: int) -> Iterator[Webhook]:
    """Yields several events of each interview in rounds, so that the events of an interview are in order."""
    started = time.time_ns() // 1_000_000 - 3_600_000
    names = ("interview.create", *bodies.UPDATES)
    for number in range(EVENTS_EACH):
        for interview in range(interviews):
            at = started + number * interviews + interview
            yield bodies.webhook_of(names[number % len(names)], f"{interview:024x}", interview % 19, at)


async def storm(folder: Path, interviews: int) -> dict[str, SinkResult]:
    """Measures, prints and returns the result of each sink."""
    with crew(folder) as fleet:
        sinks = "".join(SINK.format(name=name, type=kind) for name, kind in SINKS.items())
        await fleet.open(f"[delivery]\nlease = {LEASE}\n{sinks}")
        members = fleet.start("receiver", "receiver", "worker", "worker")
        begun = time.monotonic()
        posting = asyncio.create_task(_post(members[:2], interviews))
        killed, killed_at = await _interrupt(fleet, signal.SIGKILL)
        await asyncio.to_thread(fleet.start, "worker")
        stopped, stopped_at = await _interrupt(fleet, signal.SIGSTOP)
        await asyncio.sleep(LEASE * 1.5)
        stopped.process.send_signal(signal.SIGCONT)
        await posting
        await _settled(fleet)
        seconds = time.monotonic() - begun
        interrupted = {killed.pid: killed_at, stopped.pid: stopped_at}
        results = {name: _result(fleet, name, interrupted) for name in SINKS}
    _show(results, interviews * EVENTS_EACH, seconds)
    return results


async def _post(receivers: Sequence[Member], interviews: int) -> None:
    """Sends every second interview to the other receiver, so that the events of an interview are in order."""
    webhooks = list(_webhooks(interviews))
    parts = [[each for each in webhooks if int(each.interview_id, 16) % 2 == part] for part in range(2)]
    await asyncio.gather(
        *(_in_rounds(receiver.url, part, interviews // 2) for receiver, part in zip(receivers, parts, strict=True))
    )


async def _in_rounds(url: str, webhooks: Sequence[Webhook], size: int) -> None:
    for start in range(0, len(webhooks), size):
        await post_all(url, webhooks[start : start + size], clients=CLIENTS)


async def _interrupt(fleet: Crew, number: signal.Signals) -> tuple[Member, float]:
    """Sends a signal to the worker that has most sinks, during its calls."""
    while True:
        leases = fleet.rows(LEASES)
        pids = [int(str(owner).split(":")[-2]) for (owner,) in leases]
        for member in fleet.members:
            if pids.count(member.pid) >= 2 and member.process.poll() is None:
                await asyncio.sleep(0.1)
                member.process.send_signal(number)
                return member, time.monotonic()
        await asyncio.sleep(0.05)


async def _settled(fleet: Crew) -> None:
    until = time.monotonic() + SETTLED_WITHIN
    while fleet.rows("SELECT 1 FROM delivery WHERE state = 0 LIMIT 1"):
        if time.monotonic() > until:
            raise RuntimeError("deliveries are still pending")
        await asyncio.sleep(0.2)


def _result(fleet: Crew, name: str, interrupted: dict[int, float]) -> SinkResult:
    record = Record.of(fleet.folder / f"{name}.txt")
    seen, violations, marked, unmarked = record.counts()
    followed = tuple(record.next_by_other(pid, at) for pid, at in interrupted.items())
    lost, overlaps = _lost(fleet, name, record), record.overlaps(interrupted)
    return SinkResult(len(record.calls), seen, lost, violations, overlaps, marked, unmarked, followed)


def _show(results: dict[str, SinkResult], events: int, seconds: float) -> None:
    tables.show(
        f"{events:,} events, {len(SINKS)} sinks, 2 receivers, 2 workers, one killed, one stopped: {seconds:.0f} s",
        COLUMNS,
        [(f"{name} ({SINKS[name]})", *result.row()) for name, result in results.items()],
        f"lease {LEASE} s; a call takes 0.3 s",
    )


def _lost(fleet: Crew, name: str, record: Record) -> int:
    """Returns the number of deliveries that are delivered according to the store and were never in a call."""
    called = {id_.rsplit("-", 1)[1] for _, _, _, _, items in record.calls for id_, _, _ in items}
    states = "1" if SINKS[name] == "recording_state" else "1, 2, 3"
    delivered = {
        str(row[0]) for row in fleet.rows(f"SELECT id FROM delivery WHERE sink = '{name}' AND state IN ({states})")
    }
    return len(delivered - called)
