"""A reconcile finds missed changes, and adds the events for it."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import select

from connector.interview import Stage
from connector.operations.source import OtherAccount
from connector.operations.status import health
from connector.store.erase import erase
from connector.store.schema import interview
from tests.operations.hireflix_world import DAY, HOUR, fill, source_at
from tests.postgres import empty_store


@pytest.fixture
async def source(tmp_path):
    async with source_at(tmp_path) as one:
        yield one


@pytest.fixture
async def synced(source):
    """A store with all of 60 interviews, and an hour later."""
    fill(source.account)
    await source.backfill()
    source.clock.advance(HOUR)
    return source


def some(source, stage):
    return next(found for found in source.account.interviews.values() if found.stage == stage)


async def troubles(source):
    """The problems that `connector status` shows."""
    found = await source.store.query(lambda connection: health(connection, source.clock.now(), None))
    return [trouble.what for trouble in found.troubles]


async def test_a_missing_interview_is_added(synced):
    position = next(iter(synced.account.positions.values()))
    found, _ = synced.account.invite(position, "Ana García")

    result = await synced.reconcile()

    assert result.added == {"interview": 1}
    assert (await synced.stages())[found.id] is Stage.PENDING


async def test_a_missed_completion_is_a_finish(synced):
    found = some(synced, "pending")
    synced.account.complete(found)

    result = await synced.reconcile()

    assert result.added == {"stage": 1}
    assert (await synced.events())[-1].name == "interview.finish"
    assert (await synced.stages())[found.id] is Stage.TO_EVALUATE


async def test_a_missed_decision_is_a_status_change_and_reaches_the_chat(synced):
    found = some(synced, "to_evaluate")
    synced.account.shortlist(found)

    await synced.reconcile()

    row = (await synced.events())[-1]
    assert (row.name, row.mark, row.occurred_at) == ("interview.status-change", "reconcile", found.updated_at)
    assert [each.silent for each in await synced.deliveries("chat")] == [0]


async def test_a_decision_that_was_undone_is_found(synced):
    found = some(synced, "shortlisted")
    synced.account.shortlist(found, wanted=False)

    await synced.reconcile()

    assert (await synced.stages())[found.id] is Stage.TO_EVALUATE


async def test_a_score_is_found_although_hireflix_gives_no_date_of_it(synced):
    found = some(synced, "to_evaluate")
    synced.account.rate(found, 3.5, touch=False)

    result = await synced.reconcile()

    assert result.added == {"score": 1}
    assert (await synced.values(found.id))["score"] == 3.5
    assert (await synced.events())[-1].name == "interview.score-updated"


async def test_a_new_address_of_a_candidate_is_found_although_hireflix_gives_no_date_of_it(synced):
    found = some(synced, "to_evaluate")
    found.email = "new@example.com"

    await synced.reconcile()

    assert (await synced.values(found.id))["candidate_email"] == "new@example.com"


async def test_a_score_that_was_removed_is_found(synced):
    found = some(synced, "shortlisted")
    synced.account.rate(found, None)

    await synced.reconcile()

    assert (await synced.values(found.id))["score"] is None


async def test_a_deleted_interview_is_found(synced):
    found = some(synced, "pending")
    synced.account.delete(found)

    result = await synced.reconcile()

    assert result.added == {"deletion": 1}
    assert (await synced.stages())[found.id] is Stage.DELETED


async def test_a_position_that_was_deleted_with_its_interviews_is_found(synced):
    position = synced.account.add_position("Short-lived")
    for number in range(8):
        synced.account.invite(position, f"Ana {number}")
    await synced.reconcile()
    synced.account.delete_position(position)

    result = await synced.reconcile()

    assert result.added == {"deletion": 8}
    assert sum(stage is Stage.DELETED for stage in (await synced.stages()).values()) == 8


async def test_an_interview_that_moved_before_its_position_was_deleted_is_not_deleted(synced):
    old = synced.account.add_position("Old")
    new = next(iter(synced.account.positions.values()))
    made = [synced.account.invite(old, f"Ana {number}")[0] for number in range(3)]
    await synced.reconcile()
    made[2].position_id = new.id
    synced.clock.advance(HOUR)
    made[2].updated_at = synced.clock.now()
    synced.account.delete_position(old)

    result = await synced.reconcile()

    assert result.added["deletion"] == 2
    assert (await synced.stages())[made[2].id] is Stage.PENDING


async def test_many_deletions_at_once_wait_for_an_operator(synced):
    synced.account.delete_position(next(iter(synced.account.positions.values())))

    held = await synced.reconcile()
    assert (held.held, held.added) == (30, {})
    assert "30 interviews are no longer in Hireflix" in await troubles(synced)

    accepted = await synced.reconcile(accept=True)
    assert (accepted.held, accepted.added) == (0, {"deletion": 30})


async def test_an_interview_that_a_listing_omits_is_not_deleted(synced):
    hidden = some(synced, "pending")
    real = synced.server._listed
    synced.server._listed = lambda *asked: _without(hidden.id, real(*asked))

    result = await synced.reconcile()

    assert result.added == {}


def _without(id_, listed):
    return listed | {"results": [row for row in listed["results"] if row["id"] != id_]}


async def test_a_new_name_of_a_position_reaches_the_sheet_without_a_notification(synced):
    position = next(iter(synced.account.positions.values()))
    position.name = "Head Baker"
    shown = len(await synced.deliveries("sheet"))

    result = await synced.reconcile()

    assert result.added == {"position_name": 30}
    assert {row.mark for row in (await synced.events())[-30:]} == {"correction"}
    assert len(await synced.deliveries("sheet")) == shown + 30
    assert await synced.deliveries("chat") == []


async def test_a_position_that_exists_and_is_not_listed_is_compared(synced):
    hidden = next(iter(synced.account.positions.values()))
    real = synced.api.positions
    synced.api.positions = lambda: _others(real, hidden.id)
    synced.account.complete(some(synced, "pending"))

    result = await synced.reconcile()

    assert (result.interviews, result.added) == (60, {"stage": 1})


async def _others(positions, hidden):
    return [each for each in await positions() if each.id != hidden]


async def test_a_second_reconcile_changes_nothing(synced):
    synced.account.complete(some(synced, "pending"))
    synced.account.delete(some(synced, "pending"))
    await synced.reconcile()

    assert (await synced.reconcile()).added == {}


async def test_without_a_difference_of_the_counters_no_page_is_read(synced):
    result = await synced.reconcile(complete=False)

    assert result.pages == 0
    assert synced.server.calls["Count"] == 2


async def test_with_a_difference_only_the_pages_of_that_position_are_read(synced):
    synced.account.complete(some(synced, "pending"))

    result = await synced.reconcile(complete=False)

    assert (result.pages, result.added) == (1, {"stage": 1})


async def test_a_renamed_position_is_renamed_in_every_row_and_no_chat_is_notified(synced):
    """No webhook reports it; without this a sheet has two names of one position until each interview changes."""
    position = next(iter(synced.account.positions.values()))
    position.name = "Ventas 2027"
    notified = len(await synced.deliveries("chat"))

    first = await synced.reconcile(complete=False)
    second = await synced.reconcile(complete=False)

    names = select(interview.c.position_name).where(interview.c.position_id == position.id).distinct()
    found = await synced.store.query(lambda connection: connection.execute(names).scalars().all())
    assert found == ["Ventas 2027"]
    assert (first.added.keys(), second.pages) == ({"position_name"}, 0)
    assert all(each.silent for each in (await synced.deliveries("chat"))[notified:])


async def test_a_difference_that_cannot_be_explained_is_read_only_once(synced):
    found = some(synced, "pending")
    await synced.store.write(lambda connection: erase(connection, found.id, [], synced.clock.now()))

    first = await synced.reconcile(complete=False)
    second = await synced.reconcile(complete=False)

    assert (first.pages, second.pages) == (1, 0)


async def test_later_events_do_not_restore_an_erased_person(synced):
    found = some(synced, "pending")
    await synced.store.write(lambda connection: erase(connection, found.id, [], synced.clock.now()))
    before = await synced.events()

    await synced.reconcile()

    assert await synced.events() == before


async def test_a_scheduled_run_leaves_the_last_two_minutes_to_the_webhooks(synced):
    synced.account.complete(some(synced, "pending"))
    synced.clock.advance(60)
    assert (await synced.reconcile(scheduled=True)).added == {}

    synced.clock.advance(90)
    assert (await synced.reconcile(scheduled=True)).added == {"stage": 1}


async def test_a_webhook_that_comes_after_its_reconcile_changes_nothing(synced):
    found = some(synced, "pending")
    late = synced.account.complete(found)
    await synced.reconcile()
    before = await synced.values(found.id)

    await synced.receive(late)

    after = await synced.values(found.id)
    assert {name: value for name, value in after.items() if name != "finished_at"} == {
        name: value for name, value in before.items() if name != "finished_at"
    }


async def test_a_row_that_is_older_than_a_webhook_changes_nothing(synced):
    """The page was read before the change, and compared after the webhook."""
    found = some(synced, "to_evaluate")
    reader = synced.reader("reconcile")
    position = synced.account.positions[found.position_id]
    page = await anext(synced.api.pages(position.id))
    synced.clock.advance(5)
    await synced.receive(synced.account.shortlist(found))

    assert (await reader.take(position, page)).total() == 0
    assert (await synced.stages())[found.id] is Stage.SHORTLISTED


async def test_missed_changes_without_any_webhook_are_noted_with_the_time_of_the_last_webhook(synced):
    await synced.reconcile(scheduled=True)
    position = next(iter(synced.account.positions.values()))
    _, invited = synced.account.invite(position, "Ana García")
    await synced.receive(invited)
    last = synced.clock.now()
    synced.clock.advance(HOUR)
    await synced.reconcile(scheduled=True)
    synced.account.complete(some(synced, "pending"))
    synced.clock.advance(HOUR)

    result = await synced.reconcile(scheduled=True)

    assert (result.missed, result.silent_since) == (1, last)
    assert "Hireflix changes and no webhook arrives" in await troubles(synced)


async def test_events_of_a_reconcile_are_not_taken_for_webhooks(synced):
    position = next(iter(synced.account.positions.values()))
    found, invited = synced.account.invite(position, "Ana García")
    await synced.receive(invited)
    last = synced.clock.now()
    synced.clock.advance(HOUR)
    synced.account.complete(found)
    await synced.reconcile()

    status = await synced.store.query(lambda connection: health(connection, synced.clock.now(), None))

    assert status.source.last_received_at == last


async def test_missed_changes_between_webhooks_are_no_silence(synced):
    await synced.reconcile(scheduled=True)
    position = next(iter(synced.account.positions.values()))
    synced.account.complete(some(synced, "pending"))
    synced.clock.advance(HOUR)
    _, invited = synced.account.invite(position, "Ana García")
    await synced.receive(invited)

    assert (await synced.reconcile(scheduled=True)).silent_since is None


async def test_on_postgresql_a_backfill_and_a_reconcile_find_the_same(tmp_path):
    with empty_store() as url:
        async with source_at(tmp_path, url=url) as source:
            fill(source.account)
            await source.backfill()
            source.clock.advance(HOUR)
            source.account.complete(some(source, "pending"))
            source.account.delete(some(source, "pending"))

            result = await source.reconcile(complete=False)

            assert result.added == {"stage": 1, "deletion": 1}
            stages = await source.stages()
            assert {
                id_: stage for id_, stage in stages.items() if stage is not Stage.DELETED
            } == source.stages_in_hireflix()


async def test_a_key_of_another_account_deletes_nothing(synced):
    synced.account.positions.clear()
    synced.account.interviews.clear()
    fill(synced.account)

    with pytest.raises(OtherAccount):
        await synced.reconcile(accept=True)


async def test_ten_percent_of_webhooks_withheld_and_deletions_are_repaired_by_one_run(source):
    rng = random.Random(7)
    positions = [source.account.add_position(name) for name in ("Baker", "Cook", "Waiter")]
    bodies = []
    for number in range(120):
        found, invited = source.account.invite(rng.choice(positions), f"Ana {number}")
        source.clock.advance(60)
        bodies += [invited, source.account.complete(found)]
        if number % 3 == 0:
            source.clock.advance(60)
            bodies.append(source.account.rate(found, rng.choice((2.5, 4, 5))))
            bodies.append(rng.choice((source.account.shortlist, source.account.discard))(found))
        if number % 30 == 29:
            source.clock.advance(60)
            bodies.append(source.account.delete(found))
    kept = [body for body in bodies if rng.random() >= 0.1]
    rng.shuffle(kept)
    await source.receive(*kept)
    source.clock.advance(DAY)

    await source.reconcile(complete=True)

    stages = await source.stages()
    assert {id_: stage for id_, stage in stages.items() if stage is not Stage.DELETED} == source.stages_in_hireflix()
    for id_, found in source.account.interviews.items():
        assert (await source.values(id_)).get("score") == found.score
