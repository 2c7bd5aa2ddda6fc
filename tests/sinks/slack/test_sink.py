"""The calls of the sink over real HTTP: posts, notes, and the outcome of each answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from connector.capabilities import Preview
from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import SlackEmulator
from connector.sink import (
    Delivered,
    Delivery,
    FollowUp,
    RateLimited,
    Rejected,
    RetryLater,
    SinkBroken,
    Stage,
    Superseded,
    Waiting,
)
from connector.testing import (
    START,
    FakeContext,
    make_batch,
    make_delivery,
    make_event,
    make_interview,
    run_batch,
)
from sinks.slack.sink import SlackSink

NOTE = "parent:643e972db7d39e63cf000001"
DIGEST = "digest:68b43e38b19cf131a17c543f"


def delivery(name: str = "interview.finish", stage: Stage = Stage.TO_EVALUATE, **overrides: Any) -> Any:
    values = overrides.pop("values", {})
    event = make_event(name, **values)
    return make_delivery(event, make_interview(stage=stage, **values), id=overrides.pop("id", name), **overrides)


async def turn(sink: SlackSink, context: FakeContext, one: Any, **batch: Any) -> Any:
    result = await run_batch(sink, [one], context, **batch)
    return result.outcomes[0]


def says(status: int, body: str, **headers: str) -> Fault:
    return Fault(
        faults.FaultKind.STATUS,
        "chat.postMessage",
        status=status,
        body=body,
        content_type="application/json",
        headers=headers,
    )


def error(word: str) -> Fault:
    return says(200, f'{{"ok":false,"error":"{word}"}}')


async def test_a_finish_becomes_one_message(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str
) -> None:
    outcome = await turn(sink, context, delivery())
    (message,) = slack.messages(channel)
    assert outcome == Delivered(reference=message.ts)
    assert message.key == "interview.finish"
    assert message.pings == []
    assert slack.problems() == []


async def test_the_note_holds_what_users_were_shown(sink: SlackSink, context: FakeContext, slack, channel: str) -> None:
    await turn(sink, context, delivery(values={"score": 4}))
    note = dict(context.notes[NOTE])
    assert len(note.pop("content_hash")) == 16
    assert note == {
        "v": 2,
        "message_id": slack.messages(channel)[0].ts,
        "announced": {"finished": True, "score": 4, "score_ms": START, "stage": "To evaluate", "stage_ms": START},
    }


async def test_a_change_becomes_a_line_in_the_thread_and_an_edit(
    sink: SlackSink, context: FakeContext, slack, channel: str
) -> None:
    await turn(sink, context, delivery())
    result = await run_batch(sink, [delivery("interview.status-change", Stage.SHORTLISTED)], context)
    parent, line = slack.messages(channel)
    assert (line.thread_ts, line.broadcast) == (parent.ts, False)
    assert line.text == "Stage To evaluate → Shortlisted"
    about = NOTE.removeprefix("parent:")
    assert result.follow_ups == [FollowUp("edit", timedelta(seconds=3), interview=about, group=NOTE)]
    assert not parent.edited


async def test_what_was_announced_is_not_announced_again(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str
) -> None:
    for name in ("interview.finish", "interview.status-change", "interview.score-updated"):
        assert isinstance(await turn(sink, context, delivery(name)), Delivered)
    assert len(slack.messages(channel)) == 1


async def test_an_invitation_waits_for_the_digest_and_makes_no_call(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext
) -> None:
    one = delivery("interview.create", Stage.PENDING, values={"completed": None})
    result = await run_batch(sink, [one], context)
    (outcome,) = result.outcomes
    assert isinstance(outcome, Waiting)
    assert (outcome.group, outcome.until_ms) == (DIGEST, context.now() + 25_000)
    assert outcome.reason == "digest"
    (follow_up,) = result.follow_ups
    assert (follow_up.purpose, follow_up.interview, follow_up.group) == ("digest", None, DIGEST)
    assert follow_up.subject == one.interview.position_id
    assert context.notes[DIGEST]["counts"] == {"invited": 1}
    assert slack.requests == []


async def test_a_late_delivery_is_counted_and_not_announced(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str
) -> None:
    assert isinstance(await turn(sink, context, delivery(late=True)), Waiting)
    assert slack.requests == []
    assert context.notes[DIGEST]["counts"] == {"finished": 1}
    await turn(sink, context, delivery("interview.status-change"))
    assert slack.messages(channel) == []  # the digest announces it
    await turn(sink, context, delivery("interview.status-change", Stage.SHORTLISTED))
    assert len(slack.messages(channel)) == 1


async def test_a_call_without_an_event_does_nothing(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext
) -> None:
    about_nothing = Delivery("d-1", "", None, None, follow_up=FollowUp("no-such-purpose"))
    assert isinstance(await turn(sink, context, about_nothing), Superseded)
    assert slack.requests == []


async def test_a_deletion_before_the_first_message_is_never_announced(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext
) -> None:
    for name in ("interview.delete", "interview.finish"):
        outcome = await turn(sink, context, delivery(name, Stage.DELETED))
        assert outcome == Superseded("deleted before it was shown")
    assert slack.requests == []


async def test_the_intent_is_committed_before_the_call(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext
) -> None:
    slack.faults.add(faults.DROP)
    await turn(sink, context, delivery())
    assert context.saved[0][NOTE]["intent"]["delivery_id"] == "interview.finish"


async def test_tokens_are_taken_before_anything_is_remembered_or_sent(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str
) -> None:
    context.refuse(f"slack:{channel}")
    with pytest.raises(RateLimited):
        await turn(sink, context, delivery())
    assert (slack.requests, context.saved) == ([], [])


async def test_a_post_takes_a_token_of_the_channel_and_of_the_workspace(
    sink: SlackSink, context: FakeContext, channel: str
) -> None:
    await turn(sink, context, delivery())
    assert [token.bucket.split(":")[0] for token in context.taken] == ["slack", "slack-workspace"]
    assert (context.taken[0].bucket, context.taken[0].rate) == (f"slack:{channel}", 1.0)
    assert "xoxb" not in str(context.taken)


async def test_a_429_blocks_the_channel_for_all_sinks_and_counts_no_attempt(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str
) -> None:
    slack.faults.add(says(429, '{"ok":false,"error":"ratelimited"}', **{"Retry-After": "7"}))
    assert await turn(sink, context, delivery()) == RetryLater("ratelimited", after=7.0, counts=False)
    assert context.blocked == [(f"slack:{channel}", 7.0)]


@pytest.mark.parametrize(
    ("fault", "after"),
    [
        (says(429, ""), 3.0),
        (says(429, "", **{"Retry-After": "0"}), 1.0),
        (says(429, "", **{"Retry-After": "0.2"}), 1.0),
        (says(429, "", **{"Retry-After": "99999"}), 900.0),
        (error("message_limit_exceeded"), 600.0),
    ],
)
async def test_the_wait_after_a_429_is_reasonable(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, fault: Fault, after: float
) -> None:
    slack.faults.add(fault)
    outcome = await turn(sink, context, delivery())
    assert (outcome.after, outcome.counts, outcome.unclear) == (after, False, False)


@pytest.mark.parametrize("word", ["service_unavailable", "request_timeout"])
async def test_a_transient_error_is_tried_again(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, word: str
) -> None:
    slack.faults.add(error(word))
    assert await turn(sink, context, delivery()) == RetryLater(word)


@pytest.mark.parametrize("fault", [faults.DROP, faults.APPLY_503, faults.BROKEN_JSON, error("fatal_error")])
async def test_a_lost_answer_is_unclear(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, fault: Fault
) -> None:
    slack.faults.add(fault)
    outcome = await turn(sink, context, delivery())
    assert (outcome.unclear, outcome.counts, outcome.after) == (True, True, None)


@pytest.mark.parametrize("word", ["channel_not_found", "is_archived", "token_revoked", "missing_scope"])
async def test_a_broken_destination_pauses_the_sink_with_a_fix(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str, word: str
) -> None:
    slack.faults.add(error(word))
    with pytest.raises(SinkBroken) as broken:
        await turn(sink, context, delivery())
    assert word in broken.value.reason
    assert channel in broken.value.reason
    assert broken.value.fix
    assert not broken.value.until_resumed


async def test_a_refused_message_goes_out_once_more_as_text(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext, channel: str
) -> None:
    slack.faults.add(error("invalid_blocks"))
    assert await turn(sink, context, delivery()) == RetryLater("invalid_blocks", after=1.0)
    assert isinstance(await turn(sink, context, delivery(attempt=2)), Delivered)
    (message,) = slack.messages(channel)
    assert (message.blocks, message.key) == ([], "interview.finish")
    assert "intent" not in context.notes[NOTE]


async def test_a_message_refused_as_text_too_is_dead_with_slacks_reason(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext
) -> None:
    body = '{"ok":false,"error":"invalid_blocks","errors":["too long [json-pointer:/blocks/0]"]}'
    slack.faults.add(says(200, body), says(200, body))
    await turn(sink, context, delivery())
    outcome = await turn(sink, context, delivery(attempt=2))
    assert outcome == Rejected("invalid_blocks; too long [json-pointer:/blocks/0]")
    assert context.notes == {}


async def test_an_unknown_error_string_is_tried_five_times_before_the_payload_is_blamed(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext
) -> None:
    slack.faults.add(*[error("brand_new")] * 6)
    outcomes = []
    for attempt in range(1, 7):
        outcomes.append(await turn(sink, context, delivery(attempt=attempt)))
        context.clock.advance(1)
    assert outcomes == [RetryLater("brand_new")] * 4 + [RetryLater("brand_new", after=1.0), Rejected("brand_new")]


async def test_a_webhook_posts_and_never_looks(slack: SlackEmulator, context: FakeContext, channel: str) -> None:
    sink = SlackSink("hook", SlackSink.Config(webhook_url=slack.add_webhook(channel)))
    await sink.open()
    slack.faults.add(faults.REFUSE)
    assert (await turn(sink, context, delivery())).unclear
    assert await turn(sink, context, delivery(attempt=2), maybe_sent=True) == Delivered()
    assert await turn(sink, context, delivery("interview.status-change")) == Superseded("nothing new")
    await sink.close()
    assert slack.requests == ["webhook", "webhook"]
    assert len(slack.messages(channel)) == 1


async def test_a_preview_reads_like_the_message_and_sends_nothing(
    slack: SlackEmulator, sink: SlackSink, context: FakeContext
) -> None:
    invited = delivery("interview.create", Stage.PENDING, values={"completed": None})
    (made,), (counted,) = [each.messages for each in await sink.preview(make_batch(delivery(), invited), context)]
    assert (made.place, made.headline) == (
        "New message in the channel",
        "✅ Wayne Knight 1 finished the interview",
    )
    assert made.lines[0].startswith("Graduate Program")
    assert [(each.label, each.link[:8]) for each in made.buttons] == [("Open in Hireflix", "https://")]
    assert (counted.place, counted.headline) == ("No message of its own; the digest becomes", "")
    assert counted.lines[0] == "Graduate Program · 1 invited"
    assert counted.lines[1].startswith("2025-09-10")
    assert slack.requests == []


async def test_a_preview_shows_line_and_edit_by_the_present_message(sink: SlackSink, context: FakeContext) -> None:
    await turn(sink, context, delivery())
    batch = make_batch(delivery("interview.status-change", Stage.SHORTLISTED), notes=context.notes)
    ((reply, edited),) = [each.messages for each in await sink.preview(batch, context)]
    assert (reply.place, reply.lines[0]) == ("Reply in the thread", "Stage To evaluate → Shortlisted")
    assert (edited.place, edited.headline) == (
        "The message in the channel becomes",
        "⭐ Wayne Knight 1 was shortlisted",
    )
    (nothing,) = await sink.preview(make_batch(delivery(), notes=context.notes), context)
    assert nothing == Preview("No message: there is nothing to announce, or nothing new.")


async def test_closing_without_opening_is_harmless(slack: SlackEmulator, channel: str) -> None:
    sink = SlackSink("one", SlackSink.Config(token=slack.token, channel=channel))
    await sink.close()
    assert sink.max_age == 86_400


async def test_calls_are_counted_by_kind(slack: SlackEmulator, sink: SlackSink, context: FakeContext) -> None:
    slack.faults.add(faults.DROP)
    started = context.now()
    await turn(sink, context, delivery())
    context.clock.advance(5)
    await turn(sink, context, delivery(attempt=2), started_at=started, maybe_sent=True)
    assert context.calls == {"post": 1, "auth": 1, "look-up": 1}


async def test_the_text_of_a_refusal_is_recorded(slack: SlackEmulator, sink: SlackSink, context: FakeContext) -> None:
    """Only the text of Slack, without content of the request."""
    body = '{"ok":false,"error":"invalid_blocks","errors":["text is too long [json-pointer:/blocks/0]"],"channel":"C1"}'
    slack.faults.add(says(200, body))
    assert await turn(sink, context, delivery()) == RetryLater("invalid_blocks", after=1.0)
    said = '{"error": "invalid_blocks", "errors": ["text is too long [json-pointer:/blocks/0]"]}'
    assert context.replies == [(200, said)]


async def test_the_reply_of_a_success_is_not_recorded(sink: SlackSink, context: FakeContext) -> None:
    await turn(sink, context, delivery())
    assert context.replies == []
