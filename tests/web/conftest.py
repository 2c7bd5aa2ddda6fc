"""Every test of the pages and the API: a disk with enough space."""

import shutil
from types import SimpleNamespace

import pytest


@pytest.fixture(autouse=True)
def disk(monkeypatch):
    """The free bytes and the size that every disk reports, so that no test depends on the disk of its machine."""
    numbers = [80_000_000_000, 100_000_000_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=numbers[0], total=numbers[1]))
    return numbers
