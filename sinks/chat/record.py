"""The notes about messages: the posted messages, and the intent of the current call. Pure functions. Notes have a
version. A note of version 1 has other names, and is converted when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol, Self, TypeVar
from zoneinfo import ZoneInfo

from connector.sink import Delivered, FollowUp, Interview, Note
from sinks.chat.changes import INVITED, Announced

VERSION = 2
INTERVIEW_NOTE = "parent:"
"""Prefix of the note about an interview, before its id."""
EDIT = "edit"
"""Purpose of the call that updates the messages of an interview."""
REPEAT_EDIT = "repeat-edit"
"""Purpose of the call that repeats an edit after a lost answer, because the lost request may still be applied and
replace new content by old. It is about an interview or, without one, about the digest of a position.
"""


class MessageRecord(Protocol):
    """The part of a note that exactly-once posting needs. `intent` is the call whose outcome is not known yet: its
    `delivery_id`, its time `at_ms`, the `thread`, the content of each of the `calls` that may have been applied, the
    `fallback_error` with which the service rejected the content, and the `mention`. `possible_duplicates` are
    deliveries whose message may appear a second time: the `delivery_id`, the `message_id` that stays (`""` = none), the
    `thread`, the time `since_ms` of the first call, and the time `at_ms` of the search.
    """

    @property
    def key(self) -> str: ...
    @property
    def intent(self) -> Mapping[str, Any]: ...
    @property
    def possible_duplicates(self) -> Sequence[Mapping[str, Any]]: ...
    def with_intent(self, intent: Mapping[str, Any]) -> Self: ...
    def with_possible_duplicates(self, duplicates: Sequence[Mapping[str, Any]]) -> Self: ...
    def posted(self, message_id: str, shows: Mapping[str, Any]) -> Self: ...
    def follow_up(self, purpose: str, after: timedelta) -> FollowUp: ...
    def settled(self, message_id: str) -> Mapping[str, Delivered]: ...
    def note(self) -> Note | None: ...


RecordT = TypeVar("RecordT", bound=MessageRecord)


@dataclass(frozen=True, slots=True)
class InterviewRecord:
    """The note about the interview `id`.

    `message_id` is its message in the channel, `None` without one and `""` for one whose id is not known.
    `content_hash` is that of its content, `""` when the content is not certain. `named_reply_ids` are replies with the
    candidate's name, which are edited when the interview is deleted; `reply_ids` are the other replies. An erase
    deletes both. `superseded_ids` are messages that a newer one replaced. `removed`: users deleted the message.
    `thread_locked`: its thread takes no replies. `needs_repost`: a message has to be posted in place of a lost one.
    `counted_by` is the id of the delivery whose invitation a digest counted, `True` in some notes of version 1.
    `counted` maps a figure to the digest that counted it last, by its serial, and to the id of the delivery. `digests`
    are those that name the candidate: position id and serial. `fallback_error`: the service rejected the content with
    it.
    """

    id: str
    announced: Announced = field(default_factory=dict)
    message_id: str | None = None
    content_hash: str = ""
    named_reply_ids: Sequence[str] = ()
    reply_ids: Sequence[str] = ()
    superseded_ids: Sequence[str] = ()
    removed: bool = False
    thread_locked: bool = False
    needs_repost: bool = False
    counted_by: str | bool = ""
    counted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    digests: Sequence[Sequence[str]] = ()
    fallback_error: str = ""
    intent: Mapping[str, Any] = field(default_factory=dict)
    possible_duplicates: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, interview_id: str, note: Note | None) -> Self:
        """Decodes a note of any version. Without a note the record is empty."""
        return cls(**{**known_values(cls, brought_forward(note or {}, _INTERVIEW_NAMES)), "id": interview_id})

    @property
    def key(self) -> str:
        """Name of the note."""
        return f"{INTERVIEW_NOTE}{self.id}"

    def follow_up(self, purpose: str, after: timedelta) -> FollowUp:
        """Returns a follow-up about this interview."""
        return FollowUp(purpose, after, interview=self.id)

    def edit(self, after: timedelta) -> FollowUp:
        """Returns the follow-up that updates its messages and settles the deliveries that wait for that."""
        return replace(self.follow_up(EDIT, after), group=self.key)

    def settled(self, message_id: str) -> Mapping[str, Delivered]:  # noqa: ARG002 - the signature of `MessageRecord`
        """Settles nothing: the deliveries in its group wait for an edit, not for a post."""
        return {}

    @property
    def is_shown(self) -> bool:
        """Whether a message about this interview was ever posted in the channel."""
        return self.message_id is not None

    @property
    def is_editable(self) -> bool:
        """Whether the channel has a message that can be updated."""
        return bool(self.message_id) and not self.removed

    @property
    def takes_replies(self) -> bool:
        """Whether the message has a thread that takes replies."""
        return self.is_editable and not self.thread_locked

    def without_counted(self, delivery_id: str) -> Self:
        """Returns the record without the facts of a delivery that a digest counted and did not show."""
        lost = {figure for figure, (_, counter) in self.counted.items() if counter == delivery_id}
        names = {"finished": ("finished",), "scored": ("score", "score_ms")}
        forgotten = {name for figure in lost for name in names.get(figure, ("stage", "stage_ms"))}
        return replace(
            self,
            announced={name: value for name, value in self.announced.items() if name not in forgotten},
            counted={figure: counter for figure, counter in self.counted.items() if figure not in lost},
            counted_by="" if self.counted_by == delivery_id else self.counted_by,
        )

    def with_intent(self, intent: Mapping[str, Any]) -> Self:
        """Returns the record with another intent, or without one."""
        return replace(self, intent=intent)

    def with_possible_duplicates(self, duplicates: Sequence[Mapping[str, Any]]) -> Self:
        """Returns the record with these possible duplicates."""
        return replace(self, possible_duplicates=tuple(duplicates))

    def posted(self, message_id: str, shows: Mapping[str, Any]) -> Self:
        """Returns the record after a message with this id was posted; `shows` is from its draft."""
        after = replace(self, announced=shows["announced"], intent={}, needs_repost=False)
        if shows.get("thread"):
            if shows.get("named"):
                return replace(after, named_reply_ids=(*self.named_reply_ids, message_id))
            return replace(after, reply_ids=(*self.reply_ids, message_id))
        superseded = (*self.superseded_ids, str(self.message_id)) if self.is_editable else tuple(self.superseded_ids)
        return replace(
            after,
            message_id=message_id,
            content_hash=shows["content_hash"],
            superseded_ids=superseded,
            removed=False,
            thread_locked=False,
            fallback_error="",
        )

    def note(self) -> Note | None:
        """Returns the note, `None` when it would be empty."""
        kept = as_note({name: getattr(self, name) for name in self.__dataclass_fields__ if name != "id"})
        return {"v": VERSION, **(kept or {}), "message_id": ""} if self.message_id == "" else kept


def known_values(record: type[Any], note: Note) -> dict[str, Any]:
    """Returns the values of a note that are fields of the record. A newer version may have stored others."""
    return {name: value for name, value in note.items() if name in record.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class RegularRecord:
    """The part of a note that reminders and summaries share. No delivery waits for such a message."""

    intent: Mapping[str, Any] = field(default_factory=dict)
    possible_duplicates: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, note: Note | None) -> Self:
        """Decodes a note. Without a note no message was posted."""
        return cls(**known_values(cls, note or {}))

    def settled(self, message_id: str) -> Mapping[str, Delivered]:  # noqa: ARG002 - nothing waits for the message
        return {}

    def with_intent(self, intent: Mapping[str, Any]) -> Self:
        """Returns the record with another intent, or without one."""
        return replace(self, intent=intent)

    def with_possible_duplicates(self, duplicates: Sequence[Mapping[str, Any]]) -> Self:
        """Returns the record with these possible duplicates."""
        return replace(self, possible_duplicates=tuple(duplicates))

    def note(self) -> Note | None:
        """Returns the note, `None` when it would be empty."""
        return as_note({name: getattr(self, name) for name in self.__dataclass_fields__})


def as_note(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the values that are not empty as a note of this version; `None` when all are empty."""
    kept = {name: value for name, value in values.items() if value not in (None, False, "", (), [], {})}
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}
    return {"v": VERSION, **lists} if lists else None


