"""Checks the pipeline by parsing the workflows and running their scripts.

Every action is pinned by its full commit, no job has a write permission that is not listed here, and no script contains
untrusted text. If a job fails, or the image is private or has no valid signature, `terraform apply` doesn't run. The
pipeline also works in a fork with another name.
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

from promises import keep

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github/workflows"
DIGEST = "sha256:" + "0123456789abcdef" * 4
ON_MAIN = "github.event_name == 'push' && github.ref == 'refs/heads/main'"
WANTED = f"{ON_MAIN} && needs.changes.outputs.shipped == 'true' && vars.AWS_DEPLOY_ROLE != ''"
# A fork whose owner's name contains capital letters.
REPOSITORY = "Some-Org/short-links"
IMAGE = "ghcr.io/some-org/short-links"
# All write permissions. The workflows give the reason for each permission.
MAY_WRITE = {
    ("ci.yml", "publish"): {"packages", "id-token", "attestations"},
    ("ci.yml", "deploy"): {"actions", "id-token"},
    ("deploy.yml", "plan"): {"actions", "id-token"},
    ("deploy.yml", "apply"): {"id-token"},
    ("pr.yml", "plan"): {"id-token"},
    ("pr.yml", "comment"): {"pull-requests"},
    ("release.yml", "attest"): {"id-token", "attestations"},
    ("release.yml", "image"): {"packages"},
    ("release.yml", "publish"): {"contents"},
    ("scheduled.yml", "base-images"): {"contents", "pull-requests", "actions"},
}
# The jobs that must succeed before anything is deployed.
GATES = {"changes", "test", "image", "scan", "publish"}


def load(path):
    text = path.read_text()
    workflow = yaml.safe_load(text)
    # YAML 1.1 parses the `on` key as true.
    workflow["on"] = workflow.pop(True)
    return text, workflow


TEXTS, WORKFLOW = {}, {}
for path in sorted(WORKFLOWS.glob("*.y*ml")):
    TEXTS[path.name], WORKFLOW[path.name] = load(path)
JOBS = [(file, name, job) for file, workflow in WORKFLOW.items() for name, job in workflow["jobs"].items()]
CI = WORKFLOW["ci.yml"]["jobs"]
DEPLOY = WORKFLOW["deploy.yml"]["jobs"]


def needs(job):
    value = job.get("needs", [])
    return {value} if isinstance(value, str) else set(value)


def actions_are_pinned():
    """Each action is pinned to one full commit and version. If PINS names a file, that file must list every pin."""
    known = Path(os.environ["PINS"]).read_text() if os.environ.get("PINS") else None
    versions = {}
    for file, text in TEXTS.items():
        for line in re.findall(r"^\s*(?:- )?uses:.*$", text, re.M):
            if "uses: ./" in line:
                continue
            match = re.search(r"uses: ([\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$", line)
            assert match, f"{file}: not pinned by commit and version: {line.strip()}"
            action, commit, version = match.groups()
            assert versions.setdefault(action, (commit, version)) == (commit, version), f"{file}: {action} in two versions"
            listed = re.compile(rf"^\| {re.escape(action)} \| {re.escape(version)} \| {commit} \|", re.M)
            assert known is None or listed.search(known), f"{file}: {action} {version} is not a known pin"
    assert versions


def permissions_are_minimal():
    for file, workflow in WORKFLOW.items():
        assert workflow["permissions"] == {}, f"{file}: permissions at the top level"
    for file, name, job in JOBS:
        assert isinstance(job.get("permissions"), dict), f"{file}: {name} does not list its permissions"
        writes = {scope for scope, access in job["permissions"].items() if access != "read"}
        assert writes == MAY_WRITE.get((file, name), set()), f"{file}: {name} writes {writes}"
        # A job that calls a workflow needs no time limit, because the jobs in that workflow have their own.
        assert "uses" in job or job.get("timeout-minutes"), f"{file}: {name} has no time limit"


def nothing_untrusted_runs():
    """No script contains an expression, no trigger gives a fork's code permissions, and no workflow uses secrets."""
    for file, workflow in WORKFLOW.items():
        assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(workflow["on"]), file
        assert "secrets." not in TEXTS[file], f"{file}: a long-lived secret"
    for file, name, job in JOBS:
        for step in job.get("steps", []):
            assert "${{" not in step.get("run", ""), f"{file}: {name}: an expression in a script"
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, f"{file}: {name} leaves its token behind"


