"""Fixtures and hooks for all tests."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from connector.logging import MUTED, QUIET, SERVER
from tests import network
from tests.entry_points import declared, installed
from tests.postgres import empty_store, run_folder

# the same examples at every run: a change is tested by the same examples each time; `make chaos` searches further
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("chaos", deadline=None, max_examples=500)
settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """Stops when the installed sinks are not those of pyproject.toml, which an editable install does not notice.

    Makes the folder of the run before there are workers, so that all share it and it is gone when the run ends.
    """
    if declared() != installed():
        command = "pip install --no-deps --no-build-isolation --editable ."
        pytest.exit(f"pyproject.toml declares other sinks than are installed; run `make install`, or `{command}`", 4)
    run_folder()
    # the workers, and the hundreds of processes that tests start, compile each module once instead of every time
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    network.guard()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the flows first, because they mostly wait, so that short tests run meanwhile."""
    items.sort(key=lambda item: "/tests/flows/" not in str(item.path))


def pytest_collection_finish() -> None:
    """What was collected stays until the end, so the garbage collector need not look at it again and again."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """The logging that a test or a command sets up ends with the test, because its stream is closed then."""
    loggers = [logging.getLogger(name) for name in ("", *QUIET, *MUTED, SERVER)]
    before = [(logger.level, logger.handlers[:], logger.filters[:]) for logger in loggers]
    was_configured, configured = structlog.is_configured(), structlog.get_config()
    yield
    for logger, (level, handlers, filters) in zip(loggers, before, strict=True):
        if logger.level != level:  # it clears a cache of every logger, which takes longer than many a test
            logger.setLevel(level)
        logger.handlers[:], logger.filters[:] = handlers, filters
    structlog.reset_defaults()
    if was_configured:
        structlog.configure(**configured)


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    """No test connects to another machine, also not in a thread of a library."""
    network.attempts.clear()
    yield
    assert network.attempts == []


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """An empty store on a real PostgreSQL."""
    with empty_store() as url:
        yield url
