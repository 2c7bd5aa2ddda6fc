"""Decides which alerts exist, when a message about them is due, and what it says. Pure functions.
`connector.operations.alert_task` measures and sends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

import msgspec

from connector.capabilities import Notice
from connector.formats import counted, format_duration
from connector.languages import Language, gettext_noop
from connector.operations.status import Health, Trouble, TroubleKind, dead_letters_fix, disk_text, is_disk_low
from connector.store.schema import PauseKind
from connector.store.status import SinkStatus

REPEAT_SECONDS = 4 * 3600.0
"""An alert that continues is sent again after this time, because the first message may not have been read."""
OVER_SECONDS = 600.0
"""An alert that was absent for this time is over, so that an unstable cause makes one message."""
REFUSED_LEAST = 3
"""Refused signatures that are an alert. Scanners of the internet send single requests without a signature."""
REFUSED_SECONDS = 3600.0
"""The alert about refused signatures ends after this time without another refusal."""
HANDLES_SHARE = 0.9
"""Part of the file handles that a process may use before it is an alert."""
SILENCE_SECONDS = 3600.0
"""A shorter silence of the source raises no alert."""
SILENCE_EVENTS = 5
"""A silence is an alert when this many events came in the same hours of each earlier week."""
SILENCE_WEEKS = 4
"""Earlier weeks that a silence is compared with."""

AlertKind = Literal[
    "paused",
    "late",
    "dead letters",
    "not in sync",
    "no receiver",
    "signatures",
    "silence",
    "no webhooks",
    "held deletions",
    "api",
    "decisions",
    "not listening",
    "disk",
    "file handles",
]
OF_TROUBLE: Mapping[TroubleKind, AlertKind] = {
    TroubleKind.NO_WEBHOOKS: "no webhooks",
    TroubleKind.HELD_DELETIONS: "held deletions",
    TroubleKind.API_FAILED: "api",
    TroubleKind.UNCLEAR_DECISIONS: "decisions",
    TroubleKind.HELD_DECISIONS: "decisions",
    TroubleKind.LATE_DECISIONS: "decisions",
    TroubleKind.NOT_LISTENING: "not listening",
}
"""Troubles that are alerts as they are. Those of the same kind and subject are one alert."""
FAILING: frozenset[AlertKind] = frozenset({"paused", "late"})
"""Alerts about a sink that does not deliver, so that no message is sent through it."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that an operator must know now. `subject` is the name of a sink, `service` or `source`."""

    kind: AlertKind
    subject: str
    text: str
    fix: str = ""

    @property
    def key(self) -> str:
        """Equal as long as it is the same trouble."""
        return f"{self.kind}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Silence:
    """How long no event came, and how many events came in the same hours of each earlier week."""

    seconds: float
    usual: Sequence[int]


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurements of the process that sends alerts: bytes of the store's disk, file handles, and the silence of
    the source.
    """

    disk_free: int | None = None
    disk_size: int | None = None
    handles_used: int = 0
    handles_limit: int = 0
    silence: Silence | None = None


class KnownAlert(msgspec.Struct, frozen=True):
    """An alert in the state that is stored. Times are epoch milliseconds.

    `sent_at` is when a message about it was last sent, `gone_at` since when it is not there, and `by_mail` whether a
    message about it went by e-mail.
    """

    subject: str
    kind: AlertKind
    text: str
    fix: str
    since: int
    sent_at: int | None = None
    gone_at: int | None = None
    by_mail: bool = False


AlertState = Mapping[str, KnownAlert]
"""The alerts that are there or were there a short time ago, by key."""


@dataclass(frozen=True, slots=True)
class Due:
    """The alerts that a message is due about: new ones, those that continue, and those that are over."""

    new: Mapping[str, KnownAlert] = field(default_factory=dict)
    again: Mapping[str, KnownAlert] = field(default_factory=dict)
    over: Mapping[str, KnownAlert] = field(default_factory=dict)

    @property
    def keys(self) -> set[str]:
        return {*self.new, *self.again, *self.over}

    def only(self, keys: Collection[str]) -> Due:
        """Returns the part with these keys."""
        parts = (self.new, self.again, self.over)
        return Due(*({key: known for key, known in part.items() if key in keys} for part in parts))


# --- current alerts


def alerts_of(health: Health, measured: Measured, oldest_age_seconds: float) -> list[Alert]:
    """Returns the alerts of an installation. A delivery may wait `oldest_age_seconds`."""
    found = [alert for sink in health.sinks for alert in _of_sink(sink, oldest_age_seconds)]
    if not health.service.receives:
        fix = "start a process with the role receiver or all"
        found.append(Alert("no receiver", "service", gettext_noop("no running process receives webhooks"), fix))
    return [*found, *_of_source(health, measured.silence), *_of_machine(measured)]


def _of_sink(sink: SinkStatus, oldest_age_seconds: float) -> Iterable[Alert]:
    if sink.state == "paused" and sink.paused_by is not PauseKind.OPERATOR:
        yield Alert("paused", sink.name, f"paused: {sink.reason}", sink.fix)
    if sink.state != "paused" and sink.oldest_age_seconds > oldest_age_seconds:
        why = f": {sink.reason}" if sink.reason else ""
        text = f"the oldest delivery waits for {format_duration(sink.oldest_age_seconds)}{why}"
        yield Alert("late", sink.name, text, sink.fix or f"connector attempts --sink {sink.name}")
    if sink.dead:
        fix = sink.fix if sink.state == "orphaned" else dead_letters_fix(sink.name)
        yield Alert("dead letters", sink.name, counted(sink.dead, "dead letter", "dead letters"), fix)
    if sink.in_sync is False and not sink.is_repairing:
        yield Alert(
            "not in sync", sink.name, gettext_noop("not in sync with the store"), f"connector verify {sink.name}"
        )


def _of_source(health: Health, silence: Silence | None) -> Iterable[Alert]:
    refused = next((each for each in health.source.refused if each.reason == "signature"), None)
    if refused is not None and refused.count >= REFUSED_LEAST:
        accepted_at = health.source.last_received_at or 0
        is_recent = health.at - refused.last_at <= REFUSED_SECONDS * 1000
        if is_recent and refused.last_at > accepted_at:
            text = f"{refused.count} webhooks with a missing or wrong signature were refused in a day"
            fix = "compare [hireflix] webhook_secrets with the key that Hireflix shows"
            yield Alert("signatures", "source", text, fix)
    yield from _of_troubles(health.troubles)
    if silence is not None and is_unusual(silence):
        text = (
            f"no webhook for {format_duration(silence.seconds)}; in the same hours of each of the last "
            f"{SILENCE_WEEKS} weeks at least {min(silence.usual)} came"
        )
        yield Alert("silence", "source", text, "check that the webhook in Hireflix is active and reaches the receiver")


def _of_troubles(troubles: Iterable[Trouble]) -> Iterable[Alert]:
    found: dict[tuple[AlertKind, str], list[Trouble]] = {}
    for trouble in troubles:
        if trouble.kind in OF_TROUBLE:
            found.setdefault((OF_TROUBLE[trouble.kind], trouble.subject), []).append(trouble)
    for (kind, subject), mine in found.items():
        text, fix = ("; ".join(dict.fromkeys(each)) for each in ((t.what for t in mine), (t.fix for t in mine)))
        yield Alert(kind, subject, text, fix)


def is_unusual(silence: Silence) -> bool:
    """Whether a silence is long, and events came in the same hours of every earlier week."""
    is_known = len(silence.usual) >= SILENCE_WEEKS and min(silence.usual) >= SILENCE_EVENTS
    return is_known and silence.seconds >= SILENCE_SECONDS


def _of_machine(measured: Measured) -> Iterable[Alert]:
    free, size = measured.disk_free, measured.disk_size
    if free is not None and size is not None and is_disk_low(free, size):
        yield Alert("disk", "service", disk_text(free, size), "free space; without it the receiver refuses events")
    if measured.handles_used > HANDLES_SHARE * measured.handles_limit:
        text = f"{measured.handles_used} of {measured.handles_limit} file handles are in use"
        yield Alert("file handles", "service", text, "close idle connections at the proxy, or raise LimitNOFILE")


# --- when a message is due


def observed(state: AlertState, alerts: Iterable[Alert], now: int) -> dict[str, KnownAlert]:
    """Returns the state with the alerts that exist at `now`, without those that ended before a message was sent."""
    found = {}
    for alert in alerts:
        known = state.get(alert.key) or KnownAlert(alert.subject, alert.kind, alert.text, alert.fix, since=now)
        found[alert.key] = msgspec.structs.replace(known, text=alert.text, fix=alert.fix, gone_at=None)
    for key, known in state.items():
        if key not in found and known.sent_at is not None:
            found[key] = known if known.gone_at is not None else msgspec.structs.replace(known, gone_at=now)
    return found


def due(state: AlertState, now: int) -> Due:
    """Returns the alerts that a message is due about."""
    new, again, over = {}, {}, {}
    for key, known in state.items():
        if known.gone_at is not None:
            if now - known.gone_at >= OVER_SECONDS * 1000:
                over[key] = known
        elif known.sent_at is None:
            new[key] = known
        elif now - known.sent_at >= REPEAT_SECONDS * 1000:
            again[key] = known
    return Due(new, again, over)


def sent(state: AlertState, keys: Collection[str], now: int, by_mail: Collection[str] = ()) -> dict[str, KnownAlert]:
    """Returns the state after messages about these keys were sent; those in `by_mail` went by e-mail."""
    found = {}
    for key, known in state.items():
        if key not in keys:
            found[key] = known
        elif known.gone_at is None:
            found[key] = msgspec.structs.replace(known, sent_at=now, by_mail=known.by_mail or key in by_mail)
    return found


# --- sinks and content of messages


def for_sink(due: Due, state: AlertState, sink: str) -> Due:
    """Returns the alerts that may be sent through a sink: none while it fails, and none about the sink itself."""
    if any(known.subject == sink and known.kind in FAILING and known.gone_at is None for known in state.values()):
        return Due()
    about_itself = {key for key in due.keys if state[key].subject == sink}
    return due.only(due.keys - about_itself)


def notice_of(due: Due, now: int, words: Language) -> Notice:
    """Returns the message in a language. Its id is the same when the same message is sent again after a failure.

    Reasons and remedies stay as commands and logs show them.
    """
    counts = [
        _counted(words.ngettext("{count} new problem", "{count} new problems", len(due.new)), due.new),
        _counted(words.ngettext("{count} problem continues", "{count} problems continue", len(due.again)), due.again),
        _counted(words.ngettext("{count} problem is over", "{count} problems are over", len(due.over)), due.over),
    ]
    lines = [_line(known, words) for part in (due.new, due.again) for known in part.values()]
    over = words.gettext("over: {subject}: {text} (after {duration})")
    for known in due.over.values():
        duration = format_duration(((known.gone_at or now) - known.since) / 1000)
        lines.append(over.format(subject=known.subject, text=words.gettext(known.text), duration=duration))
    title = words.gettext("Hireflix connector")
    times = sorted((key, known.since, known.sent_at or 0, known.gone_at or 0) for key, known in _all(due))
    return Notice(
        f"alert-{sha256(repr(times).encode()).hexdigest()[:24]}",
        f"{title}: {', '.join(each for each in counts if each)}",
        lines,
    )


def _counted(text: str, alerts: Mapping[str, KnownAlert]) -> str:
    return text.format(count=len(alerts)) if alerts else ""


def _all(due: Due) -> list[tuple[str, KnownAlert]]:
    return [*due.new.items(), *due.again.items(), *due.over.items()]


def _line(known: KnownAlert, words: Language) -> str:
    text = f"{known.subject}: {words.gettext(known.text)}"
    return text + (words.gettext(". Do: {fix}").format(fix=known.fix) if known.fix else "")
