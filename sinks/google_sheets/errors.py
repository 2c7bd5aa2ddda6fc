"""Failures of calls to Google: the meaning of each answer other than a parsed 200, and the fix. Pure functions.

(Google Sheets API, Usage limits and Troubleshoot; google.rpc.Code; google.rpc.ErrorInfo.)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum

import msgspec

from connector.http import ResponseClass, classify
from sinks.google_sheets.api_replies import ErrorReply, ErrorStatus


class FailureMeaning(StrEnum):
    """The meaning of a failed call for the sink."""

    THROTTLED = "throttled"
    """Not applied; the quota is available again in the next minute."""
    BROKEN = "broken"
    """Not applied; an operator must act."""
    REFUSED = "refused"
    """Google says that it was not applied: its content is wrong, or the sheet has changed."""
    CONFLICT = "conflict"
    """As `REFUSED`, and it is known that the sheet has changed."""
    PROTECTED = "protected"
    """Not applied; some cells are protected against the sink."""
    EMPTIED = "emptied"
    """Not sent: so many rows are missing that an operator must say whether that was intended."""
    UNCLEAR = "unclear"
    """May have been applied; the guard shows whether it was applied."""


@dataclass(frozen=True, slots=True)
class SheetsFailure:
    """A failed call. `reason` contains no personal data and no secret, `fix` says what an operator has to do, and
    `retry_after` and `date` are the raw headers.
    """

    meaning: FailureMeaning
    reason: str
    fix: str = ""
    retry_after: str = ""
    date: str = ""
    short: str = ""
    """The reason without the titles of tabs and columns, for outcomes, which become metric labels."""


REPLY_BYTES = 8192
"""Bytes of a reply that are read. The connector stores less."""


class CallFailed(Exception):
    """A call to Google did not end in a parsed 200. `status` and `reply` are Google's answer, if there was one."""

    def __init__(self, failure: SheetsFailure, status: int | None = None, reply: str = "") -> None:
        super().__init__(failure.reason)
        self.failure = failure
        self.status = status
        self.reply = reply


class TransientCallFailed(CallFailed):
    """A call that failed in such a way that an immediate repeat of the same read may succeed."""


def answer_failure(
    status: int, body: bytes, *, email: str, retry_after: str = "", date: str = "", writing: bool = False
) -> SheetsFailure:
    """Returns the meaning of a status other than 2xx. `email` is the service account. `writing`: the call was a write
    to a spreadsheet that the account can read.
    """
    email = email or UNKNOWN_ADDRESS
    error = _decode(body)
    answer = classify(status)
    if answer is ResponseClass.THROTTLED:
        return SheetsFailure(FailureMeaning.THROTTLED, "rate limited", retry_after=retry_after, date=date)
    if answer is ResponseClass.DENIED:
        failure = _denied(status, error, email)
        return read_only(email) if writing and failure.reason == NOT_SHARED else failure
    if answer is ResponseClass.REFUSED:
        return _refused(status, error, email)
    return SheetsFailure(FailureMeaning.UNCLEAR, f"Google answered {status}", retry_after=retry_after)


def reply_text(body: bytes) -> str:
    """Returns status and message from the body of an error, or the start of a body that is not an error document."""
    error = _decode(body)
    if not error.message:
        return body[:REPLY_BYTES].decode(errors="replace")
    return f"{error.status}: {error.message}" if error.status else error.message


_NAMES = re.compile(r"""'[^']*'|"[^"]*"|\([^)]*\)""")
"""Quoted titles and ranges in brackets."""


def _without_names(message: str) -> str:
    """Returns a message in small letters without the titles of tabs: "Protected" is a title, too."""
    return _NAMES.sub("", message).lower()


def _decode(body: bytes) -> ErrorStatus:
    try:
        return msgspec.json.decode(body, type=ErrorReply).error
    except msgspec.MsgspecError:
        return ErrorStatus()


