"""Private store servers. Each one uses a free loopback port and a given directory, and is stopped by its process id."""

import glob
import os
import shutil
import signal
import socket
import subprocess
import time

STARTUP = 60
# PostgreSQL refuses to run as root. If the tests run as root, the servers run as this user.
NOBODY = 65534


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def unprivileged():
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


class StoreServer:
    """A server that can be killed, frozen and restarted."""

    def __init__(self, directory):
        self.directory = directory
        self.port = free_port()
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
        self.prepare()
        self.start()

    def prepare(self):
        """Creates what the server needs before its first start."""

    def start(self):
        with open(f"{self.directory}/server.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **unprivileged()
            )
        deadline = time.monotonic() + STARTUP
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command()[0]} did not start, see {self.directory}/server.log")
            time.sleep(0.05)

    def signal(self, number):
        """Signals the server and each of its children, because each child of PostgreSQL has its own process group."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
            processes = [self.process.pid, *map(int, children.read().split())]
        for process in processes:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                pass

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.thaw()
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()


class Postgres(StoreServer):
    def prepare(self):
        # Debian installs each version of PostgreSQL in its own directory.
        versions = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        self.programs = versions[-1] if versions else os.path.dirname(shutil.which("initdb"))
        initdb = [f"{self.programs}/initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, cwd=self.directory, check=True, stdout=subprocess.DEVNULL, **unprivileged())

    def command(self):
        # Data that a process has written survives in the kernel if the process is killed. fsync matters only if the
        # machine crashes.
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
        options = [part for setting in settings for part in ("-c", setting)]
        return [f"{self.programs}/postgres", "-D", "data", "-p", str(self.port), *options]

    def start(self):
        # After a kill, the process id in the old lock file may belong to another process.
        lock = f"{self.directory}/data/postmaster.pid"
        if os.path.exists(lock):
            os.remove(lock)
        super().start()

    def is_ready(self):
        probe = [f"{self.programs}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(probe).returncode == 0

    def url(self):
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"


class Redis(StoreServer):
    def command(self):
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        return ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), *durable]

    def is_ready(self):
        probe = ["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), "ping"]
        return b"PONG" in subprocess.run(probe, capture_output=True).stdout

    def url(self):
        return f"redis://127.0.0.1:{self.port}"
