"""Decisions on interviews: the kinds, their values, and the request of a user. Pure.

A request is stored first. The service then carries it out by the API of Hireflix, see `connector.operations.decide`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from connector.errors import UsageError

SCORES = tuple(half / 2 for half in range(1, 11))
"""0.5 to 5 in half steps ("Scoring and commenting interviews")."""
COMMENT_MAX = 5000
"""Characters of a comment. No limit is documented; a mistake should not send a whole file."""
SHARE_DAYS_MAX = 10_000
"""A longer validity of a share link is probably a mistake."""


class Decision(StrEnum):
    """The kinds of decisions."""

    SHORTLIST = "shortlist"
    DISCARD = "discard"
    BACK = "back"
    """Back to the stage *to evaluate*."""
    SCORE = "score"
    COMMENT = "comment"
    SHARE = "share"
    """Create a link for viewers without an account, or return the existing one."""


class Via(StrEnum):
    """Where a user decided, as stored in `decision_request.via`."""

    COMMAND = "command"
    DASHBOARD = "dashboard"
    SHEET = "sheet"
    CHAT = "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRequest:
    """A decision that a user made.

    `key` identifies the request: a second request with the same key changes nothing. `value` is a score, a comment, the
    reason of a discard or the days of a share. `actor` is who decided, as in the audit log, such as `cli:ada`. `place`
    describes the request for the sink that it came from, without personal data. `hold` is why an operator must confirm
    the request first; without one it is carried out at once.
    """

    key: str
    interview_id: str
    decision: Decision
    actor: str
    via: Via
    value: str | None = None
    repeat: bool = False
    """Send a comment even if the interview already has one with the same text."""
    place: str = ""
    hold: str = ""


def require_valid(decision: Decision, value: str | None) -> None:
    """Raises `UsageError` when the value does not fit the decision."""
    if decision is Decision.SCORE:
        parse_score(value)
    elif decision is Decision.COMMENT and not (value or "").strip():
        raise UsageError("give the text of the comment")
    elif decision is Decision.SHARE and value is not None and not _is_days(value):
        raise UsageError("give the days that the link is valid, such as 365")
    elif decision in {Decision.SHORTLIST, Decision.BACK} and value is not None:
        raise UsageError(f"{decision} takes no value")
    if len(value or "") > COMMENT_MAX:
        raise UsageError(f"the text is longer than {COMMENT_MAX} characters")


def _is_days(value: str) -> bool:
    return value.isascii() and value.isdigit() and 0 < int(value) <= SHARE_DAYS_MAX


def parse_score(value: str | None) -> float | None:
    """Returns the score, `None` for `none`. Raises `UsageError`."""
    if value is not None and value.lower() == "none":
        return None
    try:
        found = float(value or "")
    except ValueError:
        found = 0.0
    if found not in SCORES:
        raise UsageError("give a score from 0.5 to 5 in half steps, or none to remove it")
    return found
