"""Runnable side-by-side measurements; `python -m benchmarks` runs them all. See README.md here."""
