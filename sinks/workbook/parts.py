"""What a rewrite by openpyxl would drop from a file: looked for in the file's parts before anything is touched."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from connector.sink import SinkBroken

UNPACKED_MAX = 256 * 1024 * 1024
"""Bytes of all parts unpacked; more is no hiring sheet and would cost too much memory."""

# ECMA-376 part 1, section 15 names the standard parts; the others are Microsoft's, [MS-XLSX] section 2.1
_LOST_PARTS = {
    "xl/charts/": "charts",
    "xl/chartsheets/": "charts",
    "xl/drawings/drawing": "pictures, charts or shapes",
    "xl/media/": "pictures",
    "xl/diagrams/": "diagrams",
    "xl/embeddings/": "embedded objects",
    "xl/pivottables/": "pivot tables",
    "xl/pivotcache/": "pivot tables",
    "xl/slicers/": "slicers",
    "xl/slicercaches/": "slicers",
    "xl/timelines/": "timelines",
    "xl/timelinecaches/": "timelines",
    "xl/threadedcomments/": "comment threads",
    "xl/vbaproject": "macros",
    "xl/macrosheets/": "macros",
    "xl/dialogsheets/": "macros",
    "xl/activex/": "form controls",
    "xl/ctrlprops/": "form controls",
    "xl/querytables/": "data connections",
    "xl/connections.xml": "data connections",
    "xl/model/": "a data model",
    "xl/richdata/": "linked data types or pictures in cells",
    "xl/metadata.xml": "formulas that spill into other cells",
    "xl/revisions/": "tracked changes",
    "xl/webextensions/": "add-ins",
    "customui/": "a custom ribbon",
    "_xmlsignatures/": "a digital signature",
}

_PROTECTED = b"FC87AEE6-9EDD-4A0A-B7FB-166176984837"
# [MS-XLSX] section 2.3.2, extensions of a worksheet
_LOST_EXTENSIONS = {
    b"78C0D931-6437-407D-A8EE-F0AAD7539E65": "conditional formats of newer office programs",
    b"CCE6A557-97BC-4B89-ADB6-D9C93CAAB3DF": "data validation that refers to another tab",
    b"05C60535-1F16-4FD2-B633-F4F36F0B64E0": "sparklines",
    b"A8765BA9-456A-4DAB-B4F3-ACF838C121DE": "slicers",
    b"3A4CF648-6AED-40F4-86FF-DC5316D8AED3": "slicers",
    b"7E03D99C-DC04-49D9-9315-930204A7B6E9": "timelines",
    _PROTECTED: "protected ranges",
}
_EXTENSION = re.compile(rb'uri="\{([0-9A-Fa-f-]{36})\}"')


def refuse_what_would_be_lost(path: Path) -> None:
    """Raises `SinkBroken` when rewriting the file would cost people something, and says what.

    `zipfile.BadZipFile` when it is no workbook at all.
    """
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > UNPACKED_MAX:
            raise SinkBroken("the workbook is too large", "keep other data in another file, or use google_sheets")
        lost = _lost_parts(archive) | _lost_extensions(archive)
    if lost:
        raise SinkBroken(
            f"the workbook holds {', '.join(sorted(lost))}, which a rewrite would drop",
            "move that to another file that refers to this one; the sink goes on by itself",
        )


def _lost_parts(archive: zipfile.ZipFile) -> set[str]:
    names = [name.lower() for name in archive.namelist() if not _is_empty_drawing(archive, name)]
    return {word for start, word in _LOST_PARTS.items() if any(name.startswith(start) for name in names)}


def _is_empty_drawing(archive: zipfile.ZipFile, name: str) -> bool:
    """LibreOffice adds a drawing with nothing in it; whatever there is to see hangs on an anchor."""
    return name.lower().startswith("xl/drawings/drawing") and b"Anchor" not in archive.read(name)


def _lost_extensions(archive: zipfile.ZipFile) -> set[str]:
    found: set[bytes] = set()
    for name in archive.namelist():
        if name.startswith("xl/worksheets/") and name.endswith(".xml"):
            # the extensions stand behind the cells, in the last element of the part
            _, _, tail = archive.read(name).rpartition(b"</sheetData>")
            found |= {uri.upper() for uri in _EXTENSION.findall(tail)}
            if b"<protectedRanges" in tail:
                found.add(_PROTECTED)
    return {_LOST_EXTENSIONS[uri] for uri in found if uri in _LOST_EXTENSIONS}
