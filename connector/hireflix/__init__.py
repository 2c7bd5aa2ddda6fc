"""The source: payloads and signatures of Hireflix webhooks (Hireflix, Webhooks, Getting started)."""

from __future__ import annotations

from enum import StrEnum

API_URL = "https://api.hireflix.com/me"
"""The GraphQL API (help article "Integrate Hireflix with your ATS")."""

GREETING = b"This is the Hireflix webhook receiver. It works; Hireflix posts its events here.\n"
"""What a browser sees at the path of the webhook."""

CREATE = "interview.create"
FINISH = "interview.finish"
STATUS_CHANGE = "interview.status-change"
DELETE = "interview.delete"
SCORE_UPDATED = "interview.score-updated"

EVENT_NAMES = frozenset({CREATE, FINISH, STATUS_CHANGE, DELETE, SCORE_UPDATED})
"""The five events of Hireflix. Events with other names are stored and listed, but neither merged nor routed."""


class EnrichedField(StrEnum):
    """Fields of an interview that only the API of Hireflix has. `hireflix.enrich` names those that are read."""

    SHARE_URL = "share_url"
    """A link to the video. Anyone who has it can watch, without an account of Hireflix."""
    COMMENTS = "comments"
    REVIEWER_SCORES = "reviewer_scores"
    TRANSCRIPT = "transcript"
    """The text of the answers, and `transcript_language`."""
