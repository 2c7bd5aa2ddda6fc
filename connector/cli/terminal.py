"""What commands print: tables for people, JSON for programs, and nothing that a candidate's text could do to either."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 500
"""Columns of a table that goes into a pipe, where nothing may be cut."""
_ELASTIC = {"NAME", "CANDIDATE", "POSITION", "INTERVIEW", "REMARK", "WHY", "REASON", "SHOWN BY"}
"""Columns that give way on a narrow terminal."""
_JOINERS = "\u200c\u200d"  # part of how names are written in Persian and Hindi, and harmless to a terminal


def safe(text: str, *, keep: str = "") -> str:
    """Text from outside without what moves the cursor, changes colours or reverses the order; `keep` stays.

    Categories of the Unicode Standard, section 4.5: control, format, surrogate and separator characters go.
    """
    return "".join(char if char in keep or _is_harmless(char) else "\ufffd" for char in text)


def _is_harmless(char: str) -> bool:
    return char in _JOINERS or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def console(*, stderr: bool = False) -> Console:
    """Where tables go: as wide as the terminal, or as wide as they like in a pipe; colours only on a terminal."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=_WIDE)


def show_table(rows: Sequence[Mapping[str, object]], *, empty: str) -> None:
    """Prints rows of cells by title, or the sentence `empty` when there are none. A cell is text from anywhere."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not rows:
        print(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    texts = [[safe("" if cell is None else str(cell)) for cell in row.values()] for row in rows]
    for title, *column in zip(rows[0], *texts, strict=True):
        widest = max(len(title), *map(len, column))
        table.add_column(title, overflow="ellipsis", no_wrap=True, min_width=None if title in _ELASTIC else widest)
    for cells in texts:
        table.add_row(*map(Text, cells))
    console().print(table)


def show_json(value: Any) -> None:
    """Prints one JSON document."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def counted(count: int, one: str, many: str) -> str:
    """`1 delivery`, `2 deliveries`."""
    return f"{count} {one if count == 1 else many}"


def tell(text: str) -> None:
    """Prints a line for people beside the output that programs read."""
    print(safe(text, keep="\n"), file=sys.stderr)


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()
