"""docs/sinks.md agrees with the code: every sink, every setting with its default, every column, valid examples."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from connector.registry import load_sink_class
from connector.testing import make_batch, make_delivery
from sinks.spreadsheet.columns import SPECS
from sinks.webhook import signature_headers, signing_key
from tests.entry_points import installed
from tests.sinks.webhook.receiver import whsec

PAGE = (Path(__file__).parents[2] / "docs" / "sinks.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
SECRETS = {"slack": {"token": "xoxb-1"}, "webhook": {"url": "https://hooks.example.org/", "secret": whsec("a")}}
SHARED_SETTINGS = {"timezone", "language"}
TYPES = [name for name in SECTIONS if name in installed()]


def table(kind):
    """Setting -> default, as the page has them."""
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", SECTIONS[kind].split("\n###")[0], re.MULTILINE))


def test_the_sinks_that_the_readme_names_have_their_sections():
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    line = next(line for line in readme.splitlines() if "(docs/sinks.md)" in line)
    assert set(re.findall(r"`(\w+)`", line)) == set(TYPES)


@pytest.mark.parametrize("kind", TYPES)
def test_every_setting_is_described(kind):
    assert table(kind).keys() == load_sink_class(kind).Config.model_fields.keys() - SHARED_SETTINGS


@pytest.mark.parametrize("kind", TYPES)
def test_every_described_default_is_right(kind):
    documented = table(kind)
    for name, field in load_sink_class(kind).Config.model_fields.items():
        if name in SHARED_SETTINGS or not documented[name].startswith("`"):
            continue
        default = field.default if isinstance(field.default, tuple) else (field.default,)
        shown = [value.strip("`") for value in documented[name].split(", ")]
        assert shown == [written(value) for value in default]


def written(value):
    """A default as the page writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float | int) else value


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_called_required_is(kind):
    required = {name for name, default in table(kind).items() if default == "required"}
    fields = load_sink_class(kind).Config.model_fields
    assert required == {name for name, field in fields.items() if field.is_required()}


@pytest.mark.parametrize("kind", TYPES)
def test_the_examples_are_accepted(kind):
    [example] = re.findall(r"```toml\n(.*?)```", SECTIONS[kind], re.DOTALL)
    [settings] = tomllib.loads(example)["sinks"].values()
    assert settings.pop("type") == kind
    config = load_sink_class(kind).Config.model_validate({**SECRETS.get(kind, {}), **settings})
    assert settings.keys() <= config.model_fields_set


def test_every_column_is_described_with_its_title():
    documented = dict(re.findall(r"^\| `(\w+)` \| ([\w ()]+) \|", SECTIONS["Columns"], re.MULTILINE))
    assert documented == {field: spec.title for field, spec in SPECS.items()}


async def test_the_example_of_a_request_has_the_keys_of_a_real_one():
    import json

    config = load_sink_class("webhook").Config(**SECRETS["webhook"])
    [found] = await load_sink_class("webhook")("forward", config).preview(make_batch(make_delivery()), None)
    [example] = re.findall(r"```json\n(.*?)```", SECTIONS["webhook"], re.DOTALL)
    assert _keys(json.loads(example)) == _keys(json.loads(found.text.split("\n", 1)[1]))


def test_the_verification_shown_accepts_what_we_sign_and_nothing_else():
    [code] = re.findall(r"```python\n(.*?)```", SECTIONS["webhook"], re.DOTALL)
    shown = {}
    exec(compile(code, "docs/sinks.md", "exec"), shown)
    headers = signature_headers([signing_key(whsec("old")), signing_key(whsec("new"))], "d-1", 1_757_500_000_000, b"{}")
    assert shown["is_genuine"](whsec("new"), headers, b"{}")
    assert not shown["is_genuine"](whsec("new"), headers, b"{} ")
    assert not shown["is_genuine"](whsec("other"), headers, b"{}")


def _keys(value):
    """The keys of a document, without those of an interview's fields."""
    return (
        {key: None if key == "fields" else _keys(inner) for key, inner in value.items()}
        if isinstance(value, dict)
        else 0
    )


@pytest.mark.parametrize("kind", ["google_sheets", "slack"])
def test_every_message_in_the_troubleshooting_of_a_guide_is_one_of_the_connector(kind):
    """A `…` stands for a value."""
    root = Path(__file__).parents[2]
    page = (root / "docs" / f"{kind.replace('_', '-')}.md").read_text("utf-8")
    files = [file for folder in ("connector", "sinks") for file in (root / folder).rglob("*.py")]
    source = re.sub(r'"\s+f?"', "", "".join(file.read_text("utf-8") for file in files))
    cells = re.findall(r"^\| (`.*?) \|", page.split("## Troubleshooting")[1].split("\n## ")[0], re.MULTILINE)
    messages = [message for cell in cells for message in re.findall("`([^`]+)`", cell)]
    assert len(messages) > 15
    for message in messages:
        assert [part for part in message.split("…") if part.strip(' "()') not in source] == [], message
