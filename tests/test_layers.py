"""Imports point inward, sinks know only the contract, and pure modules stay pure: read from the source, run nothing."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.entry_points import declared

ROOT = Path(__file__).parent.parent
LAYERS = (
    {
        "decision",
        "errors",
        "interview",
        "languages",
        "http",
        "sink",
        "capabilities",
        "role",
        "blocking",
        "text",
        "formats",
    },
    {"routing", "merge", "hireflix"},
    {"store", "config", "registry", "secretsfile", "logging"},
    {"delivery", "emulators"},
    {"operations"},
    {"web"},
    {"app"},
    {"cli", "healthcheck"},
)
"""From the inside out. A part may import its own layer and those before it."""
PUBLIC = {
    *("connector.blocking", "connector.capabilities", "connector.decision", "connector.http"),
    *("connector.languages", "connector.sink", "connector.text"),
}
"""What a sink may import from us."""
SHARED = {"chat", "spreadsheet"}
"""Packages in `sinks` that hold what several types of sinks share."""
PURE = (
    "connector.interview",
    "connector.decision",
    "connector.text",
    "connector.formats",
    "connector.routing",
    "connector.merge",
    "connector.hireflix.payload",
    "connector.hireflix.signature",
    "connector.hireflix.snapshot",
    "connector.delivery.outcomes",
)
IMPURE_MODULES = {
    "asyncio",
    "httpx",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "secrets",
    "shutil",
    "socket",
    "sqlalchemy",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib.request",
    "uuid",
}
CLOCKS = {
    "asyncio.sleep",
    "date.today",
    "datetime.now",
    "datetime.today",
    "datetime.utcnow",
    "time.monotonic",
    "time.perf_counter",
    "time.sleep",
    "time.time",
    "time.time_ns",
}


def modules_below(root):
    """Dotted name -> syntax tree of every module of both packages."""
    files = [file for package in ("connector", "sinks") for file in (root / package).rglob("*.py")]
    return {name_of(file, root): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def name_of(file, root):
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree, known=()):
    """Absolute names of all that a module imports, wherever in it; a submodule by its own name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def at_import(tree):
    """The tree without what runs only when called."""
    body = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return ast.Module(body, [])


