"""The pipeline's promises, asserted from the parsed workflows and from running their scripts.

Every action is pinned by its full commit, no job has a permission that it was not given here, no script has text from
outside pasted into it; and with a red job or an image without a valid signature, nothing reaches `terraform apply`.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github/workflows"
DIGEST = "sha256:" + "0123456789abcdef" * 4
ON_MAIN = "github.event_name == 'push' && github.ref == 'refs/heads/main'"
# Every permission to write, and why it is there stands beside it in the workflow.
MAY_WRITE = {
    ("ci.yml", "publish"): {"packages", "id-token", "attestations"},
    ("ci.yml", "deploy"): {"id-token"},
    ("pr.yml", "plan"): {"id-token"},
    ("pr.yml", "comment"): {"pull-requests"},
    ("release.yml", "image"): {"packages"},
    ("release.yml", "notes"): {"contents"},
    ("scheduled.yml", "base-images"): {"contents", "pull-requests", "actions"},
}
# What must have gone well before anything is deployed.
GATES = {"test", "image", "scan", "publish"}


def load(path):
    text = path.read_text()
    workflow = yaml.safe_load(text)
    # YAML 1.1 reads the key `on` as true.
    workflow["on"] = workflow.pop(True)
    return text, workflow


TEXTS, WORKFLOW = {}, {}
for path in sorted(WORKFLOWS.glob("*.y*ml")):
    TEXTS[path.name], WORKFLOW[path.name] = load(path)
JOBS = [(file, name, job) for file, workflow in WORKFLOW.items() for name, job in workflow["jobs"].items()]
DEPLOY = WORKFLOW["ci.yml"]["jobs"]["deploy"]


def needs(job):
    value = job.get("needs", [])
    return {value} if isinstance(value, str) else set(value)


def actions_are_pinned():
    """By full commit, with the version as a comment; the same one everywhere; known to be real, where pins are listed."""
    known = Path(os.environ["PINS"]).read_text() if os.environ.get("PINS") else None
    versions = {}
    for file, text in TEXTS.items():
        for line in re.findall(r"^\s*(?:- )?uses:.*$", text, re.M):
            match = re.search(r"uses: ([\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$", line)
            assert match, f"{file}: not pinned by commit and version: {line.strip()}"
            action, commit, version = match.groups()
            assert versions.setdefault(action, (commit, version)) == (commit, version), f"{file}: {action} in two versions"
            listed = re.compile(rf"^\| {re.escape(action)} \| {re.escape(version)} \| {commit} \|", re.M)
            assert known is None or listed.search(known), f"{file}: {action} {version} is not a known pin"
    assert versions


def permissions_are_the_least():
    for file, workflow in WORKFLOW.items():
        assert workflow["permissions"] == {}, f"{file}: permissions at the top"
    for file, name, job in JOBS:
        assert isinstance(job.get("permissions"), dict), f"{file}: {name} does not say its permissions"
        writes = {scope for scope, access in job["permissions"].items() if access != "read"}
        assert writes == MAY_WRITE.get((file, name), set()), f"{file}: {name} writes {writes}"
        assert job.get("timeout-minutes"), f"{file}: {name} has no time limit"


def nothing_from_outside_runs():
    """No expression in a script, no trigger that gives a fork's code this repository's rights, no secret to steal."""
    for file, workflow in WORKFLOW.items():
        assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(workflow["on"]), file
        assert "secrets." not in TEXTS[file], f"{file}: a long-lived secret"
    for file, name, job in JOBS:
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), f"{file}: {name}: an expression in a script"
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, f"{file}: {name} leaves its token behind"


def scanner_holds_nothing():
    for file, name, job in JOBS:
        if any("trivy" in step.get("uses", "") for step in job["steps"]):
            assert set(job["permissions"]) <= {"packages"}, f"{file}: {name}"
            assert "environment" not in job, f"{file}: {name}"


def runs(name, red):
    """Whether a job of ci.yml would run on a push to main where the jobs in `red` fail, by GitHub's own rules."""
    job = WORKFLOW["ci.yml"]["jobs"][name]
    condition = job.get("if", ON_MAIN)
    # Any status function would replace the implied success(): none may stand here.
    assert condition == ON_MAIN, f"{name}: a condition that was not looked at: {condition}"
    return all(need not in red and runs(need, red) for need in needs(job))


