"""Capabilities that a sink may have in addition to the contract: it verifies, previews, notifies, erases, collects or
shares calls, receives decisions of users, or asks which choice a user made.

A sink has a capability when it has the attributes of the protocol. It need not inherit from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

from connector.decision import DecisionRequest
from connector.sink import Batch, Context, Interview, Note, Outcome, Sink, SinkConfig


@dataclass(frozen=True, slots=True)
class Debounce:
    """When more than `above` deliveries are due, the lane waits for more of them before it calls the sink: until no
    new one arrived for `idle` seconds, at most `max_wait` seconds. Fewer are delivered at once.
    """

    above: int = 100
    idle: float = 0.5
    max_wait: float = 5.0


@runtime_checkable
class Debounces(Protocol):
    """A sink that prefers one large call to many small ones."""

    debounce: ClassVar[Debounce]


@runtime_checkable
class BatchesBursts(Protocol):
    """A message sink that takes some events of a burst together, although its `max_batch` is smaller."""

    @property
    def batchable_events(self) -> Mapping[str, int]:
        """Event name -> most deliveries of that event in one call."""
        ...


@runtime_checkable
class Resumes(Protocol):
    """A sink that pauses until a user chooses how it continues.

    `resume_modes` are the possible choices: `refill`, `accept`, `adopt`. The next call whose notes include `resume`
    finds the choice there, as `{"mode": …}`. The sink deletes the note once it has applied the choice.
    """

    resume_modes: ClassVar[frozenset[str]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference that `verify` found: its kind, its key, and its place or the fields that differ. `detail` contains
    no cell values, because it may be logged.
    """

    kind: str
    key: str
    detail: str = ""


DELETED_BY_USERS = "deleted by users"
"""The kind of a row that is missing because users deleted it. Such a row is in sync."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of `verify` at `at` (epoch milliseconds).

    `counts` maps a kind of difference to its number of keys; `wrong` names the kinds that mean "not in sync".
    `differences` lists the first differences, and `fixes` maps each wrong kind of them to what an operator can do.
    `remarks` are notes for the operator, and `asks` are actions that an operator must take before the rest can be
    correct.
    """

    at: int
    counts: Mapping[str, int]
    wrong: Sequence[str]
    differences: Sequence[Difference] = ()
    remarks: Sequence[str] = ()
    asks: Sequence[str] = ()
    fixes: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_sync(self) -> bool:
        """Whether the destination matches the store."""
        return not any(self.counts.get(kind) for kind in self.wrong)

    def note(self) -> dict[str, Any]:
        """Returns the report as the note `REPORT`: its figures, without keys and places."""
        return {"at": self.at, "in_sync": self.in_sync, "counts": dict(self.counts), "asks": list(self.asks)}


VERIFY = "verify"
"""Purpose of the follow-up in which a sink that `Verifies` verifies and repairs, regularly or for a user."""
ASKED = "asked"
"""Name of the note that holds since when (`{"at": epoch milliseconds}`) a user waits for a verification."""
REPORT = "verify"
"""Name of the note that keeps the last report of a sink which `Verifies`: `Report.note`. It may have further values."""


Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of finished steps or rows, and of all."""


@runtime_checkable
class Verifies(Protocol):
    """A state sink that can read its destination back and compare it with the store, for `connector verify`.

    It repairs in `deliver`, in the follow-up with the purpose `VERIFY`.
    """

    async def verify(self, context: Context, progress: Progress) -> Report:
        """Compares; writes nothing. `progress` is called with the done and the total count.

        Pending deliveries, and findings that a second read does not confirm, do not count.
        """
        ...


@dataclass(frozen=True, slots=True)
class CellPreview:
    """One cell that a sink would write. `before` is its present text, `""` when the cell is empty, and `None` when the
    row is new.
    """

    title: str
    after: str
    before: str | None = None


@dataclass(frozen=True, slots=True)
class ButtonPreview:
    """A button of a message. `link` is the address that it opens, `""` when it opens none."""

    label: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class MessagePreview:
    """One message that a sink would send or change. `place` says where users see it, such as "New message in the
    channel". `headline` and each of `lines` is one line of text.
    """

    place: str
    lines: Sequence[str]
    headline: str = ""
    buttons: Sequence[ButtonPreview] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What a sink would write for one delivery, as users would read it.

    `text` may have several lines, and is enough for any sink. `cells` are those of a row, and `messages` those of a
    chat; both are shown below the text. No value needs escaping.
    """

    text: str = ""
    cells: Sequence[CellPreview] = ()
    messages: Sequence[MessagePreview] = ()


@runtime_checkable
class Previews(Protocol):
    """A sink that can show what it would write, for `connector explain` and the simulator of the dashboard."""

    async def preview(self, batch: Batch, context: Context) -> Sequence[Preview]:
        """Returns one preview per delivery. Writes nothing. `open` was called before."""
        ...


@dataclass(frozen=True, slots=True)
class Notice:
    """A message of the connector about itself, such as an alert, without personal data.

    `id` is the same at each attempt, so that a destination that detects repeats shows the notice once. `title` and each
    of `lines` is one line of text.
    """

    id: str
    title: str
    lines: Sequence[str] = ()


