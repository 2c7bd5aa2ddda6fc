"""The note about one interview: what was said where, and what is about to be said. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Self

from connector.sink import Delivered, FollowUp, Note
from sinks.chat.changes import Told

NOTE = "parent:"
"""Before the interview's id: the note about it."""
EDIT = "edit"
"""Purpose of the call that brings the messages of an interview up to date."""
REPEAT_EDIT = "repeat-edit"
"""Purpose of the call that repeats an edit whose first answer was lost, since a lost call may still be carried out and
put an old content over a new one. It is about an interview, or without one about the digest of a position.
"""


def lasting(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a note what is worth keeping."""
    return {name: value for name, value in values.items() if value not in (None, False, "", (), [], {})}


@dataclass(frozen=True, slots=True)
class Record:
    """The decoded note about the interview `id`.

    `ts` is its message in the channel, `None` when there is none and `""` for one whose timestamp nobody knows;
    `hash` that of the content it shows, `""` when that is not certain. `extra` are the other messages that carry the
    name, to be found again when it has to go, `former` those that a newer message replaced. `gone`: people deleted
    the message. `locked`: its thread takes no replies. `wanted`: a message has to be made in place of a lost one.
    `invited`: the id of the delivery whose invitation a digest counted, `True` in older notes. `intent` and `dups` as
    in `sinks.slack.once`.
    """

    id: str
    told: Told = field(default_factory=dict)
    ts: str | None = None
    hash: str = ""
    extra: Sequence[str] = ()
    former: Sequence[str] = ()
    gone: bool = False
    locked: bool = False
    wanted: bool = False
    invited: str | bool = ""
    plain: str = ""
    intent: Mapping[str, Any] = field(default_factory=dict)
    dups: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, interview_id: str, note: Note | None) -> Self:
        known = {name: value for name, value in (note or {}).items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "id": interview_id})

    @property
    def key(self) -> str:
        """Name of the note."""
        return f"{NOTE}{self.id}"

    def follow_up(self, purpose: str, after: timedelta) -> FollowUp:
        """A later call about this interview."""
        return FollowUp(purpose, after, interview=self.id)

    def edit(self, after: timedelta) -> FollowUp:
        """The call that brings its messages up to date, for everything that waits for that."""
        return replace(self.follow_up(EDIT, after), group=self.key)

    def settled(self, ts: str) -> Mapping[str, Delivered]:  # noqa: ARG002 - as a ledger of `sinks.slack.once`
        """What waits in its group waits for an edit, not for a message that was sent."""
        return {}

    @property
    def shown(self) -> bool:
        """Whether a message about this interview stands in the channel, or did once."""
        return self.ts is not None

    @property
    def editable(self) -> bool:
        """Whether there is a message to keep current."""
        return bool(self.ts) and not self.gone

    @property
    def takes_replies(self) -> bool:
        """Whether there is a thread to write into."""
        return self.editable and not self.locked

    def intending(self, intent: Mapping[str, Any]) -> Self:
        """With a call under way, or none."""
        return replace(self, intent=intent)

    def doubting(self, dups: Sequence[Mapping[str, Any]]) -> Self:
        """With messages that may come to stand there twice."""
        return replace(self, dups=tuple(dups))

    def sent(self, ts: str, said: Mapping[str, Any]) -> Self:
        """After a message with this timestamp: `said` is what its draft promised."""
        clean = replace(self, told=said["told"], intent={}, wanted=False)
        if said.get("thread"):
            return replace(clean, extra=(*self.extra, ts)) if said.get("named") else clean
        former = tuple(self.former)
        if self.editable:
            former = (*former, str(self.ts))
        return replace(clean, ts=ts, hash=said["hash"], former=former, gone=False, locked=False, plain="")

    def note(self) -> Note | None:
        """What is to be kept, `None` when that is nothing."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "id"}
        kept = lasting({name: list(value) if isinstance(value, tuple) else value for name, value in values.items()})
        return {**kept, "ts": self.ts} if self.ts is not None else kept or None
