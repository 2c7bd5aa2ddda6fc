"""The phrases of messages in the language of the chat. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connector.languages import Language, gettext_noop, ngettext_noop
from connector.sink import STAGE_WORDS, Interview, Stage
from sinks.chat.changes import SCORED, Announcement, Change, ChangeKind
from sinks.chat.text import clean

SCALE = (0.5, 5)
"""Least and greatest score in Hireflix (Hireflix MCP server, scoring an interview)."""
SCORE_BOUND = 1_000_000
"""A greater score has a wrong unit, and is shown as a question mark."""
STAGE_UNITS = 40
"""Most UTF-16 units of an unknown stage, which is text from outside."""
_KNOWN_WORDS = frozenset(STAGE_WORDS.values())
_PHRASES: Mapping[Stage, str] = {
    Stage.PENDING: gettext_noop("was invited"),
    Stage.TO_EVALUATE: gettext_noop("finished the interview"),
    Stage.SHORTLISTED: gettext_noop("was shortlisted"),
    Stage.DISCARDED: gettext_noop("was discarded"),
    Stage.DELETED: gettext_noop("was deleted"),
}
_SHORT_PHRASES: Mapping[Stage, str] = {Stage.TO_EVALUATE: gettext_noop("finished")}
"""The phrases that are shorter in a notification."""
_STAGES = {
    ChangeKind.FINISHED: Stage.TO_EVALUATE,
    ChangeKind.INVITED: Stage.PENDING,
    ChangeKind.DELETED: Stage.DELETED,
}
"""The stage whose phrase says what a change is."""
_DECISIONS = (Stage.SHORTLISTED, Stage.DISCARDED)
_FIGURES = {
    "scored": ngettext_noop("{count} scored", "{count} scored"),
    "shortlisted": ngettext_noop("{count} shortlisted", "{count} shortlisted"),
    "discarded": ngettext_noop("{count} discarded", "{count} discarded"),
    "moved": ngettext_noop("{count} moved to another stage", "{count} moved to another stage"),
    "updates": ngettext_noop("{count} update", "{count} updates"),
    "invited": ngettext_noop("{count} invited", "{count} invited"),
}
"""Figures of a digest in their order, after those who finished. `updates` is in notes of earlier releases."""
_CHANGES = {
    ChangeKind.FINISHED: gettext_noop("Finished the interview"),
    ChangeKind.INVITED: gettext_noop("Invited"),
    ChangeKind.DELETED: gettext_noop("Deleted"),
}


def score_text(score: float | None, language: Language) -> str:
    """Returns a score as text, `""` without one."""
    if score is None:
        return ""
    return language.number(score) if abs(score) < SCORE_BOUND else "?"


def score_with_scale(score: float | None, language: Language) -> str:
    """Returns a score with its scale. Outside of Hireflix's scale (0.5 to 5) it returns only the number, because the
    team uses another scale.
    """
    text = score_text(score, language)
    if score is None or not SCALE[0] <= score <= SCALE[1]:
        return text
    return language.gettext("{score} of {most}").format(score=text, most=SCALE[1])


def stage_text(interview: Interview, language: Language) -> str:
    """Returns the stage in the language of the chat, cleaned."""
    return clean(interview.stage_in(language), STAGE_UNITS) or language.gettext("Unknown")


def phrase(
    interview: Interview, language: Language, announcement: Announcement | None = None, *, short: bool = False
) -> str:
    """Returns the end of a headline: the announced change, or the latest step. `short` is for notifications."""
    phrases = {**_PHRASES, **_SHORT_PHRASES} if short else _PHRASES
    if announcement is None or interview.stage is Stage.DELETED:
        return _progress(interview, language, phrases)
    if announcement.kind is ChangeKind.SCORE:
        return _scored(announcement.score, language)
    if announcement.kind is ChangeKind.STAGE and interview.stage in _DECISIONS:
        return _progress(interview, language, phrases)
    if announcement.kind is ChangeKind.STAGE:
        return _is_at(interview, language)
    return language.gettext(phrases[_STAGES[announcement.kind]])


def change_text(announcement: Announcement, language: Language) -> str:
    """Returns the text of the changes, which contains text from outside."""
    return " · ".join(_change(change, language) for change in announcement.changes)


def text_beyond_headline(announcement: Announcement, language: Language) -> str:
    """Returns the text of the changes without the one that the headline shows completely; `""` when it shows all."""
    first, *others = announcement.changes
    is_shown = first.kind in _CHANGES or (first.kind is ChangeKind.SCORE and not first.before)
    return " · ".join(_change(change, language) for change in (others if is_shown else announcement.changes))


def and_more(count: int, language: Language) -> str:
    """Returns the end of a list of which `count` entries are not shown."""
    return language.ngettext("and {count} more", "and {count} more", count).format(count=language.number(count))


def digest_summary(counts: Mapping[str, int], names: Sequence[str], language: Language) -> str:
    """Returns the counts of a digest as a sentence, with the names of candidates who finished."""
    parts = [_finished(counts.get("finished", 0), names, language)]
    for figure, (singular, plural) in _FIGURES.items():
        count = counts.get(figure, 0)
        if count:
            parts.append(language.ngettext(singular, plural, count).format(count=language.number(count)))
    return " · ".join(part for part in parts if part) or language.gettext("nothing new")


def _finished(count: int, names: Sequence[str], language: Language) -> str:
    if not count:
        return ""
    text = language.ngettext("{count} finished", "{count} finished", count).format(count=language.number(count))
    if not names:
        return text
    more = count - len(names)
    return f"{text}: {', '.join(names)}" + (f" {and_more(more, language)}" if more > 0 else "")


def _progress(interview: Interview, language: Language, phrases: Mapping[Stage, str]) -> str:
    """Returns the latest step of the interview: a decision, else the newest event."""
    is_scored = interview.text("last_event") == SCORED and interview.score is not None
    if is_scored and interview.stage in {Stage.PENDING, Stage.TO_EVALUATE}:
        return _scored(interview.score, language)
    known = phrases.get(interview.stage)
    return language.gettext(known) if known else _is_at(interview, language)


def _is_at(interview: Interview, language: Language) -> str:
    return language.gettext("is at {stage}").format(stage=stage_text(interview, language))


def _scored(score: float | None, language: Language) -> str:
    if score is None:
        return language.gettext("has no score any more")
    return language.gettext("was scored {score}").format(score=score_with_scale(score, language))


def _change(change: Change, language: Language) -> str:
    if change.kind is ChangeKind.STAGE:
        before, after = (_stage_word(word, language) for word in (change.before, change.after))
        return language.gettext("Stage {before} → {after}").format(before=before, after=after)
    if change.kind is ChangeKind.SCORE:
        return _score_change(change, language)
    return language.gettext(_CHANGES[change.kind])


def _score_change(change: Change, language: Language) -> str:
    before, after = (_number(score, language) for score in (change.before, change.after))
    if not before:
        return language.gettext("Score {score}").format(score=after)
    if not after:
        return language.gettext("Score {before} removed").format(before=before)
    return language.gettext("Score {before} → {after}").format(before=before, after=after)


def _number(score: str | float | None, language: Language) -> str:
    return score_text(score, language) if isinstance(score, int | float) else ""


def _stage_word(word: str | float | None, language: Language) -> str:
    """Returns a stage by its English word. The word of an unknown stage comes from outside and is not translated."""
    text = str(word or "")
    return language.gettext(text) if text in _KNOWN_WORDS else clean(text, STAGE_UNITS) or "?"
