"""The note about a position's digest: one message that counts many events. Pure.

Its figures are written in the transaction in which the events that they count start to wait, so that a crash neither
loses nor repeats one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Self

from connector.sink import Delivered, FollowUp, Interview, Note
from sinks.chat.record import as_note, brought_forward

DIGEST_NOTE = "digest:"
"""Prefix of the note about a digest, before the position's id."""
DIGEST = "digest"
"""Purpose of the call that posts or edits the digest of a position."""
IDLE_MS = 600_000
"""Time without an event after which the next event starts a new digest: it belongs to another burst."""
LONGEST_MS = 86_400_000
"""Time after which an event starts a new digest in any case, so that old messages do not keep changing."""

_NAMES = {
    "ts": "message_id",
    "hash": "content_hash",
    "shown": "shown_counts",
    "first": "first_ms",
    "last": "last_ms",
    "began": "started_ms",
    "at": "updated_ms",
    "plain": "fallback_error",
    "dups": "possible_duplicates",
}
"""Names of version 1 that have changed."""


@dataclass(frozen=True, slots=True)
class DigestRecord:
    """The note about the digest of the position with the id `id`, `""` for interviews without one.

    `counts` are its figures, `position` is the position's newest name, `first_ms` and `last_ms` are the dates of its
    events, `started_ms` and `updated_ms` are when it got its first and its newest event by our clock. `message_id` is
    its message, `""` before it is posted, and `shown_counts` are the figures in it. `waits`: the deliveries that it
    counts and does not show wait in its group, which was not so in the first notes of version 1.
    """

    id: str
    counts: Mapping[str, int] = field(default_factory=dict)
    position: str = ""
    first_ms: int = 0
    last_ms: int = 0
    started_ms: int = 0
    updated_ms: int = 0
    message_id: str = ""
    content_hash: str = ""
    shown_counts: Mapping[str, int] = field(default_factory=dict)
    fallback_error: str = ""
    waits: bool = False
    intent: Mapping[str, Any] = field(default_factory=dict)
    possible_duplicates: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, position_id: str, note: Note | None) -> Self:
        """Decodes a note of any version; without a note the digest is new."""
        values = brought_forward(note or {}, _NAMES)
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "id": position_id})

    @property
    def key(self) -> str:
        """Name of the note."""
        return f"{DIGEST_NOTE}{self.id}"

    def follow_up(self, purpose: str, after: timedelta) -> FollowUp:
        """A later call about this digest."""
        return FollowUp(purpose, after, subject=self.id)

    def publication(self, after: timedelta) -> FollowUp:
        """The call that shows it, for everything that waits in its group."""
        return replace(self.follow_up(DIGEST, after), group=self.key)

    def settled(self, message_id: str) -> Mapping[str, Delivered]:
        """What its message shows: everything that waits in its group, or nothing."""
        return {} if self.is_behind else {self.key: Delivered(message_id or None)}

    def without_hidden_counts(self) -> Self:
        """Without the figures that it does not show, because nothing that they counted waits any more."""
        if self.message_id:
            return replace(self, counts=dict(self.shown_counts), intent={})
        return self._new()

    @property
    def is_behind(self) -> bool:
        """Whether its message shows less than it counts."""
        return any(self.hidden_counts.values())

    @property
    def hidden_counts(self) -> dict[str, int]:
        """The figures that its message does not show yet."""
        return _difference(self.counts, self.shown_counts)

    @property
    def summary(self) -> str:
        """The figures as a sentence."""
        invited, finished, updates = (self.counts.get(name, 0) for name in ("invited", "finished", "updates"))
        parts = [
            f"{invited:,} candidate{' was' if invited == 1 else 's were'} invited" if invited else "",
            f"{finished:,} finished the interview" if finished else "",
            f"{updates:,} update{'s' if updates > 1 else ''}" if updates else "",
        ]
        return ", ".join(part for part in parts if part) or "nothing new"

    def counting(self, figure: str, interview: Interview, occurred_at: int, now: int) -> Self:
        """With one more event, in a new digest when this one is over. `now` is our clock (epoch milliseconds)."""
        if self._is_over(now):
            return self._new().counting(figure, interview, occurred_at, now)
        is_first = not self.counts
        return replace(
            self,
            counts={**self.counts, figure: self.counts.get(figure, 0) + 1},
            position=interview.position_name or self.position,
            first_ms=occurred_at if is_first else min(self.first_ms, occurred_at),
            last_ms=max(self.last_ms, occurred_at),
            started_ms=now if is_first else self.started_ms,
            updated_ms=now,
            waits=True,
        )

    def _new(self) -> Self:
        return type(self)(self.id, possible_duplicates=self.possible_duplicates)

    def _is_over(self, now: int) -> bool:
        """A digest ends only after its message shows all its events, so that no event is lost between two digests."""
        is_old = now - self.updated_ms > IDLE_MS or now - self.started_ms > LONGEST_MS
        return bool(self.message_id) and not self.is_behind and is_old

    def with_intent(self, intent: Mapping[str, Any]) -> Self:
        """With a call under way, or none."""
        return replace(self, intent=intent)

    def with_possible_duplicates(self, duplicates: Sequence[Mapping[str, Any]]) -> Self:
        """With messages that may appear a second time."""
        return replace(self, possible_duplicates=tuple(duplicates))

    def posted(self, message_id: str, shows: Mapping[str, Any]) -> Self:
        """After a message with this id was posted; `shows` is from its draft. A message without an id cannot be edited,
        so the digest is over.
        """
        if not message_id:
            return replace(self, counts=_difference(self.counts, shows["counts"]), intent={}, fallback_error="")
        return replace(
            self,
            message_id=message_id,
            content_hash=shows["content_hash"],
            shown_counts=shows["counts"],
            intent={},
            fallback_error="",
        )

    def without_message(self) -> Self:
        """After users deleted its message: what it had shown is over, and the rest starts a new digest."""
        return replace(
            self,
            counts=self.hidden_counts,
            shown_counts={},
            message_id="",
            content_hash="",
            fallback_error="",
            started_ms=self.updated_ms,
            first_ms=self.last_ms,
        )

    def note(self) -> Note | None:
        """The note to keep, `None` when there is nothing to keep."""
        return as_note({name: getattr(self, name) for name in self.__dataclass_fields__ if name != "id"})


def _difference(counts: Mapping[str, int], shown: Mapping[str, int]) -> dict[str, int]:
    left = {name: count - shown.get(name, 0) for name, count in counts.items()}
    return {name: count for name, count in left.items() if count > 0}
