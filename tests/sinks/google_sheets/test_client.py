"""The blocking client against the emulator, over real HTTP."""

from __future__ import annotations

import json
import threading

import pytest

from connector.emulators.faults import BROKEN_JSON, DROP, HANG, Fault, FaultKind
from connector.emulators.google import EMAIL
from connector.emulators.google.oauth import FEDERATED
from sinks.google_sheets.client import Client
from sinks.google_sheets.config import Account, GoogleSheetsConfig, load_account
from sinks.google_sheets.errors import CallFailed, FailureMeaning, TransientCallFailed

NOTHING = json.dumps({"requests": [{"updateSpreadsheetProperties": {"properties": {}, "fields": "title"}}]}).encode()
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture
def spreadsheet(google):
    return google.add_spreadsheet()


@pytest.fixture
def connect(google, key_file, spreadsheet):
    """Makes clients with a timeout of one second."""
    clients = []

    def make(account=None, api_url=google.url):
        account = account or Account(EMAIL, json.loads(key_file.read_text()))
        clients.append(Client(account, spreadsheet, api_url, 1))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def settings(**values):
    return GoogleSheetsConfig(spreadsheet="the-id-of-a-spreadsheet", **values)


def failure_of(call):
    with pytest.raises(CallFailed) as caught:
        call()
    return caught.value


class TestSigningIn:
    def test_a_token_is_asked_for_once(self, connect, google):
        client = connect()
        client.read("", "spreadsheetId")
        client.read("", "spreadsheetId")
        assert (google.counts["token"], google.counts["read"]) == (1, 2)

    def test_a_token_has_the_right_to_edit_spreadsheets_and_no_other(self, connect, google):
        granted = []
        issue = google.tokens.issue
        google.tokens.issue = lambda email, scopes: granted.append(scopes) or issue(email, scopes)
        connect().read("", "spreadsheetId")
        assert granted == [{"https://www.googleapis.com/auth/spreadsheets"}]

    def test_a_token_that_was_revoked_is_replaced_once(self, connect, google):
        client = connect()
        client.read("", "spreadsheetId")
        google.tokens.revoke()
        client.read("", "spreadsheetId")
        assert google.counts["token"] == 2

    def test_a_refused_write_is_not_sent_again_for_a_new_token_more_than_once(self, connect, google):
        google.faults.add(
            Fault(FaultKind.STATUS, "write", times=9, status=401, body="{}", content_type="application/json")
        )
        failure = failure_of(lambda: connect().write("spreadsheetId", NOTHING)).failure
        assert (failure.meaning, google.counts["write"]) == (FailureMeaning.BROKEN, 2)

    def test_a_password_in_netrc_does_not_replace_the_token(self, connect, tmp_path, monkeypatch):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        client = connect()
        client._session.trust_env = True
        assert json.loads(client.read("", "spreadsheetId"))["spreadsheetId"]

    def test_a_proxy_of_the_environment_is_not_asked_for_an_address_on_this_machine(self, connect, monkeypatch):
        for name in PROXIES:
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert json.loads(connect().read("", "spreadsheetId"))["spreadsheetId"]

    def test_google_s_own_hosts_are_not_asked_when_the_api_is_on_this_machine(self, connect):
        before = set(threading.enumerate())
        client = connect()
        client.read("", "spreadsheetId")
        assert list(client._session.adapters) == list(client._tokens.adapters) == ["http://"]
        assert not any("Regional" in type(thread).__name__ for thread in set(threading.enumerate()) - before)

    def test_the_answer_to_a_look_up_of_google_auth_says_nothing_about_the_token(self, connect, google):
        """google-auth looks up allowed locations in a thread of its own, on the session for tokens. A refusal there,
        while the token endpoint is unreachable, must not pause the sink.
        """
        client, refused = connect(), []
        request = client._http.request

        def look_up():
            refused.append(client._tokens.get(f"{google.url}/allowedLocations").status_code)

        def request_during_a_look_up(*arguments, **named):
            thread = threading.Thread(target=look_up)
            thread.start()
            thread.join()
            return request(*arguments, **named)

        client._http.request = request_during_a_look_up
        google.faults.add(Fault(FaultKind.DROP, "token", times=9))
        failure = failure_of(lambda: client.read("", "spreadsheetId")).failure
        assert refused == [404]
        assert failure.meaning is not FailureMeaning.BROKEN

    def test_an_account_does_not_show_its_key(self, key_file):
        assert repr(Account(EMAIL, json.loads(key_file.read_text()))) == f"Account(email={EMAIL!r}, impersonate='')"


