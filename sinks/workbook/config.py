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
    """Where the workbook lies and what it shows."""

    path: Annotated[LocalPath, AfterValidator(_xlsx)] = Field(
        description="The .xlsx file. It and its folder are made when missing; what people add to it stays."
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
            'The row of a deleted interview: "mark" = its stage says so, "clear" = only id and stage stay, '
            '"remove" = it goes, with what people wrote in it.'
        ),
    )
    on_leave: Literal["keep", "remove"] = Field(
        default="keep",
        description=(
            'The row of an interview that meets no route to the workbook any more: "keep" = it goes on showing the '
            'truth, "remove" = it goes, with what people wrote in it.'
        ),
    )
    recreate: bool = Field(default=False, description="Whether a row that people deleted is written again.")
