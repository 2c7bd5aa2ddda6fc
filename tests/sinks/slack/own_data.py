"""Candidates without common data, and a check that finds data of one in a message about another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from connector.emulators.slack.workspace import Message, strings_of
from connector.testing import START


@dataclass(frozen=True)
class Person:
    """The data of the candidate with this number, which no other one has."""

    number: int
    position_id: str

    @property
    def id(self) -> str:
        return f"{self.number + 1:024x}"

    @property
    def name(self) -> str:
        return f"Candidate-{self.number}-Surname"

    @property
    def position(self) -> str:
        return self.own_title if self.position_id == f"p{self.number}" else "Shared position"

    @property
    def own_title(self) -> str:
        return f"Position-{self.number}-Title"

    @property
    def score(self) -> str:
        return f"{self.number + 0.5:g}"

    @property
    def link(self) -> str:
        return f"https://admin.hireflix.com/interview/review-{self.number}-end"

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts that may appear in messages about this candidate only."""
        return self.name, self.own_title, self.score, self.link


def person(number: int, position: str = "") -> Person:
    return Person(number, position or f"p{number}")


def webhook(name: str, number: int, *, position: str = "", at: int | None = None) -> dict[str, Any]:
    """A webhook about the candidate with this number."""
    about = person(number, position)
    data: dict[str, Any] = {
        "id": about.id,
        "position": {"id": about.position_id, "name": about.position},
        "candidate": {"name": about.name, "email": f"c{number}@example.com"},
        "status": "pending" if name == "create" else "completed",
        "url": {"private": about.link},
    }
    if name != "create":
        data["completed"] = START + number
    if name in {"score-updated", "status-change"}:
        data["score"] = {"value": float(about.score)}
    if name == "delete":
        data["deleted"] = START + 10_000_000
    order = ("create", "finish", "score-updated", "status-change", "delete").index(name)
    return {"event": f"interview.{name}", "data": data, "date": at or START + 1000 * order + number}


def foreign_data(messages: Sequence[Message], most: int = 400) -> list[str]:
    """Returns every message that shows data of another candidate, by the content of the channel alone. A digest is
    about a position and may show its title.
    """
    people = [person(number) for number in range(most)]
    problems = []
    for message in messages:
        texts = " ".join(strings_of([message.text, message.blocks]))
        ids = message.metadata.get("event_payload", {})
        owner, digest = ids.get("i"), ids.get("p")
        problems += [
            f"{message.ts} is about {owner or digest} and shows {mark!r}"
            for each in people
            if each.id != owner
            for mark in each.marks
            if _shows(texts, mark) and not (digest == f"p{each.number}" and mark == each.own_title)
        ]
    return problems


def _shows(texts: str, mark: str) -> bool:
    """Whether the text is a separate word, because one score may be part of another."""
    return any(word.strip(".,|<>()*") == mark for word in texts.split())
