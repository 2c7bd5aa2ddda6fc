"""Finds what openpyxl would drop from a workbook: the file is compared with a rewritten copy of itself.

Both are listed by the relationships between their parts, the elements of each part and the extensions (ECMA-376 part 1
names the standard ones, [MS-XLSX] those of Microsoft). What only the original has is a loss. Losses in a short list are
harmless; any other means that the file must not be rewritten.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TypeAlias
from xml.parsers import expat

from sinks.workbook.package import WORKBOOK, Package, Relationship, local_name, relationships_part

PartPath: TypeAlias = tuple[str, ...]
"""The relationships that lead from the package to a part: `("officeDocument", 'tab "Interviews"', "drawing")`."""

_STRINGS = "text of cells"
_TAB = re.compile(r'tab ".*"', re.DOTALL)

_HARMLESS_RELATIONSHIPS = frozenset(
    {
        "calcChain",  # the order of calculation, made again on opening
        "printerSettings",  # the settings of one printer
        "core-properties",  # docProps: author, dates and the program that saved the file
        "extended-properties",
        "custom-properties",
        "thumbnail",
        "sharedStrings",  # the texts themselves are compared, wherever they are kept
        "person",  # who wrote comment threads; the threads themselves are not harmless
        "workbookmetadata",  # of Google, for its own next import
    }
)
_HARMLESS_ELEMENTS = frozenset(
    {
        "absPath",  # where the file was saved
        "revisionPtr",  # of Excel, for editing together
        "fileVersion",  # the program that saved the file
        "fileRecoveryPr",  # whether Excel repaired the file
        "ignoredErrors",  # hides green triangles
        "mruColors",  # the colours used last
        "webPublishing",  # settings for saving as a web page
        "phoneticPr",  # the font of phonetic guides; the guides themselves (`rPh`) are not harmless
    }
)
_HARMLESS_EXTENSIONS = frozenset(
    {
        "{140A7094-0E35-4892-8432-C4D2E57EDEB5}",  # which cells a chart follows
        "{B58B0392-4F1F-4190-BB64-5DF3571DCE5F}",  # functions that the calculation used
        "{D14903EA-33C4-47F7-8F05-3474C54BE107}",  # the version of text functions, which new files have
        "{7523E5D3-25F3-A5E0-1632-64F254C22452}",  # the processor of the Mac that saved the file
        "{7626C862-2A13-11E5-B345-FEFF819CDC9F}",  # LibreOffice: how text counts as a number
        "{79F54976-1DA5-4618-B147-4CDE4B953A38}",  # the resolution of pictures to come
        "{EB79DEF2-80B8-43E5-95BD-54CBDDF9020C}",  # the style of slicers; slicers themselves are not harmless
        "{9260A510-F301-46A8-8635-F512D64BE5F5}",  # the style of timelines
        "GOOGLESHEETSCUSTOMDATAVERSION1",  # for Google's own next import
        "GOOGLESHEETSCUSTOMDATAVERSION2",
    }
)
_HARMLESS_IN_NOTES = frozenset({"r", "rPr", "b", "sz", "color", "rFont", "family", "charset", "scheme"})
"""The font that Excel gives to every note."""
_UNREAD = _HARMLESS_RELATIONSHIPS - {"sharedStrings"} | {"theme"}
"""Relationships to parts whose content is not compared: harmless ones, and the theme, which openpyxl copies."""
_DEFAULTS = {
    "b": "0",
    "i": "0",
    "strike": "0",
    "outline": "0",
    "shadow": "0",
    "condense": "0",
    "extend": "0",
    "u": "none",
    "vertAlign": "baseline",
    "scheme": "none",
}
"""Elements of a font that say nothing with this value (ECMA-376 part 1, section 18.8.22)."""
_POINTERS = frozenset({"drawing", "legacyDrawing", "tableParts", "tablePart"})
"""Elements that only name a relationship, which is compared itself."""
_WRAPPERS = frozenset(
    {"AlternateContent", "Choice", "Fallback", "extLst", "sst", "si", "dxfs", "headerFooter", "numFmts"}
)
"""Elements that only hold others, which are compared themselves."""
_CONTENT = frozenset({"row", "c", "v", "t", "numFmt"})
"""Elements of every cell: values and formats are kept by openpyxl, empty cells and results of formulas are not."""
_EMPTY = frozenset({"printOptions", "dataConsolidate"})
"""Elements that say nothing without attributes."""
_HEADERS = frozenset({"oddHeader", "oddFooter", "evenHeader", "evenFooter", "firstHeader", "firstFooter"})
"""Page headers and footers: nothing without a text."""
_HARMLESS_NAMES = frozenset({"_xlnm._FilterDatabase"})
"""Defined names that a filter brings with it."""
_LOCKED = {"locked": "1", "hidden": "0"}
"""The protection of a cell where nothing else is said (ECMA-376 part 1, section 18.8.33)."""
_REBUILT = frozenset({"drawing", "chartsheet", "pivotTable", "pivotCacheDefinition"})
"""Relationships to parts that openpyxl writes from a model of its own: never without a loss, so never accepted."""
_NEVER_KEPT = frozenset({"extension", "file"})
"""Kinds of features that openpyxl does not know: extensions of elements, and files that no relationship leads to."""
_HARMLESS_FILES = re.compile(
    r"docprops/|xl/(printersettings/|sharedstrings\.xml|calcchain\.xml|persons/)|\[trash\]/|__macosx/|(.*/)?\.ds_store$"
)

_WORDS_OF_KINDS = {"error value": "a date beyond the year 9999", "control": "form controls"}
_WORDS: tuple[tuple[str, str], ...] = (
    ("featurepropertybag", "checkboxes in cells"),
    ("{c7286773-470a-42a8-94c5-96b5cb345126}", "checkboxes in cells"),
    ("{0417fa29-78fa-4a13-93ac-8ff0fafdf519}", "checkboxes in cells"),
    ("chartsheet", "charts"),
    ("chart", "charts"),
    ("diagram", "diagrams"),
    ("drawing", "pictures, charts or shapes"),
    ("media/", "pictures"),
    ("image", "pictures"),
    ("picture", "pictures"),
    ("embeddings/", "embedded objects"),
    ("oleobject", "embedded objects"),
    ("pivot", "pivot tables"),
    ("{a8765ba9-456a-4dab-b4f3-acf838c121de}", "slicers"),
    ("{3a4cf648-6aed-40f4-86ff-dc5316d8aed3}", "slicers"),
    ("slicer", "slicers"),
    ("{7e03d99c-dc04-49d9-9315-930204a7b6e9}", "timelines"),
    ("timeline", "timelines"),
    ("threadedcomment", "comment threads"),
    ("vbaproject", "macros"),
    ("macrosheet", "macros"),
    ("dialogsheet", "macros"),
    ("activex", "form controls"),
    ("ctrlprop", "form controls"),
    ("control", "form controls"),
    ("querytable", "data connections"),
    ("connections", "data connections"),
    ("xl/model/", "a data model"),
    ("powerpivotdata", "a data model"),
    ("{fce2ad5d-f65c-4fa6-a056-5c36a1767c68}", "a data model"),
    ("{3e2802c4-a4d2-4d8b-9148-e3be6c30e623}", "linked data types or pictures in cells"),
    ("richdata", "linked data types or pictures in cells"),
    ("rdrich", "linked data types or pictures in cells"),
    ("metadata", "formulas that spill into other cells"),
    ("revision", "tracked changes"),
    ("webextension", "add-ins"),
    ("customui", "a custom ribbon"),
    ("ui/extensibility", "a custom ribbon"),
    ("xmlsignatures", "a digital signature"),
    ("digital-signature", "a digital signature"),
    ("labelinfo", "a sensitivity label"),
    ("classificationlabels", "a sensitivity label"),
    ("customxml", "custom XML data"),
    ("{78c0d931-6437-407d-a8ee-f0aad7539e65}", "conditional formats of newer office programs"),
    ("{b025f937-c7b1-47d3-b67f-a62eff666e3e}", "conditional formats of newer office programs"),
    ("{cce6a557-97bc-4b89-adb6-d9c93caab3df}", "data validation that refers to another tab"),
    ("{05c60535-1f16-4fd2-b633-f4f36f0b64e0}", "sparklines"),
    ("{fc87aee6-9edd-4a0a-b7fb-166176984837}", "protected ranges"),
    ("protectedrange", "protected ranges"),
    ("customsheetview", "custom views"),
    ("customworkbookview", "custom views"),
    ("filesharing", "a password for changes"),
    ("rph", "phonetic guides"),
    ("_xlnm.print", "a print area or print titles"),
    ("{504a1905-f514-4f6f-8877-14c23a59335a}", "descriptions of tables"),
    ("header", "page headers"),
    ("footer", "page footers"),
)
"""Part of a name, in lower case -> what users call it; the first that fits counts."""


@dataclass(frozen=True, slots=True)
class FeaturePlace:
    """Where something is in the file: the part, and its cell or its cell format when known."""

    part: str
    cell: str = ""
    cell_format: int | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that a file has, and that a rewritten copy must have too."""

    path: PartPath
    kind: str
    name: str


