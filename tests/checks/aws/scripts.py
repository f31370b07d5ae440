"""Runs the deployment scripts against a mocked AWS.

The scenario is a first apply, a bad version that is rolled back, a good version, and a rollback by digest.

moto mocks ECS services and task definitions, but not service deployments. This module adds them: updating the service
starts a deployment, which goes through ECS's stages and succeeds, unless StopServiceDeployment restores the previous
task definition. A stub replaces Terraform: it registers the image and waits for the deployment to end, as the provider
does.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3

ROOT = Path(__file__).resolve().parents[3]
IMAGE = "ghcr.io/some-org/short-links"
DIGEST = {name: "sha256:" + character * 64 for name, character in {"first": "1", "bad": "b", "good": "2"}.items()}
TARGET = "AmazonEC2ContainerServiceV20141113."
STAGES = ["PRE_SCALE_UP", "SCALE_UP", "POST_SCALE_UP", "TEST_TRAFFIC_SHIFT", "POST_TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME"]
# The number of seconds for which a deployment bakes before it succeeds.
BAKE_SECONDS = 10
PATIENCE = 240


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def eventually(what, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"timed out waiting for: {what}"
        time.sleep(0.05)


class Deployments:
    """ECS's service deployments, from oldest to newest."""

    def __init__(self, moto):
        self.all, self.lock = [], threading.Lock()
        self.ecs = boto3.client("ecs", endpoint_url=moto, region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")

    def running(self):
        return self.ecs.describe_services(cluster="urlshort", services=["urlshort"])["services"][0]["taskDefinition"]

    def start(self, before):
        with self.lock:
            number = len(self.all)
            self.all.append({
                "serviceDeploymentArn": f"arn:aws:ecs:eu-central-1:123456789012:service-deployment/urlshort/urlshort/{number}",
                "createdAt": 1_700_000_000 + number, "status": "IN_PROGRESS", "lifecycleStage": STAGES[0],
                "before": before, "baking": time.monotonic(),
            })

    def advance(self):
        """Advances each running deployment by one stage, or ends its bake. Called for each request."""
        for deployment in self.all:
            if deployment["status"] == "IN_PROGRESS":
                number = STAGES.index(deployment["lifecycleStage"])
                deployment["lifecycleStage"] = STAGES[min(number + 1, len(STAGES) - 1)]
                if deployment["lifecycleStage"] != STAGES[-1]:
                    deployment["baking"] = time.monotonic()
                elif time.monotonic() - deployment["baking"] > BAKE_SECONDS:
                    deployment["status"] = "SUCCESSFUL"

    def handle(self, operation, request):
        with self.lock:
            self.advance()
            public = lambda deployment: {key: value for key, value in deployment.items() if key not in ("before", "baking")}
            if operation == "ListServiceDeployments":
                wanted = request.get("status")
                return {"serviceDeployments": [public(deployment) for deployment in self.all if not wanted or deployment["status"] in wanted]}
            arns = request.get("serviceDeploymentArns", [request.get("serviceDeploymentArn")])
            found = [deployment for deployment in self.all if deployment["serviceDeploymentArn"] in arns]
            if operation == "DescribeServiceDeployments":
                return {"serviceDeployments": [public(deployment) for deployment in found], "failures": []}
            assert operation == "StopServiceDeployment" and request["stopType"] == "ROLLBACK", (operation, request)
            assert found[0]["status"] == "IN_PROGRESS", "ECS refuses to stop a deployment that has ended"
            found[0]["status"] = "ROLLBACK_SUCCESSFUL"
            self.ecs.update_service(cluster="urlshort", service="urlshort", taskDefinition=found[0]["before"])
            return {"serviceDeploymentArn": arns[0]}


def aws_server(moto, deployments):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers.get("X-Amz-Target", "").removeprefix(TARGET)
            if operation.endswith(("ServiceDeployments", "ServiceDeployment")):
                content, status = json.dumps(deployments.handle(operation, json.loads(body))).encode(), 200
            else:
                before = deployments.running() if operation == "UpdateService" else None
                request = urllib.request.Request(moto, body, dict(self.headers))
                with urllib.request.urlopen(request) as response:
                    content, status = response.read(), response.status
                if before:
                    deployments.start(before)
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    return serve(Handler)


def test_listener(fault):
    """Starts the new version behind the test listener. `fault` is a list, so that the caller can change the fault."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if fault[0] == "resets":
                self.connection.shutdown(socket.SHUT_RDWR)
            elif fault[0] == "hangs":
                time.sleep(8)
            else:
                status = 503 if fault[0] == "answers 5xx" else 200 if self.path == "/healthz" else 404
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_):
            pass

    return serve(Handler)


def serve(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


# Simulates only the part of the Terraform configuration that deploys.
TERRAFORM = """#!/usr/bin/env bash
set -euo pipefail
case "$*" in
  *"output -raw test_url"*) printf '%s' "$TEST_URL" ;;
  *"output -raw"*) [[ -e applied ]] && printf 'urlshort' ;;
  *" apply "*)
    [[ -z ${NOTHING_CHANGES:-} ]] || { sleep 2; exit 0; }
    definition=$(aws ecs register-task-definition --family urlshort --query taskDefinition.taskDefinitionArn --output text \\
      --container-definitions "[{\\"name\\": \\"urlshort\\", \\"image\\": \\"$NEW\\", \\"memory\\": 128}]")
    if [[ ! -e applied ]]; then
      aws ecs create-cluster --cluster-name urlshort
      aws ecs create-service --cluster urlshort --service-name urlshort --task-definition "$definition" --desired-count 2
      touch applied
    fi > /dev/null
    aws ecs update-service --cluster urlshort --service urlshort --task-definition "$definition" > /dev/null
    while :; do
      status=$(aws ecs list-service-deployments --cluster urlshort --service urlshort \\
        --query 'sort_by(serviceDeployments, &createdAt)[-1].status' --output text)
      case $status in
        SUCCESSFUL) exit 0 ;;
        ROLLBACK_SUCCESSFUL) printf 'Error: deployment failed\\n' >&2; exit 1 ;;
      esac
      sleep 1
    done
    ;;
