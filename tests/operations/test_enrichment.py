"""Fields that only the API of Hireflix has reach the stored interviews, within a rate and without notifications."""

from __future__ import annotations

import asyncio

import pytest

from connector.hireflix import EnrichedField
from connector.hireflix.api import HireflixApi
from connector.hireflix.enrichment import DAY_MS, HOUR_MS
from connector.hireflix.payload import ENRICHMENT, read
from connector.merge import decode, interview_of
from connector.operations.enrichment import Enrichment
from connector.store import enrichment as work
from connector.store import erase, schema
from connector.store.schema import interview
from connector.store.source import SETTLE_MS
from tests.operations.hireflix_world import at_once, source_at

EVERYTHING = tuple(EnrichedField)


@pytest.fixture
async def source(tmp_path):
    async with source_at(tmp_path) as one:
        yield one


async def finished(source, name="Ana Almeida"):
    """An interview that a webhook reported as finished, a while ago."""
    position = next(iter(source.account.positions.values()), None) or source.account.add_position("Cook")
    found, created = source.account.invite(position, name)
    await source.receive(created, source.account.complete(found))
    source.clock.advance(SETTLE_MS / 1000 + 1)
    return found


async def run(source, fields=EVERYTHING, limit=30):
    enriching = Enrichment(source.api, source.store, source.clock.now, fields, share_days=365)
    return await enriching.run(limit, asyncio.Event())


def transcribe(found, text="I like to cook."):
    found.questions = [{"title": "Why?", "answer": {"transcription": {"languageCode": "en", "text": text}}}]


async def test_the_chosen_fields_of_a_finished_interview_are_stored(source):
    found = await finished(source)
    transcribe(found)
    found.comments = [{"id": "1", "value": "Good", "createdAt": source.clock.now(), "author": {"name": "Ben"}}]

    assert await run(source) == {"read": 1, "changed": 1}

    values = await source.values(found.id)
    assert values["transcript"] == "Why?: I like to cook."
    assert values["comments"].endswith("Ben: Good")
    assert values["share_url"] == found.link["url"]


async def test_without_the_choice_no_link_to_the_video_is_created(source):
    found = await finished(source)
    await run(source, [EnrichedField.COMMENTS])
    assert found.link is None
    assert source.account.changes == []


async def test_a_link_is_created_once_and_renewed_before_it_expires(source):
    found = await finished(source)
    await run(source, [EnrichedField.SHARE_URL])
    first = found.link["expires"]
    source.clock.advance(300 * DAY_MS / 1000)
    await run(source, [EnrichedField.SHARE_URL])
    assert found.link["expires"] == first
    source.clock.advance(60 * DAY_MS / 1000)
    await run(source, [EnrichedField.SHARE_URL])
    assert found.link["expires"] > first
    assert (await source.values(found.id))["share_expires_at"] == found.link["expires"]


async def test_a_late_transcript_is_found(source):
    found = await finished(source)
    await run(source, [EnrichedField.TRANSCRIPT])
    transcribe(found)
    assert await run(source, [EnrichedField.TRANSCRIPT]) == {"read": 0, "changed": 0}
    source.clock.advance(HOUR_MS / 1000)
    assert await run(source, [EnrichedField.TRANSCRIPT]) == {"read": 1, "changed": 1}


async def test_a_pending_interview_is_not_read(source):
    position = source.account.add_position("Cook")
    _, created = source.account.invite(position, "Ana Almeida")
    await source.receive(created)
    source.clock.advance(SETTLE_MS / 1000 + 1)
    assert await run(source) == {"read": 0, "changed": 0}


async def test_a_webhook_is_a_reason_to_read_the_interview_soon(source):
    found = await finished(source)
    await run(source, [EnrichedField.REVIEWER_SCORES])
    found.scores = [{"computedScore": 4.0, "overridenScore": None, "scorer": {"name": "Ben"}}]
    await source.receive(source.account.rate(found, 4))
    source.clock.advance(SETTLE_MS / 1000 + 1)
    assert await run(source, [EnrichedField.REVIEWER_SCORES]) == {"read": 1, "changed": 1}


