"""The blocking client: gspread's HTTP client on google-auth's session. Used from one thread.

gspread sends the requests and raises `APIError`. Its spreadsheet objects, which fetch the whole spreadsheet, and its
retrying client, which repeats writes, are not used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import google.auth
import google.auth.exceptions
import gspread
import requests
from google.auth.impersonated_credentials import Credentials as ImpersonatedCredentials
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2.service_account import Credentials as KeyCredentials

from connector.http import ResponseClass, classify, host_of, is_loopback
from sinks.google_sheets.config import Account
from sinks.google_sheets.errors import (
    CallFailed,
    FailureMeaning,
    TransientCallFailed,
    answer_failure,
    bad_credentials,
    no_default_credentials,
    reply_text,
    token_failure,
    unreachable,
    unreadable,
)

SCOPE = "https://www.googleapis.com/auth/spreadsheets"
_CONNECT_SECONDS = 10.0


class Client:
    """One spreadsheet over HTTP. Every call blocks. Exceptions of the libraries become `CallFailed`. `timeout`
    (seconds) is the longest wait for the next bytes of an answer. `clock` returns epoch seconds; it is compared with
    Google's clock when Google refuses the time of a token request.
    """

    def __init__(
        self,
        account: Account,
        spreadsheet: str,
        api_url: str,
        timeout: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.account = account
        self._clock = clock
        self._root = f"{api_url.rstrip('/')}/v4/spreadsheets/{spreadsheet}"
        self._credentials = _credentials(account)
        self._tokens = _configured(requests.Session(), _token_url(account) or api_url)
        authorized = cast("Any", AuthorizedSession)  # google-auth has no types here
        self._session = _configured(
            authorized(
                self._credentials,
                max_refresh_attempts=1,
                refresh_timeout=timeout,
                auth_request=Request(self._tokens),
            ),
            api_url,
        )
        self._answer: requests.Response | None = None
        self._refusal: requests.Response | None = None
        self._thread = 0  # of the running call
        self._session.hooks["response"].append(self._keep_answer)
        self._tokens.hooks["response"].append(self._keep_token_answer)
        self._http = gspread.HTTPClient(cast("Any", None), self._session)  # the session has the credentials
        self._http.set_timeout((_CONNECT_SECONDS, timeout))

    @property
    def email(self) -> str:
        """The address to share the spreadsheet with, `""` when google-auth does not know it.

        Compute Engine credentials learn theirs with the first token. Direct workload identity federation and user
        credentials have none.
        """
        found = str(getattr(self._credentials, "service_account_email", None) or "")
        return found if "@" in found else self.account.email

    def read(self, path: str, fields: str, body: bytes | None = None) -> bytes:
        """Reads `fields` of the spreadsheet by a GET, or by a POST of `body`. `path` is appended to the address."""
        return self._call("get" if body is None else "post", path, fields, body)

    def write(self, fields: str, body: bytes) -> bytes:
        """Calls `spreadsheets.batchUpdate`."""
        return self._call("post", ":batchUpdate", fields, body, writing=True)

    def close(self) -> None:
        """Closes all connections."""
        self._session.close()
        self._tokens.close()

    def _call(self, method: str, path: str, fields: str, body: bytes | None, *, writing: bool = False) -> bytes:
        self._answer = self._refusal = None
        self._thread = threading.get_ident()
        try:
            answer = self._http.request(
                method,
                self._root + path,
                params={"fields": fields, "prettyPrint": "false"},
                data=body,
                headers={"Content-Type": "application/json"},
            )
        except gspread.exceptions.APIError as error:
            raise self._failed(error.response, writing=writing) from None
        except google.auth.exceptions.GoogleAuthError as error:
            raise self._no_token(error) from None
        except requests.Timeout as error:
            raise CallFailed(unreachable(error)) from None
        except requests.RequestException as error:
            raise TransientCallFailed(unreachable(error)) from None
        except OSError:  # the file with the token of another provider cannot be read
            raise CallFailed(no_default_credentials()) from None
        except (TypeError, KeyError, AttributeError):
            # an error body such as {"error": "text"} makes gspread fail while it builds the APIError, and a token
            # answer that is not a JSON object makes google-auth fail
            raise self._unexpected(writing=writing) from None
        if "json" not in answer.headers.get("content-type", ""):
            raise TransientCallFailed(unreadable())
        return answer.content

    def _failed(self, answer: requests.Response, *, writing: bool) -> CallFailed:
        asked, date = answer.headers.get("retry-after", ""), answer.headers.get("date", "")
        failure = answer_failure(
            answer.status_code, answer.content, email=self.email, retry_after=asked, date=date, writing=writing
        )
        kind = TransientCallFailed if failure.meaning is FailureMeaning.UNCLEAR and not asked else CallFailed
        return kind(failure, answer.status_code, reply_text(answer.content))

    def _no_token(self, error: google.auth.exceptions.GoogleAuthError) -> CallFailed:
        """Returns the failure when there is no token. Nothing was sent to the spreadsheet. Only a refusal needs an
        operator.
        """
        if self._refusal is not None:
            date = self._refusal.headers.get("date", "")
            has_key = self.account.key is not None
            body = self._refusal.content
            failure = token_failure(body, date, now=self._clock(), email=self.email, has_key=has_key)
            return CallFailed(failure, self._refusal.status_code, reply_text(body))
        return CallFailed(unreachable(error))

    def _unexpected(self, *, writing: bool) -> CallFailed:
        answer = self._answer
        return (
            TransientCallFailed(unreadable()) if answer is None or answer.ok else self._failed(answer, writing=writing)
        )

    def _keep_answer(self, answer: requests.Response, *_: Any, **__: Any) -> None:
        self._answer = answer

    def _keep_token_answer(self, answer: requests.Response, *_: Any, **__: Any) -> None:
        """Stores a refusal, because another attempt would not help. google-auth looks up allowed locations in a
        background thread (IAM Credentials API, `allowedLocations`); that answer is ignored.
        """
        if threading.get_ident() != self._thread:
            return
        is_refusal = classify(answer.status_code) in {ResponseClass.DENIED, ResponseClass.REFUSED}
        self._refusal = answer if is_refusal else None
        self._answer = None  # an earlier answer of the API no longer matters


def _configured(session: Any, url: str) -> Any:
    """Returns a session without those defaults of `requests` that are unsafe for writes and tokens."""
    session.max_redirects = 0  # a 302 would turn a POST into a GET and report success
    session.auth = _keep_authorization
    if is_loopback(host_of(url)):
        session.trust_env = False  # a proxy of the environment cannot reach this machine's loopback address
        session.adapters.pop("https://")  # google-auth looks up more at Google's own hosts in the background
    return session


def _keep_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps the token: `requests` would replace it by a password from ~/.netrc."""
    return request


def _token_url(account: Account) -> str:
    return str(account.key["token_uri"]) if account.key is not None else ""


def _credentials(account: Account) -> Any:
    """Returns credentials of google-auth. Raises `CallFailed` with the fix."""
    if account.key is not None:
        try:
            make = cast("Any", KeyCredentials.from_service_account_info)
            return make(account.key, scopes=[SCOPE])
        except ValueError as error:
            raise CallFailed(bad_credentials("the private key of the service account cannot be read")) from error
    scopes = ["https://www.googleapis.com/auth/cloud-platform"] if account.impersonate else [SCOPE]
    try:
        found, _ = google.auth.default(scopes=scopes)
    except (google.auth.exceptions.GoogleAuthError, OSError) as error:
        raise CallFailed(no_default_credentials()) from error
    if not account.impersonate:
        return found
    impersonated = cast("Any", ImpersonatedCredentials)
    return impersonated(found, target_principal=account.impersonate, target_scopes=[SCOPE])
