"""The bodies of refusals: missing rights, missing objects, and wrong requests."""

import httpx
import pytest

from connector.emulators.google import EMAIL
from connector.emulators.google.oauth import Token

OTHER = "other@emulated-project.iam.gserviceaccount.com"


def error(response, code):
    assert response.status_code == code, response.text
    body = response.json()["error"]
    assert body["code"] == code
    return body


def reason(body):
    return next(each for each in body["details"] if each["@type"].endswith("ErrorInfo"))["reason"]


def test_a_spreadsheet_that_is_not_shared_is_403(api):
    api.person.unshare(EMAIL)
    assert error(api.get(), 403) == {
        "code": 403,
        "message": "The caller does not have permission",
        "status": "PERMISSION_DENIED",
    }
    api.person.share(EMAIL)
    assert api.get().status_code == 200


def test_sharing_is_per_account(api, google):
    token = {"Authorization": f"Bearer {google.token(OTHER)}"}
    assert error(httpx.get(api.url, headers=token), 403)["status"] == "PERMISSION_DENIED"
    api.person.share(OTHER)
    assert httpx.get(api.url, headers=token).status_code == 200


def test_an_unknown_spreadsheet_is_404(api):
    api.id = "unknown"
    assert error(api.get(), 404) == {
        "code": 404,
        "message": "Requested entity was not found.",
        "status": "NOT_FOUND",
    }


def test_a_disabled_api_says_where_to_enable_it(api, google):
    google.api_disabled = True
    body = error(api.get(), 403)
    assert reason(body) == "SERVICE_DISABLED"
    assert body["message"].startswith("Google Sheets API has not been used in project")
    assert "https://console.developers.google.com/apis/api/sheets.googleapis.com/overview" in body["message"]


@pytest.mark.parametrize(
    ("headers", "why"),
    [({}, "CREDENTIALS_MISSING"), ({"Authorization": "Bearer nonsense"}, "ACCESS_TOKEN_TYPE_UNSUPPORTED")],
)
def test_no_token_and_an_unknown_token_are_401(api, headers, why):
    body = error(httpx.get(api.url, headers=headers), 401)
    assert body["status"] == "UNAUTHENTICATED"
    assert "authentication credential" in body["message"]
    assert reason(body) == why


def test_a_token_expires_by_the_clock(api, google):
    start = google.clock()
    assert api.get().status_code == 200
    google.clock = lambda: start + 3700
    assert reason(error(api.get(), 401)) == "ACCESS_TOKEN_EXPIRED"


def test_a_revoked_token_is_401(api, google):
    google.tokens.revoke()
    assert error(api.get(), 401)["status"] == "UNAUTHENTICATED"


@pytest.mark.parametrize(("scope", "read", "write"), [("spreadsheets.readonly", 200, 403), ("calendar", 403, 403)])
def test_scopes_decide_between_reading_and_writing(api, google, scope, read, write):
    token = google.tokens.issue(EMAIL, frozenset({f"https://www.googleapis.com/auth/{scope}"}))
    api.client.headers["Authorization"] = f"Bearer {token}"
    assert api.get().status_code == read
    body = error(api.batch({"deleteSheet": {"sheetId": 9}}), write)
    assert body["message"] == "Request had insufficient authentication scopes."
    assert isinstance(google.tokens._tokens[token], Token)


def test_what_the_api_does_not_have_is_404(api, google):
    assert httpx.get(f"{google.url}/v5/anything").status_code == 404
    assert api.post(":batchUpdates", {}).status_code == 404
    assert google.calls == []


def test_values_outside_of_the_grid_name_the_grid(api):
    assert error(api.get("/values/Sheet1!AA1"), 400)["message"] == (
        "Range (Sheet1!AA1) exceeds grid limits. Max rows: 1000, max columns: 26"
    )
