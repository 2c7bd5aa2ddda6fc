"""One file per mistake. Its first lines contain the exact messages.

`{sink types}` is replaced by the installed types, so that a new sink edits no file here.
"""

from pathlib import Path

import pytest

from connector.errors import ConfigError
from connector.registry import known_types

FILES = sorted((Path(__file__).parent / "bad").glob("*.toml"))


def header(file, word):
    """The comment lines that begin with this word, in order, without it."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(f"# {word}: ") for line in lines if line.startswith(f"# {word}: ")]


def reported(folder, file):
    variables = dict(line.split("=", 1) for line in header(file, "env"))
    with pytest.raises(ConfigError) as caught:
        folder.load(file.read_text(encoding="utf-8"), **variables)
    return caught.value


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_mistake_is_reported_as_its_file_says(folder, file):
    expected = [line.replace("{sink types}", ", ".join(known_types())) for line in header(file, "expect")]
    assert [str(problem) for problem in reported(folder, file).problems] == expected


def test_a_missing_type_is_answered_with_the_built_in_and_the_installed_types(folder):
    message = str(reported(folder, Path(__file__).parent / "bad" / "sink-type-missing.toml"))
    assert all(kind in message for kind in ("console", "google_sheets", "pigeon", "slack", "webhook", "workbook"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_message_shows_a_secret(folder, file):
    assert "hunter22" not in str(reported(folder, file))


def test_there_is_a_file_for_many_mistakes():
    assert len(FILES) >= 40
    assert all(header(file, "expect") for file in FILES)
