"""One SQLite file, one process: the embedded default."""
