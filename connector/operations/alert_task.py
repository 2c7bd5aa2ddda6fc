"""The periodic task that measures, decides by `connector.operations.alerts`, and sends alerts.

Alerts go to sinks, or by SMTP (RFC 5321, RFC 3207 for STARTTLS, RFC 4954 for AUTH) with the standard library.
"""

from __future__ import annotations

import asyncio
import resource
import shutil
import smtplib
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import structlog
from sqlalchemy import Connection, func, select
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from connector.capabilities import Notice, Notifies
from connector.config import AlertSettings, MailSettings, SinkEntry
from connector.delivery.clock import Clock
from connector.delivery.periodic import Counts, PeriodicTask, TaskContext, WriteJob
from connector.errors import ConnectorError, LeaseLost, RateLimited, SinkBroken
from connector.languages import ENGLISH, Language, language
from connector.logging import place_of
from connector.operations import alerts
from connector.operations.alerts import AlertState, Due, KnownAlert, Measured, Silence
from connector.operations.status import Health, health
from connector.sink import Delivered, Note, Outcome, Subscription, Token
from connector.store import rate_limit
from connector.store.base import Store
from connector.store.dialects import upsert
from connector.store.schema import event, meta
from connector.store.source import is_webhook
from connector.text import clean

INTERVAL_SECONDS = 30.0
"""Interval between two runs. The first message about a problem is sent within two minutes."""
DELAY_SECONDS = 30.0
"""Delay of the first run, so that sinks and receivers can start."""
SEND_SECONDS = 20.0
"""The longest time for one message."""
WEEK_MS = 7 * 86_400_000
STATE_KEY = "alerts"

OnCall: TypeAlias = Callable[[str, str], None]

log = structlog.get_logger("connector.alerts")
SMTP_SECONDS = 10.0
"""Longest time of each step of an SMTP connection."""


class _Stored(msgspec.Struct):
    """The stored JSON document of version 1."""

    v: int = 1
    alerts: dict[str, KnownAlert] = {}