def scanners_have_no_credentials():
    for file, name, job in JOBS:
        if any("trivy" in step.get("uses", "") for step in job.get("steps", [])):
            assert set(job["permissions"]) <= {"packages"}, f"{file}: {name}"
            assert "environment" not in job, f"{file}: {name}"


def runs(name, red):
    """Returns whether GitHub would run a job in ci.yml on a push to main if the jobs in `red` failed."""
    job = CI[name]
    condition = job.get("if", ON_MAIN)
    # A condition with a status function would replace the implied success(), so accept only reviewed conditions.
    assert condition in (ON_MAIN, WANTED), f"{name}: a condition that was not reviewed: {condition}"
    return all(need not in red and runs(need, red) for need in needs(job))


def red_jobs_stop_the_deployment():
    assert runs("deploy", set())
    for gate in GATES:
        assert not runs("deploy", {gate}), f"deployed although {gate} is red"
    for name in ("test", "image", "scan"):
        assert not runs("publish", {name}), f"published although {name} is red"
    for file, name, job in JOBS:
        if file == "deploy.yml" or name in GATES:
            assert "continue-on-error" not in job, name
            assert not any("continue-on-error" in step for step in job["steps"]), name
            assert not any("if" in step for step in job["steps"]), f"{name}: a step that may be skipped"
    # On branches other than main, jobs that publish or deploy are skipped.
    assert CI["publish"]["if"] == ON_MAIN and CI["deploy"]["if"] == WANTED
    assert DEPLOY["verify"]["if"] == "github.ref == 'refs/heads/main'"
    assert needs(DEPLOY["plan"]) == {"verify"} and needs(DEPLOY["apply"]) == {"verify", "plan"}
    assert any(step.get("run") == "tests/run.sh" for step in CI["test"]["steps"])
    scan = [step["with"] for step in CI["scan"]["steps"] if "trivy" in step["uses"]]
    assert any(inputs.get("exit-code") == 1 and inputs["input"].startswith("image-") for inputs in scan)


def both_architectures_are_built_natively_and_scanned():
    built = {entry["architecture"]: entry["runner"] for entry in CI["image"]["strategy"]["matrix"]["include"]}
    assert built == {"amd64": "ubuntu-24.04", "arm64": "ubuntu-24.04-arm"}, built
    assert set(CI["scan"]["strategy"]["matrix"]["architecture"]) == set(built)
    push = next(step["run"] for step in CI["publish"]["steps"] if step.get("id") == "push")
    assert "imagetools create" in push and all(f"@$(< {architecture})" in push for architecture in built), push
    # Each job names the artifacts that it downloads. Without a name or a pattern, it would download all artifacts.
    for file, name, job in JOBS:
        for step in job.get("steps", []):
            if "download-artifact" in step.get("uses", ""):
                assert {"name", "pattern"} & set(step["with"]), f"{file}: {name} downloads every artifact"