def red_jobs_stop_the_deployment():
    assert runs("deploy", set())
    for gate in GATES:
        assert not runs("deploy", {gate}), f"deployed although {gate} is red"
    for name in ("test", "image", "scan"):
        assert not runs("publish", {name}), f"published although {name} is red"
    for name in GATES | {"deploy"}:
        job = WORKFLOW["ci.yml"]["jobs"][name]
        assert "continue-on-error" not in job, name
        assert not any("continue-on-error" in step for step in job["steps"]), name
        assert not any("if" in step for step in job["steps"]), f"{name}: a step that may be left out"
    # Off main the two jobs that write are left out, whatever else goes well.
    for name in ("publish", "deploy"):
        assert WORKFLOW["ci.yml"]["jobs"][name]["if"] == ON_MAIN, name
    assert any(step.get("run") == "tests/run.sh" for step in WORKFLOW["ci.yml"]["jobs"]["test"]["steps"])
    scan = [step["with"] for step in WORKFLOW["ci.yml"]["jobs"]["scan"]["steps"] if "trivy" in step["uses"]]
    assert any(inputs.get("exit-code") == 1 and inputs["input"] == "image.tar" for inputs in scan)


def only_deploy_applies():
    for file, name, job in JOBS:
        scripts = "\n".join(script_text(step["run"]) for step in job["steps"] if "run" in step)
        if re.search(r"\bterraform\b.*\b(apply|destroy)\b", scripts):
            assert (file, name) == ("ci.yml", "deploy"), f"{file}: {name} applies"
    roles = {
        (file, name): step["with"]["role-to-assume"]
        for file, name, job in JOBS
        for step in job["steps"]
        if "configure-aws-credentials" in step.get("uses", "")
    }
    assert roles == {
        ("ci.yml", "deploy"): "${{ vars.AWS_DEPLOY_ROLE }}",
        ("pr.yml", "plan"): "${{ vars.AWS_PLAN_ROLE }}",
    }, roles
    assert DEPLOY["environment"] == "production" and WORKFLOW["pr.yml"]["jobs"]["plan"]["environment"] == "plan"
    assert DEPLOY["concurrency"] == {"group": "production", "cancel-in-progress": False}


def script_text(run):
    """A step's script, with those of the repository that it calls."""
    files = re.findall(r"\.github/scripts/[\w-]+\.sh", run)
    return "\n".join([run, *((ROOT / file).read_text() for file in files)])


STUB = """#!/usr/bin/env bash
printf '%s %s\\n' "${0##*/}" "$*" >> "$CALLS"
case "${0##*/} $*" in
  "cosign verify "*) exit "$COSIGN" ;;
  "gh attestation verify "*) exit "$ATTESTATION" ;;
  *"output -raw"*) printf 'urlshort' ;;
  *list-service-deployments*) printf '%s' "$STATUS" ;;
  *describe-task-definition*) printf '%s' "$RUNNING" ;;
esac
"""


