"""config.example.toml holds every setting with its default, and works as it is and with everything switched on."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from connector.config import MailSettings, RouteSettings, Section, Settings, load
from connector.hireflix import EVENT_NAMES
from connector.registry import load_sink_class
from connector.sink import SinkConfig, Stage
from sinks.spreadsheet.columns import SPECS
from tests.entry_points import installed

TEXT = (Path(__file__).parent.parent.parent / "config.example.toml").read_text(encoding="utf-8")
ALL_ON = re.sub(r"^#(?=\S|  \{)", "", TEXT, flags=re.MULTILINE)
"""The file with every setting switched on: `#port = 8000` is one, `# explains` is none."""
TREE = tomllib.loads(ALL_ON)
DEFAULTS = Settings()
SECRETS = {
    "CONNECTOR_HIREFLIX__WEBHOOK_SECRETS": '["hush-hush"]',
    "CONNECTOR_DEFAULTS__SLACK__TOKEN": "xoxb-1-2-abc",
    "CONNECTOR_DEFAULTS__SLACK__APP_TOKEN": "xapp-1-abc",
    "CONNECTOR_SINKS__SIMPLE__WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/x",
    "CONNECTOR_SINKS__FORWARD__URL": "https://example.org/hook",
    "CONNECTOR_SINKS__FORWARD__SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
}


def plain(value):
    """A default as TOML would hold it."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "get_secret_value"):
        return value.get_secret_value()
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def to_every_sink(text):
    """With a first route to every sink, so that none is left unread."""
    return re.sub(r"(\[\[routes\]\]\nsinks = )\[.*\]", rf"\1{json.dumps(list(TREE['sinks']))}", text, count=1)


def core_settings():
    for name in Settings.model_fields:
        section = getattr(DEFAULTS, name)
        if isinstance(section, Section):
            for key in type(section).model_fields:
                yield pytest.param(name, key, getattr(section, key), id=f"{name}.{key}")


def sink_settings():
    for kind in installed():
        for name, field in load_sink_class(kind).Config.model_fields.items():
            if name not in SinkConfig.model_fields:
                yield pytest.param(kind, name, field, id=f"{kind}.{name}")


def written(kind):
    """What the file says of sinks of one type, in any table."""
    tables = [table for table in TREE["sinks"].values() if table["type"] == kind]
    return {key: value for table in [TREE["defaults"].get(kind, {}), *tables] for key, value in table.items()}


def test_it_works_as_it_is(folder):
    """With the one secret that has no default."""
    config = folder.load(TEXT)
    assert list(config.sinks) == ["workbook", "console"]
    assert config.warnings == ()


def test_it_works_with_everything_switched_on(folder):
    config = folder.load(to_every_sink(ALL_ON), secret=SECRETS)
    assert {entry.type for entry in config.sinks.values()} == set(installed())
    assert len(config.routes) == 3
    assert config.warnings == ()


def test_copying_it_changes_nothing(tmp_path):
    """It says what the embedded default does without it."""
    environ = {"CONNECTOR_HIREFLIX__WEBHOOK_SECRETS": '["hush-hush"]'}
    embedded = load(environ=environ, cwd=tmp_path)
    (tmp_path / "config.toml").write_text(TEXT)
    copied = load(environ=environ, cwd=tmp_path)
    for name in ("timezone", "server", "store", "hireflix", "delivery", "alerts", "logs", "sinks", "routes"):
        assert getattr(copied, name) == getattr(embedded, name)


@pytest.mark.parametrize(("section", "key", "default"), [*core_settings()])
def test_a_setting_is_there_with_its_default(section, key, default):
    """One without a default is there as an example."""
    assert key in TREE[section]
    assert default in (None, {}) or TREE[section][key] == plain(default)


@pytest.mark.parametrize(("kind", "key", "field"), [*sink_settings()])
def test_a_setting_of_a_sink_is_there_with_its_default(kind, key, field):
    """A secret as the variable that holds it."""
    default = plain(field.get_default())
    if key not in written(kind):
        assert re.search(rf"CONNECTOR_[A-Z_]*__{key.upper()}\b", TEXT)
    elif not field.is_required() and default is not None:
        assert written(kind)[key] == default


def test_the_top_level_and_the_routes_are_whole():
    assert set(TREE) == set(Settings.model_fields)
    assert set(TREE["alerts"]["email"]) | {"password"} == set(MailSettings.model_fields)
    assert {key for route in TREE["routes"] for key in route} == set(RouteSettings.model_fields)


def test_every_word_that_a_setting_may_have_is_there():
    """Events, stages and the fields of a table."""
    words = {*EVENT_NAMES - {"interview.create"}, *(stage.value for stage in Stage), *SPECS}
    assert [word for word in sorted(words) if word not in TEXT] == []


def test_every_setting_says_what_it_is():
    bare = [
        f"{name}.{key}"
        for name in Settings.model_fields
        if isinstance(getattr(DEFAULTS, name), Section)
        for key, field in type(getattr(DEFAULTS, name)).model_fields.items()
        if not field.description
    ]
    assert bare == []


def test_no_line_is_too_long_to_read():
    assert [line for line in TEXT.splitlines() if len(line) > 125] == []
