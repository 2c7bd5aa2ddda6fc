"""Converts the content of a chat to messages for Slack (Slack, Reference: Block Kit). Pure functions.

Text from outside is in `plain_text` objects, where neither mentions nor markup exist; a text with a date is a `mrkdwn`
object in which markup is made literal. The top-level `text`, which notifications and screen readers use, is a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ButtonElement,
    ContextBlock,
    HeaderBlock,
    MarkdownTextObject,
    PlainTextObject,
    SectionBlock,
    TextObject,
)

from sinks.chat import wording
from sinks.chat.content import Content, Line
from sinks.chat.decisions import Stamp
from sinks.chat.service import Marker
from sinks.chat.text import LAST_TIME_MS, clean, cut, utc_time

Message: TypeAlias = dict[str, Any]
"""The content arguments of chat.postMessage: `text`, `blocks`, `metadata`."""

EVENT_TYPE = "hireflix_notifier"
"""The type of our metadata (Slack, Message metadata)."""
_DELIVERY_ID = "k"
_CALL = "r"
"""Names in our metadata, which messages of earlier releases have, too; `v` is its version."""
HEADER_UNITS = 140
"""Slack takes 150."""
TEXT_UNITS = 400
"""Slack accepts 2,000 in a field; users do not read that much."""
DECIDE = "decide-"
"""Prefix of the `action_id` of buttons for decisions, before the choice."""
LINE_UNITS = 290
"""Most UTF-16 units of a line of a list."""
LINES_PER_BLOCK = 10
"""Slack takes 3,000 characters in a text; a section with more than a screen is folded."""
LABEL_UNITS = 40

_CUT_ENTITY = re.compile(r"&[a-z]{0,3}…\Z")
_USER = re.compile(r"[UWS][A-Z0-9]{2,30}")
_MARKERS = re.compile(r"[*_~`]")


def render(content: Content) -> Message:
    """Returns the content as text and blocks. Raises `SlackObjectFormationError` when Slack would not accept a
    block.
    """
    blocks: list[Block] = []
    if content.headline:
        headline = safe(wording.in_utc(content.headline), HEADER_UNITS)
        blocks.append(HeaderBlock(text=_plain(headline)))
    text = _text(content.text)
    if text is not None:
        blocks.append(SectionBlock(text=text))
    blocks += _lines(content.lines, content.button)
    fields = _fields(content)
    if fields:
        blocks.append(SectionBlock(fields=fields))
    if content.panel.stamp is not None:
        blocks.append(ContextBlock(elements=[_mrkdwn(stamp_text(content.panel.stamp))]))
    buttons = [
        ButtonElement(text=_plain(button.label), action_id=f"{DECIDE}{button.choice}", value=button.value)
        for button in content.panel.buttons
    ]
    if content.link:
        label = _plain(safe(content.button, LABEL_UNITS))
        buttons.append(ButtonElement(text=label, action_id="open", url=content.link))
    if buttons:
        blocks.append(ActionsBlock(elements=buttons))
    small = [text for text in (_text(content.footer), _text(content.change)) if text is not None]
    if small:
        blocks.append(ContextBlock(elements=small))
    return {"text": notification(content), "blocks": [block.to_dict() for block in blocks]}


def notification(content: Content) -> str:
    """Returns the content as a phone shows it: the headline and then the text of the change, or the text."""
    parts = [content.notification or content.text or content.footer, content.change]
    return ". ".join(mrkdwn(part) for part in parts if part)


def as_sentence(content: Content) -> Message:
    """Returns the content as text only."""
    parts = [
        notification(content),
        mrkdwn(content.text) if content.notification else "",
        *(literal(safe(line.text, LINE_UNITS)) for line in content.lines),
        *(f"{literal(safe(label, LABEL_UNITS))}: {mrkdwn(value)}" for label, value in content.facts),
    ]
    if content.panel.stamp is not None:
        parts.append(stamp_text(content.panel.stamp))
    return {"text": ". ".join(part for part in parts if part)}


def stamp_text(stamp: Stamp) -> str:
    """Returns who decided; Slack shows the name of the user to each reader. An edit sends no notification."""
    return literal(safe(stamp.text, TEXT_UNITS)).replace("{user}", user_mention(stamp.user))


def user_mention(user: str) -> str:
    """A user or a user group by its id (Slack, Formatting message text, mentions); any other text as it is."""
    if not _USER.fullmatch(user):
        return literal(safe(user, LABEL_UNITS))
    return f"<!subteam^{user}>" if user.startswith("S") else f"<@{user}>"


def metadata(marker: Marker) -> Message:
    """Returns the metadata by which a search finds the message (Slack, Message metadata). It has only opaque ids."""
    payload = {"v": 1, _DELIVERY_ID: marker.delivery_id, _CALL: marker.call, **marker.subject}
    return {"metadata": {"event_type": EVENT_TYPE, "event_payload": payload}}


def with_mention(message: Message, mention: str) -> Message:
    """Returns the message with a mention from the configuration, in its blocks only, so that it notifies once."""
    if not mention:
        return message
    if "blocks" not in message:
        return {**message, "text": f"{mention} {message['text']}"}
    *others, last = message["blocks"]
    element = _mrkdwn(mention).to_dict()
    if last["type"] == ContextBlock.type:  # in the line that is there, so that the message does not grow
        return {**message, "blocks": [*others, {**last, "elements": [*last["elements"], element]}]}
    return {**message, "blocks": [*others, last, ContextBlock(elements=[_mrkdwn(mention)]).to_dict()]}


def without_cause(message: Message, error: str) -> Message:
    """Returns the message without the parts that `error` may be about: its blocks, and its metadata if the error names
    it.
    """
    dropped = {"blocks", "metadata"} if "metadata" in error else {"blocks"}
    return {name: value for name, value in message.items() if name not in dropped}


def marker_of(message: Mapping[str, Any]) -> tuple[str, int]:
    """Returns the delivery id in the metadata of a message (`""` for other messages), and the number of its call."""
    data = message.get("metadata")
    payload = data.get("event_payload") if isinstance(data, dict) and data.get("event_type") == EVENT_TYPE else None
    if not isinstance(payload, dict):
        return "", 1
    call = payload.get(_CALL)
    return str(payload.get(_DELIVERY_ID, "")), call if isinstance(call, int) else 1


def escape(text: str) -> str:
    """Escapes the three characters that Slack reads as control sequences (Slack, Formatting message text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def safe(text: str, most: int) -> str:
    """Returns text from outside for any place in a message: cleaned, escaped, and cut to `most` units, not inside of an
    entity.
    """
    return _CUT_ENTITY.sub("…", cut(escape(clean(text, most)), most))


def literal(text: str) -> str:
    """Makes `* _ ~` and back-ticks literal. mrkdwn has no escape for them, but they do not format after a word
    joiner.
    """
    return _MARKERS.sub("\u2060\\g<0>", text)


def date(at_ms: int) -> str:
    """Returns epoch milliseconds as a date in the reader's time zone (Slack, Formatting message text, date
    formatting).
    """
    if not 0 <= at_ms <= LAST_TIME_MS:
        return "?"
    return f"<!date^{at_ms // 1000}^{{date_short_pretty}}, {{time}}|{utc_time(at_ms)}>"


def mrkdwn(rendered: str) -> str:
    """Returns rendered text for a `mrkdwn` object, with literal markup and times as dates."""
    parts = wording.parts(rendered)
    return "".join(date(part) if isinstance(part, int) else _literal_part(part) for part in parts).strip()


def _literal_part(part: str) -> str:
    before = " " if part[:1].isspace() else ""
    after = " " if part[-1:].isspace() else ""
    return f"{before}{literal(safe(part, TEXT_UNITS))}{after}"


def _lines(lines: Sequence[Line], button_text: str) -> Iterator[Block]:
    """Returns sections with as many lines as fit. A line with a link has a section of its own with the button."""
    for has_link, group in groupby(enumerate(lines), key=lambda item: bool(item[1].link)):
        numbered = list(group)
        if has_link:
            for number, line in numbered:
                button = ButtonElement(
                    text=_plain(safe(button_text, LABEL_UNITS)), action_id=f"open-{number}", url=line.link
                )
                yield SectionBlock(text=_plain(safe(line.text, LINE_UNITS)), accessory=button)
        else:
            for start in range(0, len(numbered), LINES_PER_BLOCK):
                shown = [safe(line.text, LINE_UNITS) for _, line in numbered[start : start + LINES_PER_BLOCK]]
                yield SectionBlock(text=_plain("\n".join(shown)))


def _fields(content: Content) -> list[TextObject]:
    """Returns the facts in two columns. Label and value are separate objects, so that the value is outside of the
    label's markup.
    """
    shown = [(label, _text(value)) for label, value in content.facts]
    return [
        item
        for label, value in shown
        if value is not None
        for item in (_mrkdwn(f"*{literal(safe(label, LABEL_UNITS))}*"), value)
    ]


def _text(rendered: str) -> TextObject | None:
    """Returns a text object: `plain_text`, or `mrkdwn` if it contains a time; `None` without text."""
    if wording.has_moment(rendered):
        return _mrkdwn(mrkdwn(rendered))
    text = safe(rendered, TEXT_UNITS)
    return _plain(text) if text else None


def _plain(text: str) -> PlainTextObject:
    return PlainTextObject(text=text, emoji=False)


def _mrkdwn(text: str) -> MarkdownTextObject:
    return MarkdownTextObject(text=text, verbatim=True)
