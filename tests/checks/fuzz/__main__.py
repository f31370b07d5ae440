"""Sends invalid, odd and valid requests to the real program and checks its responses, log and resources."""

import argparse
import asyncio
import collections
import http.client
import itertools
import json
import os
import random
import sys
import tempfile
import time

from harness import wire
from harness.service import Service, eventually, flaws_in_log

from . import cases, grammar

FIXED_SEEDS = ["1", "2", "3"]
CONNECTIONS = 64
# The fraction of the run that passes before memory is first measured. By then, caches and pools are full.
WARM_UP = 0.2
MAX_FAILURES = 5

# The maximum growth of memory, in bytes. The allocator keeps some pages after a burst. Even a leak that is caused by
# only one in ten thousand requests shows up within a few runs.
MAX_GROWTH = 16 << 20
SETTLING = 15

VARIABLES = {
    "RATE_LIMIT": "0",
    "TRUSTED_PROXIES": "1",
    "CACHE_BYTES": "1MiB",
    "API_TOKENS": f"fuzz:{grammar.TOKEN.decode()}:write,reader:{grammar.READ_TOKEN.decode()}:read",
    # The timeout for a body is half of this value. Cases with a truncated body wait for that timeout.
    "REQUEST_TIMEOUT": "6s",
    "STORE_TIMEOUT": "5s",
    "HEADER_TIMEOUT": f"{cases.HEADER_TIMEOUT}s",
    "KEEP_ALIVE": f"{cases.KEEP_ALIVE}s",
}


class Report:
    """The counts of cases and responses, and the failures."""

    def __init__(self):
        self.cases = 0
        self.responses = collections.Counter()
        self.failures = []

    def by_class(self):
        classes = collections.Counter()
        for status, count in self.responses.items():
            classes[f"{status // 100}xx"] += count
        return ", ".join(f"{count} {name}" for name, count in sorted(classes.items()))


async def play(service, seed, iteration, report):
    case = cases.build(seed, iteration)
    try:
        await case.run(service.address, report.responses)
    except (cases.Broken, wire.Malformed, OSError) as error:
        report.failures.append(
            f"{type(error).__name__}: {error}\n  replay: tests/checks/fuzz.sh --replay {seed}:{iteration}\n"
            f"  {type(case).__name__}, sent: {escaped(case.pieces)}"
        )
    report.cases += 1


def escaped(pieces, longest=1500):
    """Returns the pieces as Python literals, shortened to `longest` characters each."""
    return " | ".join(shortened(repr(piece), longest) for piece in pieces)


def shortened(text, longest):
    return text if len(text) <= longest else f"{text[: longest - 100]}…{text[-100:]} ({len(text)} characters)"


async def play_many(service, seeds, seconds, report):
    """Plays cases 0, 1, 2… of each seed on many connections, for the given number of seconds."""
    deadline = time.monotonic() + seconds
    numbered = ((seed, iteration) for iteration in itertools.count() for seed in seeds)

    async def worker():
        for seed, iteration in numbered:
            if time.monotonic() > deadline or len(report.failures) >= MAX_FAILURES:
                return
            await play(service, seed, iteration, report)

    await asyncio.gather(*[worker() for _ in range(CONNECTIONS)])


def send(service, method, path, body=None, token=None):
    """Sends a plain request. Returns the status and the Location header."""
    connection = http.client.HTTPConnection(*service.address, timeout=wire.PATIENCE)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token.decode()}"} if token else {})
    connection.request(method, path, json.dumps(body) if body else None, headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers.get("Location")


def make_links(service):
    target = "https://example.com/target"
    for key, extra in [(grammar.KNOWN, {}), (grammar.GONE, {}), (grammar.LOCKED, {"password": grammar.PASSWORD})]:
        body = {"url": target, "key": key.decode(), **extra}
        assert send(service, "POST", "/api/v1/links", body, grammar.TOKEN)[0] == 201
    gone = f"/api/v1/links/{grammar.GONE.decode()}/take-down"
    assert send(service, "POST", gone, token=grammar.TOKEN)[0] == 200


def verify_service(service, base):
    """Yields a message for each problem with the service after the run."""
    if not service.is_running():
        yield f"the service exited with status {service.process.returncode}"
        return
    if send(service, "GET", "/healthz")[0] != 200:
        yield "/healthz does not return 200"
    if send(service, "GET", f"/{grammar.KNOWN.decode()}") != (302, "https://example.com/target"):
        yield "the known link no longer redirects"
    resident, descriptors = base
    if not eventually(SETTLING, lambda: service.descriptors() <= descriptors):
        yield f"{service.descriptors()} descriptors are open, {descriptors} before"
    if not eventually(SETTLING, lambda: service.resident_bytes() <= resident + MAX_GROWTH):
        yield f"memory grew from {resident >> 20} to {service.resident_bytes() >> 20} MiB"


def verify_log(service):
    lines = service.log_lines()
    yield from flaws_in_log(lines)
    yield from (f"logged an error: {line!r}" for line in lines if b'"level":"ERROR"' in line)


def fuzz(binary, seconds, directory):
    report = Report()
    service = Service(binary, VARIABLES | {"STORE_URL": f"sqlite:{directory}/links.db"}, f"{directory}/log")
    try:
        make_links(service)
        idle = service.descriptors()
        asyncio.run(play_many(service, ["warm-up"], seconds * WARM_UP, report))
        eventually(SETTLING, lambda: service.descriptors() <= idle)
        base = service.resident_bytes(), service.descriptors()
        fresh = f"{random.SystemRandom().getrandbits(64):x}"
        print(f"fresh seed: {fresh}", flush=True)
        asyncio.run(play_many(service, [*FIXED_SEEDS, fresh], seconds * (1 - WARM_UP), report))
        failures = report.failures + list(verify_service(service, base))
        end = service.resident_bytes(), service.descriptors()
        failures += list(verify_log(service))[:MAX_FAILURES]
        report_figure(
            f"{report.cases} connections; responses: {report.by_class()}; "
            f"RSS {base[0] / 2**20:.1f} → {end[0] / 2**20:.1f} MiB, descriptors {base[1]} → {end[1]}"
        )
        return failures
    finally:
        if service.is_running():
            service.kill()


def replay(binary, name, directory):
    """Plays a single case and prints it."""
    seed, iteration = name.rsplit(":", 1)
    report = Report()
    service = Service(binary, VARIABLES | {"STORE_URL": f"sqlite:{directory}/links.db"}, f"{directory}/log")
    try:
        make_links(service)
        case = cases.build(seed, int(iteration))
        print(f"{type(case).__name__}: {escaped(case.pieces, sys.maxsize)}")
        asyncio.run(play(service, seed, int(iteration), report))
        print("responses:", dict(report.responses))
        for line in service.log_lines()[-3:]:
            print("log:", line.decode(errors="backslashreplace"))
        return report.failures
    finally:
        service.kill()


def report_figure(text):
    """Prints the figure to descriptor 3 for tests/run.sh, or to standard output if descriptor 3 is not open."""
    try:
        os.write(3, f"{text}\n".encode())
    except OSError:
        print(text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--replay", metavar="SEED:ITERATION")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if options.replay:
            failures = replay(options.binary, options.replay, directory)
        else:
            failures = fuzz(options.binary, options.seconds, directory)
    for failure in failures:
        print(f"FAILED {failure}")
    sys.exit(bool(failures))


main()
