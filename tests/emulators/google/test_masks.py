"""Field masks: both spellings, what they select, what they write, and Google's answer to a wrong one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.emulators.google.masks import ALL, Mask, MaskError, merge, overlay, parse, select

NAMES = st.sampled_from("abc")
MASKS = st.recursive(
    st.just(ALL), lambda below: st.builds(Mask, st.dictionaries(NAMES, below, min_size=1, max_size=3)), max_leaves=6
)
VALUES = st.recursive(
    st.integers(), lambda below: st.dictionaries(NAMES, below, max_size=3) | st.lists(below, max_size=2), max_leaves=8
)
OBJECTS = st.dictionaries(NAMES, st.dictionaries(NAMES, st.integers(), max_size=3), max_size=3)


def text(mask):
    """The mask with brackets."""
    return ",".join(name + ("" if below.fields is None else f"({text(below)})") for name, below in mask.fields.items())


def paths(mask, start=""):
    """The mask as dotted paths."""
    for name, below in mask.fields.items():
        if below.fields is None:
            yield start + name
        else:
            yield from paths(below, f"{start}{name}.")


@given(MASKS.filter(lambda mask: mask.fields is not None))
def test_brackets_and_paths_mean_the_same(mask):
    assert parse(text(mask)) == parse(",".join(paths(mask))) == mask


@given(MASKS, MASKS, VALUES)
def test_a_joined_mask_selects_what_both_select(one, other, value):
    joined = select(merge(one, other), value)
    assert select(one, joined) == select(one, value)
    assert select(other, joined) == select(other, value)


@given(MASKS, VALUES)
def test_selecting_twice_changes_nothing(mask, value):
    assert select(mask, select(mask, value)) == select(mask, value)


@given(OBJECTS, OBJECTS, NAMES, NAMES)
def test_an_overlay_writes_the_named_field_and_no_other(old, new, name, below):
    result = overlay(old, new, parse(f"{name}.{below}"))
    assert result.get(name, {}).get(below) == new.get(name, {}).get(below)
    rest = {key: value for key, value in old.get(name, {}).items() if key != below}
    assert {key: value for key, value in result.get(name, {}).items() if key != below} == rest
    assert {key: value for key, value in result.items() if key != name} == {
        key: value for key, value in old.items() if key != name
    }


def test_a_star_and_a_slash_are_understood():
    assert parse("*") == ALL
    assert parse("a(*)") == parse("a")
    assert parse("a/b") == parse("a.b")


def test_the_wider_of_two_paths_wins():
    assert parse("a.b,a") == parse("a,a.b") == parse("a")


@pytest.mark.parametrize("wrong", ["", ",", "a,", "a(", "a(b", "a)", "a.", "(a)", "a(b)c"])
def test_what_is_no_mask_is_refused(wrong):
    with pytest.raises(MaskError):
        parse(wrong)


@pytest.mark.parametrize(
    "fields",
    [
        "properties(title),sheets(properties(sheetId,index))",
        "properties.title,sheets.properties.sheetId,sheets.properties.index",
    ],
)
def test_a_read_shows_what_the_mask_asks_for(api, fields):
    assert api.get(fields=fields).json() == {
        "properties": {"title": "Hiring"},
        "sheets": [{"properties": {"sheetId": 0, "index": 0}}],
    }


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ("sheets.sheetProperties", "sheets.sheetProperties"),
        ("properties, sheets", " sheets"),
        ("sheets(properties(title),data(rowDate))", "sheets.data.rowDate"),
        ("spreadsheetId.x", "spreadsheetId.x"),
    ],
)
def test_a_path_that_leads_nowhere_is_named_in_the_details(api, fields, path):
    error = api.get(fields=fields).json()["error"]
    assert error["message"] == "Request contains an invalid argument."
    [violation] = error["details"][0]["fieldViolations"]
    assert violation == {
        "field": fields,
        "description": f"Error expanding 'fields' parameter. Cannot find matching fields for path '{path}'.",
    }


def test_the_mask_of_a_write_is_for_the_reply(api):
    reply = api.done({"deleteDimension": {"range": {"dimension": "ROWS", "endIndex": 1}}}, fields="spreadsheetId")
    assert reply == {"spreadsheetId": api.id}


def test_a_write_without_fields_is_refused(api):
    update = {"updateCells": {"start": {}, "rows": [{"values": [{}]}]}}
    assert api.refused(update) == (
        "Invalid requests[0].updateCells: At least one field must be listed in 'fields'. "
        "(Use '*' to indicate all fields.)"
    )


def test_a_write_to_an_unknown_field_is_refused(api):
    update = {"updateCells": {"start": {}, "rows": [{"values": [{}]}], "fields": "userEnteredValues"}}
    assert api.refused(update) == "Invalid requests[0].updateCells: Invalid field: userEnteredValues"
