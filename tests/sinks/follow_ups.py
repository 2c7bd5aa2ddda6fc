"""The follow-ups of a result in a short form."""

from __future__ import annotations

from datetime import timedelta

from connector.sink import Result


def asked(result: Result) -> dict[str, timedelta]:
    """The delay of each follow-up, by the interview that it is about, else by its purpose."""
    return {each.interview or each.purpose: each.after for each in result.follow_ups}
