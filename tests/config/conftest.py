"""A folder to configure in, and a distribution of another author."""

import sys
from pathlib import Path

import pytest

from connector.config import load

SECRET = {"CONNECTOR_HIREFLIX__WEBHOOK_SECRETS": '["hush-hush"]'}


@pytest.fixture(autouse=True)
def pigeon():
    """The types `pigeon` (a chat) and `blackboard` (shows state) are installed."""
    before = list(sys.path)
    sys.path.insert(0, str(Path(__file__).parent / "pigeon"))
    yield
    sys.path[:] = before
    sys.modules.pop("pigeon_sinks", None)


class Folder:
    """A working folder; `load` reads the configuration there, with a webhook secret unless another one is given."""

    def __init__(self, path):
        self.path = path

    def write(self, name, text):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def load(self, toml=None, path=None, secret=SECRET, **environ):
        if toml is not None:
            self.write("config.toml", toml)
        return load(path, {**secret, **environ}, self.path)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)
