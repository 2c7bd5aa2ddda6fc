"""Every statement that runs while events are delivered, as functions on a connection."""

from __future__ import annotations

from sqlalchemy import Connection

from connector.delivery import batches
from connector.routing import Routes
from connector.sink import Token
from connector.store import claim, leases, notes, rate_limit, replay, settle, subscriptions
from connector.store.claim import Claim, ClaimedDelivery
from connector.store.leases import Lease, Pause
from connector.store.schema import DeliveryState
from connector.store.settle import Attempt, PlannedFollowUp, Retry, Settlement, WaitingRow
from connector.testing import START

LEASE = Lease("chat", "me", 1, START)
WORKS = (ClaimedDelivery(1, "i1", "i1", 1, 0, START), ClaimedDelivery(2, "i2", "i2", 2, 0, START))
CLAIMS = (
    (lambda connection: claim.due(connection, "chat", START, 10), "ix_delivery_due"),
    (lambda connection: claim.due(connection, "chat", START, 10), "ix_delivery_key"),
    (lambda connection: claim.due_topics(connection, "chat", START, 10), "ix_delivery_due"),
    (lambda connection: claim.newest(connection, "chat", [("", "i1")], START), "ix_delivery_key"),
    (lambda connection: claim.rows_of_batch(connection, "chat", "b1"), "ix_delivery_batch"),
)
"""Reads of a claim, and an index that each must use."""
SETTLEMENT = Settlement(
    "b1",
    START,
    START + 100,
    delivered=[(1, None), (2, "ts")],
    superseded=[3],
    dead=[(4, "no")],
    retries=[Retry(5, 1, START, "later", keeps_batch=True)],
    unneeded=[(7, "nothing new")],
    waiting=[WaitingRow(8, "g", "digest", START)],
    groups={"h": (DeliveryState.DELIVERED, "ts")},
    touched={"g"},
    unsent=[6],
    bucket="b",
    notes={"a": {"x": 1}, "b": None},
    follow_ups=[PlannedFollowUp("edit", "i1", "", "g", START)],
    attempts=[Attempt("rejected", "no", 1)],
    resumed=True,
    pause=Pause("broken", "no access", "share it", START),
    cured=[("", "i1")],
)


def register(connection: Connection) -> None:
    leases.register(connection, {"chat": "console"})


def acquire(connection: Connection) -> None:
    leases.acquire(connection, "chat", "me", START)


def look(connection: Connection) -> None:
    leases.row(connection, "chat")
    claim.due(connection, "chat", START, 10)
    claim.due_topics(connection, "chat", START, 10)
    claim.newest(connection, "chat", [("", "i1"), ("", "i2")], START)
    claim.rows_of_batch(connection, "chat", "b1")
    claim.next_due(connection, "chat")
    claim.count_due(connection, "chat", START, 10)


def deliveries(connection: Connection) -> None:
    batches.deliveries_of(connection, WORKS, "store", events=True, now=0)


def mark(connection: Connection) -> None:
    claim.mark(connection, LEASE, Claim("b1", START, (), maybe_sent=False), state_sink=False)
    claim.mark(connection, LEASE, Claim("b1", START, WORKS, maybe_sent=False), state_sink=True)


def settling(connection: Connection) -> None:
    settle.settle(connection, LEASE, "place", SETTLEMENT)


def pauses(connection: Connection) -> None:
    leases.pause(connection, "chat", Pause("person", "holidays"))
    leases.resume(connection, "chat")
    leases.probe_all(connection, ["chat"])
    leases.release(connection, LEASE)
    leases.rows(connection)


def rates(connection: Connection) -> None:
    rate_limit.take(connection, [Token("a", 1000, 1000), Token("b", 1000, 1000)], START)
    rate_limit.block(connection, "a", 1, START)
    rate_limit.blocked_until(connection, "a")


def remembering(connection: Connection) -> None:
    notes.write(connection, "chat", "place", {"a": {"x": 1}, "b": None})
    notes.read(connection, "chat", "place", ["a", "b"])


def filling(connection: Connection) -> None:
    subscriptions.fill_chunk(connection, "chat", "elsewhere", Routes((), {"chat": True}), START)
    subscriptions.mark_filled(connection, "chat", "place", "digest")


def replaying(connection: Connection) -> None:
    replay.revive(connection, [1, 2], START)
    replay.repeat(connection, [1, 2], START)


HOT = (look, deliveries, mark, settling, rates, remembering, filling)
ALL = (register, acquire, *HOT, pauses, replaying)
