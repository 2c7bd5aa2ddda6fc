"""docs/architecture.md says what each dependency is for; the code that it names imports it."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = {
    "google-auth": "google",
    "prometheus-client": "prometheus_client",
    "pydantic-settings": "pydantic_settings",
    "slack-sdk": "slack_sdk",
}
"""Distribution -> the top-level module to import, where the two differ."""
NEVER_IMPORTED = {"tzdata"}
"""Data that the standard library finds without a setting."""
NAMED_BY_THE_OWNER = ("litestar", "gspread", "slack-sdk", "tenacity", "pydantic-settings", "respx", "pytest")


def table():
    """Package -> the paths that use it."""
    section = PAGE.split("## Dependencies")[1]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|([^|]*)\|$", section, re.MULTILINE)
    return {name: re.findall(r"`([^`]+)`", paths) for names, paths in rows for name in names.split(", ")}


def declared():
    """Every distribution that the project installs for its users."""
    project = PROJECT["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {re.match(r"[\w.-]+", line)[0] for line in lines}


@cache
def imported_below(path):
    return frozenset(_imports(path))


def _imports(path):
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.split(".")[0]


USES = table()


def test_every_dependency_is_explained_and_nothing_else():
    assert declared() <= set(USES)
    assert set(USES) - declared() <= {"package", "---", "pytest", "hypothesis", "respx"}


@pytest.mark.parametrize("name", NAMED_BY_THE_OWNER)
def test_a_package_that_the_owner_named_is_explained(name):
    assert USES[name]


@pytest.mark.parametrize(
    ("name", "path"),
    [(name, path) for name, paths in USES.items() for path in paths],
)
def test_a_package_is_imported_by_the_code_that_the_table_names(name, path):
    module = MODULES.get(name, name.replace("-", "_"))
    assert module in imported_below(ROOT / path)


@pytest.mark.parametrize("name", sorted(declared() - NEVER_IMPORTED))
def test_every_dependency_is_imported_by_the_product(name):
    module = MODULES.get(name, name.replace("-", "_"))
    assert module in imported_below(ROOT / "connector") | imported_below(ROOT / "sinks")
