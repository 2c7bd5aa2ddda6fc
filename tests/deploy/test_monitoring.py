"""The alert rules and the dashboard in deploy/ use metrics and labels that exist, and all of them."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest
import yaml

from connector.operations.alerts import AlertKind
from connector.web.metrics import Metrics
from tests.deploy.readers import DEPLOY, ROOT

RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus-alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
PANELS = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
EXPRESSIONS = {**{rule["alert"]: rule["expr"] for rule in RULES}, **PANELS}
FAMILIES = {family.name: family for family in Metrics().registry.collect()}
OF_SCRAPE = {"job", "instance", "le"}
"""Labels that Prometheus adds, and the one of a histogram's buckets."""
OF_FUNCTION = re.compile(r"_(total|bucket|sum|count)$")
METRIC = re.compile(r"\b(?:connector|process)_[a-z_]+")
NOT_SHOWN = {"process_virtual_memory_bytes", "process_start_time_seconds"}
"""Metrics of the library that nobody needs to look at."""


def metrics_of(expression):
    return {OF_FUNCTION.sub("", name) if OF_FUNCTION.sub("", name) in FAMILIES else name
            for name in METRIC.findall(expression)}  # fmt: skip


def labels_of(expression):
    """The labels that an expression selects or groups by."""
    selectors = re.findall(r"\{([^}]*)\}", expression)
    groupings = re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", expression)
    selected = [name for inner in selectors for name in re.findall(r"(\w+)\s*[=!]", inner)]
    grouped = [name for inner in groupings for name in inner.split(",")]
    return {name.strip() for name in [*selected, *grouped]}


def documented_labels():
    """Metric -> its labels, from the table in the documentation."""
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", (ROOT / "docs" / "operating.md").read_text(), re.MULTILINE)
    return {OF_FUNCTION.sub("", name): set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


LABELS = documented_labels()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_metric_and_label_in_it_exists(name):
    metrics = metrics_of(EXPRESSIONS[name])
    assert metrics <= FAMILIES.keys()
    assert labels_of(EXPRESSIONS[name]) <= OF_SCRAPE.union(*(LABELS[metric] for metric in metrics))
    assert metrics


def test_every_metric_is_shown_or_raises_an_alert():
    used = {metric for expression in EXPRESSIONS.values() for metric in metrics_of(expression)}
    assert FAMILIES.keys() - used - NOT_SHOWN == set()


def test_every_alert_of_the_connector_itself_has_a_rule():
    kinds = {rule["labels"]["kind"] for rule in RULES}
    assert kinds >= set(get_args(AlertKind))
    assert kinds - set(get_args(AlertKind)) == {"store", "periodic task"}


def test_every_rule_says_what_is_wrong_and_what_to_do():
    for rule in RULES:
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_nothing_that_waits_on_purpose_fires():
    """A pause by an operator, a digest in quiet hours, and hours in which no webhook usually comes."""
    rules = {rule["labels"]["kind"]: rule["expr"] for rule in RULES}
    assert "unless connector_sink_paused_by_operator == 1" in rules["paused"]
    assert "unless connector_sink_paused == 1" in rules["late"]
    assert "offset 1w" in rules["silence"]
    assert "connector_deliveries_waiting" not in "".join(rules.values())


def test_panels_do_not_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert taken.isdisjoint(cells), panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
