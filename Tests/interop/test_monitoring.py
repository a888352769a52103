# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: metrics as Prometheus wants them, and the dashboard and alerts that read them.
"""Every metric has help, type and a name by convention; what the files in docs/monitoring name exists, labels too."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from broker import Broker
from conftest import REPOSITORY

MONITORING = REPOSITORY / "docs" / "monitoring"
UNITS = ("_seconds", "_bytes", "_total", "_info")
# Numbers of things, which have no unit.
COUNTS = {
    "martlet_connections", "martlet_grpc_connections", "martlet_kafka_connections", "martlet_kafka_telemetry_clients",
    "martlet_topics", "martlet_partitions", "martlet_logs_read_only", "martlet_open_files", "martlet_open_files_max",
    "martlet_request_memory_waiting", "martlet_sync_partitions", "martlet_certificate_files_unusable", "process_open_fds",
    "process_max_fds", "martlet_quota_usages",
}  # fmt: skip


class Family:
    def __init__(self) -> None:
        self.help = self.kind = ""
        self.labels: set[str] = set()
        self.samples = 0


@pytest.fixture(scope="module")
def metrics(binary: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What /metrics shows after every kind of traffic."""
    broker = Broker(binary, tmp_path_factory.mktemp("monitoring")).start()
    try:
        secure = ["--ca", broker.ca, "--cert", broker.certificate, "--key", broker.key]
        for flags in ([], secure):
            for words in (["produce", "t"], ["consume", "t", "--from", "earliest", "--exit-at-end", "--group", "g"],
                          ["subscribe", "t", "--from", "earliest", "--exit-at-end"]):  # fmt: skip
                assert broker.run(*words, "--bootstrap", broker.address, *flags, input=b"a\nb\n").returncode == 0
        for _ in range(2):
            with urllib.request.urlopen(f"http://{broker.address}/metrics", timeout=20) as answer:
                text = answer.read().decode()
    finally:
        broker.close()
    return text


@pytest.fixture(scope="module")
def families(metrics: str) -> dict[str, Family]:
    found: dict[str, Family] = {}
    for line in metrics.splitlines():
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            family = found.setdefault(name, Family())
            assert family.samples == 0, f"{name}: {word} comes after samples"
            if word == "HELP":
                assert not family.help, f"{name} has two helps"
                family.help = rest
            else:
                family.kind = rest
            continue
        match = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? \S+", line)
        assert match, line
        name = match[1]
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        family = found[base if found.get(base) and found[base].kind == "histogram" else name]
        family.samples += 1
        family.labels |= set(re.findall(r'([a-z_]+)="', match[2] or ""))
    return found


def test_every_metric_has_help_type_and_a_name_by_convention(families: dict[str, Family]) -> None:
    assert len(families) > 40
    for name, family in families.items():
        assert family.samples and len(family.help) > 10 and family.help.endswith("."), f"{name}: {family.help!r}"
        assert family.kind in ("counter", "gauge", "histogram"), name
        assert (family.kind == "counter") == name.endswith("_total"), name
        assert name.endswith(UNITS) or name in COUNTS, f"{name} has no unit in its name"
        assert name.startswith(("martlet_", "process_")), name


def expressions() -> list[str]:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    found += re.findall(r"^        expr: '(.*)'$", (MONITORING / "prometheus-alerts.yml").read_text(), re.MULTILINE)
    assert len(found) > 40
    return found


def test_what_the_dashboard_and_the_alerts_read_exists(families: dict[str, Family]) -> None:
    for expression in expressions():
        names = re.findall(r"\b(?:martlet|process)_[a-z_]+", expression)
        assert names or "up{" in expression, expression
        labels: set[str] = {"instance", "job"}
        for name in names:
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            family = families.get(name) or families.get(base)
            assert family, f"{name} does not exist: {expression}"
            assert (name != base) == (family.kind == "histogram"), expression
            assert ("rate(" + name not in expression and "increase(" + name not in expression) or family.kind != "gauge", expression
            labels |= family.labels
        used = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        used |= set(re.findall(r"[{,]([a-z_]+)[=!]", expression))
        assert used <= labels, f"{used - labels} of {expression}"


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places) and len({panel["id"] for panel in dashboard["panels"]}) == len(places)
    for panel in dashboard["panels"]:
        assert panel["title"] and panel["fieldConfig"]["defaults"]["unit"]
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH"[: len(panel["targets"])])


def promtool(*words: str, text: str = "") -> None:
    """What promtool finds nothing wrong with. The Makefile brings it."""
    places = (str(REPOSITORY / ".build/promtool"), shutil.which("promtool") or "")
    tool = next((place for place in places if os.access(place, os.X_OK)), None)
    assert tool, "there is no promtool; run `make .build/promtool`"
    done = subprocess.run([tool, *words], input=text.encode(), capture_output=True, timeout=30)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def alerts() -> list[str]:
    return (MONITORING / "prometheus-alerts.yml").read_text().split("      - alert: ")[1:]


def test_promtool_takes_the_metrics(metrics: str) -> None:
    promtool("check", "metrics", text=metrics)


def test_promtool_takes_the_alerts_and_each_says_what_to_do(families: dict[str, Family]) -> None:
    promtool("check", "rules", str(MONITORING / "prometheus-alerts.yml"))
    rules = alerts()
    assert len(rules) >= 10 and len({rule.splitlines()[0] for rule in rules}) == len(rules)
    for rule in rules:
        for key in ("expr: '", "for: ", "severity: ", "summary: \"", "description: \""):
            assert rule.count(f" {key}") == 1, (key, rule)
        # A label that the expression does not keep would be an empty word.
        expression = re.search(r"expr: '(.*)'", rule)[1]  # type: ignore[index]
        kept = [set(re.split(r",\s*", group)) - {"le"} for group in re.findall(r"by \(([^)]*)\)", expression)]
        labels = set.intersection(*kept) if kept else {"instance", "job"}
        for name in () if kept else re.findall(r"\b(?:martlet|process)_[a-z_]+", expression):
            labels |= families[name].labels
        assert set(re.findall(r"\$labels\.([a-z_]+)", rule)) <= labels, rule


def test_every_alert_fires_when_it_should_and_not_before() -> None:
    tests = Path(__file__).with_name("alerts.yml")
    promtool("test", "rules", str(tests))
    tested = set(re.findall(r'alertname="(\w+)"', tests.read_text()))
    assert tested == {rule.splitlines()[0] for rule in alerts()}


def test_promtool_takes_what_the_dashboard_reads(tmp_path: Path) -> None:
    rules = ["groups:", "  - name: dashboard", "    rules:"]
    for number, expression in enumerate(expressions()):
        filled = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
        assert "$" not in filled, expression
        rules += [f"      - record: panel:{number}", f"        expr: {json.dumps(filled)}"]
    (tmp_path / "rules.yml").write_text("\n".join(rules) + "\n")
    promtool("check", "rules", str(tmp_path / "rules.yml"))
