"""Draws what a sink would write: the cells of a row, or the message of a chat. Pure functions on its preview."""

from __future__ import annotations

import re
from dataclasses import dataclass

CELL = re.compile(r"  (?P<title>[^:]{1,200}): (?P<value>.*)")
"""A line of the preview of a sheet."""
BUTTON = re.compile(r"\[(?P<text>[^\[\]]{1,60})\] https?://\S+")
"""The line of a message with its button."""


@dataclass(frozen=True, slots=True)
class CellShape:
    """One cell; `before` is `None` for a cell of a new row."""

    title: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class MessageShape:
    """One message of a chat: its place, its headline, its lines and the texts of its buttons."""

    place: str
    headline: str
    lines: list[str]
    buttons: list[str]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A preview as shapes: the text above, the cells, and the messages. Other lines stay text."""

    text: list[str]
    cells: list[CellShape]
    messages: list[MessageShape]


def draw(preview: str, *, is_state: bool, is_chat: bool) -> Drawing:
    """Returns the drawing of a preview of a state sink, of a chat, or of any other sink as text."""
    if is_state:
        return _row(preview.splitlines())
    if is_chat:
        blocks = [block.splitlines() for block in preview.split("\n\n") if block.strip()]
        messages = [_message(block) for block in blocks if len(block) > 1]
        return Drawing([block[0] for block in blocks if len(block) == 1], [], messages)
    return Drawing(preview.splitlines(), [], [])


def _row(lines: list[str]) -> Drawing:
    text, cells = [], []
    for line in lines:
        found = CELL.fullmatch(line)
        if found is None:
            text.append(line)
            continue
        before, arrow, after = found["value"].partition(" → ")
        cells.append(CellShape(found["title"], before if arrow else None, after if arrow else before))
    return Drawing(text, cells, [])


def _message(block: list[str]) -> MessageShape:
    place, headline, *lines = block
    buttons = [found["text"] for line in lines if (found := BUTTON.fullmatch(line))]
    return MessageShape(place, headline, [line for line in lines if not BUTTON.fullmatch(line)], buttons)