# Names in notes of version 1 -> the present ones.
_ANNOUNCED_NAMES = {"announced": "finished", "score_at": "score_ms", "stage_at": "stage_ms"}
_CALL_NAMES = {"told": "announced", "hash": "content_hash"}
_INTENT_NAMES = {"k": "delivery_id", "at": "at_ms", "said": "calls", "plain": "fallback_error"}
_DUPLICATE_NAMES = {"k": "delivery_id", "ts": "message_id", "since": "since_ms", "at": "at_ms"}
_INTERVIEW_NAMES = {
    "told": "announced",
    "ts": "message_id",
    "hash": "content_hash",
    "extra": "named_reply_ids",
    "former": "superseded_ids",
    "gone": "removed",
    "locked": "thread_locked",
    "wanted": "needs_repost",
    "invited": "counted_by",
    "plain": "fallback_error",
    "dups": "possible_duplicates",
}


def brought_forward(note: Note, names: Mapping[str, str]) -> dict[str, Any]:
    """Converts a note of version 1. `names` maps its old names to the present ones."""
    if note.get("v", 1) >= VERSION:
        return dict(note)
    values = _renamed(note, names)
    if "announced" in values:
        values["announced"] = _renamed(values["announced"], _ANNOUNCED_NAMES)
    if "intent" in values:
        values["intent"] = _renamed(values["intent"], _INTENT_NAMES)
        values["intent"]["calls"] = [_call(call) for call in values["intent"].get("calls", ())]
    if "possible_duplicates" in values:
        values["possible_duplicates"] = [_renamed(each, _DUPLICATE_NAMES) for each in values["possible_duplicates"]]
    return values


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    values = _renamed(call, _CALL_NAMES)
    if "announced" in values:
        values["announced"] = _renamed(values["announced"], _ANNOUNCED_NAMES)
    return values


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


