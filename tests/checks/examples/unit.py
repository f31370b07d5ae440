"""Checks that the systemd unit is valid and confined, and that the service makes only permitted system calls."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from common import BINARY, PATIENCE, defaults, read, replaced, run

from servers import unprivileged
from service import eventually

# The maximum exposure level, on systemd's scale from 0 (nothing is permitted) to 100. Most of the remaining exposure
# comes from network access.
EXPOSURE = 15


def settings(name):
    """Returns all values of a setting, in order."""
    return re.findall(rf"^{name}=(.*)$", read("urlshort.service"), re.M)


def setting(name):
    (value,) = settings(name)
    return value


def environment():
    return dict(pair.split("=", 1) for line in settings("Environment") for pair in shlex.split(line))


def installation():
    """Returns the commands in the comment at the top of the unit."""
    return re.findall(r"^#   (.+)$", read("urlshort.service"), re.M)


def in_directory(directory):
    """Writes a copy of the unit that runs the program under test. Returns the path of the copy."""
    file = Path(directory, "urlshort.service")
    file.write_text(replaced(read("urlshort.service"), {"ExecStart=/usr/local/bin/urlshort": f"ExecStart={BINARY}"}))
    return file


def it_is_valid():
    with tempfile.TemporaryDirectory() as directory:
        result = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", in_directory(directory)], capture_output=True, text=True
        )
    # systemd only warns about a misspelt setting, so standard error must be empty.
    assert result.returncode == 0 and not result.stderr, result.stderr


def it_is_confined():
    with tempfile.TemporaryDirectory() as directory:
        run("systemd-analyze", "security", "--no-pager", "--offline=yes", f"--threshold={EXPOSURE}", in_directory(directory))


def permitted_calls():
    """Returns the system calls that the unit permits, including those in groups."""
    groups, group = {}, None
    for line in run("systemd-analyze", "syscall-filter", "--no-pager").splitlines():
        if line.startswith("@"):
            group = groups.setdefault(line.strip(), [])
        elif line.startswith(" ") and not line.strip().startswith("#"):
            group.append(line.strip())
    resolve = lambda name: {name} if not name.startswith("@") else set().union(*map(resolve, groups[name]))
    permitted = set()
    for line in settings("SystemCallFilter"):
        named = set().union(*map(resolve, line.removeprefix("~").split()))
        permitted = permitted - named if line.startswith("~") else permitted | named
    assert len(permitted) > 200, permitted
    return permitted


def it_runs_within_its_filter():
    """Installs the service with the commands in the unit's comment, and traces it with the unit's environment."""
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        places = {"/etc/urlshort": f"{work}/etc", "/var/lib/urlshort": f"{work}/state"}
        (work / "etc").mkdir()
        (work / "state").mkdir()
        base = {"PATH": f"{BINARY.parent}:{os.environ['PATH']}"}
        commands = [command for command in installation() if command.startswith(("echo", "urlshort token"))]
        assert len(commands) == 2, commands
        for command in commands:
            token = run("bash", "-euc", command.replace("/etc/urlshort", places["/etc/urlshort"]), env=base).strip()
        assert token.startswith("urlshort_"), token
        file = Path(setting("EnvironmentFile").replace("/etc/urlshort", places["/etc/urlshort"]))
        variables = environment() | dict(line.split("=", 1) for line in file.read_text().splitlines())
        assert set(variables) <= set(defaults()) and variables["BASE_URL"] == "https://sho.rt", variables
        for old, new in places.items():
            variables = {name: value.replace(old, new) for name, value in variables.items()}
        calls = serve_and_stop(work, base | variables | {"PORT": "0", "METRICS_ADDR": "127.0.0.1:0"}, token)
    refused = calls - permitted_calls()
    assert len(calls) > 30 and not refused, f"{len(calls)} calls, of which the filter refuses {refused}"


def serve_and_stop(work, variables, token):
    """Runs the service under strace, uses it, and stops it. Returns the system calls that it made."""
    trace = work / "trace"
    program = shutil.copy(BINARY, work)
    command = ["strace", "-f", "-qq", "-e", "signal=none", "-o", trace, program]
    # The service runs as an unprivileged user, so make all files accessible to everyone.
    for path in [work, *work.rglob("*")]:
        path.chmod(0o777)
    log = work / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output, **unprivileged())
    try:
        line = lambda: re.search(r'"msg":"listening".*?"address":"([^"]+)"', log.read_text())
        assert eventually(PATIENCE, line), log.read_text()
        address = f"http://{line()[1]}"
        create = urllib.request.Request(f"{address}/shorten", b"url=https://example.com&key=docs")
        create.add_header("Authorization", f"Bearer {token}")
        assert b"https://sho.rt/docs" in urllib.request.urlopen(create, timeout=PATIENCE).read()
        for path in ("docs+", "docs/qr", "ui/links", "healthz"):
            assert urllib.request.urlopen(f"{address}/{path}", timeout=PATIENCE).status == 200, path
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.wait(PATIENCE + 10) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    return set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)[( ]", trace.read_text(), re.M))


CHECKS = [it_is_valid, it_is_confined, it_runs_within_its_filter]