def calls(tree):
    """Dotted names of what a module calls: `datetime.now`."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def layer_of(module):
    """The layer of a module of `connector`; `None` for a module without one."""
    part = module.split(".")[1] if "." in module else ""
    return next((depth for depth, parts in enumerate(LAYERS) if part in parts), None)


def outward(modules):
    """Imports from an inner layer to an outer one."""
    for module, tree in modules.items():
        depth = layer_of(module) if module.startswith("connector.") else None
        for name in imports(tree):
            target = layer_of(name) if name.startswith("connector.") else None
            if depth is not None and target is not None and target > depth:
                yield f"{module} imports {name}"


def too_curious_sinks(modules, types):
    """The imports of sinks beyond the contract, and from other parts of `sinks`: a type of sink may import what is
    shared, and what is shared imports neither a type nor another shared package.
    """
    for module, tree in modules.items():
        if not module.startswith("sinks"):
            continue
        own = module.split(".")[1] if "." in module else ""
        for name in imports(tree, modules):
            top, _, rest = name.partition(".")
            other = rest.split(".")[0]
            ours = top == "connector" and name not in PUBLIC
            allowed = {own, *([] if own in SHARED else SHARED)}
            if ours or (top == "sinks" and other in types | SHARED and other not in allowed):
                yield f"{module} imports {name}"


def impure(module, tree):
    """The calls that a pure module must not make: I/O, a clock, and random numbers that the caller did not pass in."""
    found = {name for name in imports(tree) if name in IMPURE_MODULES or name.split(".")[0] in IMPURE_MODULES}
    chance = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "random"
        for alias in node.names
    }
    called = calls(tree)
    wrong = found | (called & (CLOCKS | chance | {"open", "print", "input"}))
    wrong |= {name for name in called if name.startswith("random.")}
    return {f"{module}: {name}" for name in wrong}


TYPES = {value.split(":")[0].split(".")[1] for value in declared().values()}
"""Modules in `sinks` that hold a type of sink."""


@pytest.fixture(scope="module")
def modules():
    return modules_below(ROOT)


def test_every_part_has_a_layer(modules):
    """A new part of the connector is placed in `LAYERS` on purpose."""
    parts = {name.split(".")[1] for name in modules if name.startswith("connector.")}
    assert parts - {"testing"} <= set().union(*LAYERS)


def test_imports_point_inward(modules):
    assert list(outward(modules)) == []


def test_nothing_imports_in_a_circle(modules):
    """Neither among our modules nor between the packages, when they are imported."""
    graph = {
        module: {name for name in imports(at_import(tree), modules) if name in modules}
        for module, tree in modules.items()
    }
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) == set(modules)


def test_sinks_know_only_the_contract(modules):
    assert list(too_curious_sinks(modules, TYPES)) == []


def test_a_package_in_sinks_is_a_type_or_shared_on_purpose(modules):
    packages = {name.split(".")[1] for name in modules if name.startswith("sinks.")}
    assert packages == TYPES | SHARED


def test_the_connector_names_no_sink(modules):
    """Types are found by name at run time; only the registry knows how."""
    named = [
        (module, name)
        for module, tree in modules.items()
        if module.startswith("connector")
        for name in imports(tree)
        if name.split(".")[0] == "sinks"
    ]
    assert named == []


def test_the_testing_kit_runs_what_production_runs(modules):
    """So that no copy of the lane or of the store tests the sinks of authors."""
    tree = modules["connector.testing.lane"]
    assert {"connector.delivery.lane", "connector.store.sqlite.store"} <= set(imports(tree, modules))


def test_what_runs_never_needs_the_testing_kit(modules):
    users = [
        module
        for module, tree in modules.items()
        if not module.startswith("connector.testing")
        and any(name.startswith("connector.testing") for name in imports(tree))
    ]
    assert users == []


def test_pure_modules_stay_pure(modules):
    pure = {name: tree for name, tree in modules.items() if name.startswith(PURE)}
    assert set().union(*(impure(name, tree) for name, tree in pure.items())) == set()


def test_an_operation_neither_prints_nor_serves_http(modules):
    """So that the command line and HTTP handlers can share it."""
    operations = {name: tree for name, tree in modules.items() if name.startswith("connector.operations")}
    servers = {"litestar", "rich", "typer", "uvicorn"}
    assert [name for name, tree in operations.items() if calls(tree) & {"print", "input"}] == []
    assert [name for name, tree in operations.items() if {each.split(".")[0] for each in imports(tree)} & servers] == []


def test_a_sink_reads_no_clock_and_never_sleeps(modules):
    sinks = {name: tree for name, tree in modules.items() if name.startswith("sinks")}
    assert [name for name, tree in sinks.items() if calls(tree) & CLOCKS] == []


class TestTheseChecks:
    """Each of them fails on a tree that breaks its rule."""

    def tree(self, folder, **files):
        for name, text in files.items():
            file = folder / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return modules_below(folder)

    def test_an_import_outward_is_seen(self, tmp_path):
        """Even inside a function."""
        modules = self.tree(tmp_path, connector__routing="def f():\n    from connector.store.ingest import Answer")
        assert list(outward(modules)) == ["connector.routing imports connector.store.ingest"]

    def test_a_curious_sink_is_seen(self, tmp_path):
        modules = self.tree(
            tmp_path,
            sinks__fax="from connector.store import x\nimport sinks.post\nfrom sinks import chat",
            sinks__post="",
            sinks__chat__a="import sinks.fax",
            sinks__chat__b="import sinks.spreadsheet.c",
            sinks__spreadsheet__c="",
        )
        assert sorted(too_curious_sinks(modules, {"fax", "post"})) == [
            "sinks.chat.a imports sinks.fax",
            "sinks.chat.b imports sinks.spreadsheet.c",
            "sinks.fax imports connector.store",
            "sinks.fax imports sinks.post",
        ]

    def test_a_circle_is_seen(self, tmp_path):
        modules = self.tree(tmp_path, connector__a="import connector.b", connector__b="from connector import a")
        graph = {name: set(imports(at_import(tree), modules)) for name, tree in modules.items()}
        with pytest.raises(CycleError):
            TopologicalSorter(graph).prepare()

    @pytest.mark.parametrize(
        "code",
        [
            "import time",
            "from os import environ",
            "from datetime import datetime\nx = datetime.now()",
            "from random import uniform\ndef f():\n    return uniform(0, 1)",
            "import random\nx = random.random()",
            "open('x')",
        ],
    )
    def test_impurity_is_seen(self, code):
        assert impure("m", ast.parse(code)) != set()

    def test_chance_as_a_default_is_pure(self):
        """The caller may pass another."""
        code = "from random import uniform\ndef f(random=uniform):\n    return random(0, 1)"
        assert impure("m", ast.parse(code)) == set()
