"""One file per mistake; its first lines say what a person is told, word for word."""

from pathlib import Path

import pytest

from connector.errors import ConfigError

FILES = sorted((Path(__file__).parent / "bad").glob("*.toml"))


def header(file, word):
    """The comment lines that begin with this word, in order, without it."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(f"# {word}: ") for line in lines if line.startswith(f"# {word}: ")]


def told(folder, file):
    variables = dict(line.split("=", 1) for line in header(file, "env"))
    with pytest.raises(ConfigError) as caught:
        folder.load(file.read_text(encoding="utf-8"), **variables)
    return caught.value


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_mistake_is_told_as_its_file_says(folder, file):
    assert [str(problem) for problem in told(folder, file).problems] == header(file, "expect")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_message_shows_a_secret(folder, file):
    assert "hunter22" not in str(told(folder, file))


def test_there_is_a_file_for_many_mistakes():
    assert len(FILES) >= 40
    assert all(header(file, "expect") for file in FILES)
