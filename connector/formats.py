"""How times, durations and counts are shown, in every command and page. Pure functions."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def format_time(at: int | None, zone: ZoneInfo) -> str:
    """Returns epoch milliseconds as `2026-08-01 12:30:05` in the zone, `""` for `None`."""
    if at is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(at / 1000, tz=UTC).astimezone(zone):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(at)


def format_duration(seconds: float) -> str:
    """Returns a duration in its two greatest units: `45 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`.

    A negative one, which clocks that differ may give, is `0 s`.
    """
    left = max(0, round(seconds))
    parts: list[tuple[int, str]] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"


def capped(count: int, most: int) -> str:
    """Returns a total that was counted up to `most` + 1: `1,204`, or `10,000+` when there are more."""
    return f"{most:,}+" if count > most else f"{count:,}"


def counted(count: int, one: str, many: str) -> str:
    """Returns a count with its noun: `1 delivery`, `2 deliveries`."""
    return f"{count} {one if count == 1 else many}"
