"""Printed text cannot control a terminal, even with hostile input."""

import json
import os
import re
import subprocess
import sys
import unicodedata
from contextlib import redirect_stdout
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from connector.cli.output import safe, show_json, show_table
from connector.formats import counted


@given(st.text())
def test_no_character_that_acts_is_printed(text):
    """Control, format, surrogate and separator characters never pass, but the two joiners of names do."""
    acting = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not [char for char in safe(text) if unicodedata.category(char) in acting and char not in "\u200c\u200d"]


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_every_other_character_stays(text):
    assert safe(text) == text


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "\u202eevil", "line\nbreak", "\x9b31m", "bell\a"])
def test_what_moves_the_cursor_or_turns_the_text_is_replaced(text):
    assert "\ufffd" in safe(text)


def test_a_table_shows_markup_as_it_is(capsys):
    """Square brackets are colours to the library that draws tables."""
    show_table([{"NAME": "[bold]Bob[/bold] [link=http://x]", "WHY": ":smile:"}], empty="none")
    assert "[bold]Bob[/bold] [link=http://x]   :smile:" in capsys.readouterr().out


def test_a_cell_is_one_line(capsys):
    show_table([{"NAME": "two\nlines", "WHY": None}], empty="none")
    assert "two\ufffdlines" in capsys.readouterr().out


def test_a_pipe_gets_cells_uncut(capsys):
    show_table([{"NAME": "n" * 300, "WHY": "w" * 100}], empty="none")
    assert f"{'n' * 300}   {'w' * 100}" in capsys.readouterr().out


def test_a_cell_of_a_million_characters_is_shortened(capsys):
    show_table([{"NAME": "n" * 10**6}], empty="none")
    assert capsys.readouterr().out.splitlines()[-1] == "n" * 499 + "…"


def test_a_table_without_rows_is_a_sentence(capsys):
    show_table([], empty="No such thing.")
    assert capsys.readouterr().out == "No such thing.\n"


def test_json_is_one_document_with_its_letters(capsys):
    show_json({"name": "Zoë\n"})
    out = capsys.readouterr().out
    assert "Zoë" in out
    assert json.loads(out) == {"name": "Zoë\n"}


@given(st.text())
def test_json_keeps_every_character_and_prints_none_that_acts(text):
    """As in tables; a line break is printed between the lines of the document only."""
    out = StringIO()
    with redirect_stdout(out):
        show_json([text])
    document = out.getvalue()
    assert json.loads(document) == [text]
    assert document.count("\n") == 3
    acting = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not [char for char in document if unicodedata.category(char) in acting and char not in "\n\u200c\u200d"]


def test_counts_have_their_number():
    assert (counted(1, "delivery", "deliveries"), counted(0, "delivery", "deliveries")) == (
        "1 delivery",
        "0 deliveries",
    )


ROW = {"DELIVERY": 12, "SINK": "recruiting", "CANDIDATE": "李 " * 20, "TRIES": 0, "WHY": "the channel is gone"}


def on_a_terminal(columns):
    """What a terminal of that width shows of two rows."""
    code = f"from connector.cli.output import show_table; show_table([{ROW!r}] * 2, empty='')"
    environ = {**os.environ, "COLUMNS": str(columns), "FORCE_COLOR": "1", "TERM": "xterm", "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def test_a_narrower_terminal_shortens_the_long_cells_only():
    shown = on_a_terminal(75)
    assert "12         recruiting   李 李" in shown
    assert "…" in shown
    assert max(cell_len(line) for line in shown.splitlines()) <= 75


def test_a_terminal_too_narrow_for_the_table_gets_blocks_with_everything_in_them():
    """The reason is in the last column, which a cut would remove."""
    block = [
        "DELIVERY       12",
        "SINK           recruiting",
        f"CANDIDATE      {'李 ' * 20}",
        "TRIES          0",
        "WHY            the channel is gone",
    ]
    assert on_a_terminal(40).splitlines() == [*block, "", *block]
