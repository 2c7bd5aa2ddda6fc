"""The documented payloads of Hireflix, one per event (Hireflix, Webhooks, Getting started)."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

_TIMES = ("createdAt", "completed", "deleted", "archived", "finalist")


def names() -> list[str]:
    """Returns the names of the samples, which are those of the five events."""
    found = [entry.name for entry in files(__name__).iterdir() if entry.name.endswith(".json")]
    return sorted(name.removesuffix(".json") for name in found)


def sample(name: str) -> bytes:
    """Returns the body of a sample as documented. Raises `KeyError` for an unknown name."""
    if name not in names():
        raise KeyError(name)
    return files(__name__).joinpath(f"{name}.json").read_bytes()


def dated(body: bytes, now: int) -> bytes:
    """Returns the body with `now` (epoch milliseconds) as date; all times move by the same difference.

    The interview keeps its id, so a sample that is sent twice is a new event of the same interview.
    """
    payload: dict[str, Any] = json.loads(body)
    shift = now - payload["date"]
    payload["date"] = now
    interview = payload["data"]
    for name in _TIMES:
        if isinstance(interview.get(name), int) and not isinstance(interview[name], bool):
            interview[name] += shift
    return json.dumps(payload, ensure_ascii=False).encode()