def _denied(status: int, error: ErrorStatus, email: str) -> SheetsFailure:
    if _disabled(error):
        fix = "open console.cloud.google.com, APIs & Services, Library, Google Sheets API and press Enable"
        return SheetsFailure(
            FailureMeaning.BROKEN, "the Google Sheets API is switched off in the service account's project", fix
        )
    if "protected" in _without_names(error.message):
        return cells_protected(email)
    for matches, reason, fix in _DENIED:
        if matches(status, error):
            return SheetsFailure(FailureMeaning.BROKEN, reason, fix.format(email=email))
    return SheetsFailure(
        FailureMeaning.BROKEN, f"Google answered {status}", "see docs/google-sheets.md, Troubleshooting"
    )


def _disabled(error: ErrorStatus) -> bool:
    reasons = {detail.get("reason") for detail in error.details}
    return "SERVICE_DISABLED" in reasons or "has not been used in project" in error.message


UNKNOWN_ADDRESS = "the account of the Application Default Credentials"
"""In place of the address of the account, when google-auth does not know it."""
NOT_SHARED = "the spreadsheet is not shared with the service account"

_DENIED: tuple[tuple[Callable[[int, ErrorStatus], bool], str, str], ...] = (
    (
        lambda status, _: status == 404,  # noqa: PLR2004 - as Google answers for a file that is not there
        "no spreadsheet has this id",
        "set `spreadsheet` to the address of an existing one, and share it with {email} as editor",
    ),
    (
        lambda status, _: status == 401,  # noqa: PLR2004 - a token that Google does not take
        "Google does not accept the service account's credentials",
        "make a new JSON key for {email} and set `credentials_file`",
    ),
    (
        lambda _, error: "scope" in error.message.lower(),
        "the token lacks the right to edit spreadsheets",
        "allow the scope https://www.googleapis.com/auth/spreadsheets (docs/google-sheets.md, step 3)",
    ),
    (
        lambda status, _: status == 403,  # noqa: PLR2004 - PERMISSION_DENIED
        NOT_SHARED,
        "share the sheet with {email} as editor",
    ),
)

_CONFLICTS = ("already exists", "already in use", "in use", "duplicate", "unable to parse range")


def _refused(status: int, error: ErrorStatus, email: str) -> SheetsFailure:
    text = _without_names(error.message)
    if "protected" in text:
        return cells_protected(email)
    if "not supported for this document" in text:
        return _office_file(email)
    if "cells in the workbook" in text:
        fix = "delete rows, columns or tabs that are not needed, or start a new spreadsheet"
        return SheetsFailure(
            FailureMeaning.BROKEN, "the spreadsheet has reached Google's limit of 10 million cells", fix
        )
    if any(words in text for words in _CONFLICTS):
        return SheetsFailure(FailureMeaning.CONFLICT, "the sheet changed meanwhile")
    return SheetsFailure(FailureMeaning.REFUSED, f"Google refused the request ({error.status or status})")


def _office_file(email: str) -> SheetsFailure:
    """Returns the failure for an Excel file in Drive. The Sheets API answers 400 FAILED_PRECONDITION to every call."""
    fix = (
        "open it in the browser and choose File, Save as Google Sheets; set `spreadsheet` to the address of the new "
        f"one, and share that with {email} as editor"
    )
    return SheetsFailure(
        FailureMeaning.BROKEN, "the file is an Excel workbook (.xlsx), which the Sheets API cannot open", fix
    )


def read_only(email: str) -> SheetsFailure:
    """Returns the failure for a spreadsheet that is shared, but not for editing."""
    fix = f"in the sheet, Share: make {email or UNKNOWN_ADDRESS} an Editor"
    return SheetsFailure(FailureMeaning.BROKEN, "the spreadsheet is shared read-only with the service account", fix)


