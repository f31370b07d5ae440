"""Runs the README's commands for a private shortener, and checks the README's container recipes."""

import json
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from common import BINARY, PATIENCE, ROOT, read, replaced, run

from servers import free_port
from service import eventually


def block(name):
    text = (ROOT / "README.md").read_text()
    return text.split(f"```sh {name}\n")[1].split("```")[0]


def a_private_shortener_runs():
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        port, operations, plain, secure = (free_port() for _ in range(4))
        options = f"{{\n\thttp_port {plain}\n\thttps_port {secure}\n\tadmin off\n\tskip_install_trust\n}}\n"
        (work / "Caddyfile").write_text(options + read("Caddyfile"))
        commands = replaced(block("private"), {
            "DOMAIN=sho.rt": "DOMAIN=localhost", "PORT=8080": f"PORT={port}", "127.0.0.1:9000": f"127.0.0.1:{operations}",
            "infra/examples/Caddyfile": "Caddyfile",
        })
        environment = os.environ | {
            "PATH": f"{BINARY.parent}:{os.environ['PATH']}", "UPSTREAM": f"127.0.0.1:{port}",
            "HOME": directory, "XDG_DATA_HOME": directory, "XDG_CONFIG_HOME": directory,
        }
        shell = subprocess.Popen(
            ["bash", "-euc", f"{commands}\nwait"], cwd=work, env=environment, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )
        try:
            token = shell.stdout.readline().strip()
            assert re.fullmatch("urlshort_[A-Za-z0-9_-]{20,}", token), token
            curl = ["curl", "-sS", "--cacert", work / "caddy/pki/authorities/local/root.crt", "--connect-to", f"localhost:443:localhost:{secure}"]
            fetch = lambda *arguments: subprocess.run([*map(str, curl), *arguments], capture_output=True, text=True).stdout
            address = "https://localhost"
            assert eventually(PATIENCE, lambda: fetch(f"{address}/healthz")), (work / "caddy.log").read_text()
            form = ["-d", "url=https://example.com", "-d", "key=docs", f"{address}/shorten"]
            assert json.loads(fetch(*form))["code"] == "unauthorized"
            assert json.loads(fetch("-H", f"Authorization: Bearer {token}", *form))["short_url"] == f"{address}/docs"
            followed = fetch("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", f"{address}/docs")
            assert followed == "302 https://example.com/", followed
            run("urlshort", "export", "--output", "links.jsonl", cwd=work, env=environment)
            assert '"key":"docs"' in (work / "links.jsonl").read_text()
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
            shell.wait(PATIENCE)
            shell.stdout.close()


def the_docker_command_matches_the_image():
    """The command uses the port and the volume in the Dockerfile, and the image name that the pipeline publishes."""
    words = block("docker").split()
    dockerfile = (ROOT / "Dockerfile").read_text()
    repository = re.search(r"URLSHORT_SOURCE=https://github.com/(\S+)", dockerfile)[1]
    name = run(ROOT / ".github/scripts/image-name.sh", env=os.environ | {"GITHUB_REPOSITORY": repository}).strip()
    assert words[-1] == f"{name}:latest", words
    exposed = re.search(r"^EXPOSE (\d+)", dockerfile, re.M)[1]
    volume = re.search(r"^VOLUME (\S+)", dockerfile, re.M)[1]
    assert words[words.index("--publish") + 1].endswith(f":{exposed}"), words
    assert words[words.index("--volume") + 1].endswith(f":{volume}"), words


def the_compose_recipe_copies_existing_files():
    for path in re.findall(r"\.\./(infra/\S+)", block("compose")):
        assert (ROOT / path).is_file(), path


CHECKS = [a_private_shortener_runs, the_docker_command_matches_the_image, the_compose_recipe_copies_existing_files]
