"""Settings of a google_sheets sink, and the Google account that they name.

The account is the key of a service account, or credentials that google-auth finds.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, model_validator

from connector.http import SafeUrl, safe_url
from connector.languages import Language, language
from connector.sink import Interview, LocalPath, SinkConfig, Stage
from sinks.google_sheets.errors import CallFailed, bad_credentials
from sinks.spreadsheet.columns import DEFAULT_COLUMNS, Columns, header_key, titles_of, with_titles
from sinks.spreadsheet.values import clean_text

POSITION = "{position}"
"""In `worksheet`: one tab per position."""
TITLE_MAX = 100
"""Characters that a tab's title may have."""
_ID = re.compile(r"[A-Za-z0-9_-]{20,200}")
"""An id without its address. Google makes ids of 44 characters; a name or a word is shorter than 20."""
_PUBLISHED = re.compile(r"2PACX-|/d/e/|/pub(?:html)?(?:[/?#]|$)")
"""Part of an address made by "File, Share, Publish to web": a read-only copy that the Sheets API cannot open."""
_URL = re.compile(r"https?://[^/\s]+/spreadsheets/(?:u/\d+/)?d/([A-Za-z0-9_-]{1,200})(?:[/?#].*)?")


def _spreadsheet_id(text: str) -> str:
    text = text.strip()
    if _PUBLISHED.search(text):
        raise ValueError(
            "this is a publish-to-web link, which shows a copy that can only be read; open the spreadsheet to edit it "
            "and paste the address from the browser (https://docs.google.com/spreadsheets/d/…/edit)"
        )
    match = _URL.fullmatch(text)
    if match:
        return match[1]
    if _ID.fullmatch(text):
        return text
    raise ValueError(
        "must be the address of a Google spreadsheet or its id; open the spreadsheet and paste the address from the "
        "browser (https://docs.google.com/spreadsheets/d/…/edit)"
    )


CALLS_PER_MINUTE = 60
"""Reads, and writes, that Google allows each user of a project in a minute (Usage limits of the Sheets API)."""


def _tab_title(title: str) -> str:
    title = clean_text(title).strip()
    if not 1 <= len(title) <= TITLE_MAX:
        raise ValueError(f"must have 1 to {TITLE_MAX} characters")
    return title


def _column_title(title: str) -> str:
    title = clean_text(title).strip()
    if len(title) > TITLE_MAX:
        raise ValueError(f"must have at most {TITLE_MAX} characters")
    return title


def is_per_position(worksheet: str) -> bool:
    return POSITION in worksheet


