"""The files of the project for contributors and operators: the small compose file, the workflows, the pages."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from connector.config import DeliverySettings, ServerSettings
from tests.deploy.readers import DEPLOY, ROOT, blocks, stages

SMALL = yaml.safe_load((DEPLOY / "compose.sqlite.yaml").read_text())["services"]["connector"]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_small_compose_file_mounts_what_the_image_reads():
    home = next(step.rest for step in stages((DEPLOY / "Dockerfile").read_text())[-1] if step.word == "WORKDIR")
    assert [mount.split(":")[1] for mount in SMALL["volumes"]] == [f"{home}/config.toml", f"{home}/data"]


def test_the_small_compose_file_publishes_the_port_on_loopback_only():
    assert SMALL["ports"] == [f"127.0.0.1:{ServerSettings().port}:{ServerSettings().port}"]


def test_the_small_compose_file_lets_a_stop_finish():
    assert int(SMALL["stop_grace_period"].removesuffix("s")) > DeliverySettings().stop_timeout


def test_ci_runs_on_every_supported_python():
    job = WORKFLOWS["ci"]["jobs"]["test"]
    supported = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", line)]
    assert job["strategy"]["matrix"]["python"] == supported
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]


def test_a_release_builds_with_an_sbom_and_signs_the_digest():
    steps = WORKFLOWS["release"]["jobs"]["image"]["steps"]
    build = next(step["with"] for step in steps if "build-push-action" in step.get("uses", ""))
    assert (build["sbom"], build["provenance"], build["file"]) == (True, "mode=max", "deploy/Dockerfile")
    assert any("cosign sign" in step.get("run", "") for step in steps)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_can_only_read_unless_a_job_asks_for_more(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}


def test_the_readme_asks_a_new_user_for_two_commands():
    first = blocks((ROOT / "README.md").read_text(), "sh")[0]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make run", "make test"]


def test_every_make_target_of_the_contributors_page_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text()))
    assert named
    assert named <= targets


@pytest.mark.parametrize("record", sorted((ROOT / "docs" / "decisions").glob("0*.md")), ids=lambda path: path.stem)
def test_a_decision_has_context_decision_and_consequences(record: Path):
    headings = re.findall(r"^## (.*)$", record.read_text(), re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences"]
    assert f"]({record.name})" in (record.parent / "README.md").read_text()
