"""The source: what Hireflix sends, how it signs, and how we read it (Hireflix, Webhooks, Getting started)."""

from __future__ import annotations

CREATE = "interview.create"
FINISH = "interview.finish"
STATUS_CHANGE = "interview.status-change"
DELETE = "interview.delete"
SCORE_UPDATED = "interview.score-updated"

EVENT_NAMES = frozenset({CREATE, FINISH, STATUS_CHANGE, DELETE, SCORE_UPDATED})
"""The five events that can be selected in Hireflix. Any other name is stored and shown, neither merged nor routed."""
