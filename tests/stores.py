"""A store for a test: a real SQLite file with the current schema, made without a child process."""

from connector.testing.lane import make_store_file

__all__ = ["make_store_file"]
