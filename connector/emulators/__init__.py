"""Emulators of Google, Slack and Hireflix over real HTTP, with their limits, error bodies and faults."""