class TestKeyless:
    """Application Default Credentials, by a credential configuration for workload identity federation."""

    @pytest.fixture
    def federate(self, google, tmp_path, monkeypatch):
        def write(email=""):
            path = google.tokens.write_federation(tmp_path / "federation.json", google.url, email)
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

        return write

    def test_a_workload_can_edit_a_sheet_that_is_shared_with_its_service_account(self, connect, federate, spreadsheet):
        federate(EMAIL)
        client = connect(load_account(settings(auth="default")))
        assert json.loads(client.write("spreadsheetId", NOTHING))["spreadsheetId"] == spreadsheet
        assert client.email == EMAIL

    def test_a_workload_without_a_service_account_has_no_address(self, connect, federate, google, spreadsheet):
        google.person(spreadsheet).share(FEDERATED)
        federate()
        client = connect(load_account(settings(auth="default")))
        assert json.loads(client.read("", "spreadsheetId"))["spreadsheetId"] == spreadsheet
        assert client.email == ""

    def test_a_sheet_that_is_not_shared_names_the_kind_of_account_when_the_address_is_not_known(
        self, connect, federate
    ):
        federate()
        failure = failure_of(lambda: connect(load_account(settings(auth="default"))).read("", "spreadsheetId")).failure
        assert failure.fix == "share the sheet with the account of the Application Default Credentials as editor"

    def test_impersonation_needs_no_key_and_names_its_address(self, connect, federate):
        federate()
        client = connect(load_account(settings(auth="impersonate", impersonate=EMAIL)))
        assert client.email == EMAIL

    def test_missing_default_credentials_say_where_google_auth_looks(self, connect, monkeypatch, tmp_path):
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
        failure = failure_of(lambda: connect(load_account(settings(auth="default")))).failure
        assert failure.meaning is FailureMeaning.BROKEN
        assert "GOOGLE_APPLICATION_CREDENTIALS" in failure.fix

    def test_the_limits_of_a_known_account_are_shared_by_every_way_to_sign_in(self, key_file):
        by_key = load_account(settings(credentials_file=key_file))
        acting_as = load_account(settings(auth="impersonate", impersonate=EMAIL))
        assert by_key.bucket == acting_as.bucket != load_account(settings(auth="default")).bucket


class TestAnswers:
    def test_a_redirect_is_not_followed_and_is_unclear(self, connect, google):
        away = {"Location": f"{google.url}/v4/spreadsheets/elsewhere"}
        google.faults.add(Fault(FaultKind.STATUS, "write", status=302, headers=away))
        failure = failure_of(lambda: connect().write("spreadsheetId", NOTHING)).failure
        assert failure.meaning is FailureMeaning.UNCLEAR
        assert (google.counts["write"], google.counts["read"]) == (1, 0)

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            ('{"error": "text"}', "application/json"),
            ('{"error": {}}', "application/json"),
            ("[]", "application/json"),
            ("<html>forbidden</html>", "text/html"),
            ("", "text/plain"),
        ],
    )
    def test_a_refusal_with_any_body_is_a_refusal(self, connect, google, body, content_type):
        google.faults.add(Fault(FaultKind.STATUS, "write", status=400, body=body, content_type=content_type))
        assert failure_of(lambda: connect().write("spreadsheetId", NOTHING)).failure.meaning is FailureMeaning.REFUSED

    def test_a_success_that_is_not_json_is_unclear(self, connect, google):
        google.faults.add(Fault(FaultKind.STATUS, "read", status=200, body="<html>Sign in to the Wi-Fi</html>"))
        error = failure_of(lambda: connect().read("", "spreadsheetId"))
        assert (type(error), error.failure.meaning) == (TransientCallFailed, FailureMeaning.UNCLEAR)

    def test_a_lost_answer_to_a_write_is_unclear_and_the_write_is_not_repeated(self, connect, google):
        google.faults.add(DROP)
        client = connect()
        google.faults.clear()
        client.read("", "spreadsheetId")
        google.faults.add(DROP)
        error = failure_of(lambda: client.write("spreadsheetId", NOTHING))
        assert (type(error), error.failure.meaning, google.counts["write"]) == (
            TransientCallFailed,
            FailureMeaning.UNCLEAR,
            1,
        )

    def test_a_failed_connection_says_nothing_of_the_address(self, connect):
        error = failure_of(lambda: connect(api_url="http://127.0.0.1:9").read("", "spreadsheetId"))
        assert str(error) == "no answer from Google (ConnectionError)"

    def test_silence_is_not_worth_asking_again_at_once(self, connect, google):
        client = connect()
        client.read("", "spreadsheetId")
        google.faults.add(HANG)
        assert type(failure_of(lambda: client.read("", "spreadsheetId"))) is CallFailed
        google.faults.release()

    def test_a_token_endpoint_out_of_order_is_passing(self, connect, google):
        google.faults.add(Fault(FaultKind.REFUSE, "token", times=9))
        failure = failure_of(lambda: connect().read("", "spreadsheetId")).failure
        assert (failure.meaning, failure.fix) == (FailureMeaning.UNCLEAR, "")

    def test_a_token_endpoint_that_refuses_needs_an_operator(self, connect, google):
        google.tokens.refuse()
        assert failure_of(lambda: connect().read("", "spreadsheetId")).failure.meaning is FailureMeaning.BROKEN

    def test_a_token_answer_that_is_half_json_is_passing(self, connect, google):
        google.faults.add(Fault(BROKEN_JSON.kind, "token", times=9))
        assert failure_of(lambda: connect().read("", "spreadsheetId")).failure.meaning is FailureMeaning.UNCLEAR
