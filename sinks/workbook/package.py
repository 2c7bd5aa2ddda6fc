"""Reads the parts of an `.xlsx` file: a zip archive of XML parts that refer to each other by relationships.

(ECMA-376 part 2, Open Packaging Conventions; part 1 for the parts of a workbook.)
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from types import TracebackType
from typing import Self
from xml.parsers import expat

from openpyxl.utils.cell import coordinate_to_tuple

WORKBOOK = "officeDocument"
"""Type of the relationship that leads from the package to the workbook."""


@dataclass(frozen=True, slots=True)
class Relationship:
    """A reference from one part to another: `type` without its namespace; `target` is `""` outside of the package."""

    id: str
    type: str
    target: str


@dataclass(slots=True)
class SheetCells:
    """The cells that a tab has, as row and column, and which of them hold a formula.

    openpyxl cannot list them: its iterators make a cell for every gap, and one note in the last row of a tab would
    cost gigabytes.
    """

    places: set[tuple[int, int]] = field(default_factory=set)
    formulas: set[tuple[int, int]] = field(default_factory=set)


class Package:
    """The parts of one file.

    Raises `zipfile.BadZipFile`, `expat.ExpatError` or `KeyError` when it is not a workbook.
    """

    def __init__(self, content: bytes) -> None:
        self._archive = zipfile.ZipFile(BytesIO(content))
        self.names = frozenset(self._archive.namelist())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._archive.close()

    @property
    def unpacked_bytes(self) -> int:
        """The size of all parts according to the archive. Nothing is unpacked."""
        return sum(part.file_size for part in self._archive.infolist())

    def read(self, part: str) -> bytes:
        """Returns the content of a part."""
        return self._archive.read(part)

    def replaced(self, parts: Mapping[str, bytes]) -> bytes:
        """Returns the content of a file in which these parts have another content."""
        file = BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for part in self._archive.infolist():
                content = parts.get(part.filename)
                archive.writestr(part, self.read(part.filename) if content is None else content)
        return file.getvalue()

    @property
    def workbook(self) -> str:
        """The part of the workbook, which names the tabs."""
        return {found.type: found.target for found in self.relationships("")}[WORKBOOK]

    def relationships(self, part: str) -> list[Relationship]:
        """Returns the relationships of a part; `""` is the package itself."""
        name = relationships_part(part)
        if name not in self.names:
            return []
        return [
            Relationship(found["Id"], found["Type"].rpartition("/")[2], self._target(part, found))
            for found in elements(self.read(name), "Relationship")
        ]

    def sheets(self) -> dict[str, str]:
        """Returns the part of each tab by title."""
        workbook = self.workbook
        parts = {found.id: found.target for found in self.relationships(workbook)}
        titles = {_relationship_id(sheet): sheet.get("name", "") for sheet in elements(self.read(workbook), "sheet")}
        return {title: parts[identifier] for identifier, title in titles.items() if parts.get(identifier)}

    def cells(self, sheet: str) -> SheetCells:
        """Returns the cells of the tab in this part, including cells that have only a note."""
        found = list_cells(self.read(sheet))
        for relationship in self.relationships(sheet):
            if relationship.type == "comments" and relationship.target:
                notes = elements(self.read(relationship.target), "comment")
                found.places |= {coordinate_to_tuple(note["ref"]) for note in notes}
        return found

    def _target(self, part: str, found: dict[str, str]) -> str:
        folder = posixpath.dirname(part)
        target = posixpath.normpath(posixpath.join("/", folder, found.get("Target", ""))).lstrip("/")
        return target if found.get("TargetMode") != "External" and target in self.names else ""


def relationships_part(part: str) -> str:
    """Returns the part with the relationships of a part."""
    folder, base = posixpath.split(part)
    return posixpath.join(folder, "_rels", f"{base}.rels")


def elements(content: bytes, name: str) -> Iterator[dict[str, str]]:
    """Yields the attributes of each element with this name, in any namespace."""
    found: list[dict[str, str]] = []

    def start(element: str, attributes: dict[str, str]) -> None:
        if local_name(element) == name:
            found.append(attributes)

    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler = start
    parser.ParseFile(BytesIO(content))
    yield from found


def list_cells(content: bytes) -> SheetCells:
    """Returns the cells in the part of a tab. A cell or row without a reference follows the previous one."""
    found = SheetCells()
    row = column = 0

    def start(element: str, attributes: dict[str, str]) -> None:
        nonlocal row, column
        name = local_name(element)
        if name == "row":
            row, column = int(attributes.get("r", row + 1)), 0
        elif name == "c":
            place = coordinate_to_tuple(attributes["r"]) if "r" in attributes else (row, column + 1)
            row, column = place
            found.places.add(place)
        elif name == "f":
            found.formulas.add((row, column))

    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler = start
    parser.ParseFile(BytesIO(content))
    return found


def local_name(element: str) -> str:
    """Returns the name of an element or attribute without its namespace."""
    return element.rpartition("}")[2]


def _relationship_id(attributes: dict[str, str]) -> str:
    return next((value for name, value in attributes.items() if name.endswith("}id")), "")
