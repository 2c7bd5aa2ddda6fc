"""The rules for the content of a channel after everything is settled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from connector.emulators.slack import Message
from connector.emulators.slack.workspace import Channel, problems
from connector.languages import language
from connector.sink import Interview, Stage
from sinks.chat.changes import is_finished
from sinks.chat.content import Style, interview_content
from sinks.chat.wording import Templates
from sinks.slack.messages import render

STYLE = Style("full", ("hireflix.com", "hflx.io"), Templates(), language("en"))
FIGURE = re.compile(r"([\d,]+) (invited|finished|scored|shortlisted|discarded|moved)")
TIME = re.compile(r"<!date\^(\d+)\^")
DONE = re.compile("To evaluate|Shortlisted|Discarded")
"""Stages of an interview that is finished."""


def broken_rules(channel: Channel, interviews: Mapping[str, Interview], creates: int) -> list[str]:
    """Returns every broken rule as a sentence. `creates` is the number of different invitations."""
    messages = list(channel.messages.values())
    found = problems([channel])
    for one in interviews.values():
        mine = [message for message in messages if message.metadata["event_payload"].get("i") == one.id]
        found += [f"{one.id}: {what}" for what in _interview(one, mine)]
    counted = figures(messages).get("invited", 0)
    return found if counted == creates else [*found, f"digests count {counted} of {creates} invitations"]


def figures(messages: Iterable[Message]) -> dict[str, int]:
    """The sums of the digests' figures: invited, finished, scored, shortlisted, discarded, moved."""
    sums: dict[str, int] = {}
    for message in messages:
        if "p" in message.metadata["event_payload"]:
            for number, what in FIGURE.findall(message.blocks[0]["text"]["text"]):
                sums[what] = sums.get(what, 0) + int(number.replace(",", ""))
    return sums


def _interview(one: Interview, mine: Sequence[Message]) -> Iterable[str]:
    parents = [message for message in mine if not message.is_reply]
    if len(parents) > 1:
        yield f"{len(parents)} messages in the channel"
    if one.stage is Stage.DELETED:
        if any(one.candidate_name in json.dumps([message.text, message.blocks]) for message in mine):
            yield "a deleted candidate is still named"
    elif is_finished(one):
        yield from _announced(parents, mine)
    for parent in parents[:1]:
        if parent.blocks != render(interview_content(one, STYLE))["blocks"]:
            yield "the message does not show the last state"
    yield from _falling(mine)


def _announced(parents: Sequence[Message], mine: Sequence[Message]) -> Iterable[str]:
    """Returns an error unless exactly one message shows completion."""
    times = sum(DONE.search(json.dumps(parent.raw)) is not None for parent in parents)
    times += sum(message.broadcast for message in mine)
    if times != 1:
        yield f"completion was announced {times} times"


def _falling(mine: Sequence[Message]) -> Iterable[str]:
    """Yields the facts that a thread shows in a wrong order."""
    for fact in ("Stage", "Score"):
        dates = [
            int(TIME.findall(json.dumps(message.blocks))[-1])
            for message in mine
            if message.is_reply and f"{fact} " in message.text
        ]
        if dates != sorted(dates):
            yield f"{fact} is shown out of order: {dates}"
