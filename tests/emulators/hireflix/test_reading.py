"""The API client reads an emulated account over real HTTP."""

from __future__ import annotations

import pytest

from connector.emulators.faults import BROKEN_JSON, DROP, HTML_503, REFUSE, Fault, FaultKind
from connector.emulators.hireflix import Account, HireflixEmulator
from connector.hireflix.api import Counters, HireflixApi, HireflixUnavailable, KeyRefused
from connector.interview import Stage

SECOND = 1000


async def at_once(_):
    """Waits for nothing."""


async def listed(api, position, **options):
    return [row["id"] async for page in api.pages(position.id, **options) for row in page.rows]


def client_of(emulator, key=None):
    return HireflixApi(key or emulator.key, emulator.api_url, now=emulator.account.now, sleep=at_once)


@pytest.fixture
def baker(account, clock):
    """A position with 250 interviews: 150 are pending, 60 to evaluate, 30 shortlisted and 10 discarded."""
    position = account.add_position("Baker")
    for number in range(250):
        found, _ = account.invite(position, f"Ana {number}", at=clock.now() - number * SECOND)
        if number < 100:
            account.complete(found)
        if number < 30:
            account.shortlist(found)
        elif number < 40:
            account.discard(found)
    return position


async def test_every_interview_of_all_pages_is_read_once(api, account, baker):
    assert sorted(await listed(api, baker)) == sorted(account.interviews)


async def test_a_repeated_cursor_ends_the_listing(api, hireflix, account, baker):
    hireflix.repeats_last_cursor = True

    assert sorted(await listed(api, baker)) == sorted(account.interviews)


async def test_a_listing_continues_after_a_cursor(api, account, baker):
    first = await anext(api.pages(baker.id))

    rest = await listed(api, baker, cursor=first.cursor)

    assert sorted([row["id"] for row in first.rows] + rest) == sorted(account.interviews)


async def test_counters_of_a_position_take_one_call(api, hireflix, baker):
    found = await api.counters(baker.id)

    assert found == Counters(
        250, {Stage.PENDING: 150, Stage.TO_EVALUATE: 60, Stage.SHORTLISTED: 30, Stage.DISCARDED: 10}
    )
    assert hireflix.calls.total() == 1


async def test_an_archived_position_is_listed_and_marked(api, account):
    account.add_position("Open")
    account.add_position("Closed").archived = 1

    assert [(each.name, each.is_archived) for each in await api.positions()] == [("Open", False), ("Closed", True)]


async def test_what_does_not_exist_is_none(api):
    assert await api.position("nothing") is None
    assert (await api.interview("nothing"))[0] is None
    assert await api.counters("nothing") is None


async def test_a_field_that_hireflix_does_not_know_is_left_out(account, baker):
    with HireflixEmulator(account, without=("completedAt", "hash")) as emulator:
        async with client_of(emulator) as api:
            page = await anext(api.pages(baker.id))

    assert api.unknown_fields == ["completedAt", "hash"]
    assert "completed" in page.rows[0]


async def test_an_unknown_field_costs_one_more_call_and_no_call_later(account, baker):
    with HireflixEmulator(account, without=("completedAt", "hash")) as emulator:
        async with client_of(emulator) as api:
            await listed(api, baker)

    assert emulator.calls.total() == 5  # one refused, three pages, one empty


async def test_without_fields_of_the_stage_an_interview_is_found_by_the_filter(account, baker):
    without = ("archived", "discardedAt", "finalist", "shortlistedAt")
    with HireflixEmulator(account, without=without) as emulator:
        async with client_of(emulator) as api:
            shortlisted = await listed(api, baker, stage=Stage.SHORTLISTED)

    assert not api.knows_stages()
    assert sorted(shortlisted) == sorted(id_ for id_, each in account.interviews.items() if each.finalist)


async def test_a_filter_that_takes_a_text_is_used_as_well(account, baker):
    with HireflixEmulator(account, quoted_status=True) as emulator:
        async with client_of(emulator) as api:
            assert len(await listed(api, baker, stage=Stage.DISCARDED)) == 10


@pytest.mark.parametrize("fault", [HTML_503, REFUSE, DROP, BROKEN_JSON], ids=lambda fault: fault.kind)
async def test_a_failed_read_is_tried_again(api, hireflix, account, baker, fault):
    hireflix.faults.add(fault, fault)

    assert sorted(await listed(api, baker)) == sorted(account.interviews)


async def test_a_lasting_failure_is_reported_as_unavailable(api, hireflix):
    hireflix.faults.add(Fault(FaultKind.STATUS, times=100, status=502))

    with pytest.raises(HireflixUnavailable, match="HTTP 502"):
        await api.positions()


async def test_a_wrong_key_is_reported_with_the_setting_and_without_the_key(hireflix):
    async with client_of(hireflix, key="wrong-secret-key") as api:
        with pytest.raises(KeyRefused) as caught:
            await api.positions()

    assert "CONNECTOR_HIREFLIX__API_KEY" in str(caught.value)
    assert "wrong-secret-key" not in str(caught.value)


async def test_the_time_of_a_page_is_that_of_hireflix(clock):
    fast = Account(lambda: clock.now() + 3_600_000)
    position = fast.add_position("Baker")
    fast.invite(position, "Ana")
    with HireflixEmulator(fast) as emulator:
        async with HireflixApi(emulator.key, emulator.api_url, now=clock.now) as api:
            page = await anext(api.pages(position.id))

    assert 0 <= fast.now() - page.at < SECOND
