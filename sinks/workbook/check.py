"""Whether a workbook can work, found out without writing anything."""

from __future__ import annotations

import os
from pathlib import Path

from connector.sink import Finding, SinkBroken
from sinks.workbook.book import load
from sinks.workbook.files import lock_beside, locked_message

_RIGHTS = "give the service's user the right to write there, or choose another `path`"


def check_file(path: Path) -> list[Finding]:
    """Looks at the folder, the mark of an office program, and the file's contents. Blocking."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        return [Finding("problem", "the workbook's folder cannot be written", _RIGHTS)]
    if not path.exists():
        return [Finding("ok", f"{path.name} will be made with the first interview")]
    findings = [_contents(path)]
    if lock_beside(path) is not None:
        findings.append(Finding("warning", *locked_message(path)))
    return findings


def _contents(path: Path) -> Finding:
    try:
        book = load(path.read_bytes())
    except SinkBroken as broken:
        return Finding("problem", broken.reason, broken.fix)
    except OSError:
        return Finding("problem", f"{path.name} cannot be read", _RIGHTS)
    return Finding("ok", f"{path.name} can be read and rewritten, {len(book.worksheets)} tabs")
