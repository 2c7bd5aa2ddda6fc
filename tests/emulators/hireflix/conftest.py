from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from connector.emulators.hireflix import Account, HireflixEmulator
from connector.hireflix.api import HireflixApi
from connector.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def account(clock: ManualClock) -> Account:
    return Account(clock.now)


@pytest.fixture
def hireflix(account: Account) -> Iterator[HireflixEmulator]:
    with HireflixEmulator(account) as emulator:
        yield emulator


@pytest.fixture
async def api(hireflix: HireflixEmulator) -> AsyncIterator[HireflixApi]:
    async with HireflixApi(hireflix.key, hireflix.api_url, now=hireflix.account.now, sleep=at_once) as one:
        yield one


async def at_once(_: float) -> None:
    """Waits for nothing."""
