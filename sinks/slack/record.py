"""The note about one interview: what was said where, and what is about to be said. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connector.sink import Note
from sinks.slack.news import Told


def note_key(interview_id: str) -> str:
    """Name of the note about an interview."""
    return f"parent:{interview_id}"


@dataclass(frozen=True, slots=True)
class Record:
    """The decoded note.

    `ts` is the first message about the interview, `""` for one whose timestamp nobody knows, `None` when there is
    none; `extra` the later ones: all that must be found again to take a name back. `intent` is what the call under
    way says: its delivery's id `k`, when it was made `at` (epoch milliseconds), what is `told` by it, and `plain`, the
    error that made us leave out the blocks.
    """

    told: Told = field(default_factory=dict)
    ts: str | None = None
    extra: Sequence[str] = ()
    intent: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, note: Note | None) -> Record:
        if note is None:
            return cls()
        return cls(note.get("told", {}), note.get("ts"), tuple(note.get("extra", ())), note.get("intent", {}))

    @property
    def shown(self) -> bool:
        """Whether a message about this interview stands in the channel."""
        return self.ts is not None

    def intends(self, key: str) -> bool:
        """Whether a call for this delivery may have been made: without an intent none was."""
        return self.intent.get("k") == key

    def plain(self, key: str) -> str:
        """The error for which Slack refused this delivery's blocks, `""` when it did not."""
        return str(self.intent.get("plain", "")) if self.intends(key) else ""

    def intending(self, key: str, told: Told, at: int, plain: str) -> Note:
        """The note while a call is under way."""
        return {**self._lasting(self.told), "intent": {"k": key, "at": at, "told": dict(told), "plain": plain}}

    def posted(self, ts: str, told: Told) -> Note:
        """The note once a message with this timestamp stands in the channel."""
        if self.ts is None:
            return {**self._lasting(told), "ts": ts}
        return {**self._lasting(told), "extra": [*self.extra, ts]}

    def silent(self, told: Told) -> Note | None:
        """The note when nothing was posted and no call is under way; `None` when there is nothing to keep."""
        return self._lasting(told) or None

    def _lasting(self, told: Told) -> dict[str, Any]:
        kept = {"told": dict(told), "ts": self.ts, "extra": list(self.extra)}
        return {name: value for name, value in kept.items() if value not in (None, {}, [])}
