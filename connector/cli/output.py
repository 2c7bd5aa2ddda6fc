"""Output of commands: tables and lines for users, JSON for programs. Both are safe against hostile text."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
import typer
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress as ProgressDisplay
from rich.table import Table
from rich.text import Text

from connector.errors import UsageError
from connector.formats import counted

_LONGEST = 500
"""Most characters of a cell; the name of a candidate may have a million."""
_WIDE = 20 * _LONGEST
"""Width of a table in a pipe, so that no column is shortened."""
_ELASTIC = {"NAME", "CANDIDATE", "POSITION", "REMARK", "WHY", "REASON", "ANSWER", "WAITS FOR", "SHOWN BY"}
"""Columns that are shortened on a narrow terminal."""
_ELASTIC_LEAST = 12
"""Fewest characters of a shortened column; enough to recognise a name."""
_GAP = 3
"""Characters between two columns."""
_JOINERS = "\u200c\u200d"
"""Zero width joiners, which names in Persian and Hindi need. They are harmless in a terminal."""


def safe(text: str, *, keep: str = "") -> str:
    """Replaces characters that move the cursor, change colours or reverse the order of text, except those in `keep`.

    These are the control, format, surrogate and separator characters of the Unicode Standard, section 4.5.
    """
    return "".join(char if char in keep or _is_harmless(char) else "\ufffd" for char in text)


def _is_harmless(char: str) -> bool:
    return char in _JOINERS or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def console(*, stderr: bool = False) -> Console:
    """Returns a console with the width of the terminal, or in a pipe with `_WIDE`. Only a terminal gets colours."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=_WIDE)


def show_table(rows: Sequence[Mapping[str, object]], *, empty: str) -> None:
    """Prints rows, which map titles to cells, or the sentence `empty` when there are none. Cells may be hostile text.

    When the terminal is too narrow for the table, each row is printed as a block of lines, so that no cell is cut off.
    """
    if not rows:
        print(empty)
        return
    target = console()
    texts = [{title: _cell(cell) for title, cell in row.items()} for row in rows]
    widths = _widths(texts, target.width)
    if widths is None:
        _print_blocks(texts)
    else:
        target.print(_table(texts, widths))


def _cell(cell: object) -> str:
    text = safe("" if cell is None else str(cell)[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _widths(texts: Sequence[Mapping[str, str]], room: int) -> dict[str, int] | None:
    """Returns the width of each column, with the elastic ones shortened until all fit; `None` when they cannot fit."""
    widths = {title: max(len(title), *(cell_len(row[title]) for row in texts)) for title in texts[0]}
    room -= _GAP * (len(widths) - 1)
    while sum(widths.values()) > room:
        title = max((title for title in widths if title in _ELASTIC), key=widths.__getitem__, default=None)
        if title is None or widths[title] <= _ELASTIC_LEAST:
            return None
        widths[title] -= 1
    return widths


def _table(texts: Sequence[Mapping[str, str]], widths: Mapping[str, int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for title, width in widths.items():
        table.add_column(title, overflow="ellipsis", no_wrap=True, width=width)
    for row in texts:
        table.add_row(*map(Text, row.values()))
    return table


def _print_blocks(texts: Sequence[Mapping[str, str]]) -> None:
    for number, row in enumerate(texts):
        if number:
            print()
        for title, cell in row.items():
            if cell:
                print(f"{title:<14} {cell}")


def show_json(value: Any) -> None:
    """Prints a JSON document. The characters that `safe` replaces are escaped.

    Outside of strings JSON contains no such characters except line breaks, so the value does not change (RFC 8259,
    section 7).
    """
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    print("".join(char if char == "\n" or _is_harmless(char) else _json_escape(char) for char in text))


def _json_escape(char: str) -> str:
    r"""Returns a character as `\uXXXX`, or as two of them beyond the Basic Multilingual Plane."""
    units = char.encode("utf-16-be")
    return "".join(f"\\u{int.from_bytes(units[start : start + 2], 'big'):04x}" for start in range(0, len(units), 2))


class Progress(Protocol):
    """Shows the number of finished steps and of all steps."""

    def __call__(self, done: int, total: int, description: str | None = None) -> None: ...


@contextmanager
def progress_bar(description: str, *, transient: bool = True, hidden: bool = False) -> Iterator[Progress]:
    """Shows a progress bar on standard error. A `transient` one is removed at the end."""
    with ProgressDisplay(console=console(stderr=True), transient=transient, disable=hidden) as display:
        task = display.add_task(description, total=None)

        def update(done: int, total: int, description: str | None = None) -> None:
            display.update(task, completed=done, total=total, description=description)

        yield update


def print_hint(text: str) -> None:
    """Prints a line on standard error, so that it is not part of the output for programs."""
    print(safe(text, keep="\n"), file=sys.stderr)


def is_agreed(verb: str, total: int, one: str, many: str, *, yes: bool) -> bool:
    """Asks for confirmation, such as "Replay 2 events?". Returns whether the user agrees.

    Raises `UsageError` without a terminal.
    """
    if total == 0:
        print(f"no {many} found; nothing to do")
        return False
    if yes:
        return True
    if not is_interactive():
        raise UsageError(f"this would {verb} {counted(total, one, many)}; add --yes to do it")
    if not typer.confirm(f"{verb.capitalize()} {counted(total, one, many)}?"):
        print("nothing changed")
        return False
    return True


def is_interactive() -> bool:
    """Whether standard input is a terminal, so that the command can ask a question."""
    return sys.stdin.isatty()
