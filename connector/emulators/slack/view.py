"""HTML pages: a channel, whose buttons a visitor can press, and a dialog."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from connector.emulators.page import form_page, live_page
from connector.emulators.slack.workspace import Channel, Ephemeral, Message

VISITOR = "UVISITOR"
"""The user who presses the buttons of the page."""
EPHEMERALS_MAX = 3
"""Most messages to the visitor alone that the page shows."""

STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:46rem;margin:2rem auto;color:#1d1c1d;padding:0 1rem}
main{padding-top:1px}article{border:1px solid #ddd;border-radius:8px;padding:.6rem 1rem;margin:.8rem 0}
article.reply{margin-left:2rem}
h3{margin:.2rem 0}small{color:#616061}.fields{display:grid;grid-template-columns:1fr 1fr;gap:.2rem 1rem}
.button{display:inline-block;border:1px solid #888;border-radius:4px;padding:.1rem .6rem;margin:.4rem .3rem 0 0;
background:none;font:inherit;color:inherit;text-decoration:none;cursor:pointer}
form{display:inline}textarea{display:block;width:100%;height:6rem;font:inherit}
aside{position:sticky;bottom:0;background:#fffbe6;border:1px solid #ddd;border-radius:8px;padding:.1rem 1rem}"""
USER = re.compile(r"<@(\w+)>")
DATE = re.compile(r"<!date\^(\d+)\^[^|]*\|([^>]*)>")


def page(channel: Channel, ephemerals: Sequence[Ephemeral] = ()) -> str:
    """Returns the messages of a channel, and the latest of those that only the visitor sees."""
    threads = sorted(channel.messages.values(), key=lambda each: (each.thread_ts or each.ts, each.ts))
    body = "".join(map(_message, threads)) or "<p>No messages.</p>"
    head = f"<h1>#{html.escape(channel.name)}</h1>"
    main = f"{head}<main id=messages>{body}</main>{_aside(channel, ephemerals)}"
    return live_page(f"#{channel.name}", STYLE, main)


def _aside(channel: Channel, ephemerals: Sequence[Ephemeral]) -> str:
    mine = [each.text for each in ephemerals if (each.channel, each.user) == (channel.id, VISITOR)]
    texts = "".join(f"<p>{_mrkdwn(text)}</p>" for text in mine[-EPHEMERALS_MAX:])
    return f"<aside><small>Only visible to you</small>{texts}</aside>" if texts else ""


def dialog(view: dict[str, Any], channel: str) -> str:
    """Returns a dialog with one text input as a form. `channel` is the address of the page to return to."""
    title, submit = (html.escape(view[name]["text"]) for name in ("title", "submit"))
    close = html.escape(view.get("close", {}).get("text", "Cancel"))
    [block] = view["blocks"]
    label, name = html.escape(block["label"]["text"]), html.escape(block["element"]["action_id"])
    hint = html.escape(block.get("hint", {}).get("text", ""))
    body = (
        f'<h1>{title}</h1><form method=post><label>{label}<textarea name="{name}" autofocus></textarea></label>'
        f"<p><small>{hint}</small></p><button class=button>{submit}</button>"
        f'<a class=button href="{html.escape(channel)}">{close}</a></form>'
    )
    return form_page(view["title"]["text"], STYLE, body)


def _message(message: Message) -> str:
    when = datetime.fromtimestamp(float(message.ts), tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    kind = ' class="reply"' if message.is_reply else ""
    marks = " · edited" if message.edited else ""
    inner = "".join(_block(block, message.ts) for block in message.blocks) or f"<p>{_mrkdwn(message.text)}</p>"
    return f"<article{kind} id=m{message.ts}><small>{when} · {message.ts}{marks}</small>{inner}</article>"


def _block(block: dict[str, Any], ts: str) -> str:
    kind = block["type"]
    if kind == "header":
        return f"<h3>{_text(block['text'])}</h3>"
    if kind == "context":
        return f"<small>{' '.join(_text(item) for item in block['elements'])}</small>"
    if kind == "actions":
        return "".join(_button(item, ts) for item in block["elements"])
    if kind == "section":
        text = f"<p>{_text(block['text'])}</p>" if "text" in block else ""
        fields = "".join(f"<div>{_text(item)}</div>" for item in block.get("fields", []))
        return f'{text}<div class="fields">{fields}</div>'
    return f"<pre>{html.escape(str(block))}</pre>"


def _button(item: dict[str, Any], ts: str) -> str:
    if "url" in item:
        return f'<a class="button" href="{html.escape(item["url"])}" rel=noreferrer>{_text(item["text"])}</a>'
    action = html.escape(item["action_id"])
    return (
        f'<form method=post><input type=hidden name=message value="{ts}">'
        f'<button class="button" id="{ts}-{action}" name=action value="{action}">{_text(item["text"])}</button></form>'
    )


def _text(item: dict[str, Any]) -> str:
    if item.get("type") == "mrkdwn":
        return _mrkdwn(item["text"])
    return html.escape(html.unescape(str(item.get("text", ""))))


def _mrkdwn(text: str) -> str:
    named = USER.sub(lambda found: "@you" if found[1] == VISITOR else f"@{found[1]}", text)
    dated = DATE.sub(lambda found: _date(int(found[1]), found[2]), named)
    plain = html.escape(html.unescape(dated))
    return re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", plain).replace("\n", "<br>")


def _date(seconds: int, fallback: str) -> str:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%d %b %Y at %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return fallback
