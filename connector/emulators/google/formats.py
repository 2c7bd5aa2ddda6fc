"""The displayed text of numbers and dates by number format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - serial numbers carry no zone
_DEFAULT_PATTERNS = {"DATE": "m/d/yyyy", "TIME": "h:mm:ss am/pm", "DATE_TIME": "m/d/yyyy h:mm:ss"}
_PART = re.compile(r"yyyy|yy|mm|m|dd|d|hh|h|ss|s", re.IGNORECASE)


def formatted(value: str | float | bool, number_format: Mapping[str, Any]) -> str:
    """Returns the displayed text in the locale en_US. Only patterns of dates and times are supported."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return value
    kind = number_format.get("type", "")
    if kind in _DEFAULT_PATTERNS:
        return _dated(value, number_format.get("pattern") or _DEFAULT_PATTERNS[kind])
    return f"{value:.10g}" if abs(value) < 1e15 else f"{value:.5E}"


def is_date(number_format: Mapping[str, Any]) -> bool:
    return number_format.get("type") in _DEFAULT_PATTERNS


def _dated(serial: float, pattern: str) -> str:
    moment = _EPOCH + timedelta(seconds=round(serial * 86400))
    last = [""]

    def part(match: re.Match[str]) -> str:
        name = match[0].lower()
        minutes = name.startswith("m") and last[0].startswith("h")
        last[0] = name
        return _number(moment, "n" * len(name) if minutes else name)

    return _PART.sub(part, pattern)


def _number(moment: datetime, name: str) -> str:
    parts = {"y": moment.year, "m": moment.month, "d": moment.day, "h": moment.hour, "n": moment.minute}
    number = parts.get(name[0], moment.second)
    return str(number % 100 if name == "yy" else number).zfill(len(name))
