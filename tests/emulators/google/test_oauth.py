"""The token endpoint, with google-auth and with plain requests, and gspread with it."""

import json
import stat
import time

import gspread
import gspread.exceptions
import httpx
import pytest
from google.auth import crypt, jwt
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession
from google.oauth2.service_account import Credentials

from connector.emulators.google import EMAIL
from connector.emulators.google.oauth import GRANT_TYPE, KEY_BITS

SCOPE = "https://www.googleapis.com/auth/spreadsheets"


@pytest.fixture
def account(google, tmp_path):
    return google.service_account_file(tmp_path / "account.json")


@pytest.fixture
def session(account):
    with AuthorizedSession(Credentials.from_service_account_file(account, scopes=[SCOPE])) as session:
        yield session
        session._auth_request.session.close()


def ask(google, account, grant_type=GRANT_TYPE, key=None, **claims):
    info = json.loads(account.read_text())
    signer = crypt.RSASigner.from_string(key or info["private_key"])
    now = int(time.time())
    default = {"iss": EMAIL, "aud": info["token_uri"], "scope": SCOPE, "iat": now, "exp": now + 3600}
    assertion = jwt.encode(signer, {**default, **claims}).decode()
    return httpx.post(f"{google.url}/token", data={"grant_type": grant_type, "assertion": assertion})


def test_the_key_file_works_with_google_auth(google, session):
    spreadsheet_id = google.add_spreadsheet()
    response = session.get(f"{google.url}/v4/spreadsheets/{spreadsheet_id}")
    assert response.status_code == 200
    assert session.credentials.service_account_email == EMAIL
    assert [call.kind for call in google.calls] == ["token", "read"]


def test_google_auth_gets_a_new_token_after_a_revocation(google, session):
    url = f"{google.url}/v4/spreadsheets/{google.add_spreadsheet()}"
    session.get(url)
    google.tokens.revoke()
    assert session.get(url).status_code == 200
    assert google.counts["token"] == 2


def test_a_refusal_can_be_scripted_and_ended(google, session):
    url = f"{google.url}/v4/spreadsheets/{google.add_spreadsheet()}"
    google.tokens.refuse()
    with pytest.raises(RefreshError, match="invalid_grant"):
        session.get(url)
    google.tokens.accept()
    assert session.get(url).status_code == 200


def test_the_reply_is_a_bearer_token_for_an_hour(google, account):
    reply = ask(google, account).json()
    assert (reply["token_type"], reply["expires_in"]) == ("Bearer", 3600)
    assert reply["access_token"].startswith("ya29.")


def test_googles_own_audience_is_taken_too(google, account):
    assert ask(google, account, aud="https://oauth2.googleapis.com/token").status_code == 200


@pytest.mark.parametrize(
    ("claims", "error", "description"),
    [
        ({"iss": "nobody@x.iam.gserviceaccount.com"}, "invalid_grant", "Invalid grant: account not found"),
        ({"aud": "https://example.com"}, "invalid_grant", "Failed audience check"),
        ({"exp": 1}, "invalid_grant", "short-lived token"),
        ({"exp": 2**40}, "invalid_grant", "short-lived token"),
        ({"scope": ""}, "invalid_scope", "Invalid OAuth scope"),
        ({"grant_type": "password"}, "unsupported_grant_type", "Invalid grant_type: password"),
    ],
)
def test_wrong_claims_are_refused(google, account, claims, error, description):
    response = ask(google, account, **claims)
    assert response.status_code == 400
    assert response.json()["error"] == error
    assert description in response.json()["error_description"]


def test_another_key_is_refused(google, account):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    response = ask(google, account, key=pem)
    assert response.json() == {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}


@pytest.mark.parametrize("assertion", ["", "a.b", "a.b.c", "!.!.!"])
def test_what_is_no_jwt_is_refused(google, assertion):
    response = httpx.post(f"{google.url}/token", data={"grant_type": GRANT_TYPE, "assertion": assertion})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


def test_the_key_file_is_for_its_owner_only(account):
    assert stat.S_IMODE(account.stat().st_mode) == 0o600


class Client(gspread.HTTPClient):
    """gspread, sent to another address than the one it has built in."""

    base_url = ""

    def request(self, method, endpoint, *args, **kwargs):
        return super().request(
            method, endpoint.replace("https://sheets.googleapis.com", self.base_url), *args, **kwargs
        )


def test_gspread_reads_and_writes_through_the_emulator(google, session):
    spreadsheet_id = google.add_spreadsheet()
    Client.base_url = google.url
    client = gspread.Client(session.credentials, session=session, http_client=Client)
    sheet = client.open_by_key(spreadsheet_id).sheet1
    sheet.update([["a", 1], ["b", 2]], "A1")
    sheet.append_row(["c", 3])
    assert sheet.get_all_values() == [["a", "1"], ["b", "2"], ["c", "3"]]
    assert sheet.get("A1:B9", value_render_option="UNFORMATTED_VALUE") == [["a", 1], ["b", 2], ["c", 3]]
    with pytest.raises(gspread.exceptions.SpreadsheetNotFound):
        client.open_by_key("unknown")
