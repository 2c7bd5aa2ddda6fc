"""Quotas per minute for reads and for writes (Google Sheets API, Usage limits)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from connector.emulators.google.errors import quota_exceeded


class Quotas:
    """Fixed windows of a minute. Off until `enabled`; a refused request is not counted. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.enabled = False
        self.per_user = 60
        self.per_project = 300
        self._used: Counter[tuple[str, str]] = Counter()
        self._window = -1

    def take(self, kind: str, user: str) -> None:
        """Counts a call of an account. Raises the 429 of Google when the quota of the account or project is used up."""
        if not self.enabled:
            return
        window = int(self.clock() // 60)
        if window != self._window:
            self._window = window
            self._used.clear()
        if self._used[kind, user] >= self.per_user:
            raise quota_exceeded(kind, "User", self.per_user)
        if self._used[kind, ""] >= self.per_project:
            raise quota_exceeded(kind, "Project", self.per_project)
        self._used.update([(kind, user), (kind, "")])

    def used(self, kind: str, user: str = "") -> int:
        """Calls counted in the running minute, by default those of the whole project."""
        return self._used[kind, user]