@dataclass(slots=True)
class Inventory:
    """The features of a file, how often and where; the parts by their paths; which cells hold an error value."""

    counts: Counter[Feature] = field(default_factory=Counter)
    places: dict[Feature, FeaturePlace] = field(default_factory=dict)
    sheets: dict[PartPath, str] = field(default_factory=dict)
    errors: set[Feature] = field(default_factory=set)

    def add(self, feature: Feature, place: FeaturePlace, *, once: bool = True) -> None:
        """Counts a feature; `once`: however often it occurs, because programs merge and split such things."""
        self.places.setdefault(feature, place)
        self.counts[feature] = 1 if once else self.counts[feature] + 1


def find_losses(content: bytes, rewrite: Callable[[], bytes]) -> str:
    """Returns what a rewrite of the file would drop, in terms of users and with the places; `""` for nothing.

    `rewrite` returns a rewritten copy; it is called only if the file has no feature that every rewrite drops. Raises
    `zipfile.BadZipFile`, `expat.ExpatError` or `KeyError` when the file is not a workbook.
    """
    with Package(content) as package:
        original = _Lister(package).inventory
        if Feature((), "relationship", WORKBOOK) not in original.counts:
            raise KeyError(WORKBOOK)
        lost = [feature for feature in original.counts if feature.kind in _NEVER_KEPT or feature.name in _REBUILT]
        if not lost:
            with Package(rewrite()) as copy:
                lost = _missing(original, _Lister(copy).inventory)
        return _describe(package, original, _outermost(lost))


