"""Settings of a google_sheets sink."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from connector.http import SafeUrl
from connector.sink import Interview, LocalPath, SinkConfig, Stage
from sinks.spreadsheet.columns import DEFAULT_COLUMNS, Columns
from sinks.spreadsheet.values import clean_text

POSITION = "{position}"
"""In `worksheet`: one tab per position."""
TITLE_MAX = 100
"""Characters that a tab's title may have."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_PUBLISHED = re.compile(r"2PACX-|/d/e/|/pub(?:html)?(?:[/?#]|$)")
"""Marks an address made by "File, Share, Publish to web": a copy to read, which the Sheets API does not know."""
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
    raise ValueError("must be the address of a Google spreadsheet (https://docs.google.com/spreadsheets/d/…) or its id")


def _tab_title(title: str) -> str:
    title = clean_text(title).strip()
    if not 1 <= len(title) <= TITLE_MAX:
        raise ValueError(f"must have 1 to {TITLE_MAX} characters")
    return title


def is_per_position(worksheet: str) -> bool:
    return POSITION in worksheet


class GoogleSheetsConfig(SinkConfig):
    """Where the sheet is, who we are to Google, and what its columns show."""

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
        description='A deleted interview: "mark" = its stage says so, "clear" = only id and stage stay, "remove" = '
        "nothing of it stays in our columns.",
    )
    on_leave: Literal["keep", "remove"] = Field(
        default="keep",
        description='An interview that no longer matches a route to this sink: "keep" = its row stays, "remove" = '
        "clear its cells in the columns of the sink.",
    )
    recreate: bool = Field(default=False, description="Whether a row that users deleted is written again.")
    audit_interval: float = Field(
        default=21_600, ge=60, description="Seconds between two verifications of the whole sheet."
    )

    style: bool = Field(
        default=True,
        description="Format the tabs that the sink creates, and add a Summary; existing tabs stay as they are.",
    )

    def removes(self, interview: Interview, *, left: bool) -> bool:
        """Whether nothing of an interview is to stay."""
        is_deleted = self.on_delete == "remove" and interview.stage is Stage.DELETED
        return is_deleted or (self.on_leave == "remove" and left)

    @property
    def per_position(self) -> bool:
        """Whether each position has a tab of its own."""
        return is_per_position(self.worksheet)

    @model_validator(mode="after")
    def _some_account(self) -> GoogleSheetsConfig:
        has_key = self.credentials_file is not None or self.credentials is not None
        if self.auth == "key" and not has_key:
            raise ValueError(
                'set credentials_file to the path of the service account\'s JSON key, or auth = "default" to use the '
                "Application Default Credentials"
            )
        if self.auth == "impersonate" and not self.impersonate:
            raise ValueError('auth = "impersonate" needs impersonate, the address of the service account to act as')
        if self.auth != "impersonate" and self.impersonate:
            raise ValueError('impersonate needs auth = "impersonate"')
        return self