DIGEST_NOTE = "digest:"
"""Prefix of the note about a digest, before the position's id."""
PAST_DIGEST_NOTE = "past-digest:"
"""Prefix of the note about a digest that is over and names candidates, before its serial."""
EDIT_PAST_DIGEST = "past-digest"
"""Purpose of the call that removes a name from a digest that is over."""
REPEAT_PAST_DIGEST = "repeat-past-digest"
"""Purpose of the call that repeats such an edit after a lost answer."""
MOST_NAMES = 10
"""Candidates that a digest names."""
DIGEST = "digest"
"""Purpose of the call that posts or edits the digest of a position."""
IDLE_MS = 600_000
"""After this time without an event the next event starts a new digest, because it belongs to another burst. An
invitation does so only on another day.
"""
LONGEST_MS = 86_400_000
"""After this time an event starts a new digest in any case, so that old messages do not change any more."""

_DIGEST_NAMES = {
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
"""Names in notes of version 1 -> the present ones."""


@dataclass(frozen=True, slots=True)
class DigestRecord:
    """The note about the digest of the position with the id `id`, `""` for interviews without one.

    `counts` are its figures, `position` is the position's newest name, `first_ms` and `last_ms` are the dates of its
    events, `started_ms` and `updated_ms` are when it got its first and its newest event by our clock. `message_id` is
    its message, `""` before it is posted, and `shown_counts` are the figures in it. `waits`: deliveries that it counts
    and does not show yet wait in its group; those of the first notes of version 1 do not. `serial` is the id of the
    delivery that started it. `named` are candidates who finished, at most `MOST_NAMES`, each with the `id` of the
    interview, the `name`, and whether the message has `shown` it. `link` leads to the position. `is_past`: it is over
    and kept for its names. `name_removed`: its message may contain a name that is not in `named` any more.
    `is_editing`: an edit that shows invitations may have been applied.
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
    serial: str = ""
    named: Sequence[Mapping[str, Any]] = ()
    link: str = ""
    is_past: bool = False
    name_removed: bool = False
    is_editing: bool = False
    intent: Mapping[str, Any] = field(default_factory=dict)
    possible_duplicates: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, position_id: str, note: Note | None) -> Self:
        """Decodes a note of any version. Without a note the digest is new."""
        return cls(**{**known_values(cls, brought_forward(note or {}, _DIGEST_NAMES)), "id": position_id})

    @property
    def key(self) -> str:
        """Name of the note."""
        return f"{PAST_DIGEST_NOTE}{self.serial}" if self.is_past else f"{DIGEST_NOTE}{self.id}"

    def follow_up(self, purpose: str, after: timedelta) -> FollowUp:
        """Returns a follow-up about this digest."""
        if self.is_past:
            return FollowUp(REPEAT_PAST_DIGEST if purpose == REPEAT_EDIT else purpose, after, subject=self.serial)
        return FollowUp(purpose, after, subject=self.id)

    def publication(self, after: timedelta) -> FollowUp:
        """Returns the follow-up that shows the digest and settles the deliveries in its group."""
        if self.is_past:
            return self.follow_up(EDIT_PAST_DIGEST, after)
        return replace(self.follow_up(DIGEST, after), group=self.key)

    def settled(self, message_id: str) -> Mapping[str, Delivered]:
        """The groups that a post of its message settles."""
        return {} if self.is_behind else {self.key: Delivered(message_id or None)}

    def without_hidden_counts(self) -> Self:
        """Returns the digest without the counts that its message does not show, because their deliveries no longer
        wait.
        """
        if self.message_id:
            return replace(self.as_shown(), intent={})
        return self._new()

    def names(self, interview_id: str) -> bool:
        """Whether it contains the candidate's name, or may contain it after a call without an outcome."""
        calls = self.intent.get("calls", ())
        return any(each["id"] == interview_id for each in self.named) or any(
            interview_id in call.get("named", ()) for call in calls
        )

    def as_shown(self) -> Self:
        """Returns the digest with the counts and names of its message only."""
        return replace(self, counts=dict(self.shown_counts), named=self._named(shown=True))

    def without_name(self, interview_id: str) -> Self:
        """Returns the digest without the name of a candidate; the counts stay."""
        named = tuple(each for each in self.named if each["id"] != interview_id)
        return replace(self, named=named, name_removed=bool(self.message_id))

    def shown(self, content_hash: str) -> Self:
        """Returns the digest when its message shows all of it."""
        named = tuple({**each, "shown": True} for each in self.named)
        counts = dict(self.counts)
        after = replace(self, shown_counts=counts, named=named, content_hash=content_hash)
        return replace(after, name_removed=False, is_editing=False)

    def _named(self, *, shown: bool) -> Sequence[Mapping[str, Any]]:
        return tuple(each for each in self.named if bool(each.get("shown")) == shown)

    @property
    def is_behind(self) -> bool:
        """Whether its message shows less than it counts."""
        return any(self.hidden_counts.values())

    @property
    def hides_only_invitations(self) -> bool:
        """Whether its message shows all but invitations."""
        return all(figure == INVITED for figure, count in self.hidden_counts.items() if count)

    @property
    def hidden_counts(self) -> dict[str, int]:
        """The counts that its message does not show yet."""
        return _difference(self.counts, self.shown_counts)

    def at(self, figures: Iterable[str], now: int, timezone: str) -> Self:
        """Returns the digest that counts an event with these figures: this one, or a new one when this one is over.

        Invitations are added to a digest of the same local day without a new message, because one for each of them
        would make a stream. Other events of a later burst start a new digest, which users are notified of; it takes
        over the invitations that no message shows yet.
        """
        if not self.message_id or (self.is_behind and (self.is_editing or not self.hides_only_invitations)):
            return self
        is_idle = now - self.updated_ms > IDLE_MS
        if {INVITED}.issuperset(figures):
            is_idle = is_idle and _local_day(self.started_ms, timezone) != _local_day(now, timezone)
        if not (is_idle or now - self.started_ms > LONGEST_MS):
            return self
        return self._with_hidden_counts(now) if self.is_behind else self._new()

    def counting(
        self, figures: Iterable[str], interview: Interview, now: int, *, delivery_id: str, occurred_at: int
    ) -> Self:
        """Returns the digest with the figures of one more event. `now` is our clock (epoch milliseconds)."""
        is_first, counted = not self.counts, list(figures)
        counts = dict(self.counts)
        for figure in counted:
            counts[figure] = counts.get(figure, 0) + 1
        return replace(
            self,
            counts=counts,
            position=interview.position_name or self.position,
            first_ms=occurred_at if is_first else min(self.first_ms, occurred_at),
            last_ms=max(self.last_ms, occurred_at),
            started_ms=now if is_first else self.started_ms,
            updated_ms=self.updated_ms if self.message_id and {INVITED}.issuperset(counted) else now,
            waits=True,
            serial=self.serial or delivery_id,
        )

    def naming(self, interview_id: str, name: str) -> Self:
        """Returns the digest with the name of one more candidate, as long as it has room."""
        if len(self.named) >= MOST_NAMES or any(each["id"] == interview_id for each in self.named):
            return self
        return replace(self, named=(*self.named, {"id": interview_id, "name": name}))

    def _with_hidden_counts(self, now: int) -> Self:
        """Returns a new digest with the counts that this one does not show."""
        return replace(
            self._new(),
            counts={figure: count for figure, count in self.hidden_counts.items() if count},
            position=self.position,
            first_ms=self.last_ms,
            last_ms=self.last_ms,
            started_ms=now,
            waits=self.waits,
            link=self.link,
        )

    def _new(self) -> Self:
        return type(self)(self.id, possible_duplicates=self.possible_duplicates)

    def with_intent(self, intent: Mapping[str, Any]) -> Self:
        """Returns the record with another intent, or without one."""
        return replace(self, intent=intent)

    def with_possible_duplicates(self, duplicates: Sequence[Mapping[str, Any]]) -> Self:
        """Returns the record with these possible duplicates."""
        return replace(self, possible_duplicates=tuple(duplicates))

    def posted(self, message_id: str, shows: Mapping[str, Any]) -> Self:
        """Returns the digest after its message was posted; `shows` is from the draft. A message without an id cannot be
        edited, so the digest is over.
        """
        ids = shows.get("named", ())
        if not message_id:
            named = tuple(each for each in self.named if each["id"] not in ids)
            counts = _difference(self.counts, shows["counts"])
            return replace(self, counts=counts, named=named, intent={}, fallback_error="")
        return replace(
            self,
            message_id=message_id,
            content_hash=shows["content_hash"],
            shown_counts=shows["counts"],
            named=tuple({**each, "shown": each["id"] in ids} for each in self.named),
            intent={},
            fallback_error="",
        )

    def without_message(self) -> Self:
        """Returns the digest after users deleted its message: the counts that were not shown start a new digest."""
        return replace(
            self,
            counts=self.hidden_counts,
            shown_counts={},
            named=self._named(shown=False),
            name_removed=False,
            message_id="",
            is_editing=False,
            content_hash="",
            fallback_error="",
            started_ms=self.updated_ms,
            first_ms=self.last_ms,
        )

    def note(self) -> Note | None:
        """Returns the note, `None` when it would be empty."""
        return as_note({name: getattr(self, name) for name in self.__dataclass_fields__ if name != "id"})


def _local_day(at_ms: int, timezone: str) -> date:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone(ZoneInfo(timezone)).date()


def _difference(counts: Mapping[str, int], shown: Mapping[str, int]) -> dict[str, int]:
    left = {name: count - shown.get(name, 0) for name, count in counts.items()}
    return {name: count for name, count in left.items() if count > 0}