def _missing(original: Inventory, copy: Inventory) -> list[Feature]:
    """Returns the features that the copy lacks, and the cells whose value became an error in it."""
    lost = [feature for feature, count in original.counts.items() if copy.counts[feature] < count]
    return lost + sorted(copy.errors - original.errors, key=lambda feature: feature.name)


def _outermost(lost: Sequence[Feature]) -> list[Feature]:
    """Returns the losses without those inside of a part that is lost as a whole."""
    parts = {(*feature.path, feature.name) for feature in lost if feature.kind == "relationship"}
    return [
        feature for feature in lost if not any(feature.path[:end] in parts for end in range(1, len(feature.path) + 1))
    ]


def _describe(package: Package, inventory: Inventory, lost: Iterable[Feature]) -> str:
    """Returns the losses in terms of users, each with its first tab, cell and part."""
    named: dict[str, str] = {}
    for feature in lost:
        place = inventory.places.get(feature) or FeaturePlace(inventory.sheets[feature.path], feature.name)
        named.setdefault(_words(feature, place), _where(package, inventory, feature, place))
    return "; ".join(f"{words} ({where})" for words, where in sorted(named.items()))


def _words(feature: Feature, place: FeaturePlace) -> str:
    if feature.kind in _WORDS_OF_KINDS:
        return _WORDS_OF_KINDS[feature.kind]
    name = feature.name.rpartition("}")[2] or feature.name
    for text in (feature.name.lower(), place.part.lower()):
        for part, words in _WORDS:
            if part in text:
                return words
    return f'the {feature.kind} "{name}"'


def _where(package: Package, inventory: Inventory, feature: Feature, place: FeaturePlace) -> str:
    tab = next((step for step in feature.path if _TAB.fullmatch(step)), "")
    cell = place.cell
    if place.cell_format is not None:
        tab, cell = _first_cell(package, inventory, place.cell_format)
    return ", ".join(filter(None, [tab, cell and f"cell {cell}", place.part]))


def _first_cell(package: Package, inventory: Inventory, cell_format: int) -> tuple[str, str]:
    """The first tab and cell with a cell format."""
    wanted = re.compile(rb'<c (?=[^>]*\bs="%d")[^>]*\br="([A-Z]+[0-9]+)"' % cell_format)
    for path, part in inventory.sheets.items():
        found = wanted.search(package.read(part))
        if found:
            return path[-1], found[1].decode()
    return "", ""


