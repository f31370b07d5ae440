"""Checks that the examples agree with the service and with each other."""

import os
import re
import tempfile
from pathlib import Path

import unit
import yaml
from common import EXAMPLES, ROOT, defaults, read, run, seconds

DOMAIN = {"DOMAIN": "sho.rt"}
# Variables that the PostgreSQL store reads, although they are not options of the service.
POSTGRES = {"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT"}


def compose():
    """Returns the services in compose.yaml as Docker Compose parses them, in a directory with the Caddyfile."""
    with tempfile.TemporaryDirectory() as directory:
        for name in ("compose.yaml", "Caddyfile"):
            Path(directory, name).write_text(read(name))
        text = run("docker-compose", "config", cwd=directory, env=os.environ | DOMAIN)
    return yaml.safe_load(text)["services"]


def deployment():
    documents = yaml.safe_load_all(read("kubernetes.yaml"))
    return next(document for document in documents if document["kind"] == "Deployment")["spec"]["template"]["spec"]


def environments():
    """Returns the service's variables and its shutdown timeout in each example."""
    service = compose()["urlshort"]
    pod = deployment()
    variables = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    return {
        "compose.yaml": (service["environment"], service["stop_grace_period"]),
        "urlshort.service": (unit.environment(), unit.setting("TimeoutStopSec")),
        "kubernetes.yaml": (variables, pod["terminationGracePeriodSeconds"]),
    }


def shutdown_fits_into_its_limit():
    flush = int(re.search(r"FLUSH_TIMEOUT: Duration = Duration::from_secs\((\d+)\)", (ROOT / "src/app.rs").read_text())[1])
    for name, (variables, limit) in environments().items():
        settings = defaults() | variables
        longest = seconds(settings["DRAIN_DELAY"]) + seconds(settings["DRAIN_TIMEOUT"]) + flush
        assert seconds(limit) > longest, f"{name}: killed after {limit}, but stopping may take {longest} s"


def each_variable_is_an_option():
    for name, (variables, _) in environments().items():
        unknown = set(variables) - set(defaults()) - POSTGRES
        assert variables and not unknown, f"{name}: {unknown}"


def services_are_closed_to_the_internet():
    """Each example hides the metrics, trusts one proxy, and requires a token to create links."""
    for name, (variables, _) in environments().items():
        assert variables["PUBLIC_SHORTEN"] == "false" and variables["TRUSTED_PROXIES"] == "1", name
        assert variables["METRICS_ADDR"].endswith(":9000"), name
    published = {port["target"] for service in compose().values() for port in service.get("ports", [])}
    assert published == {80, 443}, published


def comments_give_the_defaults_that_the_program_has():
    options = {variable: default for variable, default in defaults().items() if default}
    found = 0
    for file in EXAMPLES.iterdir():
        for variable, value in re.findall(r"\b([A-Z_]{4,}) \(([^)]+)\)", file.read_text()):
            if variable in options:
                found += 1
                assert value.replace(" ", "") == options[variable], f"{file.name}: {variable} is {options[variable]}, not {value}"
    assert found >= 10, found


def proxies_drop_idle_connections_before_the_service_does():
    keep_alive = seconds(defaults()["KEEP_ALIVE"])
    for name, pattern in {"nginx.conf": r"keepalive_timeout (\w+);", "Caddyfile": r"\tkeepalive (\w+)\n"}.items():
        (idle,) = re.findall(pattern, read(name))
        assert 0 < seconds(idle) < keep_alive, f"{name}: {idle}"


def images_are_pinned():
    """The service's image has the same version in all examples. Other images are pinned by digest."""
    own = run(".github/scripts/image-name.sh", cwd=ROOT, env=os.environ | {"GITHUB_REPOSITORY": "urlshort/urlshort"}).strip()
    versions = set()
    for image in [deployment()["containers"][0]["image"], *(service["image"] for service in compose().values())]:
        if image.startswith(f"{own}:"):
            versions.add(image.removeprefix(f"{own}:"))
        else:
            assert re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+[a-z-]*@sha256:[0-9a-f]{64}", image), image
    assert len(versions) == 1 and re.fullmatch(r"\d+\.\d+\.\d+", *versions), versions
    # The other checks must run the version of Caddy that the example uses.
    assert f":{run('caddy', 'version').split()[0].removeprefix('v')}-" in compose()["caddy"]["image"]


def containers_are_confined():
    for name, service in compose().items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["restart"] == "unless-stopped", name
        assert service["security_opt"] == ["no-new-privileges"] and service["logging"]["options"]["max-size"], name
    # The directory is mounted rather than the token file, so that the service notices when the file is replaced.
    mounts = {volume["target"]: volume for volume in compose()["urlshort"]["volumes"]}
    assert mounts["/etc/urlshort"]["type"] == "bind" and mounts["/etc/urlshort"]["read_only"], mounts
    assert mounts["/data"]["type"] == "volume" and set(mounts) == {"/etc/urlshort", "/data"}, mounts


CHECKS = [
    shutdown_fits_into_its_limit, each_variable_is_an_option, services_are_closed_to_the_internet,
    comments_give_the_defaults_that_the_program_has, proxies_drop_idle_connections_before_the_service_does, images_are_pinned,
    containers_are_confined,
]
