"""Runs nginx and Caddy with the example configurations in front of the real service."""

import json
import os
import re
import ssl
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

from common import BINARY, EXAMPLES, PATIENCE, read, replaced, run
from http.client import HTTPSConnection

from servers import Redis, free_port
from service import Service, eventually

# A client address that differs from the proxy's.
CLIENT = "127.0.0.2"
# The number of requests that must succeed before, during and after the restart of an instance.
ENOUGH = 50


class Proxy:
    """A proxy with the example's configuration. It listens on free ports and forwards to instances at `ports`."""

    def __init__(self, work, ports, changes=None):
        self.work = work
        self.log = work / "proxy.log"
        # Try several times, because another process may take a free port before the proxy does.
        for _ in range(3):
            self.http, self.https = free_port(), free_port()
            command, environment = self.prepare(ports, changes or {})
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
            if eventually(PATIENCE, lambda: self.is_ready() or self.process.poll() is not None) and self.process.poll() is None:
                return
            self.stop()
        raise RuntimeError(self.log.read_text())

    def is_ready(self):
        try:
            self.connect().connect()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)

    def connect(self):
        context = ssl.create_default_context(cafile=self.authority)
        return HTTPSConnection("localhost", self.https, timeout=40, context=context, source_address=(CLIENT, 0))

    def request(self, method, path, body=None, headers=None):
        connection = self.connect()
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        response.text = response.read().decode()
        connection.close()
        return response


class Nginx(Proxy):
    INSTANCES = 2

    def prepare(self, ports, changes):
        self.authority = self.work / "certificate"
        run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", self.authority, "-keyout", self.work / "key",
        )
        first, second = ports
        site = replaced(read("nginx.conf"), changes | {
            "127.0.0.1:8080": f"127.0.0.1:{first}", "127.0.0.1:8081": f"127.0.0.1:{second}",
            "    listen [::]:80;\n": "", "    listen [::]:443 ssl http2;\n": "",
            "listen 80;": f"listen 127.0.0.1:{self.http};", "listen 443 ssl http2;": f"listen 127.0.0.1:{self.https} ssl http2;",
            "/etc/letsencrypt/live/sho.rt/fullchain.pem": str(self.authority),
            "/etc/letsencrypt/live/sho.rt/privkey.pem": str(self.work / "key"), "server_name sho.rt;": "server_name localhost;",
        })
        (self.work / "site.conf").write_text(site)
        temporary = "".join(
            f"{kind}_temp_path {self.work}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        main = f"daemon off; pid {self.work}/pid; error_log stderr; events {{}} http {{ {temporary} include {self.work}/site.conf; }}"
        (self.work / "nginx.conf").write_text(main)
        command = ["nginx", "-p", self.work, "-e", "stderr", "-c", self.work / "nginx.conf"]
        run(*command, "-t")
        return command, {}


class Caddy(Proxy):
    INSTANCES = 1

    def prepare(self, ports, changes):
        (upstream,) = ports
        self.authority = self.work / "caddy/pki/authorities/local/root.crt"
        options = f"{{\n\thttp_port {self.http}\n\thttps_port {self.https}\n\tadmin off\n\tskip_install_trust\n}}\n"
        file = self.work / "Caddyfile"
        file.write_text(options + replaced(read("Caddyfile"), changes))
        environment = {
            "DOMAIN": "localhost", "UPSTREAM": f"127.0.0.1:{upstream}", "HOME": str(self.work), "XDG_DATA_HOME": str(self.work),
            "XDG_CONFIG_HOME": str(self.work),
        }
        return ["caddy", "run", "--adapter", "caddyfile", "--config", file], environment


@contextmanager
def running(kind, changes=None, **options):
    """Starts instances of the service and a proxy of this kind. `proxy.start(port)` restarts an instance."""
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        work.chmod(0o755)
        (work / "store").mkdir()
        redis = Redis(f"{work}/store")
        ports = [free_port() for _ in range(kind.INSTANCES)]
        start = lambda port: Service(
            BINARY, {"STORE_URL": redis.url(), "TRUSTED_PROXIES": "1", "RATE_LIMIT": "0", "PORT": str(port)} | options, f"{work}/log-{port}"
        )
        instances = {}
        proxy = None
        try:
            for port in ports:
                instances[port] = start(port)
            proxy = kind(work, ports, changes)
            proxy.instances, proxy.start = instances, start
            yield proxy
        finally:
            if proxy:
                proxy.stop()
            for instance in instances.values():
                instance.kill()
            redis.stop()


def log_entries(proxy):
    return [json.loads(line) for instance in proxy.instances.values() for line in instance.log_lines()]


def the_client_address_and_scheme_are_forwarded(kind):
    with running(kind) as proxy:
        forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "Content-Type": "application/json"}
        response = proxy.request("POST", "/shorten", json.dumps({"url": "https://example.com", "key": "docs"}), forged)
        assert response.status == 201, response.text
        # Without BASE_URL, a short URL has the scheme and host that the client used.
        assert json.loads(response.text)["short_url"].startswith("https://localhost"), response.text
        response = proxy.request("GET", "/docs", headers=forged)
        assert (response.status, response.headers["Location"]) == (302, "https://example.com/")
        addresses = lambda: {entry["client_ip"] for entry in log_entries(proxy) if "client_ip" in entry}
        assert eventually(PATIENCE, addresses) == {CLIENT}, addresses()
        # A plain HTTP request only gets a redirect to HTTPS.
        plain = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "-H", "Host: localhost", f"http://127.0.0.1:{proxy.http}/docs")
        assert re.match(r"30[18] https://", plain), plain