class Alerting:
    """Sends alerts to the sinks that `settings` names. Alerts that reached none of them are sent by e-mail.

    `entries` are all configured sinks and `delivering` the names of those that a route names. `file` is the SQLite
    file, whose disk is measured. `on_call(sink, kind)` counts the calls of sinks to their destinations. E-mails are in
    `mail_language`, and other messages in the language of their sink.
    """

    def __init__(
        self,
        settings: AlertSettings,
        entries: Mapping[str, SinkEntry],
        delivering: Collection[str],
        store: Store,
        clock: Clock,
        *,
        on_call: OnCall,
        file: Path | None = None,
        mail_language: str = ENGLISH,
    ) -> None:
        self._settings = settings
        self._entries = entries
        self._delivering = delivering
        self._store = store
        self._clock = clock
        self._on_call = on_call
        self._file = file
        self._mail_words = language(mail_language)

    @property
    def task(self) -> PeriodicTask:
        """The task that runs this."""
        return PeriodicTask("alerts", INTERVAL_SECONDS, self.run, DELAY_SECONDS)

    async def run(self, turn: TaskContext) -> Counts:
        """Measures once, and sends the alerts that are due. Returns the number of alerts and of sent messages.

        Raises `StoreUnavailable` and `LeaseLost`.
        """
        found, silence, before = await self._store.query(partial(self._read, turn.now))
        measured = await asyncio.to_thread(_measured, self._file, silence)
        present = alerts.alerts_of(found, measured, self._settings.oldest_age)
        state: AlertState = alerts.observed(before, present, turn.now)
        due = alerts.due(state, turn.now)
        messages = 0
        if due.keys:
            messages, reached, mailed = await self._send(due, state, turn)
            state = alerts.sent(state, reached | mailed, turn.now, mailed)
        if state != before:
            await turn.write(partial(_put, state))
        return {"alerts": sum(known.gone_at is None for known in state.values()), "messages": messages}

    def _read(self, now: int, connection: Connection) -> tuple[Health, Silence | None, dict[str, KnownAlert]]:
        found = health(connection, now, self._delivering)
        return found, silence(connection, found.source.last_received_at, now), stored_state(connection)

    async def _send(self, due: Due, state: AlertState, turn: TaskContext) -> tuple[int, set[str], set[str]]:
        """Returns the number of messages that arrived, and the keys of alerts that reached a sink or went by mail."""
        parts = {name: alerts.for_sink(due, state, name) for name in self._settings.sinks}
        parts = {name: part for name, part in parts.items() if part.keys}
        sending = [
            self._notify(name, alerts.notice_of(part, turn.now, self._words(name)), turn)
            for name, part in parts.items()
        ]
        arrived = [
            part.keys for part, is_sent in zip(parts.values(), await asyncio.gather(*sending), strict=True) if is_sent
        ]
        reached = set().union(*arrived)
        for_mail = (due.keys - reached) | {key for key in due.over if due.over[key].by_mail}
        mailed = set[str]()
        if for_mail and await self._mail(alerts.notice_of(due.only(for_mail), turn.now, self._mail_words)):
            mailed = for_mail
        if lost := due.keys - reached - mailed:
            log.error("alerts not sent", alerts=sorted(lost))
        return len(arrived) + bool(mailed), reached, mailed

    def _words(self, name: str) -> Language:
        """The language of a sink."""
        return language(self._entries[name].config.language)

    async def _notify(self, name: str, notice: Notice, turn: TaskContext) -> bool:
        """Shows a notice through a new sink of this name: its lane may run in another process."""
        entry = self._entries[name]
        sink = entry.cls(name, entry.config)
        assert isinstance(sink, Notifies), "the configuration was checked"
        context = NoticeContext(name, turn.write, self._clock, self._on_call)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await sink.open()
                outcome = await self._shown(sink, notice, context, turn.stopping)
        except LeaseLost:
            raise
        except SinkBroken as error:
            reason = error.reason
        except ConnectorError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the sink may be of another package, and others must get the alert
            reason = place_of(error)
        else:
            reason = "" if isinstance(outcome, Delivered) else outcome.reason
        finally:
            await _close(sink)
        if reason:
            log.warning("alert not shown", sink=name, reason=reason)
        return not reason

    async def _shown(self, sink: Notifies, notice: Notice, context: NoticeContext, stopping: asyncio.Event) -> Outcome:
        """Calls the sink, again when a rate limit has a token."""

        async def sleep(seconds: float) -> None:
            await self._clock.wait(stopping, seconds)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RateLimited),
            wait=_until_token,
            stop=lambda _: stopping.is_set(),
            sleep=sleep,
            reraise=True,
        )
        return await retrying(sink.notify, notice, context)

    async def _mail(self, notice: Notice) -> bool:
        settings = self._settings.email
        if settings is None:
            return False
        try:
            await asyncio.to_thread(send_mail, settings, notice)
        except MailError as error:
            log.warning("alert not mailed", reason=str(error))
            return False
        return True


class NoticeContext:
    """The `connector.sink.Context` of a notice: rate limits and counted calls, without notes and interviews."""

    def __init__(self, sink: str, write: WriteJob, clock: Clock, on_call: OnCall) -> None:
        self._sink = sink
        self._write = write
        self._clock = clock
        self._on_call = on_call

    def now(self) -> int:
        return self._clock.now()

    async def take(self, *tokens: Token) -> None:
        await self._write(lambda connection: rate_limit.take(connection, tokens, self._clock.in_sql()))

    async def block(self, bucket: str, seconds: float) -> None:
        await self._write(lambda connection: rate_limit.block(connection, bucket, seconds, self._clock.in_sql()))

    async def save_notes(self, notes: Mapping[str, Note | None]) -> None:
        raise NotImplementedError("a notice has no notes")

    async def get_notes(self, names: Sequence[str]) -> Mapping[str, Note]:  # noqa: ARG002 - there are none
        return {}

    async def interviews(self, after: str, limit: int) -> Sequence[Subscription]:  # noqa: ARG002 - there are none
        return ()

    async def waiting(self, group: str) -> int:  # noqa: ARG002 - nothing waits
        return 0

    async def queued(self, events: Collection[str], limit: int) -> int:  # noqa: ARG002 - as the protocol names them
        """Nothing is queued."""
        return 0

    def count_call(self, kind: str) -> None:
        self._on_call(self._sink, kind)


