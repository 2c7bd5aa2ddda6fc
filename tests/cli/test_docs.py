"""docs/commands.md describes exactly the commands, options and exit codes that exist, docs/operating.md the metrics and
the messages of the log.
"""

import ast
import json
import re
from enum import EnumType
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from connector.cli import BAD_USAGE, FAILED, load_command
from connector.cli import COMMANDS as NAMES
from connector.operations.status import Health, TroubleKind
from connector.store.retention import RetentionKind
from connector.web.metrics import Metrics
from connector.web.receiver import REFUSALS
from sinks.spreadsheet.comparison import WRONG, ComparisonResult

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "operating.md").read_text()
REFERENCE = (DOCS / "commands.md").read_text()
GROUPS = {name: load_command(name) for name in NAMES}
COMMANDS = {name: command for name, command in GROUPS.items() if not hasattr(command, "commands")}
for group in ("store", "hireflix"):
    COMMANDS |= {f"{group} {name}": command for name, command in GROUPS[group].commands.items()}


def section(name):
    """What the page says about one command."""
    found = re.search(rf"^## `connector {name}`\n(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


def options(name):
    return {flag for option in COMMANDS[name].params for flag in option.opts if flag.startswith("-")} - {"--help"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_in_its_table(name):
    described = {flag for line in section(name).splitlines() if line.startswith("| `-")
            for flag in re.findall(r"`(--?[a-z][a-z-]*)", line.split("|")[1])}  # fmt: skip
    assert described == options(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_stated_default_of_an_option_is_right(name):
    """A number in brackets."""
    defaults = {flag: option.default for option in COMMANDS[name].params for flag in option.opts}
    for flag, text in re.findall(r"^\| `(--[a-z-]+) [^|]*\|([^|\n]*)\|", section(name), re.MULTILINE):
        for number in re.findall(r"\((\d+)\)", text):
            assert float(number) == defaults[flag], flag


@pytest.mark.parametrize("name", COMMANDS)
def test_a_row_that_lists_the_values_of_an_option_lists_all_of_them(name):
    kinds = {flag: option.bare_type for option in COMMANDS[name].params for flag in option.opts}
    for flag, text in re.findall(r"^\| `(--[a-z-]+) [^|]*\|([^|\n]*)\|", section(name), re.MULTILINE):
        if isinstance(kinds[flag], EnumType):
            words = {str(member.value) for member in kinds[flag]}
            assert {word for word in words if f"`{word}`" in text} in (set(), words), flag


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("connector_requests_refused_total", {*REFUSALS, "host", "disconnected"}),
        ("connector_retention_deleted_total", {*RetentionKind}),
    ],
)
def test_the_values_of_a_label_are_described(metric, values):
    [row] = re.findall(rf"^\| `{metric}` \|.*$", PAGE, re.MULTILINE)
    assert [value for value in values if f"`{value}`" not in row] == []


def test_every_described_command_exists():
    assert set(re.findall(r"^## `connector ([\w ]+)`", REFERENCE, re.MULTILINE)) == set(COMMANDS)


def test_the_list_at_the_top_leads_to_every_command():
    top = REFERENCE.split("\n## ")[0]
    assert sorted(re.findall(r"\[`([\w ]+)`\]\(#", top)) == sorted(COMMANDS)


def metric_names():
    registry: CollectorRegistry = Metrics().registry
    return [f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()]


@pytest.mark.parametrize("name", metric_names())
def test_every_metric_is_in_the_table(name):
    assert f"\n| `{name}` |" in PAGE


def test_every_described_log_message_is_logged():
    table = re.search(r"\| message \| meaning \|\n\|---\|---\|\n(.*?)\n\n", PAGE, re.DOTALL).group(1)
    described = [row.split("`")[1].removesuffix("…").strip() for row in table.splitlines()]
    source = "".join(file.read_text() for file in (Path(__file__).parents[2] / "connector").rglob("*.py"))
    assert len(described) > 5
    assert [message for message in described if f'"{message}' not in source] == []


def logged_problems():
    """Returns the messages that the connector logs as a warning or an error."""
    found = set()
    for file in (Path(__file__).parents[2] / "connector").rglob("*.py"):
        source = file.read_text()
        if "log.warning(" in source or "log.error(" in source:
            calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
            found |= {call.args[0].value for call in calls if _logs_a_problem(call)}
    return found


def _logs_a_problem(call):
    match call:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="log"), attr="warning" | "error"), args=[ast.Constant(), *_]
        ):
            return True
    return False


def test_every_logged_problem_is_described():
    messages = logged_problems()
    assert len(messages) > 5
    assert [message for message in messages if f"`{message}`" not in PAGE] == []


def test_the_exit_codes_are_described():
    assert {f"\n| {code} | " in REFERENCE for code in (0, FAILED, BAD_USAGE)} == {True}


def test_the_example_of_the_status_has_the_fields_of_a_real_one():
    [example] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    assert msgspec.to_builtins(msgspec.convert(example, Health)) == example


def test_every_kind_of_trouble_is_described():
    table = PAGE.split("| `kind` | what it is about |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted(TroubleKind)


def test_every_kind_of_difference_is_described():
    rows = dict(re.findall(r"^\| `([a-z ]+)` \| (yes|no) \|", PAGE, re.MULTILINE))
    assert rows == {kind: "no" if kind in WRONG else "yes" for kind in ComparisonResult}


ADVICE = re.compile(r"\bconnector ([a-z]+)( [a-z]+)?((?: (?!--)[^ ;,`]+)?(?: --[a-z-]+(?: (?!-)[^ ;,`]+)?)*)")
"""A command of one or two words, at most one argument, and options with at most one value each."""


def texts(file):
    """The texts of a module, with `…` for what a formatted text fills in."""
    tree = ast.parse(file.read_text())
    formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in formatted for part in node.values}
    for node in formatted:
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def advised():
    """Yields the commands that texts of the connector name, each with its options."""
    for package in ("connector", "sinks"):
        for file in (DOCS.parent / package).rglob("*.py"):
            for text in texts(file):
                for first, second, rest in ADVICE.findall(" ".join(text.split())):
                    name = first if first not in ("store", "hireflix") else f"{first}{second}"
                    options = re.findall(r"--[a-z-]+", second + rest)
                    if options or name in COMMANDS:
                        yield name, tuple(options)


ADVISED = sorted(set(advised()))


def test_advice_is_found():
    assert {("verify", ("--repair",)), ("resume", ("--refill",)), ("hireflix webhook", ("--activate",))} <= {*ADVISED}


@pytest.mark.parametrize(("name", "wanted"), ADVISED)
def test_a_command_that_a_text_advises_exists_with_its_options(name, wanted):
    assert set(wanted) <= options(name) | {"--help"}
