"""Hireflix over real HTTP: an account with positions and interviews, its GraphQL API and its webhooks.

Types and operations are those of `connector.hireflix.api`. The operations for webhooks are in no documentation; their
names here are invented, and the connector must find them by introspection.
"""

from __future__ import annotations

from connector.emulators.hireflix.account import Account
from connector.emulators.hireflix.server import HireflixEmulator

__all__ = ["Account", "HireflixEmulator"]
