"""An erase deletes everything about a candidate from the channel, with any failures of Slack and edits of users."""

from __future__ import annotations

from connector.capabilities import ERASE
from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import SlackEmulator
from connector.testing import START
from tests.sinks.chat.streams import Feed
from tests.sinks.chat.test_living_message import Make, done, make, run, says, scored
from tests.sinks.slack.lanes import payload

__all__ = ["make"]

PERSON = {"candidate": {"name": "Ada Erasable", "email": "ada.erasable@example.com"}}


async def erase(feed: Feed, number: int = 7) -> tuple[str, str]:
    """Erases. Returns the state of the delivery with its reference or reason."""
    await feed.lane.erase(f"{number:024x}")
    await feed.lane.run()
    (done,) = [each for each in await feed.lane.deliveries() if each.purpose == ERASE]
    return done.state, done.reference or done.reason


def shown(slack: SlackEmulator, channel: str) -> str:
    return str([[message.text, message.blocks, message.metadata] for message in slack.messages(channel)])


async def invited_finished_and_scored(make: Make) -> Feed:
    """A digest, a message, replies without a name and one with the name."""
    feed = await make(rate_per_second=20)
    await run(feed, payload("create", 7, START, **PERSON), payload("create", 2, START))
    await run(feed, done("finish", 7, **PERSON), done("finish", 2))
    for score in (1, 2, 3):
        await run(feed, scored(score, START + 2_000 * score, 7))
    await run(feed, done("status-change", 7, START + 9_000, finalist=START + 9_000, **PERSON))
    return feed


async def test_messages_and_replies_are_deleted_and_those_of_others_stay(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    feed = await invited_finished_and_scored(make)
    assert sum(message.is_reply for message in slack.messages(channel)) >= 4
    assert "Ada Erasable" in shown(slack, channel)
    assert await erase(feed) == ("delivered", "messages deleted")
    assert "Erasable" not in shown(slack, channel)
    assert f"{7:024x}" not in shown(slack, channel)
    assert [message for message in slack.messages(channel) if message.is_reply] == []
    assert "Candidate 2" in shown(slack, channel)
    assert "2 invited" in shown(slack, channel)


async def test_no_note_about_the_interview_is_left(slack: SlackEmulator, make: Make) -> None:
    feed = await invited_finished_and_scored(make)
    await erase(feed)
    assert [key for key in await feed.lane.notes() if f"{7:024x}" in key] == []
    assert "Erasable" not in str(await feed.lane.notes())


async def test_a_reply_in_the_channel_that_carries_the_name_is_deleted(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    feed = await make(events={"create": "post", "finish": "broadcast"})
    await run(feed, payload("create", 7, START, **PERSON))
    await run(feed, done("finish", 7, **PERSON))
    assert [message.broadcast for message in slack.messages(channel)] == [False, True]
    assert await erase(feed) == ("delivered", "messages deleted")
    assert slack.messages(channel) == []


async def test_an_erase_that_waits_for_tokens_continues_where_it_stopped(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    """Slack allows about one deletion a second, and an interview may have many replies."""
    feed = await make(rate_per_second=20)
    await run(feed, done("finish", 7, **PERSON))
    for number in range(1, 13):
        await run(feed, scored(number / 2, START + 2_000 * number, 7))
    messages = len(slack.messages(channel))
    await erase(feed)
    assert slack.messages(channel) == []
    assert slack.requests.count("chat.delete") == messages


async def test_a_message_that_slack_does_not_delete_loses_the_name(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    feed = await make()
    await run(feed, done("finish", 7, **PERSON))
    slack.faults.add(says("cant_delete_message", "chat.delete"))
    assert await erase(feed) == ("delivered", "messages deleted")
    assert len(slack.messages(channel)) == 1
    assert "Erasable" not in shown(slack, channel)


async def test_a_message_that_slack_neither_deletes_nor_changes_is_rejected_and_the_others_are_deleted(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    feed = await make()
    await run(feed, done("finish", 7, **PERSON))
    await run(feed, scored(4, START + 2_000, 7))
    slack.faults.add(says("cant_delete_message", "chat.delete"), says("cant_update_message", "chat.update"))
    assert await erase(feed) == ("dead", "1 messages can neither be deleted nor changed: cant_update_message")
    assert [message.is_reply for message in slack.messages(channel)] == [True]
    assert await erase(feed) == ("delivered", "messages deleted")
    assert slack.messages(channel) == []


async def test_a_message_of_a_call_without_an_answer_is_found_and_deleted(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    """The message is in the channel, and its id in no note."""
    feed = await make()
    slack.faults.add(Fault(faults.FaultKind.DROP, "chat.postMessage"))
    await feed.take(done("finish", 7, **PERSON))
    await feed.lane.step()
    assert "Ada Erasable" in shown(slack, channel)
    assert await erase(feed) == ("delivered", "messages deleted")
    assert slack.messages(channel) == []


async def test_without_a_message_there_is_nothing_to_erase(slack: SlackEmulator, make: Make, channel: str) -> None:
    """The invitation is counted in a digest, which contains no names."""
    feed = await make()
    await run(feed, payload("create", 7, START, **PERSON))
    assert "Erasable" not in shown(slack, channel)
    assert await erase(feed) == ("superseded", "no message to erase")


async def test_the_name_in_a_digest_is_removed_and_the_others_stay(
    slack: SlackEmulator, make: Make, channel: str
) -> None:
    feed = await make(quiet_hours={"start": "12:00", "end": "13:00"}, timezone="Europe/Madrid")
    await run(feed, done("finish", 7, **PERSON), done("finish", 2))
    assert "Ada E." in shown(slack, channel)
    assert await erase(feed) == ("delivered", "name removed from messages")
    assert ("Ada" in shown(slack, channel), "Candidate 2." in shown(slack, channel)) == (False, True)
    assert "Ada" not in str(await feed.lane.notes())
