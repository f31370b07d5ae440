"""Rehearses a release with test tags. Checks which tags are rejected, and what is published from an image."""

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path

import yaml

from promises import keep

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "ghcr.io/some-org/short-links"
NOTES = "### Added\n\n- A thing.\n\n### Fixed\n\n- A flaw.\n"
CHANGELOG = f"# Changelog\n\n## [Unreleased]\n\n- Not yet.\n\n## [7.8.9] - 2027-01-31\n\n{NOTES}\n## [7.8.8] - 2027-01-01\n\n- Old.\n\n[7.8.9]: https://example.com/\n"
JOBS = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]


class Repository:
    """A test repository at version 7.8.9, with only the files that the scripts read."""

    def __init__(self, directory):
        self.path = Path(directory, "clone")
        (self.path / "infra").mkdir(parents=True)
        shutil.copytree(ROOT / ".github/scripts", self.path / ".github/scripts")
        shutil.copytree(ROOT / "infra/examples", self.path / "infra/examples")
        for name in ("Cargo.toml", "Cargo.lock", "LICENSE"):
            shutil.copy(ROOT / name, self.path)
        self.write("CHANGELOG.md", lambda _: CHANGELOG)
        self.write("Cargo.toml", lambda text: re.sub(r'^version = ".*"', 'version = "7.8.9"', text, count=1, flags=re.M))
        self.write("Cargo.lock", lambda text: re.sub(r'(name = "urlshort"\nversion = )".*"', r'\1"7.8.9"', text))
        for name in ("compose.yaml", "kubernetes.yaml"):
            self.write(f"infra/examples/{name}", lambda text: re.sub(r"/urlshort:\d+\.\d+\.\d+", "/urlshort:7.8.9", text))
        self.git("init", "-q", "-b", "main")
        self.commit()
        self.git("update-ref", "refs/remotes/origin/main", "HEAD")

    def write(self, name, change):
        path = self.path / name
        path.write_text(change(path.read_text() if path.exists() else ""))

    def git(self, *arguments):
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        subprocess.run(["git", *identity, *arguments], cwd=self.path, check=True, capture_output=True)

    def commit(self):
        self.git("add", "-A")
        self.git("commit", "-qm", "a change")

    def run(self, script, *arguments, **variables):
        command = [f".github/scripts/{script}.sh", *map(str, arguments)]
        environment = os.environ | {"GITHUB_REPOSITORY": "Some-Org/short-links"} | variables
        return subprocess.run(command, cwd=self.path, capture_output=True, text=True, env=environment)


def in_a_repository(check):
    def checked():
        with tempfile.TemporaryDirectory() as directory:
            check(Repository(directory))

    checked.__name__ = check.__name__
    return checked


@in_a_repository
def a_tag_that_does_not_match_is_refused(repository):
    flaws = {
        "has a different version": lambda: repository.write("Cargo.toml", lambda text: text.replace('"7.8.9"', '"7.8.8"', 1)),
        "Cargo.lock": lambda: repository.write("Cargo.lock", lambda text: text.replace('"7.8.9"', '"7.8.8"')),
        "changelog": lambda: repository.write("CHANGELOG.md", lambda text: text.replace("[7.8.9] -", "[7.8.7] -")),
        "has no entry": lambda: repository.write("CHANGELOG.md", lambda text: text.replace(NOTES, "")),
        "kubernetes.yaml": lambda: repository.write("infra/examples/kubernetes.yaml", lambda text: text.replace(":7.8.9", ":7.8.8")),
    }
    repository.git("tag", "v7.8.9")
    accepted = repository.run("release-check", "v7.8.9")
    assert accepted.returncode == 0, accepted.stderr
    for reason, spoil in flaws.items():
        spoil()
        result = repository.run("release-check", "v7.8.9")
        assert result.returncode != 0 and reason in result.stderr, f"{reason}: {result.stderr}"
        repository.git("checkout", "-q", "--", ".")
    for tag in ("7.8.9", "v7.8", "v7.8.9-rc.1", "v07.8.9", "vX", "v7x8x9"):
        result = repository.run("release-check", tag)
        assert result.returncode != 0 and "a release tag is" in result.stderr, f"{tag}: {result.stderr}"
    repository.git("tag", "-d", "v7.8.9")
    repository.write("LICENSE", lambda text: text + "\n")
    repository.commit()
    repository.git("tag", "v7.8.9")
    result = repository.run("release-check", "v7.8.9")
    assert result.returncode != 0 and "not on main" in result.stderr, result.stderr


