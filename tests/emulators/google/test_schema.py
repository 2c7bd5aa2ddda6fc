"""Bodies and queries are checked against Google's discovery document, so that a misspelt field fails a test."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.emulators.google.errors import GoogleError
from connector.emulators.google.schema import discovery, read_body, snake

BATCH = "spreadsheets.batchUpdate"
VALID = (
    {"updateSheetProperties": {"properties": {"sheetId": 7, "gridProperties": {"frozenRowCount": 1}}, "fields": "*"}},
    {"repeatCell": {"range": {"sheetId": "7"}, "cell": {"userEnteredFormat": {"textFormat": {"bold": True}}}}},
    {"setBasicFilter": {"filter": {"range": {"sheetId": 7, "startRowIndex": 0, "endColumnIndex": 18.0}}}},
    {"addChart": {"chart": {"spec": {"title": "t", "pieChart": {"legendPosition": "RIGHT_LEGEND"}}}}},
    {"insertDimension": {"range": {"dimension": "ROWS", "endIndex": None}, "inheritFromBefore": False}},
)


def violations(*requests):
    with pytest.raises(GoogleError) as caught:
        read_body(discovery().method(BATCH), msgspec.json.encode({"requests": requests}))
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    [details] = caught.value.details
    assert caught.value.message == "\n".join(each["description"] for each in details["fieldViolations"])
    return [each["description"] for each in details["fieldViolations"]]


@pytest.mark.parametrize("request_body", VALID)
def test_what_google_documents_is_taken(request_body):
    body = {"requests": [request_body]}
    assert read_body(discovery().method(BATCH), msgspec.json.encode(body)) == body


def test_an_unknown_field_is_named_with_its_place():
    assert violations({"insertDimension": {"inherit_before": True}}) == [
        (
            "Invalid JSON payload received. Unknown name \"inherit_before\" at 'requests[0].insert_dimension': "
            "Cannot find field."
        )
    ]


def test_an_unknown_field_at_the_top_has_no_place():
    with pytest.raises(GoogleError, match=r'Unknown name "request": Cannot find field\.'):
        read_body(discovery().method(BATCH), b'{"request": []}')


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        (
            {"insertDimension": {"inheritFromBefore": "yes"}},
            "Invalid value at 'requests[0].insert_dimension.inherit_from_before' (TYPE_BOOL), \"yes\"",
        ),
        (
            {"insertDimension": {"range": {"startIndex": 1.5}}},
            "Invalid value at 'requests[0].insert_dimension.range.start_index' (TYPE_INT32), 1.5",
        ),
        (
            {"insertDimension": {"range": {"startIndex": 2**31}}},
            f"Invalid value at 'requests[0].insert_dimension.range.start_index' (TYPE_INT32), {2**31}",
        ),
        (
            {"insertDimension": {"range": {"dimension": "ROW"}}},
            (
                "Invalid value at 'requests[0].insert_dimension.range.dimension' "
                '(type.googleapis.com/google.apps.sheets.v4.Dimension), "ROW"'
            ),
        ),
        (
            {"insertDimension": {"range": [1]}},
            (
                "Invalid JSON payload received. Unknown name \"range\" at 'requests[0].insert_dimension': "
                "Proto field is not repeating, cannot start list."
            ),
        ),
        (
            {"addSheet": {"properties": {"title": {"a": 1}}}},
            (
                "Invalid value at 'requests[0].add_sheet.properties.title' (TYPE_STRING), "
                "Starting an object on a scalar field"
            ),
        ),
        (
            "addSheet",
            "Invalid value at 'requests[0]' (type.googleapis.com/google.apps.sheets.v4.Request), \"addSheet\"",
        ),
        (
            {"addSheet": {}, "deleteSheet": {}},
            "Invalid value at 'requests[0]' (oneof), oneof field 'kind' is already set. Cannot set 'deleteSheet'",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_type(request_body, message):
    assert violations(request_body) == [message]


def test_all_violations_are_reported_at_once():
    assert len(violations({"addSheet": {"a": 1, "b": 2}}, {"deleteSheet": {"sheetId": []}})) == 3


@pytest.mark.parametrize("raw", [b"{", b'{"requests": [}', b"\xff"])
def test_what_is_no_json_is_refused(raw):
    with pytest.raises(GoogleError, match="Invalid JSON payload received"):
        read_body(discovery().method(BATCH), raw)


def test_a_body_that_is_a_list_is_refused():
    with pytest.raises(GoogleError, match="BatchUpdateSpreadsheetRequest"):
        read_body(discovery().method(BATCH), b"[]")


@given(st.sampled_from(list(discovery().message("Request").fields)), st.text(min_size=1, max_size=5))
def test_every_kind_of_request_refuses_a_field_it_does_not_have(kind, name):
    [message] = violations({kind: {f"no{name}": 1}})
    assert f"at 'requests[0].{snake(kind)}': Cannot find field." in message


def test_a_refused_body_is_answered_over_http(api):
    response = api.batch({"insertDimension": {"rang": {}}})
    error = response.json()["error"]
    assert (response.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert error["details"][0]["fieldViolations"][0]["field"] == "requests[0].insert_dimension"


def test_a_misspelt_query_parameter_is_refused(api):
    message = api.get(includeGridDate="true").json()["error"]["message"]
    assert message == (
        'Invalid JSON payload received. Unknown name "includeGridDate": Cannot bind query parameter. '
        "Field 'includeGridDate' could not be found in request message."
    )


def test_a_parameter_given_twice_is_refused_unless_it_is_a_list(api):
    assert "not a repeated field" in api.get(fields=["sheets", "properties"]).json()["error"]["message"]
    assert api.get(ranges=["A1", "B1"]).status_code == 200