def operator_paths_are_not_public(kind):
    """The proxy blocks operator paths, even though these instances serve them on the main listener."""
    with running(kind) as proxy:
        for path in ("/metrics", "/readyz", "/metrics/", "/%6detrics", "//metrics", "/./metrics", "/x/../readyz", "/metrics?x", "/METRICS"):
            response = proxy.request("GET", path)
            assert response.status in (404, 308, 301) and "_total" not in response.text and "ready" not in response.text, f"{path}: {response.status} {response.text}"
        response = proxy.request("GET", "/metrics")
        assert json.loads(response.text)["code"] == "not_found" and response.headers["Content-Type"] == "application/json", response.text
        assert response.headers["X-Request-Id"] is None, "the request reached the service"
        # Paths that merely resemble /metrics are ordinary links.
        for path in ("/metricsx", "/Metrics"):
            assert proxy.request("GET", path).headers["X-Request-Id"], f"{path} did not reach the service"


def a_large_batch_is_accepted(kind):
    with running(kind, API_TOKENS="ci:0123456789abcdef") as proxy:
        links = [{"url": f"https://example.com/{'x' * 1900}/{number}"} for number in range(1000)]
        headers = {"Authorization": "Bearer 0123456789abcdef", "Content-Type": "application/json"}
        response = proxy.request("POST", "/api/v1/links/batch", json.dumps({"links": links}), headers)
        assert response.status == 200 and response.text.count('"short_url"') == 1000, f"{response.status} {response.text[:200]}"


def connections_to_the_service_are_kept_and_then_dropped_by_the_proxy(kind):
    setting = {Nginx: ("keepalive_timeout 60s", "keepalive_timeout 1s"), Caddy: ("\tkeepalive 60s", "\tkeepalive 1s")}[kind]
    # With this KEEP_ALIVE, the service keeps connections open for longer than the test waits, so only the proxy closes
    # them.
    with running(kind, dict([setting]), KEEP_ALIVE="1h") as proxy:
        # Don't count the connection over which the test reads the metric.
        opened = lambda: sum(open_connections(port) - 1 for port in proxy.instances)
        proxy.request("GET", "/healthz")
        assert opened() == 1, "no connection is kept"
        assert eventually(PATIENCE, lambda: opened() == 0), f"{opened()} connections are still open"


def open_connections(port):
    text = run("curl", "-s", f"http://127.0.0.1:{port}/metrics")
    return int(re.search(r"^http_connections_open (\d+)$", text, re.M)[1])


def a_restart_fails_no_request(kind):
    """Clients follow and create links while the instances are restarted one after the other."""
    with running(kind) as proxy:
        assert proxy.request("POST", "/shorten", "url=https://example.com&key=docs", {"Content-Type": "application/x-www-form-urlencoded"}).status == 201
        answered, failed, stop = [0], [], threading.Event()

        def visit(method, path, body, expected):
            connection = proxy.connect()
            while not stop.is_set():
                try:
                    connection.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded"})
                    response = connection.getresponse()
                    text = response.read()
                    assert response.status == expected, f"{method} {response.status} {text}"
                    answered[0] += 1
                except Exception as error:
                    failed.append(repr(error))
                    connection.close()

        visitors = [("GET", "/docs", None, 302)] * 4 + [("POST", "/shorten", "url=https://example.com", 201)]
        threads = [threading.Thread(target=visit, args=visitor) for visitor in visitors]
        for thread in threads:
            thread.start()
        try:
            wait_for_requests(answered, failed)
            for port, old in list(proxy.instances.items()):
                assert old.terminate() == 0
                proxy.instances[port] = proxy.start(port)
                wait_for_requests(answered, failed)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failed, failed[:5]


def wait_for_requests(answered, failed):
    goal = answered[0] + ENOUGH
    assert eventually(PATIENCE, lambda: failed or answered[0] >= goal), f"{answered[0]} of {goal} requests"


def the_caddyfile_is_formatted():
    assert run("caddy", "fmt", EXAMPLES / "Caddyfile") == read("Caddyfile")


def for_each_proxy(check):
    checks = []
    for kind in (Nginx, Caddy):
        def named(kind=kind):
            check(kind)
        named.__name__ = f"{check.__name__} ({kind.__name__})"
        checks.append(named)
    return checks


CHECKS = [the_caddyfile_is_formatted] + [
    check for promise in (
        the_client_address_and_scheme_are_forwarded, operator_paths_are_not_public, a_large_batch_is_accepted,
        connections_to_the_service_are_kept_and_then_dropped_by_the_proxy, a_restart_fails_no_request,
    ) for check in for_each_proxy(promise)
]
