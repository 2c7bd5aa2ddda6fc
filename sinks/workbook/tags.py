"""Names on the header cells, by which a renamed column is found again: office programs move them along with the cells.

(ECMA-376 part 1, section 18.2.5, definedName.) Programs that do not know names may leave them where they were. So a
title counts more than a name, and names count only while they agree with every title that is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from openpyxl.utils import column_index_from_string, get_column_letter, quote_sheetname
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.worksheet import Worksheet

PREFIX = "connector_"
_CELL = re.compile(r"!\$([A-Z]{1,3})\$([0-9]{1,7})")


def write_tags(sheet: Worksheet, header: int, columns: Mapping[str, int]) -> None:
    """Names the header cell of each field; hidden, where the program can hide names."""
    for name in [name for name in sheet.defined_names if name.startswith(PREFIX)]:
        del sheet.defined_names[name]
    for field, column in columns.items():
        place = f"{quote_sheetname(sheet.title)}!${get_column_letter(column)}${header}"
        sheet.defined_names[PREFIX + field] = DefinedName(PREFIX + field, attr_text=place, hidden=True)


def tagged_cells(sheet: Worksheet) -> Mapping[str, tuple[int, int]]:
    """Field -> row and column of its header cell, for the names that still refer to a cell."""
    return dict(_cells(sheet))


def _cells(sheet: Worksheet) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, defined in sheet.defined_names.items():
        place = _CELL.search(defined.attr_text or "")
        if name.startswith(PREFIX) and place:
            yield name.removeprefix(PREFIX), (int(place[2]), column_index_from_string(place[1]))


def has_other_names(sheet: Worksheet) -> bool:
    """Whether people have named cells of the tab."""
    return any(not name.startswith(PREFIX) for name in sheet.defined_names)


def renamed_columns(sheet: Worksheet, header: int, titled: Mapping[str, int]) -> Mapping[str, int]:
    """Columns found by their names alone; `titled` are those found by their titles."""
    tags = {field: column for field, (row, column) in tagged_cells(sheet).items() if row == header}
    known = tags.keys() & titled.keys()
    if not known or any(tags[field] != titled[field] for field in known):
        return {}
    taken = set(titled.values())
    return {field: column for field, column in tags.items() if field not in titled and column not in taken}
