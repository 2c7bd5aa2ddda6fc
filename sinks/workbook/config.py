"""Settings of a workbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from connector.sink import LocalPath, SinkConfig
from sinks.spreadsheet.columns import DEFAULT_COLUMNS, Columns

_FORBIDDEN = re.compile(r"[\[\]:*?/\\\x00-\x1f]|^'|'$")


def _xlsx(path: Path) -> Path:
    if path.suffix.lower() != ".xlsx":
        raise ValueError("must end in .xlsx: files with macros and older formats would lose something")
    return path


def _tab_name(name: str) -> str:
    if _FORBIDDEN.search(name) or not name.strip():
        raise ValueError("must be a name for a tab: none of [ ] : * ? / \\, no quote at either end")
    return name


class WorkbookConfig(SinkConfig):
    """Where the workbook is and what it shows."""

    path: Annotated[LocalPath, AfterValidator(_xlsx)] = Field(
        description="The .xlsx file. The file and its folder are created if they are missing; content of users stays."
    )
    worksheet: Annotated[str, Field(max_length=31), AfterValidator(_tab_name)] = Field(
        default="Interviews", description="The tab with the table."
    )
    columns: Columns = Field(
        default=DEFAULT_COLUMNS, description="The columns, from left to right in a new file: field and title."
    )
    on_delete: Literal["mark", "clear", "remove"] = Field(
        default="mark",
        description=(
            'A deleted interview: "mark" = the stage becomes Deleted, "clear" = only id and stage remain, "remove" '
            "= the row is removed, with the cells of users in it."
        ),
    )
    on_leave: Literal["keep", "remove"] = Field(
        default="keep",
        description=(
            'An interview that no route matches any more: "keep" = the row stays and is updated, "remove" = the row is '
            "removed, with the cells of users in it."
        ),
    )
    recreate: bool = Field(default=False, description="Whether a row that users deleted is written again.")
