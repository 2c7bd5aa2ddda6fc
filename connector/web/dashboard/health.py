"""The verdict and the troubles at the top of every page: each problem with its effect, its fix, and the reply of the
destination.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from connector.languages import Language
from connector.operations.status import Health, Trouble
from connector.web.dashboard.words import sentence

SHOWN_MAX = 3
"""Troubles that every page shows; the page of the sinks has all."""
MARKS = {"problem": "bad", "warning": "warn", "ok": "ok"}
"""The class for colour and shape of each level."""
GENERAL = {"service", "source"}
"""Subjects of troubles that are not about a sink."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One trouble as a page shows it. `answer` is the reply of the destination."""

    mark: str
    subject: str
    what: str
    effect: str
    fix: str
    answer: str
    link: str
    link_text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of everything in a few words."""

    mark: str
    text: str


def shown(trouble: Trouble) -> Shown:
    """Returns a trouble as a page shows it."""
    status = "" if trouble.status is None else f"HTTP {trouble.status} "
    return Shown(
        MARKS[trouble.level],
        "" if trouble.subject in GENERAL else trouble.subject,
        f"{sentence(trouble.what) if trouble.subject in GENERAL else trouble.what}.",
        f"{sentence(trouble.effect)}." if trouble.effect else "",
        _fix(trouble),
        f"{status}{trouble.answer}".strip(),
        *_link(trouble),
    )


def _fix(trouble: Trouble) -> str:
    """Returns what to do. A page has buttons for what the command line does with a command."""
    if trouble.subject in GENERAL or not trouble.fix.startswith("connector "):
        text = sentence(trouble.fix)
        return text if not text or text.endswith((".", "`", "?")) or text.startswith("connector ") else f"{text}."
    if "dead letter" in trouble.what:
        return "Read the reason, repair the cause, then replay or dismiss them."
    return "Resume it on its page." if trouble.what.startswith("paused") else "Verify and repair it on its page."


def _link(trouble: Trouble) -> tuple[str, str]:
    """Returns the address and the title of the page that shows more, or two empty texts."""
    if trouble.subject in GENERAL:
        return "", ""
    if "dead letter" in trouble.what:
        return f"/deliveries?{urlencode({'sink': trouble.subject, 'state': 'dead'})}", "Show them"
    return f"/sinks/{quote(trouble.subject)}", "Open the sink"


def verdict(health: Health, words: Language) -> Verdict:
    """Returns the verdict in a language."""
    problems = sum(trouble.level == "problem" for trouble in health.troubles)
    mark = MARKS[health.verdict]
    if problems:
        text = words.ngettext("{count} problem needs you", "{count} problems need you", problems)
        return Verdict(mark, text.format(count=words.number(problems)))
    if warnings := len(health.troubles):
        text = words.ngettext("{count} thing to look at", "{count} things to look at", warnings)
        return Verdict(mark, text.format(count=words.number(warnings)))
    if not health.source.events:
        return Verdict(mark, words.gettext("Ready for the first event"))
    pending = sum(sink.pending for sink in health.sinks)
    if not pending:
        return Verdict(mark, words.gettext("All in sync"))
    text = words.ngettext(
        "All in sync, {count} delivery on the way", "All in sync, {count} deliveries on the way", pending
    )
    return Verdict(mark, text.format(count=words.number(pending)))
