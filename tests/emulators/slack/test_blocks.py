"""Block Kit rules, with Slack's json pointers."""

from __future__ import annotations

import pytest

from connector.emulators.slack.blocks import check_blocks
from connector.emulators.slack.errors import SlackError


def plain(text: str) -> dict:
    return {"type": "plain_text", "text": text, "emoji": False}


def mrkdwn(text: str) -> dict:
    return {"type": "mrkdwn", "text": text}


def button(**extra: object) -> dict:
    return {"type": "button", "text": plain("Go"), "url": "https://example.com", **extra}


def actions(*elements: dict) -> dict:
    return {"type": "actions", "elements": list(elements)}


GOOD = [
    {"type": "header", "text": plain("x" * 150)},
    {"type": "section", "text": mrkdwn("x" * 3000), "block_id": "a"},
    {"type": "section", "fields": [mrkdwn("x"), plain("y" * 2000)]},
    {"type": "context", "elements": [mrkdwn("x"), {"type": "image", "alt_text": "a", "image_url": "https://e.com/i"}]},
    {"type": "divider"},
    actions(button(action_id="one", style="danger", value="v"), button(action_id="two")),
    {"type": "markdown", "text": "# x"},
]


def test_what_the_reference_allows_passes() -> None:
    assert check_blocks(GOOD) == GOOD


BAD = [
    ({"type": "section", "text": mrkdwn("x" * 3001)}, "must be less than 3001 characters [json-pointer:/0/text/text]"),
    ({"type": "section", "text": mrkdwn(" ")}, "must be more than 0 characters [json-pointer:/0/text/text]"),
    ({"type": "section"}, "missing required field: text or fields [json-pointer:/0]"),
    (
        {"type": "section", "fields": [plain("x" * 2001)]},
        "must be less than 2001 characters [json-pointer:/0/fields/0/text]",
    ),
    ({"type": "section", "fields": [plain("x")] * 11}, "no more than 10 items allowed [json-pointer:/0/fields]"),
    ({"type": "header", "text": plain("x" * 151)}, "must be less than 151 characters [json-pointer:/0/text/text]"),
    ({"type": "header", "text": plain("😀" * 76)}, "must be less than 151 characters [json-pointer:/0/text/text]"),
    ({"type": "header", "text": mrkdwn("x")}, "must be one of plain_text [json-pointer:/0/text/type]"),
    ({"type": "context", "elements": []}, "must contain at least 1 items [json-pointer:/0/elements]"),
    ({"type": "context", "elements": [mrkdwn("x")] * 11}, "no more than 10 items allowed [json-pointer:/0/elements]"),
    (actions(button(url="javascript:alert(1)")), "Invalid URL [json-pointer:/0/elements/0/url]"),
    (actions(button(text=plain("x" * 76))), "must be less than 76 characters [json-pointer:/0/elements/0/text/text]"),
    (actions(button(style="loud")), "must be one of primary, danger [json-pointer:/0/elements/0/style]"),
    (actions(button(colour="red")), "invalid additional property: colour [json-pointer:/0/elements/0]"),
    (actions(button(action_id="a"), button(action_id="a")), "action_id `a` already exists [json-pointer:"),
    ({"type": "banner"}, "unsupported type: banner [json-pointer:/0/type]"),
    ({"type": "divider", "color": "red"}, "invalid additional property: color [json-pointer:/0]"),
    ({"type": "divider", "block_id": "x" * 256}, "must be less than 256 characters [json-pointer:/0/block_id]"),
]


@pytest.mark.parametrize(("block", "said"), BAD, ids=[said for _, said in BAD])
def test_what_breaks_a_rule_is_named_with_its_place(block: dict, said: str) -> None:
    with pytest.raises(SlackError) as error:
        check_blocks([block])
    assert error.value.error == "invalid_blocks"
    assert error.value.extra["errors"][0].startswith(said.replace("json-pointer:/0", "json-pointer:/blocks/0"))


@pytest.mark.parametrize(
    ("blocks", "word"),
    [
        ("no list", "invalid_blocks_format"),
        (["no object"], "invalid_blocks_format"),
        ([{"type": "divider"}] * 51, "invalid_blocks"),
        ([{"type": "divider", "block_id": "a"}] * 2, "invalid_blocks"),
        ([{"type": "section", "text": mrkdwn("x" * 2900)}] * 5, "msg_blocks_too_long"),
    ],
)
def test_the_whole_list_has_rules_too(blocks: object, word: str) -> None:
    with pytest.raises(SlackError, match=word):
        check_blocks(blocks)
