"""Generated secrets are created once, complete, and readable by their owner only."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connector.errors import ConfigError
from connector.secretsfile import make_secret, read_secret


def test_reading_makes_nothing(tmp_path):
    assert read_secret(tmp_path / "data" / "secret") is None
    assert list(tmp_path.iterdir()) == []


def test_a_secret_is_long_and_stays(tmp_path):
    made = make_secret(tmp_path / "data" / "secret")
    assert len(made.get_secret_value()) >= 43
    assert make_secret(tmp_path / "data" / "secret") == read_secret(tmp_path / "data" / "secret") == made


def test_only_the_owner_may_read_it(tmp_path):
    make_secret(tmp_path / "data" / "secret")
    assert stat.S_IMODE((tmp_path / "data" / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_two_secrets_differ(tmp_path):
    assert make_secret(tmp_path / "a") != make_secret(tmp_path / "b")


def test_processes_that_start_at_once_get_the_same_secret(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_secret(tmp_path / "secret").get_secret_value(), range(32)))
    assert len(set(made)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_an_empty_file_is_reported(tmp_path):
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(ConfigError, match=r"/secret: is empty \(delete it"):
        make_secret(tmp_path / "secret")


def test_a_folder_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match=r"data/secret: cannot be .*, and that \S+/data is a folder"):
        make_secret(tmp_path / "data" / "secret")


def test_a_folder_without_the_right_to_write_is_named():
    folder = Path("/proc/connector")  # refuses new folders, also those of the superuser
    with pytest.raises(ConfigError, match="write permission on /proc/connector"):
        make_secret(folder / "secret")


def test_no_error_shows_a_secret(tmp_path):
    (tmp_path / "secret").write_bytes(b"hunter22\xff")
    with pytest.raises(ConfigError) as caught:
        read_secret(tmp_path / "secret")
    assert "hunter22" not in str(caught.value)
