"""Runs the real program as a process, and watches its memory, descriptors and log."""

import json
import os
import signal
import subprocess
import time

STARTUP = 60
SHUTDOWN = 60


class Service:
    """A running `urlshort`, which writes its log to a file."""

    def __init__(self, binary, variables, log_path):
        self.log_path = log_path
        self.log_start = os.path.getsize(log_path) if os.path.exists(log_path) else 0
        environment = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": "0", **variables}
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen([binary], env=environment, stdout=log, stderr=log)
        try:
            self.address = self._await_address()
        except BaseException:
            self.kill()
            raise

    def _await_address(self):
        deadline = time.monotonic() + STARTUP
        while time.monotonic() < deadline:
            for line in self.log_lines():
                if b'"msg":"listening"' in line:
                    host, port = json.loads(line)["address"].rsplit(":", 1)
                    return host, int(port)
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"the service did not start: {b' | '.join(self.log_lines()).decode(errors='replace')}")

    def log_lines(self):
        """Returns the complete lines that this process has logged so far."""
        with open(self.log_path, "rb") as log:
            log.seek(self.log_start)
            return log.read().split(b"\n")[:-1]

    def is_running(self):
        return self.process.poll() is None

    def resident_bytes(self):
        """Returns the resident memory, in bytes."""
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def terminate(self):
        """Sends SIGTERM and returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SHUTDOWN)

    def kill(self):
        self.process.kill()
        self.process.wait(SHUTDOWN)


def flaws_in_log(lines):
    """Yields a message for each log line that is not clean JSON or that reports a panic."""
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            yield f"not JSON: {line!r}"
            continue
        if any(is_control(character) for character in line.decode()):
            yield f"raw control character: {line!r}"
        if entry.get("msg") == "panic":
            yield f"panic: {line!r}"


def is_control(character):
    """Returns whether this is a control character (C0, DEL or C1), which a terminal could interpret."""
    return character < " " or "\x7f" <= character <= "\x9f"


def eventually(seconds, probe):
    """Polls `probe` until it returns a true value or the time is up. Returns the last value."""
    deadline = time.monotonic() + seconds
    while not (value := probe()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value