@runtime_checkable
class Notifies(Protocol):
    """A sink that can show a notice, for `[alerts]`."""

    async def notify(self, notice: Notice, context: Context) -> Outcome:
        """Shows the notice once, now. `open` was called before; another process may deliver for the sink meanwhile.

        Returns `Delivered`, or `RetryLater` or `Rejected` with the reason. Raises `SinkBroken` and `RateLimited`.
        `context` takes tokens of rate limits and counts calls; it has no notes and no interviews.
        """
        ...


@runtime_checkable
class Schedules(Protocol):
    """A sink that is also called at set times, for example for a message on each morning."""

    @property
    def schedules(self) -> bool:
        """Whether its settings ask for calls at set times. Like `destination`, it needs no secret."""
        ...

    def scheduled(self, after_ms: int, until_ms: int) -> Sequence[str]:
        """Returns the purposes of the follow-ups that are due after `after_ms` and not after `until_ms`.

        Times are epoch milliseconds. Each purpose makes one follow-up without an interview, also when several of its
        times were missed. It reads no clock and does not use the network. It may be called before `open`.
        """
        ...


SNOOZE = "snooze:"
"""Prefix of the note, before the id of an interview, that holds until when a sink that `Reminds` leaves it out:
`{"until": epoch milliseconds}`.
"""


@runtime_checkable
class Reminds(Protocol):
    """A message sink that reminds users of interviews, for `connector snooze`. It reads the notes `SNOOZE`."""

    @property
    def reminds(self) -> bool:
        """Whether its settings ask for reminders. Like `destination`, it needs no secret."""
        ...


DECIDED = "decided"
"""Purpose of the follow-up in which a sink shows the result of a decision that a user made there. Its `subject` names
the request and its state, and the note `decided_key(subject, interview)` holds the result:

`{"request", "decision", "value", "actor", "place", "state", "reason", "changed", "stage", "score", "link", "at"}`.
`request` is the number of the request. `state` is `done`, `refused`, `unclear`, `dropped`, `held` when an operator must
confirm it, or `waiting` when Hireflix did not answer and it is tried again; `reason` says why. `changed`: something was
sent to Hireflix. `value` is a score, `None` for texts. The sink deletes the note once it has shown it.
"""


CHOICES = "decisions"
"""Name of the note with what a sink read of the decisions at its destination. `connector store restore` deletes it, so
that old decisions are not taken for new ones.
"""


def decided_key(subject: str, interview_id: str) -> str:
    """Returns the name of the note with the result of a decision request."""
    return f"decided-{subject}:{interview_id}"


@dataclass(frozen=True, slots=True)
class Known:
    """The stored state of an interview at `now` (epoch milliseconds), and notes of a sink."""

    interview: Interview
    notes: Mapping[str, Note]
    now: int


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as the store has it. `state` is that of the note for `DECIDED`, and `requested_at` is in epoch
    milliseconds.
    """

    request: DecisionRequest
    state: str
    requested_at: int


class Inbox(Protocol):
    """Reads interviews for a sink that `Listens`, and stores the decisions of its users.

    Any method may raise while the store is unavailable. Do not catch the exception, and do not acknowledge a request
    to the destination before it is stored.
    """

    def connected(self) -> None:
        """The connection works now."""
        ...

    async def look(self, sink: str, interview_id: str, notes: Sequence[str]) -> Known | None:
        """Returns an interview with the notes of a sink of these names; `None` for an unknown or erased interview.

        Use it to check what a user sent: the content of a request from outside proves nothing.
        """
        ...

    async def ask(self, sink: str, request: DecisionRequest) -> StoredDecision:
        """Commits a decision, which the service carries out and shows by the follow-up `DECIDED`.

        Returns what is stored: another request when there was one with the same key.
        """
        ...


@runtime_checkable
class Listens(Protocol):
    """A message sink whose users decide at its destination, for example with buttons in a chat."""

    @property
    def account(self) -> str:
        """Sinks with the same account share one connection; `""` when the settings ask for none. It has no secret."""
        ...

    async def listen(self, sinks: Sequence[Self], inbox: Inbox) -> None:
        """Receives what users do with the messages of the `sinks`, which are those of one account, until it is
        cancelled or the connection ends.

        Every worker listens. `open` need not have been called, and `deliver` may be called meanwhile. It is called
        again after it returned, and later after it raised: `SinkBroken` when a person must act, which `connector
        status` shows then, or any other exception.
        """
        ...


LISTENING = "listening"
"""Name of the note that holds why a sink that `Listens` cannot: `{"reason", "fix", "at"}`."""


ERASE = "erase"
"""Purpose of the follow-up in which a sink that `Erases` removes a person from its destination."""


@runtime_checkable
class Erases(Protocol):
    """A sink that can remove from its destination what it wrote about an interview, for `connector erase`.

    A message sink has the capability only with settings whose `edits` is true. It erases in `deliver`, in the follow-up
    with the purpose `ERASE`, and deletes its notes about the interview. The interview of that call has no personal data
    any more: its id, its position and the stage `deleted`.

    The outcome is `Delivered` when no data of the person is left at the destination, `Superseded` when there was none,
    and `Rejected` with the reason when the data cannot be removed. `Delivered.reference` may say what was done; it
    becomes a part of the receipt.
    """

    def erase_leaves(self) -> Sequence[str]:
        """The data that stays at the destination, because the sink cannot remove it: phrases for the receipt."""
        ...


def can_erase(kind: type[Sink[Any]], config: SinkConfig) -> bool:
    """Whether a sink can erase. A message sink whose settings do not allow it to change sent messages cannot."""
    return issubclass(kind, Erases) and (kind.state or config.edits)
