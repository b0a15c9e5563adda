"""The dashboard and the alert rules in deploy/: they can be read, and every metric and label they name is one that we export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.tidy.sources import ROOT
from tradingdesk.metrics import COUNTER, FAMILIES, HISTOGRAM, PREFIX, Family

DEPLOY = ROOT / "deploy"
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana" / "tradingdesk.json").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]


def series() -> Iterator[tuple[str, Family]]:
    """Each name under which a number is read, with its family."""
    for name, family in FAMILIES.items():
        if family.kind is HISTOGRAM:
            yield from ((f"{PREFIX}{name}_{part}", family) for part in ("bucket", "sum", "count"))
        else:
            yield f"{PREFIX}{name}{'_total' if family.kind is COUNTER else ''}", family


SERIES = dict(series())
NAMED = re.compile(rf"({PREFIX}\w+)(?:\{{([^}}]*)\}})?")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_it_names_metrics_and_labels_that_are_exported(expression: str) -> None:
    named = NAMED.findall(expression)
    assert named or "up{" in expression
    for name, chosen in named:
        assert name in SERIES, name
        assert set(re.findall(r"(\w+)\s*=", chosen)) <= {*SERIES[name].labels, *(["le"] if name.endswith("_bucket") else [])}
    assert all(expression.count(a) == expression.count(b) for a, b in ("()", "[]", "{}"))


def grouped(text: str) -> set[str]:
    return {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", text) for label in labels.split(",")}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_it_groups_by_labels_that_are_there(expression: str) -> None:
    there = {label for name, _ in NAMED.findall(expression) for label in SERIES[name].labels} | {"le"}
    assert grouped(expression) <= there


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    assert set(rule["annotations"]) == {"summary", "action"}
    told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    kept = grouped(rule["expr"]) or {label for name, _ in NAMED.findall(rule["expr"]) for label in SERIES[name].labels}
    assert told <= kept


def test_a_panel_says_what_it_shows_in_the_labels_it_has() -> None:
    for panel in PANELS:
        assert panel["title"], panel["id"]
        assert panel["description"], panel["title"]
        for target in panel["targets"]:
            told = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            names = [name for name, _ in NAMED.findall(target["expr"])]
            assert told <= (grouped(target["expr"]) or {label for name in names for label in SERIES[name].labels}), panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_it_shows_or_watches_every_metric() -> None:
    named = {name for expression in EXPRESSIONS for name, _ in NAMED.findall(expression)}
    families = {name for name, family in FAMILIES.items() if any(SERIES[said] is family for said in named)}
    assert set(FAMILIES) - families == set()


def test_it_asks_where_the_metrics_are() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (scrape,) = config["scrape_configs"]
    assert (scrape["job_name"], scrape["scheme"], config["rule_files"]) == ("tradingdesk", "https", ["alerts.yml"])
