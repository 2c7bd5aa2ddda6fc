"""Persistent state: events, interviews, deliveries, notes, leases and rate limits, on SQLite or PostgreSQL."""
