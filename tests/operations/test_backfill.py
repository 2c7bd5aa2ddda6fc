"""A backfill brings every existing interview of Hireflix into the store, once and silently."""

from __future__ import annotations

import pytest

from connector.errors import UsageError
from connector.hireflix.api import HireflixUnavailable
from connector.interview import Stage
from connector.operations.backfill import Selection
from connector.operations.source import OtherAccount
from connector.routing import Route
from connector.store import source as documents
from connector.store.ingest import FILL_PRIORITY
from tests.operations.hireflix_world import DAY, HOUR, fill, source_at


@pytest.fixture
async def source(tmp_path):
    async with source_at(tmp_path) as one:
        yield one


async def test_every_interview_has_the_stage_of_hireflix(source):
    fill(source.account, positions=3, interviews=150)

    result = await source.backfill()

    assert await source.stages() == source.stages_in_hireflix()
    assert (result.read, result.total, result.added) == (450, 450, 450)


async def test_the_sheet_gets_every_interview_and_the_chat_nothing(source):
    fill(source.account)

    await source.backfill()

    assert len(await source.deliveries("sheet")) == 60
    assert await source.deliveries("chat") == []


async def test_new_events_come_before_the_backfill_in_the_queue(source):
    fill(source.account)

    await source.backfill()

    assert {row.priority for row in await source.deliveries("sheet")} == {FILL_PRIORITY}


async def test_a_message_that_the_chat_shows_is_updated_silently(source):
    position = source.account.add_position("Baker")
    found, invited = source.account.invite(position, "Ana García")
    await source.receive(invited)
    source.clock.advance(HOUR)
    source.account.complete(found)

    await source.backfill()

    assert [row.silent for row in await source.deliveries("chat")] == [0, 1]


async def test_a_sheet_for_one_kind_of_event_shows_what_its_route_would_have_let_in(tmp_path):
    async with source_at(tmp_path, (Route(("sheet",), events=("interview.delete",)),)) as source:
        fill(source.account)

        await source.backfill()

        assert len(await source.deliveries("sheet")) == 60


async def test_an_event_of_a_backfill_is_marked_and_has_the_date_of_the_last_change(source):
    position = source.account.add_position("Baker")
    found, _ = source.account.invite(position, "Ana García", at=source.clock.now() - 5 * DAY * 1000)
    source.account.complete(found, at=source.clock.now() - 2 * DAY * 1000)

    await source.backfill()

    [row] = await source.events()
    assert (row.mark, row.occurred_at) == ("backfill", found.updated_at)


async def test_the_fields_are_those_of_a_webhook(source):
    position = source.account.add_position("Baker")
    found, _ = source.account.invite(position, "Ana García Núñez")
    completed = source.account.complete(found)
    await source.backfill()
    made = await source.values(found.id)

    assert made["candidate_name"] == "Ana García Núñez"
    assert made["position_name"] == "Baker"
    assert made["completed"] == found.completed
    assert made["review_url"] in completed.decode()


async def test_a_second_backfill_changes_nothing(source):
    fill(source.account)
    await source.backfill()
    before = await source.events(), await source.deliveries("sheet")

    result = await source.backfill()

    assert result.added == 0
    assert (await source.events(), await source.deliveries("sheet")) == before


async def test_a_backfill_after_all_webhooks_changes_nothing(source):
    position = source.account.add_position("Baker")
    found, invited = source.account.invite(position, "Ana García")
    await source.receive(invited, source.account.complete(found), source.account.rate(found, 4))
    await source.receive(source.account.shortlist(found))

    result = await source.backfill()

    assert result.added == 0


async def test_an_interrupted_backfill_continues_after_the_last_page(source):
    fill(source.account, positions=3, interviews=150)
    pages = []

    def killed_at_fourth(done, _total):
        pages.append(done)
        if len(pages) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await source.backfill(progress=killed_at_fourth)
    calls = source.server.calls["List"]

    result = await source.backfill()

    assert await source.stages() == source.stages_in_hireflix()
    assert (result.read, result.added) == (450, 450)
    assert source.server.calls["List"] - calls < calls + 3


async def test_an_outage_keeps_the_progress(source):
    fill(source.account, positions=2, interviews=150)
    real = source.store.offer
    source.store.offer = lambda *_: (_ for _ in ()).throw(HireflixUnavailable("away"))
    with pytest.raises(HireflixUnavailable):
        await source.backfill()
    source.store.offer = real

    assert (await source.backfill()).added == 300


async def test_only_the_selected_positions_are_read(source):
    fill(source.account)

    result = await source.backfill(Selection(positions=["position 1"]))

    assert result.read == 30
    assert {row.interview_id for row in await source.events()} == {
        each.id for each in source.account.interviews.values() if each.position_id == list(source.account.positions)[1]
    }


async def test_an_unknown_position_is_an_error_with_the_known_ones(source):
    fill(source.account)

    with pytest.raises(UsageError, match="Position 0, Position 1"):
        await source.backfill(Selection(positions=["Chef"]))


async def test_with_since_older_invitations_are_not_read(source):
    position = source.account.add_position("Baker")
    for days in range(250):
        source.account.invite(position, f"Ana {days}", at=source.clock.now() - days * DAY * 1000)

    result = await source.backfill(Selection(since=source.clock.now() - 10 * DAY * 1000))

    assert result.added == 11
    assert source.server.calls["List"] == 2


async def test_a_listing_without_fields_of_the_stage_is_read_by_stage(tmp_path):
    without = ("archived", "discardedAt", "finalist", "shortlistedAt")
    async with source_at(tmp_path, without=without) as source:
        fill(source.account)

        await source.backfill()

        assert await source.stages() == source.stages_in_hireflix()


async def test_a_key_of_another_account_is_refused(source):
    fill(source.account)
    await source.backfill()
    source.account.positions.clear()
    source.account.interviews.clear()
    fill(source.account)

    with pytest.raises(OtherAccount, match="another Hireflix account"):
        await source.backfill()


async def test_the_progress_is_in_the_store(source):
    fill(source.account)

    await source.backfill()

    stored = await source.store.query(
        lambda connection: documents.read(connection, documents.BACKFILL_KEY, documents.Backfill)
    )
    assert (stored.read, stored.finished_at) == (60, source.clock.now())


async def test_an_interview_of_a_backfill_moves_on_with_later_webhooks(source):
    position = source.account.add_position("Baker")
    found, _ = source.account.invite(position, "Ana García")
    await source.backfill()
    source.clock.advance(HOUR)

    await source.receive(source.account.complete(found))

    assert await source.stages() == {found.id: Stage.TO_EVALUATE}
    assert [row.silent for row in await source.deliveries("chat")] == [0]
