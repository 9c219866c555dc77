"""Each alert fires when it should, is quiet when it should, and somebody knows what to do about it."""

import re
import subprocess

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.docker.composed import DOCKER
from tests.environment import ROOT
from tests.services import binaries
from transcribe_project.metrics.catalogue import names

# Debian's packages may have to be installed first.
pytestmark = pytest.mark.timeout(400)

RULES = DOCKER / "prometheus" / "rules" / "alerts.yml"
CASES = ROOT / "tests" / "docker" / "alerts.yml"
# Of others: django-prometheus, and Prometheus itself.
NOT_OURS = {"up", "django_http_responses_total_by_status_total"}
COUNTED = re.compile(r"\b(transcribe_\w+_total)(?:\{([^}]*)\})?\[")
# Of which there is nothing before there is a model; no alert waits for its first rise.
BY_MODEL = {("transcribe_jobs_ended_total", matchers) for matchers in ("", 'mode="async"')}
METRIC = re.compile(r"\b(?:transcribe|django|process)_\w+|\bup\b")


def alerts():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_each_alert_does_what_its_cases_say(tmp_path):
    cases = tmp_path / "alerts.yml"
    cases.write_text(CASES.read_text().replace("RULES", str(RULES)))

    promtool = str(binaries.find("promtool", "prometheus"))
    done = subprocess.run([promtool, "test", "rules", str(cases)], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_seen_to_fire():
    tests = yaml.safe_load(CASES.read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}

    assert fired == set(alerts())


def test_each_alert_has_a_section_in_the_runbook_and_each_section_an_alert():
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)

    assert sorted(sections) == sorted(alerts())


def test_alerts_ask_for_metrics_that_there_are():
    known = names() | NOT_OURS
    asked = {name for rule in alerts().values() for name in METRIC.findall(rule["expr"])}

    assert asked <= known, asked - known
    assert all(rule["labels"]["severity"] in ("page", "ticket") for rule in alerts().values())


@pytest.mark.django_db
def test_what_alerts_count_is_there_before_it_happens_for_the_first_time(client, regions):
    regions({"name": "new"})
    families = text_string_to_metric_families(client.get("/metrics").content.decode())
    samples = [sample for family in families for sample in family.samples]

    for alert, rule in alerts().items():
        for name, matchers in set(COUNTED.findall(rule["expr"])) - BY_MODEL:
            of_it = [each.labels for each in samples if each.name == name]
            told = [labels for labels in of_it if labels.get("region", "new") == "new"]
            assert told, (alert, name)
            for label, values in re.findall(r'(\w+)=~?"([^"]+)"', matchers):
                missing = set(values.split("|")) - {labels[label] for labels in told}
                assert not missing, (alert, name, missing)
