"""Times as people type and read them. Pure: the clock and the time zone are passed in."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from connector.errors import UsageError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d{1,6})\s*([smhdw])(?:\s+ago)?")


def moment(text: str, now: int, zone: ZoneInfo) -> int:
    """The epoch milliseconds that a person means at `now`: `2h`, `today`, `yesterday`, or ISO 8601.

    What names no zone is in `zone`. Raises `UsageError`.
    """
    found = _AGO.fullmatch(text.strip().lower())
    if found:
        return max(0, now - _ms(timedelta(**{_UNITS[found[2]]: int(found[1])})))
    today = datetime.fromtimestamp(now / 1000, tz=zone).replace(hour=0, minute=0, second=0, microsecond=0)
    days = {"now": None, "today": 0, "yesterday": 1}
    word = text.strip().lower()
    if word in days:
        back = days[word]
        return now if back is None else _epoch(today - timedelta(days=back))
    return _from_iso(text.strip(), zone)


def _from_iso(text: str, zone: ZoneInfo) -> int:
    try:
        when = datetime.fromisoformat(text)
        return max(0, _epoch(when if when.tzinfo else when.replace(tzinfo=zone)))
    except (ValueError, OverflowError):
        raise UsageError(
            "that is no time; write 30m, 2h, 3d, 1w, today, yesterday, 2026-08-01 or 2026-08-01T12:30"
        ) from None


def shown(at: int | None, zone: ZoneInfo) -> str:
    """Epoch milliseconds as `2026-08-01 12:30:05` in the zone, `""` for none."""
    if at is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(at / 1000, tz=UTC).astimezone(zone):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(at)


def lasting(seconds: float) -> str:
    """A duration in its two greatest units: `45 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`."""
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _epoch(when: datetime) -> int:
    return _ms(when - datetime(1970, 1, 1, tzinfo=UTC))