def token_failure(body: bytes, date: str, *, now: float, email: str, has_key: bool = True) -> SheetsFailure:
    """Returns the meaning of a token endpoint's refusal. `date` is its raw Date header; `now` is this machine's clock
    in seconds. Without a key the Application Default Credentials were refused.

    (Using OAuth 2.0 for Server to Server Applications, JWT error codes: `invalid_grant` for a wrong `iat` or `exp`.)
    """
    if not any(words in body.lower() for words in _WRONG_TIME):
        if not has_key:
            fix = "check the credential configuration: gcloud auth application-default print-access-token"
            return SheetsFailure(FailureMeaning.BROKEN, "Google refuses the Application Default Credentials", fix)
        return bad_credentials("Google gives the service account no token", email)
    fix = (
        "set the clock of this machine and keep it right with NTP (timedatectl set-ntp true); the key is not the cause"
    )
    ahead = _seconds_ahead(date, now)
    if ahead is None or abs(ahead) < _SAME_TIME_SECONDS:
        return SheetsFailure(
            FailureMeaning.BROKEN, "Google refuses the time of the request: this machine's clock may be wrong", fix
        )
    side = "ahead" if ahead > 0 else "behind"
    seconds = round(abs(ahead), -1)  # the header has whole seconds, and the answer took some time
    return SheetsFailure(
        FailureMeaning.BROKEN, f"this machine's clock differs by {seconds:.0f} seconds from Google's ({side})", fix
    )


def _seconds_ahead(date: str, now: float) -> float | None:
    """Returns by how many seconds `now` is ahead of a Date header; `None` for a missing or invalid header."""
    try:
        return now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


_WRONG_TIME = (b"reasonable timeframe", b"iat and exp", b"used too early", b"jwt has expired")
_SAME_TIME_SECONDS = 30
"""A difference below this is not the cause: Google allows some minutes."""


def unreachable(error: Exception) -> SheetsFailure:
    """Returns the failure of a connection that failed or ended early. The text of the error is left out, because it may
    contain addresses.
    """
    return SheetsFailure(FailureMeaning.UNCLEAR, f"no answer from Google ({type(error).__name__})")


def unreadable() -> SheetsFailure:
    """Returns the failure for a 2xx response with an unusable body."""
    return SheetsFailure(FailureMeaning.UNCLEAR, "an answer of Google could not be read")


def bad_credentials(reason: str, email: str = "") -> SheetsFailure:
    whose = f" for {email}" if email else ""
    fix = f"download a new JSON key{whose} (docs/google-sheets.md, step 3) and set `credentials_file`"
    return SheetsFailure(FailureMeaning.BROKEN, reason, fix)


def no_default_credentials() -> SheetsFailure:
    """Returns the failure when google-auth found no credentials (Application Default Credentials, search order)."""
    fix = (
        "run on a host with a service account, or set GOOGLE_APPLICATION_CREDENTIALS to a credential configuration "
        '(docs/google-sheets.md, step 3), or use auth = "key"'
    )
    return SheetsFailure(
        FailureMeaning.BROKEN, "the Application Default Credentials are missing or cannot be read", fix
    )


def cells_protected(email: str) -> SheetsFailure:
    fix = f"in the sheet, Data, Protect sheets and ranges: add {email} to those who may edit"
    return SheetsFailure(FailureMeaning.PROTECTED, PROTECTED, fix)


PROTECTED = "the tab has protected cells that the service account may not edit"


def emptied(sink: str, title: str, gone: int, before: int) -> SheetsFailure:
    reason = f'{gone} of {before} rows are gone from the tab "{title}" at once'
    fix = f"connector resume {sink} --accept leaves them deleted, connector resume {sink} --refill writes them again"
    return SheetsFailure(FailureMeaning.EMPTIED, reason, fix, short="many rows of a tab are gone")


def tab_gone(sink: str, title: str) -> SheetsFailure:
    fix = (
        f"bring the tab back with Version history; or connector resume {sink} --accept leaves its rows deleted, "
        f"connector resume {sink} --refill writes them again in a new tab"
    )
    return SheetsFailure(FailureMeaning.BROKEN, f'the tab "{title}" was deleted', fix, short="a tab was deleted")


def tab_replaced(sink: str, title: str) -> SheetsFailure:
    fix = (
        f"connector resume {sink} --adopt uses the new tab: it finds rows by their ids, writes owned cells again and "
        "adds missing rows"
    )
    reason = f'the tab "{title}" was replaced by another tab with the same title'
    return SheetsFailure(FailureMeaning.BROKEN, reason, fix, short="a tab was replaced")


def key_gone(title: str) -> SheetsFailure:
    fix = f'undo the deletion of the column "{title}", or bring it back with Version history'
    reason = f'the column "{title}" was deleted; without it no row can be found'
    return SheetsFailure(FailureMeaning.BROKEN, reason, fix, short="the column of ids was deleted")
