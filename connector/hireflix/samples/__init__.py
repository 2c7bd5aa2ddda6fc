"""The payloads that Hireflix documents, one per event (Hireflix, Webhooks, Getting started), ready to be sent."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

_TIMES = ("createdAt", "completed", "deleted", "archived", "finalist")


def names() -> list[str]:
    """Names of the samples: those of the five events."""
    found = [entry.name for entry in files(__name__).iterdir() if entry.name.endswith(".json")]
    return sorted(name.removesuffix(".json") for name in found)


def sample(name: str) -> bytes:
    """The body of a sample as documented. Raises `KeyError` for a name that is none."""
    if name not in names():
        raise KeyError(name)
    return files(__name__).joinpath(f"{name}.json").read_bytes()


def dated(body: bytes, now: int) -> bytes:
    """The same body as if it happened at `now` (epoch milliseconds): all its times move by as much as its date.

    The interview keeps its id, so that one sent again is a new event of the same row.
    """
    payload: dict[str, Any] = json.loads(body)
    shift = now - payload["date"]
    payload["date"] = now
    interview = payload["data"]
    for name in _TIMES:
        if isinstance(interview.get(name), int) and not isinstance(interview[name], bool):
            interview[name] += shift
    return json.dumps(payload, ensure_ascii=False).encode()
