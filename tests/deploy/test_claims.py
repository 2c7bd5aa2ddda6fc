"""README and docs: the things that they name exist, and the values that they state are those of the code. One test for
each kind of claim: commands, modules, files, links, settings, variables, defaults, metrics, messages of the log, and
addresses of the JSON API.
"""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from connector.config import Settings, load
from connector.config.messages import fields_at
from connector.registry import load_sink_class
from connector.web.api import API
from connector.web.metrics import Metrics
from tests.deploy.readers import DEPLOY, ROOT, blocks, commands, wrong_words
from tests.entry_points import installed

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
EXAMPLE = ROOT / "config.example.toml"
NAMING = [*PAGES, EXAMPLE, *sorted(path for path in DEPLOY.iterdir() if path.suffix != ".json")]
"""Whatever names files, variables and metrics of the project."""


def each(paths):
    return pytest.mark.parametrize("page", paths, ids=lambda page: str(page.relative_to(ROOT)))


EACH = each(PAGES)
SECRETS = {
    "CONNECTOR_HIREFLIX__WEBHOOK_SECRETS": '["hush-hush"]',
    "CONNECTOR_DEFAULTS__SLACK__TOKEN": "xoxb-1-2-abc",
}
NOT_SETTINGS = {"CONNECTOR_CONFIG", "CONNECTOR_SECRETS_DIR"}
"""Variables that say where the settings are."""
OTHER_TYPES = {"HIRING_CHAT"}
"""Sinks of the guide for authors, whose type is made on that page."""
SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600, "day": 86_400, "days": 86_400}


