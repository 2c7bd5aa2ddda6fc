"""An endless, realistic stream of signed, unique webhooks. One third is about earlier interviews."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from connector.hireflix.signature import sign

SECRET = "hfx_benchmark_secret"
PATH = "/webhooks/hireflix"
POSITIONS = 19
UPDATES = ("interview.finish", "interview.status-change", "interview.score-updated")
FIRST = ("Ana", "Björn", "Chidi", "Dilnoza", "Eero", "Fatima", "Grace", "Hiroshi", "Ines", "João")
LAST = ("Almeida", "Berg", "Castellanos-Ruiz", "Dubois", "Eriksen", "Fischer", "Gupta", "Haddad", "Ito", "Jensen")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A request: its interview, its event name, its body and the signature."""

    interview_id: str
    event: str
    body: bytes
    signature: str

    def as_request(self) -> bytes:
        """Returns the complete HTTP/1.1 request. The connection stays open."""
        return (
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"X-Hireflix-Signature: {self.signature}\r\nContent-Length: {len(self.body)}\r\n\r\n"
        ).encode() + self.body


def stream(*, updates: bool = True, seed: int = 1) -> Iterator[Webhook]:
    """Yields invitations; with `updates` an update of an earlier interview follows every second one."""
    source = random.Random(seed)
    started = time.time_ns() // 1_000_000 - 3_600_000
    known: list[tuple[str, int]] = []
    number = 0
    while True:
        for _ in range(2):
            at = started + number
            known.append((object_id(at // 1000, source), source.randrange(POSITIONS)))
            yield webhook_of("interview.create", *known[-1], at)
            number += 1
        if updates:
            yield webhook_of(source.choice(UPDATES), *source.choice(known), started + number)
            number += 1


def update_of(interview_id: str, event: str, date: int) -> bytes:
    """The body of one more event of an interview."""
    return webhook_of(event, interview_id, int(interview_id[-2:], 16) % POSITIONS, date).body


def object_id(seconds: int, source: random.Random) -> str:
    """An interview's id as Hireflix makes them: the second of its making first, so that new ones lie together
    (MongoDB, ObjectId).
    """
    return f"{seconds:08x}{source.getrandbits(64):016x}"


def invited_and_finished(number: int = 0) -> tuple[Webhook, Webhook]:
    """Returns two current events of an interview that is not in a stream. Each number is another interview."""
    now = time.time_ns() // 1_000_000
    interview_id = f"{2**95 + number:024x}"
    return webhook_of("interview.create", interview_id, 0, now), webhook_of(
        "interview.finish", interview_id, 0, now + 1
    )


def webhook_of(event: str, interview_id: str, position: int, date: int) -> Webhook:
    """One event of an interview; `date` is epoch milliseconds."""
    body = msgspec.json.encode({"event": event, "data": _interview(event, interview_id, position, date), "date": date})
    return Webhook(interview_id, event, body, sign(SECRET, body))


def _interview(event: str, interview_id: str, position: int, date: int) -> dict[str, object]:
    digits = int(interview_id[-8:], 16)
    first, last = FIRST[digits % 10], LAST[digits // 10 % 10]
    position_id = f"{position:024x}"
    done = event != "interview.create"
    return {
        "id": interview_id,
        "position": {"id": position_id, "name": f"Position {position}"},
        "externalId": None,
        "status": "completed" if done else "pending",
        "hash": interview_id[-8:],
        "createdAt": date - 1000,
        "candidate": {
            "name": f"{first} {last}",
            "firstName": first,
            "lastName": last,
            "email": f"{interview_id[-8:]}@example.com",
            "phone": None,
        },
        "score": {"value": 4} if event == "interview.score-updated" else None,
        "completed": date if done else None,
        "deleted": None,
        "archived": None,
        "finalist": None,
        "answered": done,
        "thumbnail": None,
        "url": {
            "short": f"https://hflx.io/c/{interview_id[-8:]}",
            "private": f"https://admin.hireflix.com/jobs/{position_id}/interview/{interview_id}",
            "public": f"https://app.hireflix.com/{interview_id[-8:]}",
        },
    }


class BodyFile:
    """The stream as a file for the load generator: each request after a line with its length in bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ends: list[int] = []
        self._stream = stream()
        self._size = 0

    def ensure(self, count: int) -> None:
        """Extends the file to at least `count` requests."""
        with self.path.open("ab") as file:
            while len(self.ends) < count:
                request = next(self._stream).as_request()
                self._size += file.write(b"%d\n%s" % (len(request), request))
                self.ends.append(self._size)

    def offset(self, number: int) -> int:
        """Returns the offset of a request in bytes. Requests are numbered from 0."""
        return self.ends[number - 1] if number else 0
