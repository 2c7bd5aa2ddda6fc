"""Logs to standard error, as text or as JSON lines, without secrets and personal data.

Records of libraries pass through the same processors. An exception is logged with its type and the location where it
was raised; at level `error` and above also with its traceback. Only messages of `ConnectorError` are logged, because
they contain no personal data. Local variables are never logged.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Mapping
from traceback import walk_tb
from typing import Any, Literal, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from connector.errors import ConnectorError
from connector.text import clean

QUIET = ("httpx", "httpcore", "slack_sdk", "google", "urllib3", "aiohttp", "alembic", "gspread", "hpack")
"""Libraries that log URLs, headers or whole messages below level WARNING."""
MUTED = ("psycopg",)
"""psycopg logs each failed connection with its address; the store logs the first failure."""
SERVER = "uvicorn.error"
"""Logs a warning for each invalid request and each request over the limit. Any client can cause these."""
LOG_LIMIT_SECONDS = 60.0
"""Interval at which a line that any client can cause is logged at most once."""

SECRET_NAMES = re.compile(
    r"secret|token|password|authorization|credential|api_key|signature|private_key", re.IGNORECASE
)
SECRET_TEXTS = re.compile(  # each part takes linear time, because logged text may be long and hostile
    r"(?<![\w.+-])[\w.+-]++@"  # an e-mail address, except that of a service account, which is not personal data
    r"(?![\w-]++(?:\.[\w-]++){0,2}?\.iam\.gserviceaccount\.com(?![\w-]|\.\w))[\w-]++(?:\.[\w-]++)+"
    r"|xox[a-z]-[\w-]+|whsec_[\w+/=]+|ya29\.[\w.-]+"  # Slack, Standard Webhooks, Google
    r"|Bearer\s++\S+|-----BEGIN[\s\S]*+"  # the text after the first line of a PEM key is the key
    r"|(?<=://)[^/\s@:]*+:[^/\s@]*+(?=@)"  # credentials in a URL
    r"|hooks\.slack\.com/services/\S+"
)
HIDDEN = "[hidden]"
TRACEBACK_LEVELS = frozenset({"error", "critical"})
"""Levels at which a fault is unexpected, so that the traceback is needed."""
FRAMES_MAX = 40
"""Frames of one exception. Of a deeper traceback the first and the last half are logged."""
CHAIN_MAX = 10
"""Exceptions of one chain of causes that are logged."""
TEXT_MAX = 2000
"""Characters of one text. Messages of the connector are shorter; those of a library may be longer."""


def set_up(form: Literal["auto", "json", "console"], level: str, stream: TextIO | None = None) -> None:
    """Configures the logging of the process. `auto` is text on a terminal and JSON lines otherwise."""
    stream = stream or sys.stderr
    as_text = form == "console" or (form == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        with_exception,
        masked,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty()) if as_text else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a cached logger keeps the set-up of its first line
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            keep_exc_info=False,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in MUTED:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    server = logging.getLogger(SERVER)
    server.setLevel(logging.WARNING)
    server.filters[:] = [_Limited()]


class LogLimit:
    """Limits how often lines with the same key are logged. A key is for example the reason of a refusal."""

    def __init__(self, seconds: float = LOG_LIMIT_SECONDS) -> None:
        self._seconds = seconds
        self._logged_at: dict[str, float] = {}
        self._skipped: dict[str, int] = {}

    def add(self, key: str, now: float) -> int:
        """Counts an occurrence at `now` (monotonic seconds). Returns 0, or when a line is due the number of occurrences
        since the last line, including this one.
        """
        count = self._skipped.get(key, 0) + 1
        logged_at = self._logged_at.get(key)
        if logged_at is not None and logged_at <= now < logged_at + self._seconds:
            self._skipped[key] = count
            return 0
        self._skipped[key] = 0
        self._logged_at[key] = now
        return count


class _Limited(logging.Filter):
    """Passes each warning at most once per `LOG_LIMIT_SECONDS`, and every error."""

    def __init__(self) -> None:
        super().__init__()
        self._limit = LogLimit()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or self._limit.add(str(record.msg), time.monotonic()) > 0


def with_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: replaces the exception in `exc_info` or `error` by its type and location, with a traceback at level
    `error` and above.

    Keeps only the first line of the event.
    """
    if "exception" in event:
        event["exception"] = _hide("", event["exception"])
    info = event.pop("exc_info", None)
    record = event.get("_record")
    if info is None and record is not None:
        info, record.exc_info, record.exc_text = record.exc_info, None, None
    error = _error_of(info) or _error_of(event.get("error"))
    if error is not None:
        event["error"] = place_of(error)
        if event.get("level") in TRACEBACK_LEVELS:
            event["exception"] = "\n".join(frames_of(error))
    event["event"] = str(event.get("event", "")).partition("\n")[0]
    return event


def _error_of(info: object) -> BaseException | None:
    if info is True:
        return sys.exc_info()[1]
    if isinstance(info, tuple):
        info = info[1]
    return info if isinstance(info, BaseException) else None


def frames_of(error: BaseException, seen: frozenset[int] = frozenset()) -> list[str]:
    """Returns the traceback as lines. Each exception of the chain follows its cause.

    `seen` are the ids of the exceptions that were caused by this one: a chain may be a circle.
    """
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    seen |= {id(error)}
    is_followed = cause is not None and id(cause) not in seen and len(seen) < CHAIN_MAX
    lines = [*frames_of(cause, seen), ""] if cause is not None and is_followed else []
    frames = [
        f"  {frame.f_globals.get('__name__', '?')}:{line} in {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
    ]
    if len(frames) > FRAMES_MAX:
        half = FRAMES_MAX // 2
        frames = [*frames[:half], "  …", *frames[-half:]]
    message = _hide("", str(error)) if isinstance(error, ConnectorError) else HIDDEN
    return [*lines, *frames, f"{type(error).__name__}: {message}"]


def place_of(error: BaseException) -> str:
    """Returns the type and the innermost location of an exception, without its message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
    return f"{type(error).__name__}{place}"


def masked(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: hides values that have the name or the form of a secret, and e-mail addresses."""
    for name, value in event.items():
        if name not in {"_record", "_from_structlog", "exception"}:
            event[name] = _hide(name, value)
    return event


def _hide(name: str, value: Any) -> Any:
    if SECRET_NAMES.search(name):
        return HIDDEN
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, BaseException):
        return place_of(value)
    if isinstance(value, Mapping):
        return {key: _hide(str(key), entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(name, entry) for entry in value]
    return clean(SECRET_TEXTS.sub(HIDDEN, str(value))[:TEXT_MAX])
