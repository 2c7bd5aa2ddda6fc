"""What users do with messages and dialogs: payloads of Slack as clicks, and the dialog for the reason of a discard.

Slack, Handling user interaction. Nothing in a payload is trusted: `sinks.chat.decisions` compares it with the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from slack_sdk.models.blocks import InputBlock, PlainTextInputElement, PlainTextObject
from slack_sdk.models.views import View

from connector.languages import Language
from sinks.chat.decisions import Choice, Click, button_value, value_of
from sinks.slack.messages import DECIDE

SERVICE = "slack"
"""The kind of chat, before the user's id in the audit log."""
REASON = "reason"
"""Id of the block and the input of the dialog."""
DIALOG = "decide-discard"
"""`callback_id` of the dialog."""
REASON_MAX = 3000
"""Most characters of an input of Slack."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """A click on a message in `channel`. `trigger` opens a dialog; it is `""` when the dialog was submitted."""

    click: Click
    channel: str
    trigger: str = ""

    @property
    def asks_reason(self) -> bool:
        """Whether a dialog has to ask for a reason first."""
        return self.click.choice is Choice.DISCARD and bool(self.trigger)


def interaction_of(payload: object) -> Interaction | None:
    """Returns the interaction of a payload; `None` if it is not a decision, such as a click on a link."""
    if not isinstance(payload, dict):
        return None
    try:
        if payload.get("type") == "block_actions":
            return _pressed(payload)
        if payload.get("type") == "view_submission":
            return _submitted(payload)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        pass  # not in the form that Slack documents
    return None


def _pressed(payload: Mapping[str, Any]) -> Interaction | None:
    action = payload["actions"][0]
    action_id, place, user = str(action["action_id"]), payload["container"], str(payload["user"]["id"])
    about = value_of(str(action.get("value", "")))
    if not action_id.startswith(DECIDE) or about is None:
        return None
    channel, message_id = str(place["channel_id"]), str(place["message_ts"])
    click = Click(
        _id_of(channel, message_id, user, action_id, str(action["action_ts"])),
        SERVICE,
        user,
        message_id,
        Choice(action_id.removeprefix(DECIDE)),
        *about,
    )
    return Interaction(click, channel, str(payload["trigger_id"]))


def _submitted(payload: Mapping[str, Any]) -> Interaction | None:
    view = payload["view"]
    if view["callback_id"] != DIALOG:
        return None
    asked = json.loads(view["private_metadata"])
    about = value_of(str(asked["value"]))
    if about is None:
        return None
    reason = view["state"]["values"][REASON][REASON].get("value")
    click = Click(
        _id_of(str(view["id"])),
        SERVICE,
        str(payload["user"]["id"]),
        str(asked["message"]),
        Choice.DISCARD,
        *about,
        reason=None if reason is None else str(reason)[:REASON_MAX],
    )
    return Interaction(click, str(asked["channel"]))


def _id_of(*parts: str) -> str:
    """Returns the id of a click, which is the same when Slack sends it again."""
    return sha256("\n".join(parts).encode()).hexdigest()[:16]


def reason_dialog(interaction: Interaction, language: Language) -> View:
    """Returns the dialog that asks for the reason of a discard. It contains no names."""
    click = interaction.click
    about = {
        "channel": interaction.channel,
        "message": click.message_id,
        "value": button_value(click.number, click.interview_id),
    }
    element = PlainTextInputElement(action_id=REASON, multiline=True, max_length=REASON_MAX)
    hint = _plain(language.gettext("It becomes a comment on the interview in Hireflix."))
    label = _plain(language.gettext("Reason"))
    return View(
        type="modal",
        callback_id=DIALOG,
        title=_plain(language.gettext("Discard")),
        submit=_plain(language.gettext("Discard")),
        close=_plain(language.gettext("Cancel")),
        private_metadata=json.dumps(about),
        blocks=[InputBlock(block_id=REASON, label=label, element=element, hint=hint, optional=True)],
    )


def _plain(text: str) -> PlainTextObject:
    return PlainTextObject(text=text, emoji=False)