@in_a_repository
def the_notes_are_the_section_of_the_version(repository):
    result = repository.run("release-notes", "7.8.9")
    assert result.stdout.rstrip("\n") + "\n" == NOTES, result.stdout
    # A dot in a version must match only a dot, and unreleased changes must have no release notes.
    for version in ("7x8x9", "Unreleased", "7.8.1", ""):
        assert repository.run("release-notes", version).returncode != 0, version


def program(version, machine, linked="-static"):
    """Builds an executable that prints its version. `machine` is the ELF number of its architecture."""
    with tempfile.TemporaryDirectory() as directory:
        source = f'#include <stdio.h>\nint main() {{ puts("urlshort {version}"); return 0; }}\n'
        subprocess.run(["cc", linked, "-x", "c", "-", "-o", f"{directory}/program"], input=source, text=True, check=True)
        content = bytearray(Path(directory, "program").read_bytes())
    # The e_machine field of the ELF header.
    content[18:20] = machine.to_bytes(2, "little")
    return bytes(content)


AMD64, ARM64 = 62, 183


def image(directory, programs):
    """Writes a multi-architecture image for skopeo. In each architecture, only the upper layer has the program."""
    blobs = Path(directory, "blobs/sha256")
    blobs.mkdir(parents=True)

    def blob(content, kind):
        digest = sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    def layer(name, content):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
        return blob(buffer.getvalue(), "layer.v1.tar+gzip")

    manifests = []
    for architecture, content in programs.items():
        config = {"architecture": architecture, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
        layers = [layer("etc/passwd", b"nobody"), layer("usr/local/bin/urlshort", content)]
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(json.dumps(config).encode(), "config.v1+json"), "layers": layers,
        }
        platform = {"platform": {"architecture": architecture, "os": "linux"}}
        manifests.append(blob(json.dumps(manifest).encode(), "manifest.v1+json") | platform)
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
    outer = blob(json.dumps(index).encode(), "index.v1+json") | {"annotations": {"org.opencontainers.image.ref.name": "all"}}
    Path(directory, "index.json").write_text(json.dumps(index | {"manifests": [outer]}))
    Path(directory, "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return f"oci:{directory}:all"


@in_a_repository
def the_binaries_are_those_of_the_image(repository):
    good = {"amd64": program("7.8.9", AMD64), "arm64": program("7.8.9", ARM64)}
    work = repository.path.parent
    source = image(work / "good", good)
    for name in ("first", "second"):
        result = repository.run("release-binaries", source, "7.8.9", work / name)
        assert result.returncode == 0, result.stderr
    archives = {"urlshort-7.8.9-x86_64-linux": good["amd64"], "urlshort-7.8.9-aarch64-linux": good["arm64"]}
    sums = dict(reversed(line.split()) for line in (work / "first/SHA256SUMS").read_text().splitlines())
    assert set(sums) == {f"{name}.tar.gz" for name in archives}, sums
    for name, content in archives.items():
        packed = (work / f"first/{name}.tar.gz").read_bytes()
        assert sums[f"{name}.tar.gz"] == sha256(packed).hexdigest()
        assert packed == (work / f"second/{name}.tar.gz").read_bytes(), "packing again gave different bytes"
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            assert archive.extractfile(f"{name}/urlshort").read() == content
            assert archive.getmember(f"{name}/urlshort").mode == 0o755
            assert {f"{name}/LICENSE", f"{name}/CHANGELOG.md", f"{name}/examples/urlshort.service"} <= set(archive.getnames())

    for reason, programs in {
        "the binary reports urlshort 7.8.8": good | {"amd64": program("7.8.8", AMD64)},
        "the binary for arm64 is built for Advanced Micro Devices X86-64": good | {"arm64": good["amd64"]},
        "the binary for amd64 is dynamically linked": good | {"amd64": program("7.8.9", AMD64, "-pie")},
        "no binary for arm64": good | {"arm64": b""},
    }.items():
        directory = work / reason.replace(" ", "-").replace(":", "")
        result = repository.run("release-binaries", image(directory, programs), "7.8.9", directory / "release")
        assert result.returncode != 0 and reason in result.stderr, f"{reason}: {result.stdout}{result.stderr}"


STUB = """#!/usr/bin/env bash
printf '%s %s\\n' "${0##*/}" "$*" >> "$CALLS"
case "${0##*/} $*" in
  "skopeo list-tags "*) [[ $TAGS != unreachable ]] && printf '{"Tags": [%s]}' "$TAGS" ;;
  "skopeo inspect --raw "*) printf 'manifest' ;;
  "gh release create "*) while [[ $1 != --notes-file ]]; do shift; done; cat "$2" >> "$CALLS" ;;
esac
"""
DIGEST = f"sha256:{sha256(b'manifest').hexdigest()}"
OTHER = f"sha256:{'0' * 64}"


def stubbed(repository, script, *arguments, tags=""):
    """Runs a script with stubs that record all calls to external programs. Returns the result and the calls."""
    programs, calls = repository.path.parent / "bin", repository.path.parent / "calls"
    programs.mkdir(exist_ok=True)
    calls.write_text("")
    for name in ("gh", "skopeo"):
        (programs / name).write_text(STUB)
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return repository.run(script, *arguments, PATH=path, CALLS=str(calls), TAGS=tags), calls.read_text()


@in_a_repository
def a_version_never_moves_to_another_image(repository):
    copy = f"skopeo copy --all --preserve-digests docker://{IMAGE}@{DIGEST} docker://{IMAGE}:7.8.9"
    for tags, is_newest in {'"7.8.8", "70809", "latest"': True, '"7.8.9"': True, '"7.8.10"': False, "": True}.items():
        result, calls = stubbed(repository, "release-image", DIGEST, "7.8.9", tags=tags)
        assert result.returncode == 0 and copy in calls, f"{tags}: {result.stderr}{calls}"
        assert (f"docker://{IMAGE}:latest" in calls) == is_newest, f"{tags}: {calls}"
    for digest, tags in ((OTHER, '"7.8.9"'), (DIGEST, "unreachable")):
        result, calls = stubbed(repository, "release-image", digest, "7.8.9", tags=tags)
        assert result.returncode != 0 and "skopeo copy" not in calls, f"{tags}: {calls}"


@in_a_repository
def a_release_is_complete(repository):
    release = repository.path / "release"
    release.mkdir()
    (release / "a.tar.gz").write_bytes(b"program")
    (release / "SHA256SUMS").write_text(f"{sha256(b'program').hexdigest()}  a.tar.gz\n")
    result, calls = stubbed(repository, "release-publish", "v7.8.9", DIGEST, "release")
    assert result.returncode == 0 and "gh release create v7.8.9 release/SHA256SUMS release/a.tar.gz" in calls, result.stderr + calls
    assert NOTES in calls and f"{IMAGE}:7.8.9@{DIGEST}" in calls and "--verify-tag" in calls, calls
    (release / "a.tar.gz").write_bytes(b"another")
    result, calls = stubbed(repository, "release-publish", "v7.8.9", DIGEST, "release")
    assert result.returncode != 0 and "gh" not in calls, calls


def nothing_is_published_before_everything_is_checked():
    """Each job that can write packages or contents depends, directly or not, on the checks and the signed binaries."""
    def before(name):
        direct = JOBS[name].get("needs", [])
        return set(direct).union(*(before(need) for need in direct))

    first = [step.get("run", "") for step in JOBS["check"]["steps"]]
    order = [next(number for number, run in enumerate(first) if script in run) for script in ("release-check", "image-digest", "verify-image")]
    assert order == sorted(order), first
    for name, job in JOBS.items():
        assert "if" not in job and "continue-on-error" not in job, name
        assert not any({"if", "continue-on-error"} & set(step) for step in job["steps"]), name
        if {"packages", "contents"} & {scope for scope, access in job["permissions"].items() if access == "write"}:
            assert {"check", "binaries", "attest"} <= before(name), f"{name} waits for {before(name)}"
    assert "image" in before("publish")
    # The job that can sign runs no code from the repository.
    assert not any("run" in step or "checkout" in step.get("uses", "") for step in JOBS["attest"]["steps"])


CHECKS = [
    a_tag_that_does_not_match_is_refused, the_notes_are_the_section_of_the_version, the_binaries_are_those_of_the_image,
    a_version_never_moves_to_another_image, a_release_is_complete, nothing_is_published_before_everything_is_checked,
]

if __name__ == "__main__":
    keep(CHECKS)
