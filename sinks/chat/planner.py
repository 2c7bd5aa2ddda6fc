"""What one event does in a chat: the whole message model as a rule, without a service and without a clock. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from connector.sink import Event, Interview, Stage
from sinks.chat.changes import FINISH, INVITE, Announcement, ChangeKind, Events, Mode, find_announcement
from sinks.chat.record import InterviewRecord


class Action(StrEnum):
    """The one call that an event makes."""

    NOTHING = "nothing"
    POST = "post"
    """A new message in the channel, which is the interview's message from then on."""
    REPLY = "reply"
    BROADCAST = "broadcast"
    """A reply that is shown in the channel as well."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about an event.

    `announcement` is what the call posts. `counted` is the figure of the digest that grows by one, `""` for none.
    `edit` says that an existing message has to be brought up to date. `reason` says why there is nothing to show, for
    the case that there is nothing.
    """

    action: Action = Action.NOTHING
    announcement: Announcement | None = None
    counted: str = ""
    edit: bool = False
    reason: str = "nothing new"


_COUNTED = {INVITE: "invited", FINISH: "finished"}
_NEVER_COUNTED = ("interview.delete",)


def decide(
    event: Event, interview: Interview, record: InterviewRecord, modes: Events, *, muted: bool, silent: bool = False
) -> Plan:
    """What to do about an event. `muted`: it may notify nobody, because it is late or the hours are quiet. `silent`: it
    may only update existing messages, because no route chose it.

    An interview that was deleted before its first message is never mentioned.
    """
    mode: Mode = "edit" if silent else modes.of(event.name)
    is_deleted = interview.stage is Stage.DELETED
    counted = _figure(event, record) if mode == "digest" or (muted and mode != "silent" and not silent) else ""
    edit = record.is_editable and (mode != "silent" or is_deleted)
    if is_deleted and not record.is_shown and not record.named_reply_ids:
        return Plan(counted=counted if event.name == INVITE else "", reason="deleted before it was shown")
    reason = "its events are silent" if mode == "silent" else "no message to update" if silent else "nothing new"
    quiet = Plan(counted=counted, edit=edit or bool(record.named_reply_ids and is_deleted), reason=reason)
    if muted or silent:
        return quiet
    announcement = find_announcement(event, interview, record.announced, modes)
    action = Action.NOTHING if announcement is None else _action(announcement, record)
    return quiet if action is Action.NOTHING else Plan(action, announcement, counted, quiet.edit)


def _figure(event: Event, record: InterviewRecord) -> str:
    if event.name in _NEVER_COUNTED or (event.name == INVITE and record.counted_by):
        return ""
    return _COUNTED.get(event.name, "updates")


def _action(announcement: Announcement, record: InterviewRecord) -> Action:
    if record.removed or announcement.kind is ChangeKind.DELETED:
        return _action_without_message(announcement, record)
    if announcement.mode == "post" or not record.takes_replies:
        return Action.POST
    return Action.BROADCAST if announcement.mode == "broadcast" else Action.REPLY


def _action_without_message(announcement: Announcement, record: InterviewRecord) -> Action:
    """For a deleted interview, and for one whose message users deleted: only its completion makes a new message."""
    if announcement.kind is ChangeKind.DELETED:
        action = Action.BROADCAST if announcement.mode == "broadcast" else Action.REPLY
        return action if record.takes_replies else Action.NOTHING
    finished = ChangeKind.FINISHED in (announcement.kind, *announcement.also)
    return Action.POST if finished else Action.NOTHING
