"""Hostile text that a candidate or a recruiter could type; sinks must render it harmless."""

from __future__ import annotations

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
"""Name -> text."""
