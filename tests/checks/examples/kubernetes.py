"""Checks that the manifest is valid and consistent, and that its probes work with the real service."""

import json
import re
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import kubernetes_validate
import yaml
from common import BINARY, PATIENCE, read, run

from servers import Postgres, free_port
from service import Service, eventually

# The oldest and newest supported Kubernetes versions.
VERSIONS = ["1.31", "1.37"]
LABELS = {"app.kubernetes.io/name": "urlshort"}


def resources():
    return {document["kind"]: document for document in yaml.safe_load_all(read("kubernetes.yaml"))}


def pod():
    return resources()["Deployment"]["spec"]["template"]["spec"]


def container():
    (only,) = pod()["containers"]
    return only


def validate_operator(documents):
    """Fails if the Prometheus Operator would not accept the documents."""
    run("node", f"{sys.argv[1]}/operator.mjs", input=json.dumps(documents))


def it_is_valid():
    kinds = {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"}
    found = resources()
    assert set(found) == kinds, set(found)
    for kind in kinds - {"ServiceMonitor"}:
        for version in VERSIONS:
            kubernetes_validate.validate(found[kind], version, strict=True)
    validate_operator([found["ServiceMonitor"]])


def its_parts_are_consistent():
    found = resources()
    specs = {kind: document["spec"] for kind, document in found.items()}
    selectors = [
        specs["Deployment"]["selector"]["matchLabels"], specs["Service"]["selector"],
        specs["PodDisruptionBudget"]["selector"]["matchLabels"], specs["NetworkPolicy"]["podSelector"]["matchLabels"],
        specs["ServiceMonitor"]["selector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in pod()["topologySpreadConstraints"]),
    ]
    assert len(selectors) == 7 and all(selector == LABELS for selector in selectors), selectors
    assert specs["Deployment"]["template"]["metadata"]["labels"] == found["Service"]["metadata"]["labels"] == LABELS
    # The rules select this job label.
    assert found["Service"]["metadata"]["labels"][specs["ServiceMonitor"]["jobLabel"]] == "urlshort"
    ports = {port["name"] for port in container()["ports"]}
    assert {port["targetPort"] for port in specs["Service"]["ports"]} == ports
    assert {endpoint["port"] for endpoint in specs["ServiceMonitor"]["endpoints"]} <= {port["name"] for port in specs["Service"]["ports"]}
    assert {port["port"] for rule in specs["NetworkPolicy"]["ingress"] for port in rule["ports"]} == ports
    volumes = {volume["name"]: volume["secret"]["secretName"] for volume in pod()["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container()["volumeMounts"]}
    # If a variable names a file, the commands at the top of the manifest must create a secret with that file.
    secrets = dict(re.findall(r"create secret generic ([\w-]+) -n urlshort (.*)$", read("kubernetes.yaml"), re.M))
    for entry in container()["env"]:
        if entry["value"].startswith("/"):
            directory, file = entry["value"].rsplit("/", 1)
            assert f"--from-file={file}" in secrets[mounts[directory]], entry
    connections = next(int(entry["value"]) for entry in container()["env"] if entry["name"] == "STORE_CONNECTIONS")
    pods = specs["Deployment"]["replicas"] + specs["Deployment"]["strategy"]["rollingUpdate"]["maxSurge"]
    assert f"must allow {connections * pods} connections" in read("kubernetes.yaml"), connections * pods


def its_pods_are_confined():
    security, own = pod()["securityContext"], container()["securityContext"]
    assert security["runAsNonRoot"] and security["runAsUser"] == 65532 and security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, own
    assert not pod()["automountServiceAccountToken"]


def its_probes_keep_pods_in_service_without_the_database():
    """After PostgreSQL is killed, cached links still redirect and no probe fails."""
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        work.chmod(0o755)
        for name in ("database", "log"):
            (work / name).mkdir()
        (work / "password").write_text("unused")
        run("bash", "-euc", f"{BINARY} token admin | {{ read -r token; cat >> {work}/tokens; }}")
        postgres = Postgres(f"{work}/database")
        ports = {"http": free_port(), "operations": free_port()}
        # Unlike the manifest's database, this test's database is named `postgres` and has no TLS.
        here = {
            "PORT": str(ports["http"]), "METRICS_ADDR": f"127.0.0.1:{ports['operations']}", "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port), "PGUSER": "postgres", "PGDATABASE": "postgres", "PGSSLMODE": "disable",
            "PGPASSWORD_FILE": f"{work}/password", "API_TOKENS_FILE": f"{work}/tokens", "PUBLIC_SHORTEN": "true",
        }
        variables = {entry["name"]: entry["value"] for entry in container()["env"]} | here
        del variables["PGSSLROOTCERT"]
        service = Service(BINARY, variables, f"{work}/log/urlshort")
        try:
            probes = {name: container()[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
            get = lambda port, path: status(f"http://127.0.0.1:{ports[port]}{path}")
            probe_all = lambda: {name: get(probe["port"], probe["path"]) for name, probe in probes.items()}
            assert set(probe_all().values()) == {200}, probe_all()
            create = f"http://127.0.0.1:{ports['http']}/shorten"
            assert urllib.request.urlopen(create, b"url=https://example.com&key=docs", timeout=PATIENCE).status == 201
            assert get("http", "/docs") == 302
            postgres.kill()
            assert eventually(PATIENCE, lambda: get("operations", "/readyz") == 503), "/readyz does not fail"
            assert set(probe_all().values()) == {200} and get("http", "/docs") == 302, probe_all()
        finally:
            service.kill()
            postgres.stop()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def status(url):
    try:
        return urllib.request.build_opener(NoRedirect).open(url, timeout=PATIENCE).status
    except urllib.error.HTTPError as error:
        return error.code


CHECKS = [
    it_is_valid, its_parts_are_consistent, its_pods_are_confined, its_probes_keep_pods_in_service_without_the_database,
]
