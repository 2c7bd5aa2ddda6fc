"""The message: within Slack's limits with any text of a candidate, and the same bytes for the same input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from connector.emulators.slack import foreign_tokens
from connector.emulators.slack.blocks import check_blocks
from connector.languages import language
from connector.sink import Interview, Stage
from connector.testing import START, make_interview
from sinks.chat.changes import Announcement, Change, ChangeKind
from sinks.chat.content import (
    Content,
    Style,
    as_text,
    digest_content,
    interview_content,
    position_link,
    reply_content,
    short_name,
    shown_name,
    superseded_content,
    with_change,
)
from sinks.chat.record import DigestRecord
from sinks.chat.service import ABOUT_INTERVIEW, Marker
from sinks.chat.text import units
from sinks.chat.wording import FieldTemplate, Templates
from sinks.slack.messages import Message, metadata, render, with_mention, without_cause
from tests.sinks.slack.hostile import hostile_text

HOSTS = ("hireflix.com", "hflx.io")
CASES = Path(__file__).parents[2] / "samples" / "cases"
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
USUAL = Templates()
ENGLISH, SPANISH = language("en"), language("es")
figures = st.dictionaries(
    st.sampled_from(["invited", "finished", "scored", "shortlisted", "discarded", "moved", "updates"]),
    st.integers(1, 10**7),
)
named = st.lists(st.builds(lambda name: {"id": "i", "name": name}, hostile_text), max_size=10)
digests = st.builds(
    DigestRecord,
    hostile_text,
    figures,
    hostile_text,
    st.integers(0, 10**14),
    st.integers(0, 10**14),
    named=named,
    link=st.just("") | hostile_text.map(lambda text: f"https://hireflix.com/{text}"),
)
values = st.none() | hostile_text | st.floats()
changes = st.builds(Change, st.sampled_from(ChangeKind), st.integers(0, 10**14), values, values)
news = st.builds(
    Announcement,
    st.lists(changes, min_size=1, max_size=3).map(tuple),
    st.just("reply"),
    st.just({"finished": True}),
)
own_words = Templates(
    header="{{ name }} ({{ external_id }}), {{ position }}: {{ score }} {{ updated }}",
    fields=(
        FieldTemplate(label="*Who* <!here>", value="{{ name }} since {{ invited }}, <@U0123456789>"),
        FieldTemplate(label="Id", value="{{ external_id }}"),
    ),
    reply="*{{ change }}* <!channel> {{ stage }}",
    digest="{{ summary }} <!here> `{{ position }}`",
)
styles = st.builds(
    Style,
    st.sampled_from(["full", "initials", "none"]),
    st.just(HOSTS),
    st.sampled_from([Templates(), own_words]),
    st.sampled_from([language("en"), language("es")]),
)
modest = settings(max_examples=80, deadline=None)


def news_of(kind: ChangeKind, before: float | None = None, after: float | None = None) -> Announcement:
    return Announcement((Change(kind, START, before, after),), "broadcast", {"score": after})


def messages(interview: Interview, change: Announcement, digest: DigestRecord, style: Style) -> list[Message]:
    """A message of every kind."""
    return [render(content) for content in contents(interview, change, digest, style)]


def contents(interview: Interview, change: Announcement, digest: DigestRecord, style: Style) -> list[Content]:
    parent = interview_content(interview, style)
    return [
        parent,
        with_change(parent, change, style),
        reply_content(change, interview, style, named=True),
        reply_content(change, interview, style, named=False),
        digest_content(digest, style),
        superseded_content(style.language),
    ]


def content(interview: Interview, privacy: str = "full", templates: Templates = USUAL) -> Content:
    return interview_content(interview, Style(privacy, HOSTS, templates, ENGLISH))


def parent(interview: Interview, privacy: str = "full", templates: Templates = USUAL) -> Message:
    return render(content(interview, privacy, templates))


@modest
@given(interviews, news, digests, styles)
def test_anything_makes_messages_that_slack_takes(
    interview: Interview, change: Announcement, digest: DigestRecord, style: Style
) -> None:
    for message in messages(interview, change, digest, style):
        assert check_blocks(message["blocks"]) == message["blocks"]
        assert [Block.parse(block).to_dict() for block in message["blocks"]] == message["blocks"]
        assert 0 < units(message["text"]) <= 4000
        assert json.dumps(message).isascii()


@modest
@given(interviews, news, digests, styles)
def test_every_angle_bracket_is_ours(
    interview: Interview, change: Announcement, digest: DigestRecord, style: Style
) -> None:
    for message in messages(interview, change, digest, style):
        assert foreign_tokens(message["text"], message["blocks"]) == []


@modest
@given(interviews, news, digests, styles)
def test_the_same_input_gives_the_same_bytes(
    interview: Interview, change: Announcement, digest: DigestRecord, style: Style
) -> None:
    first, second = (json.dumps(messages(interview, change, digest, style)) for _ in range(2))
    assert first == second


@modest
@given(hostile_text)
def test_foreign_text_is_in_plain_text_objects_only(name: str) -> None:
    harmless = parent(make_interview(candidate_name="Wayne", position_name="Intern"))
    hostile = parent(make_interview(candidate_name=name, position_name=name))
    assert mrkdwn(hostile) == mrkdwn(harmless)


def mrkdwn(message: dict) -> list[str]:
    items = [item for block in message["blocks"] for item in block.get("fields", []) + block.get("elements", [])]
    return [item["text"] for item in items if item["type"] == "mrkdwn"]


def test_e_mail_and_phone_never_appear() -> None:
    interview = make_interview(candidate_email="wayne@example.com", candidate_phone="+1 555 0100")
    text = json.dumps(messages(interview, news_of(ChangeKind.SCORE), DigestRecord("p"), FULL))
    assert "wayne@example.com" not in text
    assert "555" not in text


FULL = Style("full", HOSTS, Templates(), ENGLISH)


def test_the_message_reads_as_a_person_expects() -> None:
    interview = make_interview(candidate_name="Wayne Knight", score=4.5)
    assert as_text(content(interview)).splitlines() == [
        "✅ Wayne Knight finished the interview",
        "Graduate Program · To evaluate · 4.5 of 5",
        "[Open in Hireflix] https://admin.hireflix.com/interview/643e972db7d39e63cf000001",
    ]


def test_the_message_is_in_the_language_of_the_chat() -> None:
    style = Style("full", HOSTS, Templates(), SPANISH)
    interview = make_interview(candidate_name="Ana García López", score=4.5)
    assert as_text(interview_content(interview, style)).splitlines() == [
        "✅ Ana García López terminó la entrevista",
        "Graduate Program · Por evaluar · 4,5 de 5",
        "[Abrir en Hireflix] https://admin.hireflix.com/interview/643e972db7d39e63cf000001",
    ]
    assert render(interview_content(interview, style))["text"] == "✅ Ana García López terminó · Graduate Program"


def test_what_is_unknown_is_left_out() -> None:
    interview = make_interview(candidate_name="Wayne", position_name=None)
    assert as_text(content(interview)).splitlines()[1] == "To evaluate"


def test_a_notification_says_who_what_and_where() -> None:
    text = parent(make_interview(candidate_name="Ana García López", score=4))["text"]
    assert text == "✅ Ana García López finished · Graduate Program"


@modest
@given(interviews, news, styles, st.sampled_from(["", "<@U0123456789>"]))
def test_a_message_has_four_lines_at_most(
    interview: Interview, change: Announcement, style: Style, mention: str
) -> None:
    """Each block is one line, without the configured facts."""
    style = replace(style, templates=USUAL)
    shown = interview_content(interview, style, change)
    for each in (
        shown,
        with_change(shown, change, style),
        *(reply_content(change, interview, style, named=named) for named in (True, False)),
    ):
        message = with_mention(render(each), mention)
        assert len(message["blocks"]) <= 4
        assert "\\n" not in json.dumps(message)


@pytest.mark.parametrize(
    ("stage", "headline"),
    [
        (Stage.PENDING, "✉️ Wayne was invited"),
        (Stage.TO_EVALUATE, "✅ Wayne finished the interview"),
        (Stage.SHORTLISTED, "⭐ Wayne was shortlisted"),
        (Stage.DISCARDED, "✖️ Wayne was discarded"),
        (Stage.UNKNOWN, "❔ Wayne is at on_hold"),
        (Stage.DELETED, "🗑️ An interview was deleted"),
    ],
)
def test_the_headline_shows_the_latest_step(stage: Stage, headline: str) -> None:
    interview = make_interview(candidate_name="Wayne", stage=stage, status="on_hold")
    assert as_text(content(interview)).splitlines()[0] == headline


@pytest.mark.parametrize(
    ("kind", "before", "after", "beyond"),
    [
        (ChangeKind.FINISHED, None, None, ""),
        (ChangeKind.SCORE, None, 4, ""),
        (ChangeKind.SCORE, 3, 4, "Score 3 → 4"),
    ],
)
def test_a_message_says_a_change_once(kind: ChangeKind, before: float | None, after: float | None, beyond: str) -> None:
    """In a chat without threads and in a reply that the channel sees: the rest is below the headline."""
    change, interview = news_of(kind, before, after), make_interview(candidate_name="Wayne", score=after)
    shown = with_change(interview_content(interview, FULL, change), change, FULL)
    assert shown.change == beyond
    assert render(shown)["text"].startswith("✅ Wayne ")
    details = " · ".join(["Graduate Program", "To evaluate", *(["4 of 5"] if after else [])])
    assert reply_content(change, interview, FULL, named=True).text == (beyond or details)


def test_a_headline_of_the_users_own_wording_does_not_say_what_happened() -> None:
    own = replace(FULL, templates=Templates(header="{{ name }}"))
    change, interview = news_of(ChangeKind.FINISHED), make_interview()
    shown = with_change(interview_content(interview, own, change), change, own)
    assert shown.change == "Finished the interview"


def test_a_line_in_the_thread_has_no_name_unless_the_channel_sees_it() -> None:
    change = news_of(ChangeKind.SCORE, 3, 4)
    interview = make_interview(candidate_name="Wayne")
    quiet, loud = (reply_content(change, interview, FULL, named=named) for named in (False, True))
    assert as_text(quiet).splitlines() == ["Score 3 → 4", "2025-09-10 10:26 UTC"]
    assert "Wayne" not in json.dumps(render(quiet))
    assert as_text(loud).splitlines()[0] == "✅ Wayne was scored 4 of 5"


@pytest.mark.parametrize(
    ("case", "shown"),
    [(0, "Candidate 000010"), (1, "Candidate 000011"), (2, "Ana K")],
)
def test_an_e_mail_address_or_phone_number_in_the_name_is_never_posted(case: int, shown: str) -> None:
    payload = json.loads((CASES / "names.json").read_bytes())[case]["data"]
    name = payload["candidate"]["name"]
    interview = replace(make_interview(candidate_name=name), id=payload["id"])
    news = news_of(ChangeKind.FINISHED)
    loud = reply_content(news, interview, FULL, named=True)
    assert as_text(loud).splitlines()[0] == f"✅ {shown} finished the interview"
    for style in (FULL, Style("initials", HOSTS, Templates(), ENGLISH)):
        text = json.dumps([render(interview_content(interview, style, each)) for each in (None, news)])
        assert "example.com" not in text
        assert "600 111" not in text


@pytest.mark.parametrize(
    ("news", "stage", "score", "headline"),
    [
        (
            news_of(ChangeKind.SCORE, None, 4.5),
            Stage.TO_EVALUATE,
            4.5,
            "was scored 4.5 of 5",
        ),
        (
            news_of(ChangeKind.SCORE, None, 4.5),
            Stage.SHORTLISTED,
            4.5,
            "was scored 4.5 of 5",
        ),
        (news_of(ChangeKind.SCORE), Stage.TO_EVALUATE, None, "has no score any more"),
        (news_of(ChangeKind.FINISHED), Stage.SHORTLISTED, 3, "finished the interview"),
        (news_of(ChangeKind.STAGE), Stage.SHORTLISTED, 3, "was shortlisted"),
        (news_of(ChangeKind.STAGE), Stage.TO_EVALUATE, 3, "is at To evaluate"),
    ],
)
def test_the_headline_says_the_news(news: Announcement, stage: Stage, score: float | None, headline: str) -> None:
    message = render(interview_content(make_interview(candidate_name="Wayne", stage=stage, score=score), FULL, news))
    assert message["blocks"][0]["text"]["text"].endswith(f" Wayne {headline}")


@pytest.mark.parametrize(
    ("last_event", "stage", "headline"),
    [
        ("interview.finish", Stage.TO_EVALUATE, "finished the interview"),
        ("interview.score-updated", Stage.TO_EVALUATE, "was scored 4 of 5"),
        ("interview.score-updated", Stage.SHORTLISTED, "was shortlisted"),
        ("interview.status-change", Stage.TO_EVALUATE, "finished the interview"),
    ],
)
def test_the_headline_of_a_living_message_says_the_decision_or_the_newest_event(
    last_event: str, stage: Stage, headline: str
) -> None:
    interview = make_interview(candidate_name="Wayne", stage=stage, score=4, last_event=last_event)
    assert render(interview_content(interview, FULL))["blocks"][0]["text"]["text"].endswith(f" Wayne {headline}")


@pytest.mark.parametrize(
    ("score", "shown"), [(80, "80"), (5.5, "5.5"), (0, "0"), (0.5, "0.5 of 5"), (5, "5 of 5"), (None, "")]
)
def test_a_score_outside_the_scale_of_hireflix_is_shown_without_a_scale(score: float | None, shown: str) -> None:
    line = as_text(interview_content(make_interview(score=score), FULL)).splitlines()[1]
    assert line == " · ".join(part for part in ("Graduate Program", "To evaluate", shown) if part)


FULL_DIGEST = DigestRecord(
    "p1",
    {"invited": 1212, "finished": 14, "scored": 6, "shortlisted": 2, "discarded": 1, "moved": 1},
    "Cook",
    START,
    START + 3_600_000,
    named=({"id": "1", "name": "Ana G."}, {"id": "2", "name": "Søren K."}),
    link="https://admin.hireflix.com/en/jobs/p1",
)


def test_a_digest_names_who_finished_and_counts_the_rest() -> None:
    assert as_text(digest_content(FULL_DIGEST, FULL)).splitlines() == [
        (
            "Cook · 14 finished: Ana G., Søren K. and 12 more · 6 scored · 2 shortlisted · 1 discarded · "
            "1 moved to another stage · 1,212 invited"
        ),
        "[Open in Hireflix] https://admin.hireflix.com/en/jobs/p1",
        "2025-09-10 10:26 UTC → 2025-09-10 11:26 UTC",
    ]


def test_a_digest_is_in_the_language_of_the_chat() -> None:
    style = Style("full", HOSTS, Templates(), SPANISH)
    assert as_text(digest_content(FULL_DIGEST, style)).splitlines() == [
        (
            "Cook · 14 terminaron: Ana G., Søren K. y 12 más · 6 con puntuación · 2 preseleccionados · 1 descartado · "
            "1 cambió de etapa · 1.212 invitaciones"
        ),
        "[Abrir en Hireflix] https://admin.hireflix.com/en/jobs/p1",
        "2025-09-10 10:26 UTC → 2025-09-10 11:26 UTC",
    ]


@pytest.mark.parametrize(("privacy", "names"), [("initials", ": A. G., S. K. and 12 more"), ("none", "")])
def test_a_digest_names_candidates_as_privacy_allows(privacy: str, names: str) -> None:
    text = as_text(digest_content(FULL_DIGEST, Style(privacy, HOSTS, Templates(), ENGLISH)))
    assert text.startswith(f"Cook · 14 finished{names} · 6 scored")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ana García López", "Ana L."),
        ("Søren", "Søren"),
        ("", ""),
        ("ana@example.com", ""),
        ("W" * 200, "W" * 15 + "…"),
        ("\u202eEvil <!here> *X*", "Evil"),
        ("Ana garcía (she/her)", "Ana G."),
        ("\U0001f469 Zoë", "\U0001f469 Z."),
    ],
)
def test_a_digest_shows_a_first_name_and_an_initial(name: str, shown: str) -> None:
    assert short_name(make_interview(candidate_name=name), FULL) == shown


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://admin.hireflix.com/en/jobs/p1/interview/i1", "https://admin.hireflix.com/en/jobs/p1"),
        ("https://admin.hireflix.com/en/jobs/other/interview/i1", ""),
        ("https://admin.hireflix.com/interview/i1", ""),
        ("", ""),
    ],
)
def test_a_digest_links_to_the_position_of_the_review_link(url: str, link: str) -> None:
    assert position_link(make_interview(id="i1", position_id="p1", review_url=url)) == link


@modest
@given(digests, styles)
def test_a_digest_has_four_lines_at_most_and_shows_the_position(digest: DigestRecord, style: Style) -> None:
    message = render(digest_content(digest, replace(style, templates=USUAL)))
    assert len(message["blocks"]) <= 4
    text = message["blocks"][0]["text"]["text"]
    assert " · " in text


def test_a_deleted_interview_shows_nothing_of_the_person() -> None:
    interview = make_interview(candidate_name="Wayne", stage=Stage.DELETED, score=4, external_id="EXT-9")
    text = json.dumps(parent(interview, templates=own_words))
    assert [word for word in ("Wayne", "EXT-9", "4 of 5", "actions", "Completed") if word in text] == []


@pytest.mark.parametrize(
    ("privacy", "name", "shown"),
    [
        ("full", "Wayne Knight", "Wayne Knight"),
        ("initials", "Wayne van Knight", "W. V. K."),
        ("none", "Wayne Knight", "Candidate 000001"),
        ("full", "", "A candidate"),
        ("initials", "", "A candidate"),
        ("initials", "\U0001f469 Zoë Núñez (ella)", "Z. N."),
        ("initials", "***", "Candidate 000001"),
        ("full", "\u202e<b>", "<b>"),
    ],
)
def test_privacy_decides_how_a_candidate_is_named(privacy: str, name: str, shown: str) -> None:
    assert shown_name(make_interview(candidate_name=name), Style(privacy, HOSTS, USUAL, ENGLISH)) == shown


@pytest.mark.parametrize("privacy", ["initials", "none"])
def test_without_full_privacy_no_name_is_in_the_message(privacy: str) -> None:
    message = parent(make_interview(candidate_name="Wayne Knight"), privacy=privacy)
    assert "Wayne" not in json.dumps(message)


@pytest.mark.parametrize(
    ("stage", "url"), [(Stage.DELETED, "https://hireflix.com/1"), (Stage.SHORTLISTED, "https://evil.example")]
)
def test_there_is_no_button_without_a_trusted_living_address(stage: Stage, url: str) -> None:
    message = parent(make_interview(review_url=url, stage=stage))
    assert "actions" not in [block["type"] for block in message["blocks"]]


def test_metadata_holds_opaque_ids_only() -> None:
    payload = {"v": 1, "k": "key-1", "r": 2, "i": "643e97"}
    assert metadata(Marker("key-1", 2, {ABOUT_INTERVIEW: "643e97"})) == {
        "metadata": {"event_type": "hireflix_notifier", "event_payload": payload}
    }


@pytest.mark.parametrize(
    ("error", "kept"), [("invalid_blocks", {"text", "metadata"}), ("metadata_too_large", {"text"})]
)
def test_a_refused_message_loses_what_may_be_wrong(error: str, kept: set[str]) -> None:
    message = {**parent(make_interview()), **metadata(Marker("k", 1, {}))}
    assert set(without_cause(message, error)) == kept


def test_a_mention_notifies_once() -> None:
    message = parent(make_interview())
    assert json.dumps(with_mention(message, "<@U0123456789>")).count("<@U0123456789>") == 1
    assert with_mention({"text": "x"}, "<!here>")["text"] == "<!here> x"
    assert with_mention(message, "") == message
