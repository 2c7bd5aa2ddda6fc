"""The message: within Slack's limits whatever the candidate wrote, and the same bytes for the same input."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from connector.sink import Interview, Stage
from connector.testing import START, make_interview
from sinks.slack.news import News, What
from sinks.slack.render import plainly, preview, render, shown_name
from sinks.slack.text import units
from tests.emulators.slack import foreign_tokens
from tests.emulators.slack.blocks import check_blocks
from tests.sinks.slack.hostile import hostile_text

HOSTS = ("hireflix.com", "hflx.io")
interviews = st.builds(
    make_interview,
    id=hostile_text,
    stage=st.sampled_from(Stage),
    updated_at=st.integers(min_value=-(10**15), max_value=10**17),
    candidate_name=st.none() | hostile_text,
    candidate_first_name=st.none() | hostile_text,
    position_name=st.none() | hostile_text,
    status=st.none() | hostile_text,
    score=st.none() | st.floats() | st.integers(),
    review_url=st.none() | hostile_text.map(lambda text: f"https://hireflix.com/{text}"),
)
all_news = st.builds(News, st.sampled_from(What), st.integers(0, 10**14), st.just({}))
privacies = st.sampled_from(["full", "initials", "none"])
modest = settings(max_examples=150, deadline=None)


def message_of(interview: Interview, what: What = What.FINISHED, privacy: str = "full") -> dict:
    return render(News(what, START, {}), interview, "key-1", privacy=privacy, link_hosts=HOSTS)


@modest
@given(interviews, all_news, privacies)
def test_any_interview_makes_a_message_that_slack_takes(interview: Interview, news: News, privacy: str) -> None:
    message = render(news, interview, "key-1", privacy=privacy, link_hosts=HOSTS)
    assert check_blocks(message["blocks"]) == message["blocks"]
    assert [Block.parse(block).to_dict() for block in message["blocks"]] == message["blocks"]
    assert 0 < units(message["text"]) <= 3000
    assert json.dumps(message).isascii()


@modest
@given(interviews, all_news, privacies)
def test_every_angle_bracket_is_ours(interview: Interview, news: News, privacy: str) -> None:
    message = render(news, interview, "key-1", privacy=privacy, link_hosts=HOSTS)
    assert foreign_tokens(message["text"], message["blocks"]) == []


@modest
@given(interviews, all_news, privacies)
def test_the_same_input_gives_the_same_bytes(interview: Interview, news: News, privacy: str) -> None:
    messages = [render(news, interview, "key-1", privacy=privacy, link_hosts=HOSTS) for _ in range(2)]
    assert json.dumps(messages[0]) == json.dumps(messages[1])


@modest
@given(hostile_text)
def test_foreign_text_stands_in_plain_text_objects_only(name: str) -> None:
    harmless = message_of(make_interview(candidate_name="Wayne", position_name="Intern"))
    hostile = message_of(make_interview(candidate_name=name, position_name=name))
    assert mrkdwn(hostile) == mrkdwn(harmless)


def mrkdwn(message: dict) -> list[str]:
    items = [item for block in message["blocks"] for item in block.get("fields", []) + block.get("elements", [])]
    return [item["text"] for item in items if item["type"] == "mrkdwn"]


def test_e_mail_and_phone_never_appear() -> None:
    interview = make_interview(candidate_email="wayne@example.com", candidate_phone="+1 555 0100")
    for what in What:
        text = json.dumps(message_of(interview, what))
        assert "wayne@example.com" not in text
        assert "555" not in text


def test_the_message_reads_as_a_person_expects() -> None:
    interview = make_interview(candidate_name="Wayne Knight", score=4.5)
    assert preview(message_of(interview)).splitlines() == [
        "✅ Wayne Knight finished the interview",
        "Position: Graduate Program",
        "Stage: To evaluate",
        "Score: 4.5 of 5",
        "Updated: 2025-09-10 10:26 UTC",
        "[Open in Hireflix] https://admin.hireflix.com/interview/643e972db7d39e63cf000001",
        "Finished: 2025-09-10 10:26 UTC",
    ]


def test_the_text_is_a_whole_sentence_for_notifications() -> None:
    text = message_of(make_interview(candidate_name="Wayne Knight", score=4))["text"]
    expected = (
        "Wayne Knight finished the interview for Graduate Program. Stage: To evaluate. Score: 4 of 5. Finished: <!date^"
    )
    assert text.startswith(expected)


@pytest.mark.parametrize(
    ("what", "stage", "headline"),
    [
        (What.STAGE, Stage.SHORTLISTED, "⭐ Wayne was shortlisted"),
        (What.STAGE, Stage.DISCARDED, "✖️ Wayne was discarded"),
        (What.STAGE, Stage.UNKNOWN, "❔ Wayne moved to on_hold"),
        (What.STAGE, Stage.PENDING, "✉️ Wayne is invited again"),
        (What.SCORE, Stage.TO_EVALUATE, "✅ Wayne was scored 4 of 5"),
        (What.DELETED, Stage.DELETED, "🗑️ Wayne was deleted"),
        (What.INVITED, Stage.PENDING, "✉️ Wayne was invited"),
    ],
)
def test_the_headline_says_what_happened(what: What, stage: Stage, headline: str) -> None:
    interview = make_interview(candidate_name="Wayne", stage=stage, status="on_hold", score=4)
    assert preview(message_of(interview, what)).splitlines()[0] == headline


def test_a_removed_score_is_told_as_such() -> None:
    message = message_of(make_interview(candidate_name="Wayne", score=None), What.SCORE)
    assert preview(message).splitlines()[0] == "✅ Wayne has no score any more"


@pytest.mark.parametrize(
    ("privacy", "name", "shown"),
    [
        ("full", "Wayne Knight", "Wayne Knight"),
        ("initials", "Wayne van Knight", "W. V. K."),
        ("none", "Wayne Knight", "Candidate 000001"),
        ("full", "", "A candidate"),
        ("initials", "", "A candidate"),
        ("full", "\u202e<b>", "&lt;b&gt;"),
    ],
)
def test_privacy_decides_how_a_candidate_is_named(privacy: str, name: str, shown: str) -> None:
    assert shown_name(make_interview(candidate_name=name), privacy) == shown


@pytest.mark.parametrize("privacy", ["initials", "none"])
def test_without_full_privacy_no_name_is_in_the_message(privacy: str) -> None:
    message = message_of(make_interview(candidate_name="Wayne Knight"), privacy=privacy)
    assert "Wayne" not in json.dumps(message)


@pytest.mark.parametrize(
    ("what", "url"), [(What.DELETED, "https://hireflix.com/1"), (What.STAGE, "https://evil.example")]
)
def test_there_is_no_button_without_a_trusted_living_address(what: What, url: str) -> None:
    message = message_of(make_interview(review_url=url), what)
    assert "actions" not in [block["type"] for block in message["blocks"]]


def test_metadata_holds_opaque_ids_only() -> None:
    message = message_of(make_interview(id="643e97"))
    payload = {"v": 1, "k": "key-1", "i": "643e97"}
    assert message["metadata"] == {"event_type": "hireflix_notifier", "event_payload": payload}


@pytest.mark.parametrize(
    ("error", "kept"), [("invalid_blocks", {"text", "metadata"}), ("metadata_too_large", {"text"})]
)
def test_a_refused_message_loses_what_may_be_wrong(error: str, kept: set[str]) -> None:
    assert set(plainly(message_of(make_interview()), error)) == kept