def _until_token(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.seconds if isinstance(error, RateLimited) else 0.0


async def _close(sink: Any) -> None:
    try:
        await sink.close()
    except Exception as error:  # noqa: BLE001 - the message was sent, or its failure is known
        log.warning("sink close failed", sink=sink.name, error=place_of(error))


def stored_state(connection: Connection) -> dict[str, KnownAlert]:
    """Returns the stored state, empty without one."""
    text = connection.execute(select(meta.c.value).where(meta.c.key == STATE_KEY)).scalar()
    try:
        return {} if text is None else msgspec.json.decode(text, type=_Stored).alerts
    except msgspec.ValidationError:  # a newer version stored it
        return {}


def _put(state: AlertState, connection: Connection) -> None:
    text = msgspec.json.encode(_Stored(alerts=dict(state))).decode()
    upsert(connection, meta, [{"key": STATE_KEY, "value": text}], ["key"])


def silence(connection: Connection, last: int | None, now: int) -> Silence | None:
    """Returns how long no event came, compared with earlier weeks; `None` when it is short or no event ever came."""
    if last is None or now - last < alerts.SILENCE_SECONDS * 1000:
        return None
    begun = max(last + 1, now - WEEK_MS)
    weeks = range(1, alerts.SILENCE_WEEKS + 1)
    usual = [_count(connection, begun - week * WEEK_MS, now - week * WEEK_MS) for week in weeks]
    return Silence((now - last) / 1000, usual)


def _count(connection: Connection, since: int, until: int) -> int:
    """Counts webhooks, at most as many as matter."""
    some = select(event.c.seq).where(event.c.received_at >= since, event.c.received_at < until, is_webhook())
    counted = some.limit(alerts.SILENCE_EVENTS).subquery()
    return int(connection.execute(select(func.count()).select_from(counted)).scalar_one())


def _measured(file: Path | None, found: Silence | None) -> Measured:
    disk = None
    if file is not None:
        disk = shutil.disk_usage(file.parent)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    used = 0 if limit == resource.RLIM_INFINITY else _open_handles()
    return Measured(
        disk_free=None if disk is None else disk.free,
        disk_size=None if disk is None else disk.total,
        handles_used=used,
        handles_limit=limit,
        silence=found,
    )


def _open_handles() -> int:
    """Returns the number of open file handles of this process, 0 where the system does not list them."""
    try:
        return len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        return 0


class MailError(ConnectorError):
    """The e-mail was not accepted. The message has no addresses and no credentials."""


def send_mail(settings: MailSettings, notice: Notice) -> None:
    """Sends a notice to all recipients. Blocks. Raises `MailError`."""
    try:
        server = _connected(settings)
        try:
            if settings.username is not None and settings.password is not None:
                server.login(settings.username, settings.password.get_secret_value())
            server.send_message(message_of(settings, notice))
        finally:
            with suppress(smtplib.SMTPException, OSError):  # the e-mail was accepted before, or the error is known
                server.quit()
            server.close()
    except smtplib.SMTPResponseException as error:
        raise MailError(f"the mail server answered {error.smtp_code} ({type(error).__name__})") from None
    except (smtplib.SMTPException, OSError) as error:
        raise MailError(f"the mail server could not be used ({type(error).__name__})") from None


def message_of(settings: MailSettings, notice: Notice) -> EmailMessage:
    """Returns the e-mail. Its `Message-ID` is that of the notice."""
    message = EmailMessage()
    message["From"] = settings.sender
    message["To"] = ", ".join(settings.recipients)
    message["Subject"] = " ".join(clean(notice.title).split())
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{notice.id}@{settings.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation replies
    message.set_content("\n".join([clean(line) for line in (notice.title, "", *notice.lines, "")]))
    return message


def _connected(settings: MailSettings) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if settings.security == "tls":
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=SMTP_SECONDS, context=context)
    server = smtplib.SMTP(settings.host, settings.port, timeout=SMTP_SECONDS)
    try:
        if settings.security == "starttls":
            server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server
