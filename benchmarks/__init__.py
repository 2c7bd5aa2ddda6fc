"""Benchmarks with comparisons. `python -m benchmarks` runs all of them; see README.md in this folder."""
