"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# the same examples at every run: a change is judged by itself, not by its luck; `make chaos` looks further
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