def only_apply_applies():
    for file, name, job in JOBS:
        scripts = "\n".join(script_text(step["run"]) for step in job.get("steps", []) if "run" in step)
        if re.search(r"\bterraform\b.*\b(apply|destroy)\b", scripts):
            assert (file, name) == ("deploy.yml", "apply"), f"{file}: {name} applies"
    roles = {
        (file, name): step["with"]["role-to-assume"]
        for file, name, job in JOBS
        for step in job.get("steps", [])
        if "configure-aws-credentials" in step.get("uses", "")
    }
    assert roles == {
        ("deploy.yml", "plan"): "${{ vars.AWS_PLAN_ROLE }}",
        ("deploy.yml", "apply"): "${{ vars.AWS_DEPLOY_ROLE }}",
        ("pr.yml", "plan"): "${{ vars.AWS_PLAN_ROLE }}",
    }, roles
    assert DEPLOY["apply"]["environment"] == "production"
    assert DEPLOY["plan"]["environment"] == WORKFLOW["pr.yml"]["jobs"]["plan"]["environment"] == "plan"
    assert DEPLOY["apply"]["concurrency"] == {"group": "production", "cancel-in-progress": False}


def the_plan_that_was_approved_is_the_one_applied():
    """The job that runs after the approval makes no new plan, but applies the plan that was reviewed."""
    upload = next(step["with"] for step in DEPLOY["plan"]["steps"] if "upload-artifact" in step.get("uses", ""))
    download = next(step["with"] for step in DEPLOY["apply"]["steps"] if "download-artifact" in step.get("uses", ""))
    assert "infra/plan.bin" in upload["path"] and upload["name"] == download["name"] and download["path"] == "infra"
    green, calls = rehearse()
    assert green, calls
    planned, applied = (
        [line for line in calls.splitlines() if line.startswith("terraform") and f" {verb} " in line] for verb in ("plan", "apply")
    )
    assert len(planned) == len(applied) == 1, calls
    assert "-out=plan.bin" in planned[0] and applied[0].endswith(" plan.bin"), calls


def an_apply_has_enough_time():
    """The job's timeout, the duration of the role session, and AWS's limit on that session are the same."""
    credentials = next(step["with"] for step in DEPLOY["apply"]["steps"] if "configure-aws-credentials" in step.get("uses", ""))
    (session,) = re.findall(r"max_session_duration = (\d+)", (ROOT / "infra/bootstrap/github.tf").read_text())
    assert DEPLOY["apply"]["timeout-minutes"] * 60 == credentials["role-duration-seconds"] == int(session)


def commits_do_not_wait_for_each_other():
    group = WORKFLOW["ci.yml"]["concurrency"]["group"]
    assert "github.ref == 'refs/heads/main' && github.sha" in group, group


def a_repository_without_aws_is_green():
    for job in (CI["deploy"], WORKFLOW["pr.yml"]["jobs"]["plan"]):
        assert re.search(r"vars\.AWS_(DEPLOY|PLAN)_ROLE != ''", job["if"]), job["if"]
    notices = [step["run"] for job in (CI["changes"], WORKFLOW["pr.yml"]["jobs"]["not-set-up"]) for step in job["steps"] if "run" in step]
    assert sum("::notice::" in notice and "AWS is not set up" in notice for notice in notices) == 2
    for file, text in TEXTS.items():
        assert "urlshort/urlshort" not in text, f"{file}: a fork can't publish under this name"
    for script in (ROOT / ".github/scripts").glob("*.sh"):
        assert "urlshort/urlshort" not in script.read_text(), f"{script.name}: a fork can't publish under this name"


def script_text(run):
    """Returns a step's script, followed by the scripts in the repository that it calls."""
    files = re.findall(r"\.github/scripts/[\w-]+\.sh", run)
    return "\n".join([run, *((ROOT / file).read_text() for file in files)])


STUB = """#!/usr/bin/env bash
printf '%s %s\\n' "${0##*/}" "$*" >> "$CALLS"
case "${0##*/} $*" in
  "cosign verify "*) exit "$COSIGN" ;;
  "gh attestation verify "*) exit "$ATTESTATION" ;;
  "gh run list "*) printf '7\\n12\\n' ;;
  "skopeo inspect --no-creds "*) exit "$PRIVATE" ;;
  *" show "*) head -c 300000 /dev/zero | tr '\\0' x ;;
  *"output -raw cluster_name"*) [[ -z $FIRST ]] || grep -q ' apply ' "$CALLS" && printf 'urlshort' ;;
  *"output -raw"*) printf 'urlshort' ;;
  *list-service-deployments*IN_PROGRESS*) printf 'None' ;;
  # End the apply only after the script has asked for running deployments.
  *" apply "*) until [[ -n $FIRST ]] || grep -q IN_PROGRESS "$CALLS"; do sleep 0.05; done ;;
  *list-service-deployments*) printf '%s' "$STATUS" ;;
  *describe-task-definition*) printf '%s' "$RUNNING" ;;
esac
"""


