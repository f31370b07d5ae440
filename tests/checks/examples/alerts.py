"""The runbook's way into another Prometheus: its commands, run as they are, and its scrape configuration."""

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
    """The rules, copied for this job by the runbook's command."""
    rules = Path(directory, "rules")
    variables = {"RULES": str(rules), "JOB": job, "GRAFANA": "https://grafana.example.com"}
    run("bash", "-euc", block("copy-rules"), cwd=ROOT, env=os.environ | variables)
    assert {file.name for file in rules.iterdir()} == {file.name for file in (MONITORING / "rules").iterdir()}
    return rules


def rules_work_under_another_name():
    """The unit tests of the rules, whose series get the name as well, pass on the copies."""
    with tempfile.TemporaryDirectory() as directory:
        rules = copied(directory, "links")
        tests = Path(directory, "tests")
        tests.mkdir()
        # Those over days take a minute and a half, and differ by the length of their windows only.
        for file in (file for file in (MONITORING / "tests").iterdir() if file.name != "slo_long.yml"):
            text = replaced(file.read_text(), {'job="urlshort"': 'job="links"'})
            text = text.replace("job: urlshort", "job: links").replace("http://localhost:3000", "https://grafana.example.com")
            (tests / file.name).write_text(text)
        run("promtool", "check", "rules", "--lint-fatal", *rules.iterdir())
        run("promtool", "test", "rules", *tests.iterdir())
        for file in rules.iterdir():
            # Names of files and dashboards have the word as well; labels do not.
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


def a_scrape_job_of_any_name_gives_the_label():
    """The runbook's configuration in a real Prometheus, which scrapes the real service."""
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
                answer = urllib.request.urlopen(f"http://{address}/api/v1/query?query={query}", timeout=PATIENCE)
                return json.load(answer)["data"]["result"]
            except OSError:
                return []

        try:
            assert eventually(PATIENCE, found), Path(directory, "prometheus.log").read_text()
        finally:
            prometheus.terminate()
            prometheus.wait(PATIENCE)
            service.kill()


CHECKS = [rules_work_under_another_name, rules_are_wrapped_for_the_operator, a_scrape_job_of_any_name_gives_the_label]
