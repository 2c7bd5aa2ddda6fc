"""A made-up but lifelike stream of webhooks: whole lives of interviews, and what networks do to their events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

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
"""Names that somebody gave to see what happens."""
SCORES = tuple(half / 2 for half in range(1, 11))

MINUTE = 60_000
LATE_SHARE = 0.06
REPEAT_SHARE = 0.06
HOSTILE_SHARE = 0.02


@dataclass(slots=True)
class _Life:
    """One interview as it goes on; `at` is the time of what happens next, epoch milliseconds."""

    interview: dict[str, Any]
    at: int
    steps: list[str] = field(default_factory=list)


def stream(count: int, until: int, seed: int = 1) -> Iterator[bytes]:
    """`count` bodies in the order in which they arrive, some twice and some late; the last dates are near `until`.

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
    """Events as they happen, by date; twice as many as will be needed at most."""
    at = until - count * MINUTE
    lives: list[_Life] = []
    number = 0
    while True:
        at += random.randrange(MINUTE // 2, MINUTE * 3 // 2)
        if not lives or random.random() < 0.35:  # noqa: PLR2004 - about one event in three is an invitation
            number += 1
            lives.append(_born(number, at, random))
        life = random.choice(lives)
        yield _next_event(life, at, random)
        if not life.steps:
            lives.remove(life)


def _born(number: int, at: int, random: Random) -> _Life:
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
    return _Life(interview, at, _steps(random))


def _steps(random: Random) -> list[str]:
    """What will happen to an interview, in order."""
    fate = random.random()
    if fate < 0.2:  # noqa: PLR2004 - a fifth never answers
        return ["create"]
    if fate < 0.27:  # noqa: PLR2004 - a few are withdrawn
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


def _next_event(life: _Life, at: int, random: Random) -> bytes:
    step = life.steps.pop(0)
    interview = life.interview
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