def rehearse(digest=DIGEST, cosign=0, attestation=0, status="SUCCESSFUL", running=None):
    """Runs the scripts of the deploy job in order, as the runner would, with every outside program a recording stub."""
    image = WORKFLOW["ci.yml"]["env"]["IMAGE"]
    values = {"needs.publish.outputs.digest": digest, "github.token": "token", "vars.STATE_BUCKET": "bucket", "vars.TFVARS": ""}
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        (work / "bin").mkdir()
        for program in ("cosign", "gh", "terraform", "aws"):
            stub = work / "bin" / program
            stub.write_text(STUB)
            stub.chmod(0o755)
        (work / "infra").mkdir()
        (work / ".github").symlink_to(ROOT / ".github")
        calls = work / "calls"
        calls.touch()
        base = {
            "PATH": f"{work / 'bin'}:{os.environ['PATH']}", "CALLS": str(calls), "COSIGN": str(cosign),
            "ATTESTATION": str(attestation), "STATUS": status, "RUNNING": running or f"{image}@{digest}",
        }
        for step in (step for step in DEPLOY["steps"] if "run" in step):
            given = WORKFLOW["ci.yml"]["env"] | DEPLOY["env"] | step.get("env", {})
            expand = lambda text: re.sub(r"\$\{\{ (.+?) \}\}", lambda match: values[match[1]], str(text))
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            environment = base | {name: expand(value) for name, value in given.items()}
            result = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
            if result.returncode:
                return False, calls.read_text()
        return True, calls.read_text()


def only_a_verified_digest_is_applied():
    image = f"{WORKFLOW['ci.yml']['env']['IMAGE']}@{DIGEST}"
    green, calls = rehearse()
    assert green, calls
    planned = [line for line in calls.splitlines() if line.startswith("terraform") and " plan " in line]
    assert planned and all(f"-var image={image}" in line for line in planned), calls
    order = [calls.index(text) for text in ("cosign verify " + image, "gh attestation verify", " plan ", " apply ")]
    assert order == sorted(order), calls
    verification = calls[: calls.index(" apply ")]
    for text in (
        "--certificate-identity https://github.com/urlshort/urlshort/.github/workflows/ci.yml@refs/heads/main",
        "--certificate-oidc-issuer https://token.actions.githubusercontent.com",
    ):
        assert text in verification, calls

    for name, refused in {
        "no valid signature": {"cosign": 1},
        "no provenance": {"attestation": 1},
        "no digest": {"digest": ""},
        "a tag for a digest": {"digest": "latest"},
    }.items():
        green, calls = rehearse(**refused)
        assert not green and "terraform" not in calls, f"{name}: {calls}"

    # AWS credentials come after the verification, and are not there while it runs.
    steps = [step.get("run", step.get("uses", "")) for step in DEPLOY["steps"]]
    position = lambda text: next(number for number, step in enumerate(steps) if text in step)
    assert position("verify-image") < position("configure-aws-credentials") < position("apply.sh")


def a_rollback_is_a_failure():
    for name, outcome in {
        "rolled back": {"status": "ROLLBACK_SUCCESSFUL"},
        "another image runs": {"running": "ghcr.io/urlshort/urlshort@sha256:0"},
    }.items():
        green, calls = rehearse(**outcome)
        assert not green and " apply " in calls, f"{name}: {calls}"


def versions_agree():
    """The toolchain is one version in the manifest, in the workflows and in the image."""
    (rust,) = re.findall(r'^rust-version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)
    (builder,) = re.findall(r"^ARG BUILDER_IMAGE=.*rust:([\d.]+)-", (ROOT / "Dockerfile").read_text(), re.M)
    for key in ("RUST_VERSION", "TERRAFORM_VERSION"):
        versions = {workflow["env"][key] for workflow in WORKFLOW.values() if key in workflow.get("env", {})}
        assert len(versions) == 1, f"{key}: {versions}"
        if key == "RUST_VERSION":
            assert versions == {builder} and builder.startswith(rust), f"{versions} {builder} {rust}"


CHECKS = [
    actions_are_pinned, permissions_are_the_least, nothing_from_outside_runs, scanner_holds_nothing,
    red_jobs_stop_the_deployment, only_deploy_applies, only_a_verified_digest_is_applied, a_rollback_is_a_failure,
    versions_agree,
]

if __name__ == "__main__":
    failed = 0
    for check in CHECKS:
        try:
            check()
        except Exception as error:
            failed += 1
            print(f"{check.__name__}: {error!r}")
    if not os.environ.get("PINS"):
        print("PINS names no list of known pins: commits were not compared with one")
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} promises held")
    sys.exit(failed > 0)
