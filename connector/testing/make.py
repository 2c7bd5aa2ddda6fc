"""Makes events, interviews, deliveries and batches with default values, so that a test sets only the values that matter
to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from connector.capabilities import ERASE
from connector.interview import Event, Interview, Stage, Value
from connector.sink import Batch, Delivery, FollowUp, Note
from connector.testing.context import START

CREATED = START - 86_400_000


def make_values(number: int = 1) -> dict[str, Value]:
    """The stored fields of a completed interview; another `number` is another person in the same position."""
    return {
        "position_id": "68b43e38b19cf131a17c543f",
        "position_name": "Graduate Program",
        "external_id": f"EXT-{number}",
        "status": "completed",
        "created_at": CREATED,
        "candidate_name": f"Wayne Knight {number}",
        "candidate_email": f"wayne.knight.{number}@example.com",
        "completed": START,
        "short_url": f"https://hflx.io/c/{number}",
        "review_url": f"https://admin.hireflix.com/interview/{interview_id(number)}",
    }


def interview_id(number: int = 1) -> str:
    """Returns the id of interview `number`."""
    return f"643e972db7d39e63cf{number:06x}"


def make_event(
    name: str = "interview.finish",
    *,
    number: int = 1,
    id: str | None = None,  # noqa: A002 - named as the field it fills
    interview: str | None = None,
    occurred_at: int = START,
    received_at: int | None = None,
    **fields: Value,
) -> Event:
    """Returns an event of interview `number`. Other keyword arguments replace or add fields."""
    about = interview or interview_id(number)
    return Event(
        id=id or f"{name}|{about}|{occurred_at}",
        name=name,
        interview_id=about,
        occurred_at=occurred_at,
        received_at=occurred_at + 500 if received_at is None else received_at,
        fields={**make_values(number), **fields},
    )


def make_interview(
    *,
    number: int = 1,
    id: str | None = None,  # noqa: A002 - named as the field it fills
    stage: Stage = Stage.TO_EVALUATE,
    updated_at: int = START,
    dates: Mapping[str, int] | None = None,
    **values: Value,
) -> Interview:
    """Returns an interview. Other keyword arguments replace or add values. All dates are `updated_at`."""
    merged = {**make_values(number), **values}
    return Interview(
        id=id or interview_id(number),
        stage=stage,
        updated_at=updated_at,
        values=merged,
        dates={**dict.fromkeys(merged, updated_at), **(dates or {})},
    )


def make_delivery(
    event: Event | None = None,
    interview: Interview | None = None,
    *,
    number: int = 1,
    state: bool = False,
    **overrides: Any,
) -> Delivery:
    """Returns a delivery about interview `number`, or about the given event or interview. With `state` it has no event,
    as for a state sink. `overrides` are the other fields of `Delivery`.
    """
    if event is None:
        event = make_event(number=number) if interview is None else _last_event(interview)
    if interview is None:
        interview = _after(event)
    values = {
        "id": f"delivery-{event.interview_id if state else event.id}",
        "key": event.interview_id,
        "event": None if state else event,
        "interview": interview,
    }
    return Delivery(**{**values, **overrides})


def make_erase(interview: Interview) -> Delivery:
    """Returns the delivery in which a sink that `Erases` removes an interview. It has only the id and the position."""
    kept = {name: interview.values[name] for name in ("position_id", "position_name") if name in interview.values}
    stripped = Interview(interview.id, Stage.DELETED, interview.updated_at, {**kept, "deleted": interview.updated_at})
    follow_up = FollowUp(ERASE, timedelta(0), interview=interview.id)
    return Delivery(f"erase-{interview.id}", interview.id, None, stripped, follow_up=follow_up)


def _last_event(interview: Interview) -> Event:
    event = make_event(interview=interview.id, occurred_at=interview.updated_at)
    return replace(event, fields=interview.values)


def _after(event: Event) -> Interview:
    interview = make_interview(id=event.interview_id, updated_at=event.occurred_at)
    return replace(interview, values=event.fields, dates=dict.fromkeys(event.fields, event.occurred_at))


def make_batch(
    *deliveries: Delivery,
    id: str = "batch-1",  # noqa: A002 - named as the field it fills
    started_at: int = START,
    notes: Mapping[str, Note] | None = None,
    maybe_sent: bool = False,
) -> Batch:
    """Returns a batch of the deliveries, or of one default delivery."""
    return Batch(
        id=id,
        started_at=started_at,
        deliveries=deliveries or (make_delivery(),),
        notes=dict(notes or {}),
        maybe_sent=maybe_sent,
    )


HOSTILE_TEXTS = {
    "ansi": "\x1b[2J\x1b[31mred\x07",
    "bidi": "\u202egnp.exe\u2066",
    "controls": "a\x00b\x01c\x0bd\x7fe",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 é",
    "empty": "",
    "formula": '=HYPERLINK("https://evil.example","click")',
    "formula at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "html": "<script>alert(1)</script>&amp;<b>",
    "line breaks": "one\r\ntwo\u2028three\u2029four",
    "long": "x" * 100_000,
    "markdown": "*bold* _it_ ~no~ `code` [a](https://evil.example) > quote",
    "mention": "<!channel> <@U123> <!here|here> @everyone",
    "path": "../../etc/passwd\\..\\x",
    "percent and braces": "%s %(x)s {0} {self} ${HOME} {{7*7}}",
    "spaces": " \t\u00a0\u200b ",
    "sql": "'; DROP TABLE event; --",
}
"""Name -> text that a candidate or a recruiter could type. A sink must show it as plain text."""
