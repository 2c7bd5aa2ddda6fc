"""The note about a position's digest: one message that stands for many events. Pure.

Its figures are written in the transaction that has the event wait which they count, so that a crash can neither lose
nor repeat one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Self

from connector.sink import Delivered, FollowUp, Interview, Note
from sinks.chat.record import lasting

NOTE = "digest:"
"""Before the position's id: the note about its digest."""
DIGEST = "digest"
"""Purpose of the call that posts or edits the digest of a position."""
IDLE = 600_000
"""Milliseconds after which what comes next starts a new digest."""
LONGEST = 86_400_000
"""Milliseconds that one digest grows at most."""


@dataclass(frozen=True, slots=True)
class Digest:
    """The decoded note about the digest of the position with the id `id`, `""` for interviews without one.

    `counts` are its figures, `position` the position's newest name, `first` and `last` the dates of its events, `began`
    and `at` when it got its first and its newest event by our clock, all in epoch milliseconds. `ts` is its message,
    `""` before it is posted; `shown` the figures that stand there. `waits`: the deliveries that it counts and does not
    show wait in its group, which was not so in older notes.
    """

    id: str
    counts: Mapping[str, int] = field(default_factory=dict)
    position: str = ""
    first: int = 0
    last: int = 0
    began: int = 0
    at: int = 0
    ts: str = ""
    hash: str = ""
    shown: Mapping[str, int] = field(default_factory=dict)
    plain: str = ""
    waits: bool = False
    intent: Mapping[str, Any] = field(default_factory=dict)
    dups: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, position_id: str, note: Note | None) -> Self:
        known = {name: value for name, value in (note or {}).items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "id": position_id})

    @property
    def key(self) -> str:
        """Name of the note."""
        return f"{NOTE}{self.id}"

    def follow_up(self, purpose: str, after: timedelta) -> FollowUp:
        """A later call about this digest."""
        return FollowUp(purpose, after, subject=self.id)

    def publishing(self, after: timedelta) -> FollowUp:
        """The call that shows it, for everything that waits in its group."""
        return replace(self.follow_up(DIGEST, after), group=self.key)

    def settled(self, ts: str) -> Mapping[str, Delivered]:
        """What its message with this timestamp shows: everything that waits in its group, or nothing."""
        return {} if self.behind else {self.key: Delivered(ts or None)}

    def forgetting(self) -> Self:
        """Without the figures that it does not show, because nothing that they counted waits any more."""
        return replace(self, counts=dict(self.shown), intent={}) if self.ts else type(self)(self.id, dups=self.dups)

    @property
    def behind(self) -> bool:
        """Whether its message shows less than it stands for."""
        return any(self.left.values())

    @property
    def left(self) -> dict[str, int]:
        """What its message does not show yet."""
        return _without(self.counts, self.shown)

    @property
    def summary(self) -> str:
        """The figures as a sentence."""
        invited, finished, updates = (self.counts.get(name, 0) for name in ("invited", "finished", "updates"))
        parts = [
            f"{invited:,} candidate{_were(invited)} invited" if invited else "",
            f"{finished:,} finished the interview" if finished else "",
            f"{updates:,} update{'s' if updates > 1 else ''}" if updates else "",
        ]
        return ", ".join(part for part in parts if part) or "nothing new"

    def counting(self, figure: str, interview: Interview, occurred_at: int, now: int) -> Self:
        """With one event more, in a new digest when this one is over. `now` is our clock."""
        if self._is_over(now):
            return type(self)(self.id, dups=self.dups).counting(figure, interview, occurred_at, now)
        is_first = not self.counts
        return replace(
            self,
            counts={**self.counts, figure: self.counts.get(figure, 0) + 1},
            position=interview.position_name or self.position,
            first=occurred_at if is_first else min(self.first, occurred_at),
            last=max(self.last, occurred_at),
            began=now if is_first else self.began,
            at=now,
            waits=True,
        )

    def _is_over(self, now: int) -> bool:
        """Only one whose message shows everything can be over: nothing may be lost between two."""
        return bool(self.ts) and not self.behind and (now - self.at > IDLE or now - self.began > LONGEST)

    def intending(self, intent: Mapping[str, Any]) -> Self:
        """With a call under way, or none."""
        return replace(self, intent=intent)

    def doubting(self, dups: Sequence[Mapping[str, Any]]) -> Self:
        """With messages that may come to stand there twice."""
        return replace(self, dups=tuple(dups))

    def sent(self, ts: str, said: Mapping[str, Any]) -> Self:
        """After a message with this timestamp: `said` is what its draft promised. A webhook tells no timestamp, so
        what it posted is over.
        """
        if not ts:
            return replace(self, counts=_without(self.counts, said["counts"]), intent={}, plain="")
        return replace(self, ts=ts, hash=said["hash"], shown=said["counts"], intent={}, plain="")

    def lost(self) -> Self:
        """After people deleted its message: what it had shown is over, the rest starts a new one."""
        return replace(self, counts=self.left, shown={}, ts="", hash="", plain="", began=self.at, first=self.last)

    def note(self) -> Note | None:
        """What is to be kept, `None` when that is nothing."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "id"}
        return (
            lasting({name: list(value) if isinstance(value, tuple) else value for name, value in values.items()})
            or None
        )


def _were(count: int) -> str:
    return " was" if count == 1 else "s were"


def _without(counts: Mapping[str, int], told: Mapping[str, int]) -> dict[str, int]:
    left = {name: count - told.get(name, 0) for name, count in counts.items()}
    return {name: count for name, count in left.items() if count > 0}
