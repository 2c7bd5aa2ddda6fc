"""The sink contract: what every author of a sink needs. `connector.capabilities` has what only some sinks need.

A sink is one class with one required method, `deliver`. It never sleeps, retries, schedules, logs secrets or uses the
store. It returns an outcome for each delivery, and the dispatcher does the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from connector.decision import DecisionRequest
from connector.errors import LeaseLost, RateLimited, SinkBroken
from connector.interview import FIELDS, STAGE_COLOURS, STAGE_WORDS, Event, Interview, Stage, Value

__all__ = [
    "FIELDS",
    "STAGE_COLOURS",
    "STAGE_WORDS",
    "Batch",
    "Context",
    "Delivered",
    "Delivery",
    "Event",
    "Finding",
    "FollowUp",
    "Interview",
    "LeaseLost",
    "LocalPath",
    "Note",
    "Outcome",
    "RateLimited",
    "Rejected",
    "Result",
    "RetryLater",
    "Sink",
    "SinkBroken",
    "SinkConfig",
    "Stage",
    "Subscription",
    "Superseded",
    "Token",
    "Value",
    "Waiting",
]

Note: TypeAlias = Mapping[str, Any]
"""A small JSON object that a sink remembers about its destination (an intent, a message's id, last applied values)."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A later call that a sink asks for.

    `purpose` is a fixed word of the sink's own, such as `"digest"`. `after` is the delay; it is zero on a delivery.
    `interview` is the id of the interview that the call is about, `None` for a call that is about none. `subject` is
    what else it is about, such as a position's id. At most one call is pending per purpose, interview and subject.
    Asking for it again moves it to the earlier time, unless it was tried already.

    `group` names the waiting deliveries (`Waiting`) that the call shows. When the call becomes a dead letter, they
    become dead letters with the same reason, unless the same result asks for another call for the group.
    """

    purpose: str
    after: timedelta = timedelta(0)
    interview: str | None = None
    subject: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a follow-up without a purpose."""
        if not self.purpose:
            raise ValueError("a follow-up needs a purpose")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One unit of work for one sink. `id` is the idempotency key, the same on every attempt and never used for anything
    else. `event` is what happened; it is `None` for a state sink and for a follow-up. `follow_up` is what the sink
    asked for in `Result.follow_ups`, `None` for anything else. `interview` is the current state of the interview that
    the delivery is about. For a follow-up it is the interview that the follow-up names, or `None`. `key` is that
    interview's id, or the subject of a follow-up that names none: deliveries with the same purpose and key are called
    in order.

    `attempt` counts from 1. `late` is set when the delivery is older than the sink's `max_age`: the receipt or the
    replay was longer ago, or, without a replay, the event was already that old at its receipt. A late delivery must not
    notify users. `silent` is set for a sink that `edits`, when no route chose the event: the sink updates existing
    messages and does not notify users. `unrouted` is set for a state sink when no route leads the interview to it any
    more.
    """

    id: str
    key: str
    event: Event | None
    interview: Interview | None
    attempt: int = 1
    late: bool = False
    unrouted: bool = False
    silent: bool = False
    follow_up: FollowUp | None = None

    @property
    def purpose(self) -> str:
        """The purpose of a follow-up, `""` for any other delivery."""
        return "" if self.follow_up is None else self.follow_up.purpose


@dataclass(frozen=True, slots=True)
class Batch:
    """The deliveries of one call.

    `id` is stored before the call; after a crash or an unclear failure a message sink gets the same deliveries again
    under this id, without others. `started_at` (epoch milliseconds) is the first call under this id. `notes` are the
    committed notes that `note_keys` asked for. `maybe_sent` says that an earlier call may have been applied; it stays
    until the batch settles.
    """

    id: str
    started_at: int
    deliveries: Sequence[Delivery]
    notes: Mapping[str, Note] = field(default_factory=dict)
    maybe_sent: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination shows the delivery. `reference` is the destination's id for it, such as a message id; it is
    stored with the delivery. Without a call to the destination a sink returns this only when the destination already
    shows the fact.
    """

    reference: str | None = None


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The delivery is tried again. `reason` is a short, fixed phrase without personal data; it becomes a metric label.
    `after` (seconds) is a delay that the destination asked for; without it the backoff decides. `counts` says whether
    this counts as an attempt (a 429 does not). `unclear`: the call may have been applied. `pause_sink`: no delivery of
    the sink is tried until then, because the destination is unavailable. `destination_works`: the destination answered
    as it should, and only this delivery has to wait, for example because a user changed its row during the call.
    """

    reason: str
    after: float | None = None
    counts: bool = True
    unclear: bool = False
    pause_sink: bool = False
    destination_works: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """The delivery is not tried again. It becomes a dead letter with this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A later call will show the delivery together with others of its `group`, for example in a digest.

    The delivery stays pending, blocks no other and is not claimed alone. It settles with the call that shows the
    group (`Result.settles`). A follow-up that names the group must therefore be pending; otherwise the delivery becomes
    due again. `reason` says what it waits for, such as `"digest"`, or what an operator must do. It names no time:
    `connector status` shows that of the follow-up. `until_ms` is when the delivery is expected to be shown, in epoch
    milliseconds.
    """

    group: str
    reason: str
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Superseded:
    """The delivery has nothing to show. `reason` says why, without personal data."""

    reason: str


Outcome: TypeAlias = Delivered | RetryLater | Rejected | Waiting | Superseded


@dataclass(frozen=True, slots=True)
class Result:
    """The result of `deliver`. `outcomes` has one entry per delivery, in the same order. The other fields are committed
    in the same transaction as the outcomes, whatever those are: `notes` (`None` deletes one), the `follow_ups` that the
    sink asks for, `settles`, which maps a group to the outcome of all deliveries that wait in it, and `decisions` that
    users made at the destination, which the service carries out in Hireflix.
    """

    outcomes: Sequence[Outcome]
    notes: Mapping[str, Note | None] = field(default_factory=dict)
    follow_ups: Sequence[FollowUp] = ()
    settles: Mapping[str, Delivered | Rejected | Superseded] = field(default_factory=dict)
    decisions: Sequence[DecisionRequest] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """One unit of a rate limit, shared by all sinks and processes that name the same `bucket`.

    `rate` is the average number of tokens per second, and `burst` the number that may be taken at once.
    """

    bucket: str
    rate: float
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `connector check`. `fix` says what a user has to do about a warning or a problem."""

    level: Literal["ok", "warning", "problem"]
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Subscription:
    """An interview that a sink shows. `pending`: it has undelivered changes. `unrouted`: no route leads it to the sink
    any more.
    """

    interview: Interview
    pending: bool = False
    unrouted: bool = False


class Context(Protocol):
    """The services that a lane offers to a sink during one call."""

    def now(self) -> int:
        """The only clock a sink reads: epoch milliseconds."""
        ...

    async def take(self, *tokens: Token) -> None:
        """Takes one token of each bucket, or none. Raises `RateLimited` when a bucket has no token, and `LeaseLost`
        when the lease is lost. Take the tokens before the first call of a batch: after `RateLimited` the whole batch is
        delivered again.
        """
        ...

    async def block(self, bucket: str, seconds: float) -> None:
        """Blocks a bucket for `seconds`, for all sinks and processes, because the destination answered 429. Raises
        `LeaseLost`.
        """
        ...

    async def save_notes(self, notes: Mapping[str, Note | None]) -> None:
        """Commits notes at once, so that they survive a crash before the outcome is stored. Raises `LeaseLost`."""
        ...

    async def get_notes(self, names: Sequence[str]) -> Mapping[str, Note]:
        """Returns the committed notes of these names, as far as they exist. For rows that are not in the batch."""
        ...

    async def interviews(self, after: str, limit: int) -> Sequence[Subscription]:
        """Returns the next interviews that the sink shows, by id from the one after `after` (`""` = the first). Fewer
        than `limit` are the last ones. For state sinks and message sinks that edit.
        """
        ...

    async def waiting(self, group: str) -> int:
        """Returns the committed number of deliveries of this sink that wait in a group."""
        ...

    async def queued(self, events: Collection[str], limit: int) -> int:
        """Returns how many due deliveries of this sink are about events with these names, at most `limit`, among those
        that are called next.
        """
        ...

    def count_call(self, kind: str) -> None:
        """Counts one call to the destination for the metrics; `kind` is a fixed term such as `"read"`."""
        ...

    def record_reply(self, status: int | None, text: str) -> None:
        """Records the reply of the destination to a failed call: the HTTP status, if any, and the text. The start of
        the last reply is stored with the attempt, without secrets and without names and contact data of the batch's
        interviews.
        """
        ...


def _beside_config(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    path = path.expanduser()
    return path if path.is_absolute() or folder is None else Path(folder) / path


LocalPath = Annotated[Path, AfterValidator(_beside_config)]
"""A path in a sink's settings; a relative one counts from the folder of the config file."""


class SinkConfig(BaseModel):
    """Settings of one sink. Unknown keys are refused, secrets are `SecretStr`, every own field has a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    timezone: str = "UTC"
    """IANA name; the top-level `timezone` is its default."""
    language: str = "en"
    """Language of what users read, as `connector.languages` knows it; the top-level `language` is its default."""

    @property
    def edits(self) -> bool:
        """Whether a message sink updates its messages. Such a sink also gets the later events of an interview that the
        routes do not choose, as `silent` deliveries. The value must not depend on a secret or a file, because a
        receiver reads it without them.
        """
        return False

    def announces(self, event_name: str) -> bool:
        """Whether a message sink may post a message of its own for an event with this name, such as `interview.finish`.

        The preview of a replay counts these events. It must not depend on a secret or a file.
        """
        del event_name
        return True

    @property
    def decides(self) -> bool:
        """Whether users decide about interviews at the destination. This needs an API key."""
        return False


ConfigT = TypeVar("ConfigT", bound=SinkConfig)


class Sink(ABC, Generic[ConfigT]):
    """A named, configured destination.

    A *state sink* (`state = True`) shows the newest state of each interview: it gets one delivery per interview,
    the newest, without an event. A *message sink* reports what happened: it gets every event that a route chose, per
    interview in the order of arrival among events of the same `priority`. One worker at a time calls a sink, and one
    call at a time.
    """

    Config: ClassVar[type[SinkConfig]]
    """The pydantic model of the settings."""
    state: ClassVar[bool] = False
    max_batch: ClassVar[int] = 1
    """Most deliveries in one call."""
    timeout: ClassVar[float] = 60
    """Most seconds of one call. A longer call is cancelled and counts as unclear."""
    priority: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """Event name -> rank from 0 to 999; a smaller rank is delivered first. Other events have rank 100."""
    counts_calls: ClassVar[bool] = False
    """Whether the sink counts every call to its destination (`Context.count_call`). Then an outcome without a call is
    not taken as evidence that a broken destination works again.
    """

    def __init__(self, name: str, config: ConfigT) -> None:
        """Stores the settings. Opens no connection and reads no file."""
        self.name = name
        self.config = config

    @property
    def destination(self) -> str:
        """The destination that the notes belong to, such as a spreadsheet id, a channel or a path. Stable, and without
        secrets.
        """
        return self.name

    @property
    def max_age(self) -> float | None:
        """Seconds after which a delivery counts as `late`; `None` = never."""
        return None

    @property
    def edits(self) -> bool:
        """Whether a message sink updates its messages; `SinkConfig.edits` decides."""
        return self.config.edits

    def note_keys(self, delivery: Delivery) -> Iterable[str]:  # noqa: ARG002 - the simple sink remembers nothing
        """Names of the notes that `deliver` needs for this delivery."""
        return ()

    @abstractmethod
    async def deliver(self, batch: Batch, context: Context) -> Result:
        """Delivers the batch and returns one outcome per delivery. Raise `SinkBroken` when nothing was applied and an
        operator must act. After any other exception, a timeout or a wrong number of outcomes the batch may have been
        applied, and is tried again later.
        """

    async def open(self) -> None:
        """Called before the first `deliver`, in the same event loop, and again after a failure. Must not need the
        network.
        """

    async def close(self) -> None:
        """Called once at the end, also when `open` failed."""

    def validate(self) -> list[Finding]:
        """Returns findings without network access, for `connector check`, such as a missing file. Called before `open`.
        `check_connection` should report them too.
        """
        return []

    async def check_connection(self) -> list[Finding]:
        """Checks the destination for `connector check --online`, and writes nothing. Does not raise for an answer of
        the destination. `open` was called before.
        """
        return []
