"""The data of an emulated Hireflix account, the actions of its users, and the resulting webhooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from connector.hireflix import CREATE, DELETE, FINISH, SCORE_UPDATED, STATUS_CHANGE

WEBHOOK_DELAY_MS = 100
"""Between a change and the date of its webhook; 53 to 240 ms in the samples of the documentation."""


@dataclass(slots=True)
class Interview:
    """One interview. Times are epoch milliseconds."""

    id: str
    position_id: str
    first_name: str
    last_name: str
    email: str
    created_at: int
    updated_at: int
    completed: int | None = None
    archived: int | None = None
    finalist: int | None = None
    deleted: int | None = None
    score: float | None = None
    external_id: str | None = None
    comments: list[dict[str, Any]] = field(default_factory=list)
    link: dict[str, Any] | None = None
    scores: list[dict[str, Any]] = field(default_factory=list)
    questions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def hash(self) -> str:
        return self.id[-8:]

    @property
    def stage(self) -> str:
        """The word of the filter on `status`. Of two decisions the later one counts; the documentation of Hireflix does
        not say which one does.
        """
        if self.archived and self.archived >= (self.finalist or 0):
            return "discarded"
        if self.finalist:
            return "shortlisted"
        return "to_evaluate" if self.completed else "pending"

    @property
    def status(self) -> str:
        """The word of a webhook and of an interview."""
        return "completed" if self.completed else "pending"


@dataclass(slots=True)
class Position:
    """One position (job)."""

    id: str
    name: str
    archived: int | None = None


@dataclass(slots=True)
class Webhook:
    """A configured webhook, and its log."""

    id: str
    url: str
    events: list[str]
    active: bool = True
    logs: list[dict[str, Any]] = field(default_factory=list)


class Account:
    """Positions, interviews and webhooks. Every change returns the body of its webhook. `now`: epoch milliseconds."""

    def __init__(self, now: Callable[[], int], *, secret: str = "hireflix-webhook-key") -> None:  # noqa: S107 - invented
        self.now = now
        self.secret = secret
        self.positions: dict[str, Position] = {}
        self.interviews: dict[str, Interview] = {}
        self.webhooks: dict[str, Webhook] = {}
        self.changes: list[tuple[str, str]] = []
        """Every mutation that was applied: name and interview."""
        self._deleted: set[str] = set()
        self._made = 0

    def _new_id(self, at: int) -> str:
        """An id in the form of the source: 24 hex digits, the first eight are the second of creation."""
        self._made += 1
        return f"{at // 1000:08x}{self._made:016x}"

    def add_position(self, name: str) -> Position:
        position = Position(self._new_id(self.now()), name)
        self.positions[position.id] = position
        return position

    def take(self, body: bytes) -> bool:
        """Applies a webhook of a generated stream, unless the account has a newer state of its interview.

        Returns `False` for an interview that was changed through the API: its generated history has ended.
        """
        document = json.loads(body)
        data, at = document["data"], document["date"]
        id_ = str(data["id"])
        if any(id_ == changed for _, changed in self.changes):
            return False
        known = self.interviews.get(id_)
        if id_ in self._deleted or (known is not None and known.updated_at > at):
            return True
        if data["deleted"]:
            self._deleted.add(id_)
            self.interviews.pop(id_, None)
            return True
        position = self.positions.setdefault(data["position"]["id"], Position(**data["position"]))
        candidate, score = data["candidate"], data["score"]
        self.interviews[id_] = Interview(
            id_,
            position.id,
            candidate["firstName"],
            candidate["lastName"],
            candidate["email"],
            data["createdAt"],
            at,
            completed=data["completed"],
            archived=data["archived"],
            finalist=data["finalist"],
            score=None if score is None else score["value"],
            external_id=data["externalId"],
        )
        return True

    def invite(self, position: Position, name: str, *, at: int | None = None) -> tuple[Interview, bytes]:
        """Invites a candidate, at a time in the past with `at`."""
        at = self.now() if at is None else at
        first, _, last = name.partition(" ")
        id_ = self._new_id(at)
        found = Interview(id_, position.id, first, last, f"{first.lower()}.{id_[-6:]}@example.com", at, at)
        self.interviews[id_] = found
        return found, self.webhook(CREATE, found, at)

    def complete(self, found: Interview, *, at: int | None = None) -> bytes:
        found.completed = found.updated_at = self.now() if at is None else at
        return self.webhook(FINISH, found, found.updated_at)

    def shortlist(self, found: Interview, *, wanted: bool = True, at: int | None = None) -> bytes:
        found.updated_at = self.now() if at is None else at
        found.finalist = found.updated_at if wanted else None
        return self.webhook(STATUS_CHANGE, found, found.updated_at)

    def discard(self, found: Interview, *, wanted: bool = True, at: int | None = None) -> bytes:
        found.updated_at = self.now() if at is None else at
        found.archived = found.updated_at if wanted else None
        return self.webhook(STATUS_CHANGE, found, found.updated_at)

    def rate(self, found: Interview, score: float | None, *, at: int | None = None, touch: bool = True) -> bytes:
        """Scores an interview. Without `touch` its `updatedAt` stays: no source says that a score changes it."""
        at = self.now() if at is None else at
        found.score = score
        if touch:
            found.updated_at = at
        return self.webhook(SCORE_UPDATED, found, at)

    def delete(self, found: Interview, *, at: int | None = None) -> bytes:
        found.deleted = self.now() if at is None else at
        body = self.webhook(DELETE, found, found.deleted)
        del self.interviews[found.id]
        return body

    def delete_position(self, position: Position) -> None:
        """Deletes a position with its interviews; whether Hireflix sends webhooks then is unknown."""
        del self.positions[position.id]
        for found in [each for each in self.interviews.values() if each.position_id == position.id]:
            del self.interviews[found.id]

    def webhook(self, event: str, found: Interview, at: int) -> bytes:
        """The body of a webhook, as compact JSON."""
        document = {"event": event, "data": self._data(event, found), "date": at + WEBHOOK_DELAY_MS}
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    def _data(self, event: str, found: Interview) -> dict[str, Any]:
        name = self.positions[found.position_id].name
        full: dict[str, Any] = {
            "id": found.id,
            "position": {"id": found.position_id, "name": name},
            "externalId": found.external_id,
            "status": found.status,
            "hash": found.hash,
            "createdAt": found.created_at,
            "candidate": {
                "name": f"{found.first_name} {found.last_name}",
                "firstName": found.first_name,
                "lastName": found.last_name,
                "email": found.email,
                "phone": None,
            },
            "score": None if found.score is None else {"value": found.score},
            "completed": found.completed,
            "deleted": found.deleted,
            "archived": found.archived,
            "finalist": found.finalist,
            "answered": bool(found.completed),
            "thumbnail": None,
            "url": urls(found),
        }
        if event != FINISH:
            return full
        sparse = ("id", "position", "externalId", "status", "candidate", "url")
        return {key: full[key] for key in sparse} | {"candidate": {k: full["candidate"][k] for k in ("name", "email")}}


def urls(found: Interview) -> dict[str, str]:
    """The three addresses of an interview."""
    return {
        "short": f"https://hflx.io/c/{found.hash}",
        "private": f"https://admin.hireflix.com/jobs/{found.position_id}/interview/{found.id}",
        "public": f"https://app.hireflix.com/{found.hash}",
    }


def row_of(found: Interview) -> dict[str, Any]:
    """An interview as the API returns it."""
    return {
        "id": found.id,
        "status": found.status,
        "externalId": found.external_id,
        "hash": found.hash,
        "createdAt": found.created_at,
        "updatedAt": found.updated_at,
        "completed": found.completed,
        "completedAt": found.completed,
        "archived": found.archived,
        "discardedAt": found.archived,
        "finalist": found.finalist,
        "shortlistedAt": found.finalist,
        "candidate": {
            "fullName": f"{found.first_name} {found.last_name}",
            "firstName": found.first_name,
            "lastName": found.last_name,
            "email": found.email,
            "phone": None,
        },
        "score": None if found.score is None else {"value": found.score},
        "url": urls(found),
        "comments": found.comments,
        "externalLink": found.link,
        "scores": found.scores,
        "questions": found.questions,
    }