def prose(page):
    """The text without its code blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


# --- commands, modules, files, links


@EACH
def test_every_command_that_is_named_exists_with_its_options(page):
    named = [words for words in commands(page.read_text()) if words != ["…"]]
    assert [(words, wrong) for words in named if (wrong := wrong_words(words))] == []


@EACH
def test_every_module_that_is_named_exists(page):
    text = page.read_text()
    named = set(re.findall(r"`((?:connector|sinks)(?:/[a-z_]+)+(?:\.py|/)?)`", text))
    assert {name for name in named if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()} == set()
    assert re.findall(r"`[a-z_]+\.py`", text) == [], "a module is named with its folder"


def test_the_layout_names_what_there_is():
    """Every folder and module of `connector`, and no other; a new sink need not be added."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    [tree] = re.findall(r"^connector/\n.*?(?=^```)", text, re.MULTILINE | re.DOTALL)
    core, sinks = (
        set(re.findall(r"(?<= )\w+(?:/|\.py)(?= |$)", part, re.MULTILINE)) for part in tree.split("\nsinks/\n")
    )
    assert core - {"dashboard/", "postgres/"} == modules("connector")
    assert sinks <= modules("sinks")


def modules(package):
    found = [path for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    return {path.name + "/" * path.is_dir() for path in found} - {"__init__.py"}


@EACH
def test_every_dotted_module_that_is_named_exists(page):
    named = set(re.findall(r"`((?:connector|sinks)(?:\.[a-z_]+)+)`", page.read_text())) - {"connector.sinks"}
    missing = {name for name in named if not _exists(name)}
    assert missing == set()


def _exists(name):
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists() or _defines(path.parent, path.name)


def _defines(module, name):
    file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    return file.exists() and re.search(rf"\b{name}\b", file.read_text()) is not None


@each(NAMING)
def test_every_file_of_the_project_that_is_named_exists(page):
    """Files that a page makes are not ours: those of the guide for authors are."""
    text = page.read_text()
    made = set(re.findall(r"^# (tests/\S+)$", text, re.MULTILINE))
    named = set(re.findall(r"(?<![\w/.-])(?:deploy|docs|benchmarks|tests|\.ci|\.github)/[\w@./-]*\w", text)) - made
    assert [name for name in named if not (ROOT / name).exists()] == []


@EACH
def test_every_link_leads_to_a_file_and_a_heading(page):
    for path, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)]*))?\)", prose(page)):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_page_is_found_from_the_readme():
    """By links, from page to page."""
    found, new = set(), [ROOT / "README.md"]
    while new:
        page = new.pop()
        found.add(page)
        linked = {(page.parent / path).resolve() for path in re.findall(r"\]\((?!https?:)([^)#\s]+\.md)", prose(page))}
        new += linked - found
    assert {page.relative_to(ROOT) for page in PAGES} - {page.relative_to(ROOT) for page in found} == set()


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EACH
def test_every_sink_type_in_an_example_ships_with_the_connector_or_is_made_on_that_page(page):
    text = page.read_text()
    named = {kind for block in blocks(text, "toml") for kind in re.findall(r'^type = "(\w+)"', block, re.MULTILINE)}
    made = set(re.findall(r"^(\w+) = \"[\w.]+:\w+\"", text, re.MULTILINE)) | set(re.findall(r"# sinks/(\w+)\.py", text))
    assert named <= set(installed()) | made


# --- settings


@EACH
def test_every_setting_in_an_example_exists_and_takes_its_value(page):
    """Also the settings of a sink whose type another example shows."""
    trees = [
        tomllib.loads(re.sub("^   |^#(?=\\[|[a-z_]+ = )", "", block, flags=re.MULTILINE))
        for block in blocks(page.read_text(), "toml")
    ]
    settings = [(model, *each) for tree in trees for model, table in tables(tree) for each in table.items()]
    assert [problem for each in settings if (problem := problem_of(*each))] == []


def problem_of(model: type[BaseModel], name: str, value: Any) -> str:
    """Returns what is wrong with a setting, `""` for a valid one."""
    field = model.model_fields.get(name)
    if field is None:
        return f"{model.__name__} has no setting {name}"
    try:
        TypeAdapter(Annotated[field.annotation, field]).validate_python(value)
    except ValidationError as error:
        return f"{name}: {error}"
    return ""


def tables(tree: dict[str, Any]) -> Iterator[tuple[type[BaseModel], dict[str, Any]]]:
    """Yields the tables of an example with the models that check them."""
    if "project" in tree:
        return
    yield Settings, {name: value for name, value in tree.items() if name not in {"defaults", "sinks"}}
    for kind, table in tree.get("defaults", {}).items():
        yield load_sink_class(kind).Config, table
    for name, table in tree.get("sinks", {}).items():
        if name.upper() not in OTHER_TYPES:
            own = {key: value for key, value in table.items() if key not in {"type", "renamed_from"}}
            yield load_sink_class(table.get("type") or types()[name]).Config, own


@cache
def types():
    """The type of each sink of the examples, by its name."""
    shown = "\n".join([EXAMPLE.read_text(), *(block for page in PAGES for block in blocks(page.read_text(), "toml"))])
    found = re.findall(r'\[sinks\.(\w+)\]\s+#?type = "(\w+)"', shown)
    known = dict(found)
    assert [(name, kind) for name, kind in found if known[name] != kind] == [], "one name for two types"
    return known


@each([*PAGES, EXAMPLE])
def test_every_setting_that_is_named_exists(page):
    """As `[section] name` or `section.name`."""
    text = page.read_text()
    named = re.findall(r"`\[(\w+)\](?: (\w+))?", text)
    sections = "|".join(set(Settings.model_fields) - {"delivery"})  # `delivery.id` is what a sink gets
    named += re.findall(rf"`({sections})\.(?!com`)(\w+)(?: =[^`]*)?`", text)
    for section, name in named:
        assert section in Settings.model_fields
        assert not name or name in fields_at(Settings, (section,)) or section == "sinks", f"{section}.{name}"


@each(NAMING)
def test_every_variable_that_is_named_is_a_setting(page):
    found = set(re.findall(r"CONNECTOR_[A-Z0-9]+(?:_[A-Z0-9]+)*(?:__[A-Z0-9]+(?:_[A-Z0-9]+)*)*", page.read_text()))
    found |= {name.upper() for name in re.findall(r"\bconnector_[a-z]+__[a-z0-9_]+", page.read_text())}
    for name in found - NOT_SETTINGS:
        section, *keys = name.removeprefix("CONNECTOR_").lower().split("__")
        if section == "sinks" and keys[0].upper() in OTHER_TYPES:
            continue
        kind = types().get(keys[0]) if section == "sinks" else keys[0] if section == "defaults" else None
        known = load_sink_class(kind).Config.model_fields if kind else fields_at(Settings, (section, *keys[:-1]))
        assert keys[-1] in known, name


@EACH
def test_every_stated_default_is_that_of_the_setting(page):
    """Written as `name` (900 s), as (`name`, 20 s), or as 14 days (`name`)."""
    text = prose(page)
    stated = re.findall(r"`(?:\[\w+\] )?(\w+)`(?: \(|, )([\d,]+) ?(s|min|h|days?|)\)", text)
    before = re.findall(r"([\d,]+) (s|min|h|days?) \(`(?:\[\w+\] )?(\w+)`\)", text)
    for name, number, unit in [*stated, *((name, number, unit) for number, unit, name in before)]:
        value = int(number.replace(",", "")) * (SECONDS[unit] if not name.endswith("_days") else 1)
        assert value in defaults()[name], name


@cache
def defaults() -> dict[str, set[Any]]:
    """The defaults of all settings, by name."""
    models = [type(value) for value in Settings().__dict__.values() if isinstance(value, BaseModel)]
    models += [load_sink_class(kind).Config for kind in installed()]
    found: dict[str, set[Any]] = {}
    for model in models:
        for name, field in model.model_fields.items():
            if isinstance(field.default, int | float):
                found.setdefault(name, set()).add(field.default)
    return found


def test_the_configuration_of_the_readme_loads(tmp_path):
    text = "\n".join(blocks((ROOT / "README.md").read_text(), "toml"))
    (tmp_path / "config.toml").write_text("\n".join(line.removeprefix("   ") for line in text.splitlines()))
    (tmp_path / "service-account.json").write_text("{}")
    config = load(environ=SECRETS, cwd=tmp_path)
    assert set(config.sinks) == {"hiring_sheet", "recruiting"}
    assert len(tomllib.loads((tmp_path / "config.toml").read_text())["routes"]) == 2


def test_the_readme_lists_exactly_the_sinks_that_ship():
    [row] = re.findall(r"all sinks and their settings: (.*) \|", (ROOT / "README.md").read_text())
    assert set(re.findall(r"`(\w+)`", row)) == set(installed())


# --- what the service shows


@each(NAMING)
def test_every_metric_that_is_named_exists(page):
    known = {family.name for family in Metrics().registry.collect()}
    known |= {f"{name}_{part}" for name in known for part in ("total", "bucket", "sum", "count")}
    named = set(re.findall(r"\bconnector_[a-z]+(?:_[a-z]+)*\b(?!__)", page.read_text()))
    assert named - {"connector_flush", "connector_stage"} <= known, "those two are names in a workbook"


@EACH
def test_every_message_of_the_log_that_is_named_is_logged(page):
    text = page.read_text()
    named = re.findall(r"(?:log says|logs?|log line) `([a-z -]+)`", text) + re.findall(
        r"`([a-z -]+)` in (?:its|the) log", text
    )
    assert [message for message in named if message not in logged()] == []


@cache
def logged():
    """The messages of all calls of a logger."""
    files = [*(ROOT / "connector").rglob("*.py"), *(ROOT / "sinks").rglob("*.py")]
    return {message for file in files for message in re.findall(r'\blog\.\w+\(\s*"([^"]+)"', file.read_text())}


@EACH
def test_every_address_that_is_named_is_served(page):
    """Below `/api/`."""
    named = set(re.findall(r"`(?:GET |POST )?(/api/[\w/]+)`", page.read_text()))
    named |= set(re.findall(r"http://127\.0\.0\.1:8000(/api/[\w/]+)", page.read_text()))
    assert {path.replace("/recruiting/", "/NAME/") for path in named} <= served()


def test_every_address_of_the_api_is_described():
    """A listing by its name alone."""
    section = (ROOT / "docs" / "dashboard.md").read_text().split("## The JSON API")[1].split("\n## ")[0]
    assert [
        path for path in served() if f"{path}`" not in section and f"`{path.rpartition('/')[2]}`" not in section
    ] == []


def served():
    """The addresses of the JSON API, with `NAME` for the name of a sink."""
    return {re.sub(r"\{\w+(:\w+)?\}", "NAME", f"/api{path}") for route in API for path in route.paths}
