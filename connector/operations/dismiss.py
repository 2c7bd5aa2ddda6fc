"""Dismisses dead letters: an operator decides that they are not delivered."""

from __future__ import annotations

from collections.abc import Sequence

from connector.config import Config
from connector.errors import UsageError
from connector.operations.replay import AuditEntry, Progress, in_chunks, selection
from connector.operations.sinks import require_known
from connector.operations.store_access import OpenStore, now_in
from connector.store import replay
from connector.store.queries import Wanted
from connector.store.schema import Action
from connector.text import clean

REASON_MAX = 300
"""Characters of a reason. The listing has to show it beside the reason of the failure."""


def require_valid(settings: Config, wanted: Wanted, reason: str) -> str:
    """Returns the reason without control characters.

    Raises `UsageError` for a request that selects nothing, an unknown sink, and a reason that is empty or too long.
    """
    if wanted == Wanted():
        raise UsageError(
            "select what to dismiss: ids of deliveries, a sink, a position, an interview, an event or a time"
        )
    if wanted.sink is not None:
        require_known(wanted.sink, settings.sinks)
    cleaned = clean(reason).strip()
    if not cleaned or len(cleaned) > REASON_MAX:
        raise UsageError(f"--reason: give a reason of 1 to {REASON_MAX} characters")
    return cleaned


def dismiss(
    store: OpenStore, wanted: Wanted, ids: Sequence[int], reason: str, progress: Progress, *, actor: str
) -> int:
    """Settles these dead letters, which `wanted` selected, as dismissed. Returns the number of those still dead.

    `actor` is who asks, for the audit log.
    """
    entry = AuditEntry(actor, Action.DISMISS, selection(wanted), f"{len(ids)} dead letters")
    counts = in_chunks(
        store,
        ids,
        lambda connection, part: replay.dismiss(connection, part, reason, now_in(connection)),
        lambda done: progress(done, len(ids)),
        entry,
    )
    return sum(counts)