def rehearse(digest=DIGEST, cosign=0, attestation=0, private=0, tfvars="", first="", status="SUCCESSFUL", running=None):
    """Runs the scripts in deploy.yml's jobs in order, with stubs that record all calls to external programs."""
    values = {
        "inputs.digest": digest, "github.token": "token", "vars.STATE_BUCKET": "bucket", "vars.TFVARS": tfvars, "vars.PRESET": "small",
    }
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        (work / "bin").mkdir()
        for program in ("cosign", "gh", "terraform", "aws", "skopeo"):
            stub = work / "bin" / program
            stub.write_text(STUB)
            stub.chmod(0o755)
        (work / "infra").mkdir()
        (work / ".github").symlink_to(ROOT / ".github")
        calls = work / "calls"
        calls.touch()
        base = {
            "PATH": f"{work / 'bin'}:{os.environ['PATH']}", "CALLS": str(calls), "COSIGN": str(cosign), "FIRST": first,
            "ATTESTATION": str(attestation), "PRIVATE": str(private), "STATUS": status, "RUNNING": running or f"{IMAGE}@{digest}",
            "GITHUB_REPOSITORY": REPOSITORY, "GITHUB_EVENT_NAME": "workflow_dispatch", "GITHUB_RUN_ID": "10",
            "GITHUB_OUTPUT": str(work / "output"), "GITHUB_STEP_SUMMARY": str(work / "summary"), "AWS_REGION": "eu-central-1",
        }
        for name in ("verify", "plan", "apply"):
            calls.write_text(f"{calls.read_text()}job {name}\n")
            for step in (step for step in DEPLOY[name]["steps"] if "run" in step):
                given = WORKFLOW["deploy.yml"]["env"] | step.get("env", {})
                expand = lambda text: re.sub(r"\$\{\{ (.+?) \}\}", lambda match: values[match[1]], str(text))
                command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
                environment = base | {key: expand(value) for key, value in given.items()}
                result = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
                if result.returncode:
                    return False, calls.read_text()
        summary = (work / "summary").read_text()
        assert 50_000 < len(summary) < 65_536, f"a plan of {len(summary)} characters for a comment"
        return True, calls.read_text()


def only_a_verified_digest_is_applied():
    image = f"{IMAGE}@{DIGEST}"
    green, calls = rehearse()
    assert green, calls
    planned = [line for line in calls.splitlines() if line.startswith("terraform") and " plan " in line]
    assert planned and all(f"-var image={image}" in line and "-var-file=small.tfvars" in line for line in planned), calls
    order = [calls.index(text) for text in ("cosign verify " + image, "gh attestation verify", "job plan", " plan ", "job apply", " apply ")]
    assert order == sorted(order), calls
    verification = calls[: calls.index("job plan")]
    for text in (
        f"--certificate-identity https://github.com/{REPOSITORY}/.github/workflows/ci.yml@refs/heads/main",
        "--certificate-oidc-issuer https://token.actions.githubusercontent.com",
        f"--repo {REPOSITORY}",
        f"skopeo inspect --no-creds --raw docker://{image}",
    ):
        assert text in verification, calls
    # Older deployments that are waiting for approval are cancelled, but newer ones are not.
    assert "gh run cancel 7 " in calls and "gh run cancel 12 " not in calls, calls

    for name, refused in {
        "no valid signature": {"cosign": 1},
        "no provenance": {"attestation": 1},
        "no digest": {"digest": ""},
        "a tag for a digest": {"digest": "latest"},
        "a private image that tasks can't pull": {"private": 1},
    }.items():
        green, calls = rehearse(**refused)
        assert not green and "terraform" not in calls, f"{name}: {calls}"
    green, calls = rehearse(private=1, tfvars='registry_credentials_secret_arn = "arn:aws:secretsmanager:…"')
    assert green, f"a private image with a secret to pull it: {calls}"

    # The verify job has no AWS credentials.
    assert not any("aws-actions" in step.get("uses", "") for step in DEPLOY["verify"]["steps"])


