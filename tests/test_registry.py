"""Types of sinks are found by name, imported only when asked for, and refused with what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

from connector.errors import ConfigError
from connector.registry import known_types, load_sink_class
from connector.sink import Sink
from tests.entry_points import declared

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

class Empty(Sink[SinkConfig]):
    Config = SinkConfig

class Plain(Sink[SinkConfig]):
    Config = SinkConfig

    def deliver(self, batch, context):
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


def test_our_own_types_are_the_entry_points_of_pyproject():
    assert set(declared()) <= set(known_types())


@pytest.mark.parametrize("type_name", declared())
def test_each_of_our_own_types_can_be_loaded(type_name):
    assert issubclass(load_sink_class(type_name), Sink)


def test_a_helper_among_the_sinks_is_not_a_type():
    assert problem_of("table").message == "unknown type of sink"


def test_an_unknown_type_is_reported_with_the_nearest_one():
    problem = problem_of("consle")
    assert (problem.place, problem.hint) == ("type", "did you mean console?")


def test_a_type_that_resembles_none_is_reported_with_all_that_are_installed():
    assert problem_of("zzz").hint == f"installed types: {', '.join(known_types())}"


@pytest.mark.parametrize(
    "name", ["../console", "os.path", "console.SINK", "", "_private", "console\n", "Console", "a/b"]
)
def test_the_name_of_a_module_or_a_file_is_not_a_type(name):
    assert problem_of(name).message == "unknown type of sink"


def test_a_third_party_type_comes_by_entry_point(distribution):
    distribution("pigeon", "acme_sinks:Pigeon")
    assert load_sink_class("pigeon").__name__ == "Pigeon"
    assert "pigeon" in known_types()


def test_a_package_that_defines_one_of_our_own_types_is_refused(distribution):
    """Neither class is loaded: which one was meant is unknown."""
    distribution("console", "acme_sinks:Pigeon")
    assert problem_of("console").message == "several installed packages define this type: acme, hireflix-connector"


def test_a_class_that_is_no_sink_is_refused(distribution):
    distribution("pigeon", "acme_sinks:NOT_A_SINK")
    assert "is not a subclass of connector.sink.Sink" in problem_of("pigeon").message


def test_a_sink_without_settings_is_refused(distribution):
    distribution("pigeon", "acme_sinks:Bare")
    assert problem_of("pigeon").message == "acme_sinks:Bare has no settings"


def test_a_sink_without_the_required_method_is_refused(distribution):
    distribution("pigeon", "acme_sinks:Empty")
    assert problem_of("pigeon").message == "acme_sinks:Empty lacks the method deliver"


def test_a_sink_that_would_block_the_service_is_refused(distribution):
    distribution("pigeon", "acme_sinks:Plain")
    assert problem_of("pigeon").message == "acme_sinks:Plain has a `deliver` that is not async"


@pytest.mark.parametrize(("rank", "is_refused"), [(0, False), (999, False), (1000, True), (-1, True), (1.5, True)])
def test_a_rank_that_the_store_cannot_order_is_refused(distribution, rank, is_refused):
    """A greater one would count as that of a follow-up, and a very great one would refuse every event."""
    distribution("pigeon", "acme_sinks:Ranked", code=f"{GOOD}class Ranked(Pigeon):\n    priority = {{'x': {rank}}}\n")
    if is_refused:
        expected = "acme_sinks:Ranked has a rank in `priority` other than a whole number from 0 to 999"
        assert problem_of("pigeon").message == expected
    else:
        assert load_sink_class("pigeon").priority == {"x": rank}


def test_an_entry_point_that_cannot_be_imported_names_the_error(distribution):
    distribution("pigeon", "acme_sinks:Pigeon", code="raise RuntimeError('no pigeons here')")
    assert problem_of("pigeon").message == "acme_sinks:Pigeon cannot be imported: RuntimeError: no pigeons here"


def test_a_sink_with_a_syntax_error_is_reported_without_a_traceback(distribution):
    distribution("pigeon", "acme_sinks:Pigeon", code="def deliver(:\n")
    assert problem_of("pigeon").message.startswith("acme_sinks:Pigeon cannot be imported: SyntaxError: invalid syntax")


def test_a_type_brought_twice_is_refused(distribution):
    distribution("pigeon", "acme_sinks:Pigeon")
    distribution("pigeon", "bcme_sinks:Pigeon", package="bcme")
    assert problem_of("pigeon").message == "several installed packages define this type: acme, bcme"


PROGRAM = """
import sys
{before}
from connector.errors import ConfigError
from connector.registry import known_types, load_sink_class
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
    assert run("load_sink_class('webhook')") == ["['sinks', 'sinks.webhook']"]


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
