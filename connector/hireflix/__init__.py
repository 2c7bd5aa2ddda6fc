"""The source: payloads and signatures of Hireflix webhooks (Hireflix, Webhooks, Getting started)."""

from __future__ import annotations

CREATE = "interview.create"
FINISH = "interview.finish"
STATUS_CHANGE = "interview.status-change"
DELETE = "interview.delete"
SCORE_UPDATED = "interview.score-updated"

EVENT_NAMES = frozenset({CREATE, FINISH, STATUS_CHANGE, DELETE, SCORE_UPDATED})
"""The five events of Hireflix. Events with other names are stored and listed, but neither merged nor routed."""