async def test_an_event_with_a_smaller_number_that_was_received_later_is_not_missed(source):
    one, two = await finished(source, "Ana One"), await finished(source, "Ana Two")
    await run(source, [EnrichedField.REVIEWER_SCORES])
    bodies = source.account.rate(one, 4), source.account.rate(two, 4)
    now = source.clock.now()
    for body, received_at in zip(bodies, (now, now - SETTLE_MS), strict=True):
        await source.store.offer(read(body, received_at), body)
    reads = [await run(source, [EnrichedField.REVIEWER_SCORES])]
    source.clock.advance(SETTLE_MS / 1000 + 1)
    reads.append(await run(source, [EnrichedField.REVIEWER_SCORES]))
    assert sum(each["read"] for each in reads) == 2


async def test_an_interview_that_is_erased_while_it_is_read_is_not_scheduled(source):
    found = await finished(source)
    await run(source, [EnrichedField.COMMENTS])

    def erased(connection):
        erase.erase(connection, found.id, [], source.clock.now())
        erase.finish(connection, found.id)
        work.schedule(connection, {found.id: source.clock.now()})

    await source.store.write(erased)
    assert await source.rows(schema.enrichment) == []


async def test_equal_fields_add_no_event(source):
    await finished(source)
    await run(source, [EnrichedField.SHARE_URL, EnrichedField.COMMENTS])
    before = len(await source.events())
    source.clock.advance(DAY_MS / 1000)
    assert await run(source, [EnrichedField.SHARE_URL, EnrichedField.COMMENTS]) == {"read": 1, "changed": 0}
    assert len(await source.events()) == before


async def test_its_events_are_silent_and_no_change_of_the_interview(source):
    found = await finished(source)
    [before] = await source.rows(interview)
    await run(source)
    assert [row.mark for row in await source.events()][-1] == ENRICHMENT
    assert [row.silent for row in await source.deliveries("chat")][-1] == 1
    [after] = await source.rows(interview)
    assert after.updated_at == before.updated_at
    assert interview_of(found.id, decode(after.state)).updated_at == before.updated_at
    assert decode(after.state).values["last_event"] == decode(before.state).values["last_event"]


async def test_no_more_interviews_are_read_at_once_than_allowed(source):
    for number in range(5):
        await finished(source, f"Ana {number}")
    runs = [(await run(source, [EnrichedField.COMMENTS], limit=2))["read"] for _ in range(4)]
    assert runs == [2, 2, 1, 0]


async def test_an_interview_that_cannot_be_read_does_not_delay_the_others(source):
    class Failing(HireflixApi):
        async def one(self, name, fields, id_):
            if id_ == bad.id:
                raise KeyError("a name that the answer does not have")
            return await super().one(name, fields, id_)

    bad, good = await finished(source, "Ana Bad"), await finished(source, "Ana Good")
    transcribe(good)
    async with Failing(source.server.key, source.server.api_url, now=source.clock.now, sleep=at_once) as source.api:
        await run(source, [EnrichedField.TRANSCRIPT])
        assert (await source.values(good.id))["transcript"] == "Why?: I like to cook."
        assert await run(source, [EnrichedField.TRANSCRIPT]) == {"read": 0, "changed": 0}


async def test_stored_interviews_are_read_again_for_other_fields(source):
    found = await finished(source)
    await run(source, [EnrichedField.COMMENTS])
    transcribe(found)
    assert await run(source, [EnrichedField.COMMENTS, EnrichedField.TRANSCRIPT]) == {"read": 1, "changed": 1}


async def test_an_interview_that_hireflix_does_not_know_is_not_asked_for_again(source):
    found = await finished(source)
    del source.account.interviews[found.id]
    await run(source)
    source.clock.advance(400 * DAY_MS / 1000)
    assert await run(source) == {"read": 0, "changed": 0}


async def test_deleted_interviews_leave_the_list(source):
    found = await finished(source)
    await run(source, [EnrichedField.COMMENTS])
    await source.receive(source.account.delete(found))
    source.clock.advance(2 * DAY_MS / 1000)
    await run(source, [EnrichedField.COMMENTS])
    now = source.clock.now() + 400 * DAY_MS
    assert await source.store.query(lambda connection: work.waiting(connection, now)) == 0
