"""What one event does: the whole message model as a pure rule, without Slack and without a clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from connector.sink import Event, Interview, Stage
from sinks.chat.changes import FINISH, INVITE, News, What, find_news
from sinks.chat.config import Events, Mode
from sinks.chat.record import Record


class Act(StrEnum):
    """The one call that an event makes."""

    NOTHING = "nothing"
    POST = "post"
    """A message of its own in the channel, which is the interview's from then on."""
    REPLY = "reply"
    BROADCAST = "broadcast"
    """A reply that is shown in the channel as well."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`news` is what the act tells; `counted` the figure of the digest that grows by one, `""` for none; `edit` says
    that an existing message has to be looked after. `why` says why nothing is to be shown, when that turns out so.
    """

    act: Act = Act.NOTHING
    news: News | None = None
    counted: str = ""
    edit: bool = False
    why: str = "nothing new"


_COUNTED = {INVITE: "invited", FINISH: "finished"}
_NEVER_COUNTED = ("interview.delete",)


def decide(
    event: Event, interview: Interview, record: Record, modes: Events, *, hushed: bool, silent: bool = False
) -> Plan:
    """What to do about an event. `hushed`: nobody may be disturbed by it, because it is late or the hours are quiet.
    `silent`: it may only update what is there, because no route chose it.

    An interview that was deleted before its first message is never mentioned.
    """
    mode: Mode = "edit" if silent else modes.of(event.name)
    is_deleted = interview.stage is Stage.DELETED
    counted = _figure(event, record) if mode == "digest" or (hushed and mode != "silent" and not silent) else ""
    edit = record.editable and (mode != "silent" or is_deleted)
    if is_deleted and not record.shown:
        return Plan(counted=counted if event.name == INVITE else "", why="deleted before it was shown")
    why = "its events are silent" if mode == "silent" else "no message to update" if silent else "nothing new"
    quiet = Plan(counted=counted, edit=edit or bool(record.extra and is_deleted), why=why)
    if hushed or silent:
        return quiet
    news = find_news(event, interview, record.told, modes)
    act = Act.NOTHING if news is None else _act(news, record)
    return quiet if act is Act.NOTHING else Plan(act, news, counted, quiet.edit)


def _figure(event: Event, record: Record) -> str:
    if event.name in _NEVER_COUNTED or (event.name == INVITE and record.invited):
        return ""
    return _COUNTED.get(event.name, "updates")


def _act(news: News, record: Record) -> Act:
    if record.gone or news.what is What.DELETED:
        return _after_loss(news, record)
    if news.mode == "post" or not record.takes_replies:
        return Act.POST
    return Act.BROADCAST if news.mode == "broadcast" else Act.REPLY


def _after_loss(news: News, record: Record) -> Act:
    """People deleted the message, or the interview is: the first is honoured until it is finished."""
    if news.what is What.DELETED:
        spoken = Act.BROADCAST if news.mode == "broadcast" else Act.REPLY
        return spoken if record.takes_replies else Act.NOTHING
    return Act.POST if What.FINISHED in (news.what, *news.also) else Act.NOTHING
