"""Errors of Slack methods."""

from __future__ import annotations

from typing import Any


class SlackError(Exception):
    """`{"ok": false, "error": …}` with the other fields that Slack adds."""

    def __init__(self, error: str, **extra: Any) -> None:
        super().__init__(error)
        self.error = error
        self.extra = extra

    @property
    def body(self) -> dict[str, Any]:
        return {"ok": False, "error": self.error, **self.extra}


class Limited(SlackError):
    """HTTP 429 with `Retry-After`."""

    def __init__(self, seconds: int) -> None:
        super().__init__("ratelimited")
        self.seconds = seconds


def invalid_blocks(errors: list[str]) -> SlackError:
    messages = [f"[ERROR] {error}" for error in errors]
    return SlackError("invalid_blocks", errors=errors, response_metadata={"messages": messages})
