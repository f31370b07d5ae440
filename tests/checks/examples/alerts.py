"""Imports the rules into another Prometheus, with the runbook's own commands and scrape configuration."""

import json
import os
import re
import subprocess
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

import yaml
from common import BINARY, PATIENCE, ROOT, replaced, run
from kubernetes import validate_operator

from servers import free_port
from service import Service, eventually

MONITORING = ROOT / "infra/monitoring"


def block(name):
    (text,) = re.findall(rf"^```\w+ {name}\n(.*?)^```$", (MONITORING / "RUNBOOK.md").read_text(), re.M | re.S)
    return text


def copied(directory, job):
    """Copies the rules for a job with the runbook's command. Returns the directory of the copies."""
    rules = Path(directory, "rules")
    variables = {"RULES": str(rules), "JOB": job, "GRAFANA": "https://grafana.example.com"}
    run("bash", "-euc", block("copy-rules"), cwd=ROOT, env=os.environ | variables)
    assert {file.name for file in rules.iterdir()} == {file.name for file in (MONITORING / "rules").iterdir()}
    return rules


def rules_work_under_another_name():
    """The rules' unit tests pass on the copies if the job is also renamed in the test series."""
    with tempfile.TemporaryDirectory() as directory:
        rules = copied(directory, "links")
        tests = Path(directory, "tests")
        tests.mkdir()
        # Skip slo_long.yml: its tests cover days and take a minute and a half, but differ from the other tests only in
        # their windows.
        for file in (file for file in (MONITORING / "tests").iterdir() if file.name != "slo_long.yml"):
            text = replaced(file.read_text(), {'job="urlshort"': 'job="links"'})
            text = text.replace("job: urlshort", "job: links").replace("http://localhost:3000", "https://grafana.example.com")
            (tests / file.name).write_text(text)
        run("promtool", "check", "rules", "--lint-fatal", *rules.iterdir())
        run("promtool", "test", "rules", *tests.iterdir())
        for file in rules.iterdir():
            # File names and dashboards may contain "urlshort", but the job label must not.
            assert not re.search(r"job[=:]\W*urlshort|localhost", file.read_text()), file


def rules_are_wrapped_for_the_operator():
    with tempfile.TemporaryDirectory() as directory:
        rules = copied(directory, "urlshort")
        originals = {file.stem: yaml.safe_load(file.read_text()) for file in rules.iterdir()}
        run("bash", "-euc", block("wrap-rules"), cwd=ROOT, env=os.environ | {"RULES": str(rules)})
        wrapped = list(yaml.safe_load_all((rules / "rules.yaml").read_text()))
    assert {document["metadata"]["name"]: document["spec"] for document in wrapped} == {
        f"urlshort-{name}": rules for name, rules in originals.items()
    }
    validate_operator(wrapped)


def a_scrape_job_of_any_name_sets_the_label():
    """A real Prometheus with the runbook's configuration scrapes the real service."""
    with tempfile.TemporaryDirectory() as directory:
        service = Service(BINARY, {"STORE_URL": "memory:", "METRICS_ADDR": f"127.0.0.1:{(port := free_port())}"}, f"{directory}/log")
        config = Path(directory, "prometheus.yml")
        config.write_text(replaced(block("scrape"), {"10.0.0.11:9000, 10.0.0.12:9000": f"127.0.0.1:{port}"}) + "    scrape_interval: 1s\n")
        assert "job_name: urlshort" not in config.read_text()
        address = f"127.0.0.1:{free_port()}"
        command = ["prometheus", f"--config.file={config}", f"--web.listen-address={address}", f"--storage.tsdb.path={directory}/data"]
        with open(f"{directory}/prometheus.log", "wb") as log:
            prometheus = subprocess.Popen(command, stdout=log, stderr=log)
        query = urllib.parse.quote('up{job="urlshort"} == 1 and on (instance) store_up{job="urlshort"} == 1')

        def found():
            try:
                response = urllib.request.urlopen(f"http://{address}/api/v1/query?query={query}", timeout=PATIENCE)
                return json.load(response)["data"]["result"]
            except OSError:
                return []

        try:
            assert eventually(PATIENCE, found), Path(directory, "prometheus.log").read_text()
        finally:
            prometheus.terminate()
            prometheus.wait(PATIENCE)
            service.kill()


CHECKS = [rules_work_under_another_name, rules_are_wrapped_for_the_operator, a_scrape_job_of_any_name_sets_the_label]
