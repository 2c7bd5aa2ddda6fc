"""Sample webhooks: the documented payloads of Hireflix, one per event (Hireflix, Webhooks, Getting started), and a
generated stream of interviews from invitation to decision, with late and repeated events.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from random import Random
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


POSITIONS = (
    ("68b43e38b19cf131a17c5430", "Graduate Program 2026"),
    ("68b43e38b19cf131a17c5431", "Social Media Manager"),
    ("68b43e38b19cf131a17c5432", "Filialleiter:in Zürich"),
    ("68b43e38b19cf131a17c5433", "Ingeniería de datos"),
)
FIRST = ("Ana", "Björn", "Chloé", "Dariusz", "Eimear", "Fatima", "Giulia", "Hana", "Igor", "Ngọc", "Søren", "Zoë", "李",
         "Мария", "محمد")  # fmt: skip
LAST = ("Åberg", "Çelik", "D'Arcy", "García Núñez", "Ibáñez", "Kowalski", "Müller-Lüdenscheid", "Nguyễn", "Ó Briain",
        "Šimić", "小龙", "Петрова")  # fmt: skip
HOSTILE = ('=HYPERLINK("http://example.com";"Open")', "<!channel> Robin", "Bobby\u202e elbaT\tDrop")
"""Names that try a formula, a mention and control characters."""
SCORES = tuple(half / 2 for half in range(1, 11))

MINUTE_MS = 60_000
LATE_SHARE = 0.06
"""Share of events that arrive after a later one."""
REPEAT_SHARE = 0.06
"""Share of events that arrive twice."""
HOSTILE_SHARE = 0.02
"""Share of candidates with a name of `HOSTILE`."""


@dataclass(slots=True)
class _Progress:
    """An interview and the steps that follow. `at` is the time of the next step in epoch milliseconds."""

    interview: dict[str, Any]
    at: int
    steps: list[str] = field(default_factory=list)


def stream(count: int, until: int, seed: int = 1) -> Iterator[bytes]:
    """Yields `count` bodies in order of arrival, some twice and some late. The last dates are near `until`.

    `until` is epoch milliseconds. The same seed gives the same stream.
    """
    random = Random(seed)  # noqa: S311 - nothing here is a secret
    bodies = _in_order(count, until, random)
    waiting: list[bytes] = []
    sent = 0
    for body in bodies:
        if random.random() < LATE_SHARE:
            waiting.append(body)
            continue
        arriving = [body, *([body] if random.random() < REPEAT_SHARE else []), *waiting]
        waiting = []
        for arrived in arriving[: count - sent]:
            sent += 1
            yield arrived
        if sent == count:
            return


def _in_order(count: int, until: int, random: Random) -> Iterator[bytes]:
    """Yields events without end, ordered by date."""
    at = until - count * MINUTE_MS
    open_interviews: list[_Progress] = []
    number = 0
    while True:
        at += random.randrange(MINUTE_MS // 2, MINUTE_MS * 3 // 2)
        if not open_interviews or random.random() < 0.35:  # noqa: PLR2004 - about one event in three is an invitation
            number += 1
            open_interviews.append(_new_interview(number, at, random))
        progress = random.choice(open_interviews)
        yield _next_event(progress, at, random)
        if not progress.steps:
            open_interviews.remove(progress)


def _new_interview(number: int, at: int, random: Random) -> _Progress:
    first, last = random.choice(FIRST), random.choice(LAST)
    name = random.choice(HOSTILE) if random.random() < HOSTILE_SHARE else f"{first} {last}"
    position_id, position_name = random.choice(POSITIONS)
    code = f"{random.getrandbits(40):010x}"
    interview_id = f"68ff5ed8{number:06x}{code}"
    interview: dict[str, Any] = {
        "id": interview_id,
        "position": {"id": position_id, "name": position_name},
        "externalId": f"REQ-{1000 + number}" if random.random() < 0.5 else None,  # noqa: PLR2004 - half of them
        "status": "pending",
        "hash": code[:8],
        "createdAt": at,
        "candidate": {
            "name": name,
            "firstName": first,
            "lastName": last,
            "email": f"candidate{number}@example.com",
            "phone": None,
        },
        "score": None,
        "completed": None,
        "deleted": None,
        "archived": None,
        "finalist": None,
        "answered": False,
        "thumbnail": None,
        "url": {
            "short": f"https://hflx.io/c/{code[:8]}",
            "private": f"https://admin.hireflix.com/jobs/{position_id}/interview/{interview_id}",
            "public": f"https://app.hireflix.com/{code[:8]}",
        },
    }
    return _Progress(interview, at, _steps(random))


def _steps(random: Random) -> list[str]:
    """Returns the steps of an interview, in order."""
    draw = random.random()
    if draw < 0.2:  # noqa: PLR2004 - a fifth never answers
        return ["create"]
    if draw < 0.27:  # noqa: PLR2004 - a few are withdrawn
        return ["create", "delete"]
    scores = ["score"] * random.choice((0, 1, 1, 2))
    decided = random.choice(([], ["shortlist"], ["discard"], ["discard", "shortlist"]))
    return ["create", "finish", *scores, *decided]


EVENTS = {
    "create": "interview.create",
    "finish": "interview.finish",
    "score": "interview.score-updated",
    "shortlist": "interview.status-change",
    "discard": "interview.status-change",
    "delete": "interview.delete",
}


def _next_event(progress: _Progress, at: int, random: Random) -> bytes:
    step = progress.steps.pop(0)
    interview = progress.interview
    if step == "finish":
        interview |= {"status": "completed", "completed": at, "answered": True}
    elif step == "score":
        interview["score"] = {"value": random.choice(SCORES)}
    elif step == "shortlist":
        interview["finalist"] = at
    elif step == "discard":
        interview["archived"] = at
    elif step == "delete":
        interview["deleted"] = at
    return json.dumps({"event": EVENTS[step], "data": interview, "date": at}, ensure_ascii=False).encode()
