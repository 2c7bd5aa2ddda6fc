"""An HTML page that shows a channel."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from typing import Any

from connector.emulators.slack.workspace import Channel, Message

STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:46rem;margin:2rem auto;color:#1d1c1d;padding:0 1rem}
main{padding-top:1px}article{border:1px solid #ddd;border-radius:8px;padding:.6rem 1rem;margin:.8rem 0}
article.reply{margin-left:2rem}
h3{margin:.2rem 0}small{color:#616061}.fields{display:grid;grid-template-columns:1fr 1fr;gap:.2rem 1rem}
.button{display:inline-block;border:1px solid #888;border-radius:4px;padding:.1rem .6rem;margin-top:.4rem}"""
DATE = re.compile(r"<!date\^(\d+)\^[^|]*\|([^>]*)>")


def page(channel: Channel) -> str:
    body = "".join(_message(message) for message in channel.messages.values()) or "<p>No messages.</p>"
    name = html.escape(channel.name)
    return (
        f"<!doctype html><meta charset=utf-8><meta name=viewport content=width=device-width>"
        f"<meta http-equiv=refresh content=2><title>#{name}</title>"
        f"<style>{STYLE}</style><h1>#{name}</h1>"
        f"<main id=messages>{body}</main>"
    )


def _message(message: Message) -> str:
    when = datetime.fromtimestamp(float(message.ts), tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    kind = ' class="reply"' if message.is_reply else ""
    marks = " · edited" if message.edited else ""
    inner = "".join(_block(block) for block in message.blocks) or f"<p>{_mrkdwn(message.text)}</p>"
    return f"<article{kind}><small>{when} · {message.ts}{marks}</small>{inner}</article>"


def _block(block: dict[str, Any]) -> str:
    kind = block["type"]
    if kind == "header":
        return f"<h3>{_text(block['text'])}</h3>"
    if kind == "context":
        return f"<small>{' '.join(_text(item) for item in block['elements'])}</small>"
    if kind == "actions":
        return "".join(f'<span class="button">{_text(item["text"])}</span>' for item in block["elements"])
    if kind == "section":
        text = f"<p>{_text(block['text'])}</p>" if "text" in block else ""
        fields = "".join(f"<div>{_text(item)}</div>" for item in block.get("fields", []))
        return f'{text}<div class="fields">{fields}</div>'
    return f"<pre>{html.escape(str(block))}</pre>"


def _text(item: dict[str, Any]) -> str:
    if item.get("type") == "mrkdwn":
        return _mrkdwn(item["text"])
    return html.escape(html.unescape(str(item.get("text", ""))))


def _mrkdwn(text: str) -> str:
    dated = DATE.sub(lambda found: _date(int(found[1]), found[2]), text)
    plain = html.escape(html.unescape(dated))
    return re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", plain).replace("\n", "<br>")


def _date(seconds: int, fallback: str) -> str:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%d %b %Y at %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return fallback