class GoogleSheetsConfig(SinkConfig):
    """The spreadsheet, the Google account, and the columns."""

    spreadsheet: Annotated[str, AfterValidator(_spreadsheet_id)] = Field(
        description="Address or id of the spreadsheet; only the id is taken, the address is never fetched."
    )
    worksheet: Annotated[str, AfterValidator(_tab_title)] = Field(
        default="Interviews",
        description='Title of the tab, made when it is missing; with "{position}" in it a tab for each position.',
    )
    auth: Literal["key", "default", "impersonate"] = Field(
        default="key",
        description='How to sign in: "key" = a service account\'s JSON key, "default" = Application Default '
        'Credentials (workload identity, the host\'s service account), "impersonate" = these, acting as `impersonate`.',
    )
    impersonate: str | None = Field(
        default=None, description='For auth = "impersonate": the address of the service account to act as.'
    )
    credentials_file: LocalPath | None = Field(
        default=None, description="The service account's JSON key, a file; a relative path counts from the config file."
    )
    credentials: SecretStr | None = Field(
        default=None, description="The JSON key itself, for the environment; used instead of `credentials_file`."
    )
    api_url: SafeUrl = Field(default="https://sheets.googleapis.com", description="Where the Sheets API is.")
    columns: Columns = Field(
        default=DEFAULT_COLUMNS, description="The owned columns: a list of { field, title }; replaces the usual list."
    )
    on_delete: Literal["mark", "clear", "remove"] = Field(
        default="mark",
        description='A deleted interview: "mark" = the stage becomes Deleted, "clear" = only id and stage stay, '
        '"remove" = all its cells in the columns of the sink are cleared.',
    )
    on_leave: Literal["keep", "remove"] = Field(
        default="keep",
        description='An interview that no longer matches a route to this sink: "keep" = its row stays, "remove" = '
        "clear its cells in the columns of the sink.",
    )
    recreate: bool = Field(default=False, description="Whether a row that users deleted is written again.")
    decision_column: Annotated[str, AfterValidator(_column_title)] = Field(
        default="",
        description="Title of a column with the choices Advance, Hold and Reject, which decide in Hireflix; empty = no "
        "such column. Needs hireflix.api_key.",
    )
    verify_interval: float = Field(
        default=21_600, ge=60, description="Seconds between two verifications of the whole sheet."
    )

    calls_per_minute: int = Field(
        default=CALLS_PER_MINUTE,
        ge=CALLS_PER_MINUTE,
        description="The account's quota per minute, for reads and for writes. Raise it when Google raised it.",
    )
    style: bool = Field(
        default=True,
        description="Format the tabs that the sink creates, and add a Summary; existing tabs stay as they are.",
    )

    @property
    def decides(self) -> bool:
        return bool(self.decision_column)

    def removes(self, interview: Interview, *, unrouted: bool) -> bool:
        """Whether all cells of an interview are cleared."""
        is_deleted = self.on_delete == "remove" and interview.stage is Stage.DELETED
        return is_deleted or (self.on_leave == "remove" and unrouted)

    @property
    def words(self) -> Language:
        """The language of headers, stages and labels."""
        return language(self.language)

    @cached_property
    def titles(self) -> Mapping[str, str]:
        """The titles by which a header is found, with their fields (`titles_of`)."""
        return titles_of(self.columns)

    @property
    def per_position(self) -> bool:
        """Whether each position has a tab of its own."""
        return is_per_position(self.worksheet)

    @model_validator(mode="before")
    @classmethod
    def _renamed_settings(cls, data: Any) -> Any:
        if isinstance(data, dict) and "audit_interval" in data:
            raise ValueError("the setting audit_interval has a new name: write verify_interval instead")
        return with_titles(data)

    @model_validator(mode="after")
    def _check_decision_title(self) -> GoogleSheetsConfig:
        if header_key(self.decision_column) in {header_key(column.title) for column in self.columns}:
            raise ValueError("decision_column has the title of one of the columns; choose another title")
        return self

    @model_validator(mode="after")
    def _check_account(self, info: ValidationInfo) -> GoogleSheetsConfig:
        has_key = self.credentials_file is not None or self.credentials is not None
        if self.auth == "key" and not has_key:
            raise ValueError(
                'set credentials_file to the path of the service account\'s JSON key, or auth = "default" to use the '
                "Application Default Credentials"
            )
        own = (info.context or {}).get("own", self.model_fields_set)  # a key in the defaults is for other sheets
        if self.auth != "key" and has_key and not own.isdisjoint({"credentials_file", "credentials"}):
            raise ValueError(
                f'credentials_file and credentials have no effect with auth = "{self.auth}": remove them, or set '
                'auth = "key"'
            )
        if self.auth == "impersonate" and not self.impersonate:
            raise ValueError('auth = "impersonate" needs impersonate, the address of the service account to act as')
        if self.auth != "impersonate" and self.impersonate:
            raise ValueError('impersonate needs auth = "impersonate"')
        return self


NEEDED = ("client_email", "private_key", "token_uri")
_ESCAPED_LINE_END = re.compile(r"(?:\\+r)?\\+n")
"""An escaped line end, with one or more backslashes: `.env` files and shells escape those of a key."""


@dataclass(frozen=True)
class Account:
    """The account of the settings, read without google-auth, so that `check` is fast. `email` is the service account's
    address, `""` when only google-auth knows it. `key` is the decoded key file; it contains the private key and is
    never shown. Without a key the Application Default Credentials are used; `impersonate` is the service account that
    they act as.
    """

    email: str = ""
    key: dict[str, Any] | None = field(default=None, repr=False)
    impersonate: str = ""

    @property
    def bucket(self) -> str:
        """Name of the rate limits: equal for every sink and process that uses this account, and without its address."""
        identity = self.email or "application default credentials"
        return f"sheets:{sha256(identity.encode()).hexdigest()[:12]}"


def load_account(config: GoogleSheetsConfig) -> Account:
    """Reads the key, if there is one. Raises `CallFailed` with the fix; the message does not contain the key."""
    if config.auth == "key":
        return _from_key(config)
    return Account(email=config.impersonate or "", impersonate=config.impersonate or "")


def _from_key(config: GoogleSheetsConfig) -> Account:
    try:
        key = msgspec.json.decode(_key_text(config), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise CallFailed(bad_credentials("the service account's key is not JSON")) from error
    if missing := [name for name in NEEDED if not isinstance(key.get(name), str)]:
        raise CallFailed(bad_credentials(f"the service account's key lacks {', '.join(missing)}"))
    try:
        safe_url(key["token_uri"])
    except ValueError as error:
        raise CallFailed(bad_credentials("the token_uri of the service account's key is not safe")) from error
    key["private_key"] = _ESCAPED_LINE_END.sub("\n", key["private_key"])
    return Account(key["client_email"], key)


def _key_text(config: GoogleSheetsConfig) -> bytes:
    """The key as JSON, without the byte order mark that some editors on Windows put first."""
    return _key_bytes(config).removeprefix(codecs.BOM_UTF8)


def _key_bytes(config: GoogleSheetsConfig) -> bytes:
    if config.credentials is not None:
        return config.credentials.get_secret_value().encode()
    assert config.credentials_file is not None
    try:
        return config.credentials_file.read_bytes()
    except OSError as error:
        reason = f"the file {config.credentials_file.name} cannot be read ({error.strerror})"
        raise CallFailed(bad_credentials(reason)) from error