esac
"""


def main():
    moto_port = free_port()
    moto = f"http://127.0.0.1:{moto_port}"
    server = subprocess.Popen(["moto_server", "-H", "127.0.0.1", "-p", str(moto_port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    steps = 0
    try:
        def reachable():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", moto_port)) == 0

        eventually("moto", reachable)
        deployments = Deployments(moto)
        fault = [""]
        with tempfile.TemporaryDirectory() as directory:
            work = Path(directory)
            (work / "bin").mkdir()
            (work / "bin/terraform").write_text(TERRAFORM)
            (work / "bin/terraform").chmod(0o755)
            (work / ".github").symlink_to(ROOT / ".github")
            environment = os.environ | {
                "PATH": f"{work / 'bin'}:{os.environ['PATH']}", "AWS_ENDPOINT_URL": aws_server(moto, deployments), "AWS_REGION": "eu-central-1",
                "AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "TEST_URL": test_listener(fault),
                "GITHUB_REPOSITORY": "Some-Org/short-links", "STATE_BUCKET": "bucket", "REQUESTS": "20", "PAUSE": "0.05", "POLL": "1",
            }

            def script(name, *arguments, **more):
                command = [f".github/scripts/{name}.sh", *arguments]
                result = subprocess.run(command, cwd=work, env=environment | more, capture_output=True, text=True, timeout=PATIENCE)
                return result.returncode, result.stdout + result.stderr

            def deploy(version, fails=""):
                fault[0] = fails
                applied, printed = script("apply", NEW=f"{IMAGE}@{DIGEST[version]}")
                verified, more = script("verify-deployment", DIGEST[version])
                definition = deployments.ecs.describe_task_definition(taskDefinition=deployments.running())["taskDefinition"]
                running = definition["containerDefinitions"][0]["image"]
                return applied == 0, verified == 0, running.removeprefix(f"{IMAGE}@"), printed + more

            for what, version, fails, runs in [
                ("first apply", "first", "", "first"),
                ("a version that answers 5xx", "bad", "answers 5xx", "first"),
                ("the next deployment", "good", "", "good"),
                ("rollback by digest", "first", "", "first"),
            ]:
                applied, verified, running, printed = deploy(version, fails)
                assert running == DIGEST[runs], f"{what}: runs {running}\n{printed}"
                assert applied == verified == (not fails), f"{what}: applied {applied}, verified {verified}\n{printed}"
                assert ("rolled back" in printed) == bool(fails), f"{what}:\n{printed}"
                print(f"{what}: {'rolled back, runs' if fails else 'runs'} the {runs} image")
                steps += 1
            # Test failures without a status code. These tests run only verify-canary.sh.
            through_proxy = boto3.client(
                "ecs", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
            )
            for fails in ("resets", "hangs"):
                fault[0] = fails
                through_proxy.update_service(cluster="urlshort", service="urlshort", taskDefinition=deployments.running())
                code, printed = script("verify-canary", "urlshort", "urlshort", environment["TEST_URL"])
                assert code == 1 and deployments.all[-1]["status"] == "ROLLBACK_SUCCESSFUL", f"{fails}: {printed}"
                print(f"a version that {fails}: rolled back")
                steps += 1
            # If an apply ends without a deployment, the script that waits for a deployment must end as well.
            applied, printed = script("apply", NOTHING_CHANGES="yes")
            assert applied == 0, printed
            steps += 1
    finally:
        server.terminate()
        server.wait()
    print(f"{steps} deployments as expected")


if __name__ == "__main__":
    sys.exit(main())
