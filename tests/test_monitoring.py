"""Every metric that an alert rule or a page names is one of /metrics."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from qrtrack.routers.metrics import _Gauges

ALERTS = Path(__file__).parents[1] / "docs/alerts.yml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
# What Prometheus appends to the name of a family.
SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "gauge": ("",),
}


def series() -> set[str]:
    families = [*REGISTRY.collect(), *_Gauges(None, {}).collect()]
    return {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, ("",))}


def by_name(rule: dict[str, Any]) -> str:
    return str(rule["alert"])


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_a_rule_names_metrics_that_exist(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"\bqrtrack_\w+", rule["expr"]))
    assert named
    assert named - series() == set()


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_a_rule_says_what_is_the_matter_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["action"]


def test_every_serious_metric_has_an_alert_rule() -> None:
    watched = " ".join(rule["expr"] for rule in RULES)
    for metric in (
        "qrtrack_queue_oldest_seconds",
        "qrtrack_dispatches_unknown",
        "qrtrack_dispatch_alarms",
        "qrtrack_prints_total",
        "qrtrack_printers_away",
        "qrtrack_webhook_silence_seconds",
        "qrtrack_webhooks_dead",
        "qrtrack_webhook_oversized_bodies_total",
        "qrtrack_count_drifts_total",
        "qrtrack_verification_alerts_of_day",
        "qrtrack_verification_reports_of_day",
    ):
        assert metric in watched, metric


def test_prometheus_can_read_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool (package prometheus)")
    checked = subprocess.run([promtool, "check", "rules", ALERTS], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_page_about_metrics_names_each_of_them_and_nothing_else() -> None:
    page = (ALERTS.parent / "monitoring.md").read_text()
    named = set(re.findall(r"^\| `(qrtrack_\w+)", page, re.MULTILINE))
    told = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in [*REGISTRY.collect(), *_Gauges(None, {}).collect()]
        if family.name.startswith("qrtrack_")
    }
    assert named == told