def a_first_apply_checks_no_canary():
    green, calls = rehearse(first="yes")
    assert green, calls
    assert "IN_PROGRESS" not in calls and " apply " in calls, calls
    green, calls = rehearse()
    assert green and "IN_PROGRESS" in calls, calls


def a_rollback_is_a_failure():
    for name, outcome in {
        "rolled back": {"status": "ROLLBACK_SUCCESSFUL"},
        "another image runs": {"running": f"{IMAGE}@sha256:0"},
    }.items():
        green, calls = rehearse(**outcome)
        assert not green and " apply " in calls, f"{name}: {calls}"


def only_shipped_changes_are_deployed():
    """Runs shipped-changes.sh on commits in a temporary repository."""
    script = ROOT / ".github/scripts/shipped-changes.sh"
    with tempfile.TemporaryDirectory() as directory:
        def git(*arguments):
            identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
            return subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True, text=True).stdout.strip()

        def commit(path):
            file = Path(directory, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(file.read_text() + "x" if file.exists() else "x")
            git("add", ".")
            git("commit", "-qm", path)
            return git("rev-parse", "HEAD")

        def shipped(before, after):
            return subprocess.run([script, before, after], cwd=directory, check=True, capture_output=True, text=True).stdout.strip()

        git("init", "-q")
        before = commit("README.md")
        assert shipped("0" * 40, before) == "true", "the first push"
        for path, expected in {
            "README.md": "false", "infra/README.md": "false", "infra/monitoring/RUNBOOK.md": "false", "tests/it/main.rs": "false",
            "src/main.rs": "true", "infra/ecs.tf": "true", "Dockerfile": "true", "infra/monitoring/rules/slo.yml": "true",
            ".github/workflows/ci.yml": "true",
        }.items():
            after = commit(path)
            assert shipped(before, after) == expected, path
            before = after


def versions_agree():
    """The image's Rust version is at least rust-version in Cargo.toml. All workflows use the same Terraform version."""
    (rust,) = re.findall(r'^rust-version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)
    builder = subprocess.run([".github/scripts/rust-version.sh"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    parts = lambda version: [int(part) for part in version.split(".")]
    assert parts(builder) >= parts(rust), f"{builder} {rust}"
    terraform = {workflow["env"]["TERRAFORM_VERSION"] for workflow in WORKFLOW.values() if "TERRAFORM_VERSION" in workflow.get("env", {})}
    assert len(terraform) == 1, terraform
    for file, name, job in JOBS:
        for step in job.get("steps", []):
            if "rustup default" in step.get("run", ""):
                assert "rust-version.sh" in step["run"], f"{file}: {name} has its own version"


CHECKS = [
    actions_are_pinned, permissions_are_minimal, nothing_untrusted_runs, scanners_have_no_credentials,
    red_jobs_stop_the_deployment, both_architectures_are_built_natively_and_scanned, only_apply_applies,
    the_plan_that_was_approved_is_the_one_applied, an_apply_has_enough_time, commits_do_not_wait_for_each_other,
    a_repository_without_aws_is_green, only_a_verified_digest_is_applied, a_first_apply_checks_no_canary,
    a_rollback_is_a_failure, only_shipped_changes_are_deployed, versions_agree,
]

if __name__ == "__main__":
    if not os.environ.get("PINS"):
        print("PINS is not set: the pinned commits were not compared with a list of known ones")
    keep(CHECKS)
