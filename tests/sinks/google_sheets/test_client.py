"""The blocking client, with `respx` in the place of Google."""

from __future__ import annotations

import base64
import json
import urllib.parse

import httpx
import pytest

from sinks.google_sheets.account import Account
from sinks.google_sheets.client import Client
from sinks.google_sheets.errors import CallFailed, Passing, Trouble

API = "https://sheets.googleapis.com"
TOKEN_URI = "https://oauth2.googleapis.com/token"


@pytest.fixture
def info(key_file):
    return {**json.loads(key_file.read_text()), "token_uri": TOKEN_URI}


@pytest.fixture
def make_client(info, respx_mock):
    clients = []

    def make(api_url=API):
        clients.append(Client(Account(info["client_email"], info), "sheet-id", api_url, 5))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def token(respx_mock):
    answer = {"access_token": "secret-token", "expires_in": 3600, "token_type": "Bearer"}
    return respx_mock.post(TOKEN_URI).mock(return_value=httpx.Response(200, json=answer))


def test_it_asks_for_the_right_to_edit_spreadsheets_and_no_other(make_client, token, respx_mock):
    respx_mock.get(f"{API}/v4/spreadsheets/sheet-id").mock(return_value=httpx.Response(200, json={}))
    make_client().tabs("properties")
    form = urllib.parse.parse_qs(token.calls[0].request.content.decode())
    claims = form["assertion"][0].split(".")[1]
    assert "auth/spreadsheets" in _decoded(claims)
    assert _decoded(claims).count("https://www.googleapis.com/auth/") == 1


def _decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()


def test_a_write_is_one_call_with_its_mask_without_pretty_printing_and_with_the_token(make_client, token, respx_mock):
    route = respx_mock.post(f"{API}/v4/spreadsheets/sheet-id:batchUpdate").mock(
        return_value=httpx.Response(200, content=b"{}")
    )
    assert make_client().write("spreadsheetId", b'{"requests":[]}') == b"{}"
    [call] = route.calls
    assert dict(call.request.url.params) == {"fields": "spreadsheetId", "prettyPrint": "false"}
    assert call.request.headers["authorization"] == "Bearer secret-token"
    assert call.request.content == b'{"requests":[]}'


def test_a_token_is_asked_for_once(make_client, token, respx_mock):
    respx_mock.get(f"{API}/v4/spreadsheets/sheet-id").mock(return_value=httpx.Response(200, json={}))
    client = make_client()
    client.tabs("properties")
    client.tabs("properties")
    assert token.call_count == 1


def test_another_address_of_the_api_is_used_for_every_call(make_client, token, respx_mock):
    route = respx_mock.post("https://sheets.example/v4/spreadsheets/sheet-id:getByDataFilter").mock(
        return_value=httpx.Response(200, content=b"{}")
    )
    make_client("https://sheets.example/").read("properties", b"{}")
    assert route.call_count == 1


@pytest.mark.respx(assert_all_called=False)
def test_a_redirect_is_not_followed_with_a_token(make_client, token, respx_mock):
    away = {"Location": "https://elsewhere.example/"}
    respx_mock.get(f"{API}/v4/spreadsheets/sheet-id").mock(return_value=httpx.Response(302, headers=away))
    elsewhere = respx_mock.get("https://elsewhere.example/").mock(return_value=httpx.Response(200))
    with pytest.raises(CallFailed) as caught:
        make_client().tabs("properties")
    assert caught.value.failure.trouble is Trouble.UNCLEAR
    assert not elsewhere.called


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError])
def test_a_broken_connection_is_unclear_and_says_nothing_of_the_address(make_client, token, respx_mock, error):
    respx_mock.get(f"{API}/v4/spreadsheets/sheet-id").mock(side_effect=error("https://secret.example"))
    with pytest.raises(Passing) as caught:
        make_client().tabs("properties")
    assert caught.value.failure.trouble is Trouble.UNCLEAR
    assert str(caught.value) == f"no answer from Google ({error.__name__})"


def test_silence_is_not_worth_asking_again_at_once(make_client, token, respx_mock):
    respx_mock.get(f"{API}/v4/spreadsheets/sheet-id").mock(side_effect=httpx.ReadTimeout("slow"))
    with pytest.raises(CallFailed) as caught:
        make_client().tabs("properties")
    assert not isinstance(caught.value, Passing)


def test_an_account_does_not_show_its_key(info):
    assert repr(Account(info["client_email"], info)) == f"Account({info['client_email']!r})"
