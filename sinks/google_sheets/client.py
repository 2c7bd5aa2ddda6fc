"""The blocking client: gspread on an httpx transport, so that one HTTP stack serves all and tests can stand in for it.

Only `sinks.google_sheets.sheets` uses it, from one thread. gspread gives addresses and errors; its own objects, which
fetch the whole spreadsheet, and its retries, which repeat writes, stay out of the way.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import google.auth.exceptions
import google.auth.transport
import gspread
import httpx
import msgspec
from google.oauth2.service_account import Credentials
from gspread.urls import SPREADSHEET_BATCH_UPDATE_URL, SPREADSHEET_URL

from connector.http import Answer, classify, host_of, is_loopback
from sinks.google_sheets.account import Account
from sinks.google_sheets.errors import (
    CallFailed,
    Passing,
    Trouble,
    answer_failure,
    bad_credentials,
    token_failure,
    unreachable,
)

SCOPE = "https://www.googleapis.com/auth/spreadsheets"
DEFAULT_URL = "https://sheets.googleapis.com"
_UNAUTHORIZED = 401


class TokenAnswer(google.auth.transport.Response):
    """An httpx answer as google-auth reads one."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        return self._answer.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._answer.headers

    @property
    def data(self) -> bytes:
        return self._answer.content


class TokenRequest(google.auth.transport.Request):
    """Fetches tokens through the same httpx client."""

    def __init__(self, session: httpx.Client) -> None:
        self._session = session
        self.refusal: httpx.Response | None = None
        """The last answer, if it was a refusal: trying again does not help."""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the client's own time limit holds
        **_: Any,
    ) -> TokenAnswer:
        self.refusal = None
        try:
            answer = self._session.request(method, url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise _token_error(type(error).__name__) from error
        if answer.is_success and not _is_object(answer.content):
            raise _token_error("no JSON object")  # google-auth would stumble over it
        if classify(answer.status_code) in {Answer.DENIED, Answer.REFUSED}:
            self.refusal = answer
        return TokenAnswer(answer)


def _token_error(reason: str) -> Exception:
    transport_error: Any = google.auth.exceptions.TransportError
    failed: Exception = transport_error(reason)
    return failed


def _is_object(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return False
    return True


class Transport(gspread.HTTPClient):
    """gspread's one way out, by httpx, to whatever address is configured. Follows no redirect."""

    base_url = DEFAULT_URL

    def __init__(self, auth: Any, session: Any = None) -> None:
        super().__init__(auth, session)
        self._auth = auth
        self._httpx: httpx.Client = session
        self.tokens = TokenRequest(session)

    def request(  # type: ignore[override]  # gspread names the classes of requests; any answer with their names will do
        self, method: str, endpoint: str, params: Any = None, data: Any = None, **_: Any
    ) -> httpx.Response:
        """Sends one request with a token, and once more with a fresh one when Google does not know it any longer."""
        url = endpoint.replace(DEFAULT_URL, self.base_url, 1)
        answer = self._send(method, url, params, data)
        if answer.status_code == _UNAUTHORIZED:
            self._auth.refresh(self.tokens)
            answer = self._send(method, url, params, data)
        return answer

    def _send(self, method: str, url: str, params: Any, data: Any) -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        self._auth.before_request(self.tokens, method, url, headers)
        params = {name: value for name, value in (params or {}).items() if value is not None}
        return self._httpx.request(method, url, params=params, content=data, headers=headers)


class Client:
    """One spreadsheet over HTTP. Blocking; every call may raise `CallFailed`, never anything else of its libraries."""

    def __init__(self, account: Account, spreadsheet: str, api_url: str, timeout: float) -> None:
        self.account = account
        self._spreadsheet = spreadsheet
        direct = is_loopback(host_of(api_url))
        self._session = httpx.Client(timeout=timeout, trust_env=not direct, verify=_tls())
        self._http = Transport(_credentials(account), self._session)
        self._http.base_url = api_url.rstrip("/")

    def tabs(self, fields: str) -> bytes:
        """spreadsheets.get: which tabs there are."""
        return self._call("get", SPREADSHEET_URL % self._spreadsheet, fields, None)

    def read(self, fields: str, body: bytes) -> bytes:
        """spreadsheets.getByDataFilter."""
        return self._call("post", f"{SPREADSHEET_URL % self._spreadsheet}:getByDataFilter", fields, body)

    def values(self, fields: str, body: bytes) -> bytes:
        """spreadsheets.values.batchGetByDataFilter."""
        return self._call("post", f"{SPREADSHEET_URL % self._spreadsheet}/values:batchGetByDataFilter", fields, body)

    def write(self, fields: str, body: bytes) -> bytes:
        """spreadsheets.batchUpdate."""
        return self._call("post", SPREADSHEET_BATCH_UPDATE_URL % self._spreadsheet, fields, body, writing=True)

    def close(self) -> None:
        self._session.close()

    def _call(self, method: str, url: str, fields: str, body: bytes | None, *, writing: bool = False) -> bytes:
        params = {"fields": fields, "prettyPrint": "false"}
        try:
            answer = self._http.request(method, url, params=params, data=body)
        except google.auth.exceptions.GoogleAuthError as error:
            raise self._no_token(error) from None
        except httpx.TimeoutException as error:
            raise CallFailed(unreachable(error)) from None
        except httpx.HTTPError as error:
            raise Passing(unreachable(error)) from None
        if not answer.is_success:
            raise self._failed(answer, writing=writing)
        return answer.content

    def _failed(self, answer: httpx.Response, *, writing: bool) -> CallFailed:
        asked, date = answer.headers.get("retry-after", ""), answer.headers.get("date", "")
        email = self.account.email
        failure = answer_failure(
            answer.status_code, answer.content, email=email, retry_after=asked, date=date, writing=writing
        )
        return Passing(failure) if failure.trouble is Trouble.UNCLEAR and not asked else CallFailed(failure)

    def _no_token(self, error: google.auth.exceptions.GoogleAuthError) -> CallFailed:
        if (refusal := self._http.tokens.refusal) is not None:
            date = refusal.headers.get("date", "")
            return CallFailed(token_failure(refusal.content, date, now=time.time(), email=self.account.email))
        return CallFailed(unreachable(error))


@cache
def _tls() -> ssl.SSLContext:
    """One for all sinks: the list of authorities takes time and memory."""
    return httpx.create_ssl_context()


def _credentials(account: Account) -> Any:
    make: Any = Credentials.from_service_account_info
    try:
        return make(account.info, scopes=[SCOPE])
    except ValueError as error:
        raise CallFailed(bad_credentials("the private key of the service account cannot be read")) from error
