"""Types of sinks are found by name, imported only when asked for, and refused with what to do."""

import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import sinks
from connector.errors import ConfigError
from connector.registry import built_in_types, known_types, load_sink_class

ROOT = Path(__file__).parent.parent
ENTRY_POINT = "[connector.sinks]\n{name} = {value}\n"
GOOD = """
from connector.sink import Sink, SinkConfig

class Pigeon(Sink[SinkConfig]):
    Config = SinkConfig

    async def deliver(self, batch, context):
        raise NotImplementedError

class Bare(Sink[SinkConfig]):
    async def deliver(self, batch, context):
        raise NotImplementedError

NOT_A_SINK = object
"""


@pytest.fixture
def distribution(tmp_path):
    """Installs a distribution with one entry point, as a third party would."""
    before = list(sys.path)

    def install(name, value, code=GOOD, package="acme"):
        folder = tmp_path / package
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{package}_sinks.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(ENTRY_POINT.format(name=name, value=value))
        sys.path.insert(0, str(folder))

    yield install
    sys.path[:] = before
    for name in [name for name in sys.modules if name.endswith("_sinks")]:
        del sys.modules[name]


def problem_of(type_name):
    with pytest.raises(ConfigError) as caught:
        load_sink_class(type_name)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def test_a_built_in_type_is_the_module_of_that_name():
    assert load_sink_class("console").__module__ == "sinks.console"


def test_the_built_in_types_are_known():
    assert set(built_in_types()) <= set(known_types())


def test_the_built_in_types_are_those_with_a_class():
    """As importing them tells; a helper that several sinks share is no type."""
    modules = {module.name: import_module(f"sinks.{module.name}") for module in iter_modules(sinks.__path__)}
    assert set(built_in_types()) == {name for name, module in modules.items() if hasattr(module, "SINK")}
    assert "table" in modules


def test_a_helper_among_the_sinks_is_no_type():
    problem = problem_of("table")
    assert (problem.message, problem.hint) == ("no such type of sink", "the module sinks.table names no class SINK")


def test_a_sink_that_is_just_being_written_is_told_without_a_traceback(tmp_path):
    """By a copy of both packages with a module that is no Python."""
    for package in ("connector", "sinks"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sinks" / "fresh.py").write_text("def deliver(:\n")
    said = run("load_sink_class('fresh')", cwd=tmp_path)
    assert said[0].startswith("type: sinks.fresh cannot be imported: SyntaxError: invalid syntax")


def test_an_unknown_type_is_told_with_the_nearest_one():
    problem = problem_of("consle")
    assert (problem.place, problem.hint) == ("type", "did you mean console?")


def test_a_type_like_no_other_is_told_with_all_of_them():
    assert problem_of("zzz").hint.startswith("there are: ")


@pytest.mark.parametrize(
    "name", ["../console", "os.path", "console.SINK", "", "_private", "console\n", "Console", "a/b"]
)
def test_a_name_that_is_no_plain_word_imports_nothing(name):
    assert problem_of(name).message == "no such type of sink"


def test_a_third_party_type_comes_by_entry_point(distribution):
    distribution("pigeon", "acme_sinks:Pigeon")
    assert load_sink_class("pigeon").__name__ == "Pigeon"
    assert "pigeon" in known_types()


def test_a_built_in_type_cannot_be_taken_over(distribution):
    distribution("console", "acme_sinks:Pigeon")
    assert load_sink_class("console").__module__ == "sinks.console"


def test_a_class_that_is_no_sink_is_refused(distribution):
    distribution("pigeon", "acme_sinks:NOT_A_SINK")
    assert "no subclass of connector.sink.Sink" in problem_of("pigeon").message


def test_a_sink_without_settings_is_refused(distribution):
    distribution("pigeon", "acme_sinks:Bare")
    assert problem_of("pigeon").message == "acme_sinks:Bare has no settings"


def test_an_entry_point_that_cannot_be_imported_names_the_error(distribution):
    distribution("pigeon", "acme_sinks:Pigeon", code="raise RuntimeError('no pigeons here')")
    assert problem_of("pigeon").message == "acme_sinks:Pigeon cannot be imported: RuntimeError: no pigeons here"


def test_a_type_brought_twice_is_refused(distribution):
    distribution("pigeon", "acme_sinks:Pigeon")
    distribution("pigeon", "bcme_sinks:Pigeon", package="bcme")
    assert problem_of("pigeon").message == "several installed packages bring this type: acme, bcme"


PROGRAM = """
import sys
{before}
from connector.errors import ConfigError
from connector.registry import built_in_types, known_types, load_sink_class
try:
    {call}
except ConfigError as error:
    print(error)
print(sorted(name for name in sys.modules if name.startswith("sinks")))
"""


def run(call, before="", cwd=ROOT):
    """What a fresh interpreter prints: nothing is imported yet there."""
    program = PROGRAM.format(call=call, before=before)
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_listing_the_types_imports_none():
    assert run("known_types()") == ["[]"]


def test_only_the_type_asked_for_is_imported():
    assert run("load_sink_class('console')") == ["['sinks', 'sinks.console']"]


def test_a_missing_dependency_is_named():
    lines = run("load_sink_class('webhook')", before="sys.modules['httpx'] = None")
    assert lines[0].startswith("type: webhook needs the Python module httpx, which is not installed")


@pytest.mark.parametrize(
    ("type_name", "extra", "module"),
    [("slack", "slack", "slack_sdk"), ("google_sheets", "sheets", "gspread"), ("google_sheets", "sheets", "google")],
)
def test_a_missing_extra_is_named_for_those_who_installed_and_for_those_with_a_checkout(type_name, extra, module):
    lines = run(f"load_sink_class({type_name!r})", before=f"sys.modules[{module!r}] = None")
    assert lines[0].endswith(f"(pip install 'hireflix-connector[{extra}]', or `make install` in a checkout)")


def test_another_top_level_package_named_sinks_is_refused(tmp_path):
    """Its code is not run."""
    package = tmp_path / "sinks"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('ran')")
    lines = run("load_sink_class('console')", before=f"sys.path.insert(0, {str(tmp_path)!r})")
    assert lines[0].startswith("type: another installed package also brings a top-level package `sinks`")


def test_the_sinks_lie_beside_the_connector():
    """What the guard compares with."""
    import connector

    assert (Path(connector.__file__).parent.parent / "sinks" / "console.py").is_file()