class _Lister:
    """Follows the relationships of a package from part to part, each part once."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._visited = {"[Content_Types].xml"}
        self.inventory = Inventory()
        self._follow("", ())
        for name in sorted(package.names - self._visited):
            if not name.endswith("/") and not _HARMLESS_FILES.match(name.lower()):
                self.inventory.add(Feature((), "file", name), FeaturePlace(name))

    def _follow(self, part: str, path: PartPath) -> None:
        self._visited.add(relationships_part(part))
        titles = {sheet: title for title, sheet in self._package.sheets().items()} if path == (WORKBOOK,) else {}
        for found in self._package.relationships(part):
            name = f'tab "{titles.get(found.target, "")}"' if found.type == "worksheet" else found.type
            self._visit(Feature(path, "relationship", name), found, part)

    def _visit(self, feature: Feature, found: Relationship, source: str) -> None:
        target = found.target
        if feature.name == "drawing" and target and b"Anchor" not in self._package.read(target):
            self._visited.add(target)  # LibreOffice and Google add empty drawings
            return
        if feature.name not in _HARMLESS_RELATIONSHIPS:
            self.inventory.add(feature, FeaturePlace(target or source), once=False)
        if target and target not in self._visited:
            self._visited.add(target)
            path = (*feature.path, feature.name)
            self._read(target, path)
            self._follow(target, path)

    def _read(self, part: str, path: PartPath) -> None:
        if path[-1] == "vmlDrawing":  # shapes around notes, often malformed XML; only what they are counts
            for kind in re.findall(rb'ObjectType="(\w+)"', self._package.read(part)):
                self.inventory.add(Feature(path, "control", kind.decode()), FeaturePlace(part))
        elif part.lower().endswith(".xml") and path[-1] not in _UNREAD:
            if _TAB.fullmatch(path[-1]):
                self.inventory.sheets[path] = part
            _PartReader(self.inventory, part, path).read(self._package.read(part))


class _PartReader:
    """Lists the elements and extensions of one part of XML."""

    def __init__(self, inventory: Inventory, part: str, path: PartPath) -> None:
        self._inventory = inventory
        self._part = part
        self._path = (*path[:1], _STRINGS) if path[-1] == "sharedStrings" else path
        self._own_path = self._path
        self._ignored = _WRAPPERS | _CONTENT | _POINTERS | (_HARMLESS_IN_NOTES if path[-1] == "comments" else set())
        self._found: set[tuple[PartPath, str]] = set()
        self._parser = expat.ParserCreate(namespace_separator="}")
        self._skipped = 0  # depth inside an element whose content does not count
        self._cell = ""
        self._cell_formats = -1  # -1: outside of the list of cell formats

    def read(self, content: bytes) -> None:
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.ParseFile(BytesIO(content))

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = local_name(name)
        if self._skipped:
            self._skipped += 1
        elif local == "ext" and "uri" in attributes:  # in drawings another `ext` is a size
            self._skipped = 1
            if attributes["uri"].upper() not in _HARMLESS_EXTENSIONS:
                self._add("extension", attributes["uri"].upper())
        elif self._is_harmless(local, attributes):
            self._skipped = 1
        else:
            self._enter(local, attributes)
            self._list(name, local, attributes)

    def _is_harmless(self, local: str, attributes: dict[str, str]) -> bool:
        return (
            local in _HARMLESS_ELEMENTS
            or (local in _EMPTY and not attributes)
            or (local == "protection" and _is_default(attributes))
            or (local in _DEFAULTS and _plain(attributes.get("val")) == _DEFAULTS[local])
            or (local == "definedName" and attributes["name"] in _HARMLESS_NAMES)
        )

    def _list(self, name: str, local: str, attributes: dict[str, str]) -> None:
        if local == "definedName":
            self._add("name", f"{attributes['name']} {attributes.get('localSheetId', '')}".strip())
        elif local in _HEADERS:
            self._parser.CharacterDataHandler = lambda text: self._add("element", local) if text.strip() else None
        elif (self._path, name) not in self._found and local not in self._ignored:
            self._found.add((self._path, name))
            self._add("element", name)

    def _enter(self, local: str, attributes: dict[str, str]) -> None:
        """Updates the present place of the reader."""
        if local == "c":
            self._cell = attributes.get("r", "")
            if attributes.get("t") == "e":
                self._inventory.errors.add(Feature(self._path, "error value", self._cell))
        elif local == "is":
            self._path = (*self._own_path[:1], _STRINGS)
        elif local == "cellXfs":
            self._cell_formats = 0
        elif local == "xf" and self._cell_formats >= 0:
            self._cell_formats += 1

    def _end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        self._parser.CharacterDataHandler = None
        local = local_name(name)
        if local == "is":
            self._path = self._own_path
        elif local == "c":
            self._cell = ""
        elif local == "cellXfs":
            self._cell_formats = -1

    def _add(self, kind: str, name: str) -> None:
        cell_format = self._cell_formats - 1 if self._cell_formats > 0 else None
        self._inventory.add(Feature(self._path, kind, name), FeaturePlace(self._part, self._cell, cell_format))


def _is_default(protection: dict[str, str]) -> bool:
    return all(_LOCKED.get(name) == _plain(value) for name, value in protection.items())


def _plain(value: str | None) -> str | None:
    """Returns a boolean as a digit; files also contain `true` and `false`."""
    return {"true": "1", "false": "0"}.get(value or "", value)
